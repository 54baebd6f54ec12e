//! A farm in one box, and the golden image its VMs are cloned from.

pub mod image;
