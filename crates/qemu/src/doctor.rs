//! What `godwit doctor` looks at on behalf of QEMU: the accelerator, the programs, a start on
//! trial, and what every VM lives on: memory, disk space, clocks.

mod host;
mod trial;

use crate::{
    accel::{Accelerator, KvmState, probe_kvm},
    binary::{BinaryError, IMG, Qemu, QemuVersion, SYSTEM, Support, find_in_path, version_of},
};
use godwit_model::{doctor::Check, vm::DEFAULT_MACHINE};
use std::path::PathBuf;

const INSTALL: &str = "install the packages qemu-system-x86 and qemu-utils, version 10.0 (on Debian 12 \
     from bookworm-backports: `apt-get install -t bookworm-backports qemu-system-x86 qemu-utils`)";

/// All checks; `paths` are the folders whose disk space counts. Blocks for about a second.
#[must_use]
pub fn checks(paths: &[PathBuf]) -> Vec<Check> {
    let kvm = probe_kvm();
    let mut checks = vec![kvm_check(&kvm)];
    checks.extend(qemu(kvm.accelerator()));
    checks.push(image_tool(
        find_in_path(IMG).and_then(|path| version_of(&path)),
    ));
    checks.push(host::memory());
    checks.extend(paths.iter().map(|path| host::disk_space(path)));
    checks.extend([host::boot_clock(), host::clock_source(), host::time_sync()]);
    checks
}

fn kvm_check(state: &KvmState) -> Check {
    const ID: &str = "kvm";
    const TITLE: &str = "Hardware virtualization (KVM)";
    match state {
        KvmState::Usable { mips } => Check::ok(
            ID,
            TITLE,
            format!("guest code in ring 0 runs at {mips:.0} million instructions/s"),
        ),
        KvmState::Unusable { reason, .. } => Check::warning(
            ID,
            TITLE,
            format!("/dev/kvm is there but unusable: {reason}; VMs run under TCG, slowly"),
            "use a host whose processor virtualizes for real; in a cloud, a metal instance or one \
             with nested virtualization",
        ),
        KvmState::Absent { reason } => Check::warning(
            ID,
            TITLE,
            format!("{reason}; VMs run under TCG, slowly"),
            "switch virtualization on in the firmware (Intel VT-x, AMD-V), then `modprobe kvm_intel` \
             or `modprobe kvm_amd`",
        ),
    }
}

fn qemu(accelerator: Accelerator) -> Vec<Check> {
    let path = find_in_path(SYSTEM);
    let version = path.and_then(|path| Ok((version_of(&path)?, path)));
    let checked = version_check(version.as_ref().map(|(version, _)| *version));
    let Ok((version, system)) = version else {
        // What follows needs it.
        return vec![checked];
    };
    let qemu = Qemu {
        system,
        img: IMG.into(),
        version,
    };
    vec![
        checked,
        machine(qemu.machine_types()),
        trial::start(&qemu, accelerator),
    ]
}

fn version_check(version: Result<QemuVersion, &BinaryError>) -> Check {
    const ID: &str = "qemu.version";
    const TITLE: &str = "QEMU";
    match version {
        Err(error) => Check::failed(ID, TITLE, error.to_string(), INSTALL),
        Ok(version) => match version.support() {
            Support::Full => Check::ok(ID, TITLE, format!("version {version}")),
            Support::BestEffort => Check::warning(
                ID,
                TITLE,
                format!("version {version}: best effort, 10.0 is the supported one"),
                INSTALL,
            ),
            Support::TooOld => {
                Check::failed(ID, TITLE, format!("version {version} is too old"), INSTALL)
            }
        },
    }
}

fn machine(types: Result<Vec<String>, BinaryError>) -> Check {
    const ID: &str = "qemu.machine";
    const TITLE: &str = "Machine type of new VMs";
    match types {
        Ok(types) if types.iter().any(|name| name == DEFAULT_MACHINE) => {
            Check::ok(ID, TITLE, format!("{DEFAULT_MACHINE} is offered"))
        }
        Ok(_) => Check::failed(
            ID,
            TITLE,
            format!("QEMU does not offer {DEFAULT_MACHINE}"),
            INSTALL,
        ),
        Err(error) => Check::failed(ID, TITLE, error.to_string(), INSTALL),
    }
}

fn image_tool(version: Result<QemuVersion, BinaryError>) -> Check {
    const ID: &str = "qemu.img";
    const TITLE: &str = "qemu-img";
    match version {
        Ok(version) => Check::ok(ID, TITLE, format!("version {version}")),
        Err(error) => Check::failed(ID, TITLE, error.to_string(), INSTALL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_model::doctor::{CheckState, worst};

    #[test]
    fn a_host_that_runs_these_tests_can_run_an_agent() {
        let folder = tempfile::tempdir().unwrap();
        let checks = checks(&[folder.path().to_owned()]);
        println!("{checks:#?}");
        assert_ne!(worst(&checks), CheckState::Failed);
        let mut ids: Vec<_> = checks.iter().map(|check| &check.id).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all, "ids are for scripts, so they are unique");
    }

    #[test]
    fn whatever_is_wrong_has_a_remedy() {
        let trap = KvmState::Unusable {
            mips: 0.3,
            native_mips: 3000.0,
            reason: "0.3 not 3000".into(),
        };
        let absent = KvmState::Absent {
            reason: "no device".into(),
        };
        for check in [kvm_check(&trap), kvm_check(&absent)] {
            assert_eq!(check.state, CheckState::Warning);
            assert!(check.remedy.is_some());
        }
        assert!(kvm_check(&trap).found.contains("0.3 not 3000"));
        let version = |text: &str| version_check(Ok(text.parse().unwrap()));
        assert_eq!(
            version("QEMU emulator version 10.1.0").state,
            CheckState::Ok
        );
        assert_eq!(
            version("QEMU emulator version 7.2.0").state,
            CheckState::Warning
        );
        assert_eq!(
            version("QEMU emulator version 5.2.0").state,
            CheckState::Failed
        );
        let missing = BinaryError::NotFound {
            program: "x".into(),
        };
        assert_eq!(version_check(Err(&missing)).state, CheckState::Failed);
        assert_eq!(
            machine(Ok(vec!["pc-q35-11.0".into()])).state,
            CheckState::Failed
        );
    }
}
