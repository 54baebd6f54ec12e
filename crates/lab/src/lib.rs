//! A farm in one box, and the golden image its VMs are cloned from.
//!
//! `up` builds a farm out of one machine's namespaces: blades with two cards each, switches, shaped links, shared
//! datastores, the manager. Nothing in it is a mock: the same agent and manager run as on real hosts, with
//! configuration files as an administrator would write them.
//!
//! | file | what it decides or does |
//! |---|---|
//! | [`spec`], [`plan`] | what was asked for; names, addresses, cores that follow. Pure. |
//! | [`folder`] | where everything lies; `lab.json` |
//! | [`network`] | switches, cables, cards, shaping |
//! | [`sandbox`], [`mounts`], [`init`] | a box: a process with namespaces of its own, its view, its supervisor |
//! | [`storage`] | datastores that can be made to fail |
//! | [`processes`] | the boxes that run, found by their mark |
//! | [`config`], [`farm`] | the agents' and the manager's configuration; joining |
//! | [`mod@up`], [`mod@down`], [`mod@status`], [`mod@exec`] | the commands |
//!
//! Read [`mod@up`] first. Each step of it is idempotent, and [`mod@down`] undoes all of them from `lab.json` alone, so
//! that it does not matter where `up`, or the machine, was interrupted.

pub mod config;
pub mod down;
pub mod error;
pub mod exec;
pub mod farm;
pub mod folder;
pub mod image;
pub mod init;
pub mod mounts;
pub mod network;
pub mod plan;
pub mod processes;
pub mod sandbox;
pub mod spec;
pub mod status;
pub mod storage;
pub mod up;

pub use down::down;
pub use error::LabError;
pub use exec::exec;
pub use spec::Spec;
pub use status::status;
pub use up::up;

/// Where a lab lives unless another folder is chosen.
pub const DEFAULT_DIR: &str = "/var/lib/godwit/lab";
