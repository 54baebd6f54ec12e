//! The lines of the classic driver, for those who parse them.
