//! What is true and what happens next, as pure code: ids, definitions, tasks, events, the
//! state machines of a migration. No I/O, no clock, no async, no other crate of ours.

pub mod doctor;
pub mod epoch;
pub mod host;
pub mod ids;
mod iso;
pub mod migration;
pub mod seed;
pub mod task;
pub mod units;
pub mod vm;
