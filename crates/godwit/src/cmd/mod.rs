//! The commands, a file for each noun.

pub mod agent;
pub mod audit;
pub mod bench;
pub mod completions;
pub mod datastore;
pub mod doctor;
pub mod dvdstore;
pub mod event;
pub mod experiment;
pub mod host;
pub mod image;
pub mod keeper;
pub mod lab;
pub mod manager;
pub mod migration;
pub mod network;
pub mod relay;
pub mod task;
pub mod template;
pub mod vm;
mod watch;
