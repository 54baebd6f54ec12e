//! The DVD Store: an online shop in a PostgreSQL database as a workload, driven, measured and audited.
//!
//! Read first: [`script`] (what a user does), then [`order`] (how it is done), [`driver`] (many of them at a pace) and
//! [`audit`] (the proof that no order was lost or doubled). [`load`] makes the shop from [`generate`]d data.
//! One seed fixes data, scripts and arrivals; the clock is CLOCK_MONOTONIC throughout.
//! Never here: what to do with the figures. The driver gives every [`record::OrderRecord`] to its caller.

pub mod audit;
pub mod classic;
pub mod clock;
pub mod connect;
pub mod driver;
pub mod generate;
pub mod load;
pub mod order;
pub mod orderlog;
pub mod record;
pub mod script;
pub mod size;
pub mod stats;
pub mod words;

mod random;
mod schema;

pub use random::Seed;
pub use size::Size;
