//! Godwit end to end, on real QEMU: one farm in one box, shared by all scenarios, which run in the order of
//! [`scenarios::all`] while customers go on ordering from its VMs. At the end the audit says what became of every order.
//!
//! ```text
//! cargo test -p godwit-tests                    all (root, QEMU; about five minutes on two cores)
//! cargo test -p godwit-tests -- garbage         those with this in their name; what they need is made for them
//! ```
#![allow(clippy::unwrap_used)] // a test

mod farm;
mod harness;
mod lab;
mod load;
mod rest;
mod scenarios;
mod schema;
mod shop;
mod wait;

fn main() -> std::process::ExitCode {
    harness::main(scenarios::all())
}
