//! What is true and what happens next, as pure code.
