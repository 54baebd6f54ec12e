//! Real guests without an operating system: small, quick to start, ended when dropped.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses its part

use godwit_model::{units::Bytes, vm::DEFAULT_CPU_MODEL, vm::DEFAULT_MACHINE};
use godwit_qemu::{
    accel::Accelerator,
    binary::Qemu,
    hardware::{Boot, Display, MachineConfig},
    monitor::Monitor,
    qmp::{Event, EventKind},
};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::sync::broadcast;
use uuid::Uuid;

/// For everything that waits: a broken test ends, a busy machine does not break one.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A QEMU that is killed and reaped when the test is over.
pub struct Guest {
    pub child: Child,
    pub config: MachineConfig,
}

impl Guest {
    pub fn start(config: MachineConfig) -> Self {
        let qemu = Qemu::find().unwrap();
        let child = Command::new(qemu.system)
            .args(config.command_line().unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, config }
    }

    pub async fn monitor(&self) -> Monitor {
        Monitor::connect(&self.config.qmp_socket, PATIENCE)
            .await
            .unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// 64 MiB, no disk; sockets named after `role` in `folder`.
pub fn tiny(folder: &Path, role: &str) -> MachineConfig {
    MachineConfig {
        name: "tiny".into(),
        uuid: Uuid::from_u128(7),
        memory: Bytes::mib(64),
        vcpus: 1,
        cpu_model: DEFAULT_CPU_MODEL.into(),
        machine_type: DEFAULT_MACHINE.into(),
        accelerator: Accelerator::Tcg,
        disks: vec![],
        media: vec![],
        nics: vec![],
        display: Display::None,
        boot: Boot::Disk,
        serial_socket: folder.join(format!("{role}.serial")),
        serial_log: Some(folder.join(format!("{role}.log"))),
        qmp_socket: folder.join(format!("{role}.qmp")),
        incoming: false,
    }
}

/// The next event that means `wanted`.
pub async fn wait_for(events: &mut broadcast::Receiver<Event>, wanted: &EventKind) -> Event {
    let search = async {
        loop {
            let event = events.recv().await.unwrap();
            if event.kind() == *wanted {
                return event;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, search).await;
    found.unwrap_or_else(|_| panic!("{wanted:?} did not come"))
}

/// Looks again and again.
pub async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}
