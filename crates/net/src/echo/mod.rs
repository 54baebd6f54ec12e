//! The echo probe: when did a VM fall silent, and for how long?
//!
//! One thread sends an ICMP echo request to every target each 5 ms (or rarely, where nothing is expected) and notes when replies arrive (the kernel's time
//! stamps, so that a late wake-up of the probe does not look like a late reply). The guest's kernel answers: nothing
//! needs to be installed there.
//!
//! # What counts as a blackout
//! A **silence** lies between two replies that follow one another: nothing arrived between `from` and `until`.
//! Arrivals decide, not losses: what is sent to a paused VM may wait in a queue and be answered afterwards (a probe
//! then has a long round trip), or be lost with the queue of the host that the VM left. Both look the same here, and
//! [`Silence`] tells them apart by `sent`, `late` and lost. When nothing is wrong, replies follow one another as the
//! probes did; so a silence's [`Silence::length`] is the time between its two replies **minus the longest pause
//! between two probes** that it holds: one interval usually, more if the probe itself was held up. It is exact to
//! about one interval, and errs towards too short when the probe stalled: a slow prober is never taken for a blackout.
//! How often it was slow stands in [`Recording`].

mod analysis;
mod packet;
mod prober;

pub use analysis::{Silence, TargetRecord};
pub use prober::{EchoError, Options, Prober, Recording};
