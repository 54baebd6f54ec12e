//! stub
use super::KvmState;
/// Probe.
pub fn probe_kvm() -> KvmState {
    todo!()
}
