//! The statistics of the report. Pure functions with known answers in their tests.

pub mod blackout;
pub mod bootstrap;
pub mod percentile;
pub mod steady;
