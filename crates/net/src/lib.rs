//! The network under hosts and lab: bridges, taps, veth pairs, namespaces, HTB classes, counters, the echo probe.
//!
//! iproute2 does the work as a process ([`command`] is the only place that starts one), so that every step can be
//! repeated by hand. Calls block for a few milliseconds each: from async code use `tokio::task::spawn_blocking`.
//! Each `ensure_…` is idempotent: it makes what is missing and leaves alone what is already right.
//!
//! Read [`htb`] first: how VM traffic and migration share one card is the point of it all.

pub mod address;
pub mod bridge;
pub mod clock;
pub mod command;
pub mod counters;
pub mod doctor;
pub mod echo;
pub mod htb;
pub mod link;
pub mod netns;
pub mod tap;
pub mod veth;

pub use command::NetError;
pub use netns::Netns;

#[cfg(test)]
mod testing;
