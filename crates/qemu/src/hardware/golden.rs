//! The argument list, word by word. If a test here fails, the hardware contract has changed:
//! running VMs could no longer move to hosts with the new list. Host-only changes are fine
//! (change the file under `golden/`); for guest-visible ones make a new contract version.

use super::super::*;
use godwit_model::units::Bytes;

fn full() -> MachineConfig {
    MachineConfig {
        name: "db1".into(),
        uuid: Uuid::from_u128(0x1234),
        memory: Bytes::mib(512),
        vcpus: 2,
        cpu_model: "Nehalem".into(),
        machine_type: "pc-i440fx-7.2".into(),
        accelerator: Accelerator::Tcg,
        disks: vec![
            DiskDevice {
                path: "/datastores/SAN1/vms/a/disk0.qcow2".into(),
                format: DiskFormat::Qcow2,
                readonly: false,
                serial: None,
                template: Some(TemplateFile {
                    path: "/datastores/SAN1/templates/g/disk.qcow2".into(),
                    format: DiskFormat::Qcow2,
                }),
            },
            DiskDevice {
                path: "/datastores/SAN2/vms/a/di,sk\"1.raw".into(),
                format: DiskFormat::Raw,
                readonly: true,
                serial: Some("data".into()),
                template: None,
            },
        ],
        media: vec![
            MediumDevice {
                path: "/datastores/SAN1/vms/a/seed.iso".into(),
                kind: MediumKind::Seed,
            },
            MediumDevice {
                path: "/datastores/SAN1/iso/d.iso".into(),
                kind: MediumKind::Cdrom,
            },
        ],
        nics: vec![NicDevice {
            tap: "gwt0".into(),
            mac: "52:54:00:00:00:01".into(),
        }],
        display: Display::Vnc("/run/godwit/a/vnc".into()),
        boot: Boot::Cdrom,
        serial_socket: "/run/godwit/a/serial".into(),
        serial_log: Some("/run/godwit/a/con,sole.log".into()),
        qmp_socket: "/run/godwit/a/qmp".into(),
        incoming: true,
    }
}

/// As little as a VM can have.
fn least() -> MachineConfig {
    MachineConfig {
        vcpus: 1,
        accelerator: Accelerator::Kvm,
        disks: vec![],
        media: vec![],
        nics: vec![],
        display: Display::None,
        boot: Boot::Kernel {
            kernel: "/datastores/SAN1/templates/g/vmlinuz".into(),
            initrd: Some("/datastores/SAN1/templates/g/initrd".into()),
            append: "console=ttyS0 root=/dev/vda1".into(),
        },
        serial_log: None,
        incoming: false,
        ..full()
    }
}

/// One argument per line, an option and its value on one.
fn shown(config: &MachineConfig) -> String {
    let mut text = String::new();
    for argument in config.command_line().unwrap() {
        let argument = argument.to_str().unwrap();
        let option = argument.starts_with('-');
        text.push_str(if option && !text.is_empty() {
            "\n"
        } else {
            " "
        });
        text.push_str(argument);
    }
    text.trim_start().to_owned() + "\n"
}

#[test]
fn the_contract_has_not_changed() {
    for (name, config, golden) in [
        ("full", full(), include_str!("golden/full.txt")),
        ("least", least(), include_str!("golden/least.txt")),
    ] {
        let shown = shown(&config);
        assert_eq!(
            shown, golden,
            "{name}: the command line has changed; now:\n{shown}"
        );
    }
}

#[test]
fn both_ends_differ_in_incoming_only() {
    let destination = full().command_line().unwrap();
    let source = MachineConfig {
        incoming: false,
        ..full()
    }
    .command_line()
    .unwrap();
    assert_eq!(destination[..source.len()], source);
    assert_eq!(destination[source.len()..], ["-incoming", "defer"]);
}

#[test]
fn values_cannot_become_options() {
    let refused = |change: fn(&mut MachineConfig)| {
        let mut config = full();
        change(&mut config);
        config.command_line().unwrap_err()
    };
    refused(|c| c.name = "a,debug-threads=off".into());
    refused(|c| c.cpu_model = "host,migratable=off".into());
    refused(|c| c.nics[0].mac = "52:54:00:00:00:01,x=y".into());
    refused(|c| c.disks[1].serial = Some("a,b".into()));
    refused(|c| c.vcpus = 0);
    refused(|c| c.memory = Bytes(1));
    refused(|c| c.disks = vec![c.disks[0].clone(); 9]);
    refused(|c| c.media.truncate(1));
    let long = refused(|c| c.qmp_socket = format!("/{}", "x".repeat(107)).into());
    assert!(matches!(long, HardwareError::SocketPathTooLong(_)));
}
