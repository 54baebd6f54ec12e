//! The host daemon: carries out what the manager asks of a host, and gates every start of a VM
//! by the lease.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
