//! Who executes the guest's code: KVM where it is real, else TCG.
//!
//! `/dev/kvm` proves nothing. There are hosts where it is emulated and a guest kernel runs a
//! thousand times slower than native, so that a VM started with it seems to hang. So the probe
//! runs a loop in guest ring 0 and times it (`kvm.rs`).

#[cfg(target_arch = "x86_64")]
mod kvm;

#[cfg(target_arch = "x86_64")]
pub use kvm::probe_kvm;

/// The probe's loop is x86-64 code; so are the guests.
#[cfg(not(target_arch = "x86_64"))]
pub fn probe_kvm() -> KvmState {
    KvmState::Absent {
        reason: "this is not an x86-64 host".to_owned(),
    }
}

use serde::{Deserialize, Serialize};
use std::fmt;

/// Who executes the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU's translator: works everywhere, 10 to 30 times slower.
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// What the probe found. Speeds are millions of instructions per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum KvmState {
    /// There is no KVM here, or this process may not use it.
    Absent {
        /// What is missing.
        reason: String,
    },
    /// KVM is there, but guest kernels would crawl or not run at all.
    Unusable {
        /// Measured in guest ring 0; 0 if nothing ran.
        mips: f64,
        /// The same loop outside a guest.
        native_mips: f64,
        /// What went wrong.
        reason: String,
    },
    /// KVM runs guest kernels at the processor's own speed.
    Usable {
        /// Measured in guest ring 0.
        mips: f64,
    },
}

impl KvmState {
    /// The accelerator to use on this host.
    #[must_use]
    pub fn accelerator(&self) -> Accelerator {
        match self {
            Self::Usable { .. } => Accelerator::Kvm,
            Self::Absent { .. } | Self::Unusable { .. } => Accelerator::Tcg,
        }
    }
}

/// Guest code in ring 0 must reach this share of the native speed. Real KVM is above 0.8 even
/// nested; emulated KVM has been seen at 0.0001. The wide gap leaves room for a busy host.
const USABLE_SHARE: f64 = 0.1;

fn verdict(mips: f64, native_mips: f64) -> KvmState {
    if mips >= native_mips * USABLE_SHARE {
        return KvmState::Usable { mips };
    }
    KvmState::Unusable {
        mips,
        native_mips,
        reason: format!(
            "guest code in ring 0 runs at {mips:.1} million instructions/s, natively at {native_mips:.0}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_decides() {
        assert_eq!(verdict(2900.0, 3000.0).accelerator(), Accelerator::Kvm);
        // A real KVM on a host that was busy during the probe.
        assert_eq!(verdict(600.0, 3000.0).accelerator(), Accelerator::Kvm);
        // A software KVM.
        let trap = verdict(0.3, 3000.0);
        assert_eq!(trap.accelerator(), Accelerator::Tcg);
        assert!(matches!(trap, KvmState::Unusable { mips, .. } if mips < 1.0));
    }
}
