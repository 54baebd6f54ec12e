//! QEMU as a process: command line, QMP, accelerator probe, adoption.
