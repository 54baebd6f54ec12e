//! The only types that cross a socket, and the clients that speak them.
//!
//! [`farm`] is the manager's REST API, for people, scripts and the console; [`agent`] is
//! what the manager and other agents ask of a host. Both are HTTP and JSON under TLS.

pub mod agent;
pub mod error;
pub mod farm;
pub mod http;
