//! What several modules' tests need.

use godwit_api::agent::{VmSockets, VmView};
use godwit_model::ids::VmId;
use godwit_model::units::Bytes;
use godwit_model::vm::{
    Boot, DEFAULT_CPU_MODEL, DEFAULT_MACHINE, HARDWARE_VERSION, VmDefinition, VmState,
};

/// A VM without disks and cards.
pub fn a_definition() -> VmDefinition {
    VmDefinition {
        id: VmId::random(),
        name: "db1".into(),
        hardware: HARDWARE_VERSION,
        machine: DEFAULT_MACHINE.into(),
        cpu_model: DEFAULT_CPU_MODEL.into(),
        memory: Bytes::mib(64),
        vcpus: 1,
        datastore: "SAN1".into(),
        disks: vec![],
        media: vec![],
        nics: vec![],
        boot: Boot::Disk,
        address: None,
        template: None,
        application: None,
        notes: String::new(),
    }
}

/// A stopped VM.
pub fn a_view() -> VmView {
    VmView {
        definition: a_definition(),
        state: VmState::Stopped,
        epoch: None,
        newest_epoch: None,
        pid: None,
        migration: None,
        problem: None,
        sockets: VmSockets::default(),
    }
}
