//! QEMU as a process: command line, QMP, accelerator probe, adoption.
//!
//! The file to read first is `hardware.rs`: the virtual-hardware contract, which both ends of
//! a migration must follow to the letter. `qmp` is the wire, `monitor` the typed operations on
//! top of it. Nothing here decides whether a VM may run: that is the lease's.
//! Starting and reaping the process is the keeper's; this crate only says with what arguments.

pub mod accel;
pub mod binary;
pub mod cpu;
pub mod doctor;
pub mod hardware;
pub mod image;
pub mod memory;
pub mod monitor;
pub mod qmp;
pub mod usage;

mod clock;
