//! The central daemon: the farm's inventory, its tasks and events, and the REST API.
//!
//! It plans and watches; it is never in the path of safety. It may die at any time:
//! nothing on the hosts notices, and what was under way is found again by its ids.
//!
//! - [`store`] what survives, [`live`] what is known right now, [`link`] the line to hosts
//! - [`work`] tasks, [`service`] every rule of who may do what, [`rest`] its translation

pub mod config;
pub mod core;
pub mod keys;
pub mod link;
pub mod live;
pub mod service;
pub mod store;
pub mod work;
