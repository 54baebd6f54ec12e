//! What is true and what happens next, as pure code.

mod iso;
pub mod seed;

pub mod doctor;
