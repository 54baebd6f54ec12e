//! What several modules' tests need.

use godwit_model::ids::VmId;
use godwit_model::units::Bytes;
use godwit_model::vm::{
    Boot, DEFAULT_CPU_MODEL, DEFAULT_MACHINE, HARDWARE_VERSION, Nic, VmDefinition,
};

/// A VM with a card and without disks.
pub fn vm() -> VmDefinition {
    VmDefinition {
        id: VmId::random(),
        name: "db1".into(),
        hardware: HARDWARE_VERSION,
        machine: DEFAULT_MACHINE.into(),
        cpu_model: DEFAULT_CPU_MODEL.into(),
        memory: Bytes::mib(512),
        vcpus: 1,
        datastore: "SAN1".into(),
        disks: Vec::new(),
        media: Vec::new(),
        nics: vec![Nic {
            network: "production".into(),
            mac: "52:54:00:00:00:01".into(),
        }],
        boot: Boot::Disk,
        address: None,
        template: None,
        application: None,
        notes: String::new(),
    }
}
