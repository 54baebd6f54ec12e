//! One QEMU, started with the contract's command line and driven over QMP.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Guest, PATIENCE, tiny, wait_for, wait_until};
use godwit_model::{units::Bytes, vm::DiskFormat};
use godwit_qemu::{
    hardware::{DiskDevice, Display, MediumDevice, MediumKind, TemplateFile},
    image::ImageTool,
    monitor::{Announce, IoStatus, Monitor, RunState, Status},
    qmp::{EventKind, Qmp, QmpError},
    usage::{self, ProcessUsage},
};
use serde_json::json;
use std::{path::PathBuf, time::Duration};

#[tokio::test]
async fn a_guest_starts_paused_and_obeys() {
    let folder = tempfile::tempdir().unwrap();
    let mut guest = Guest::start(tiny(folder.path(), "a"));
    let monitor = guest.monitor().await;
    let prelaunch = Status {
        running: false,
        state: RunState::Prelaunch,
    };
    assert_eq!(monitor.status().await.unwrap(), prelaunch);

    let mut events = monitor.events();
    monitor.cont().await.unwrap();
    let resumed = wait_for(&mut events, &EventKind::Resume).await;
    assert_eq!(monitor.status().await.unwrap().state, RunState::Running);
    monitor.stop().await.unwrap();
    let stopped = wait_for(&mut events, &EventKind::Stop).await;
    assert_eq!(monitor.status().await.unwrap().state, RunState::Paused);
    assert!(stopped.received > resumed.received);
    assert!(stopped.qemu_time > resumed.qemu_time);
    monitor.cont().await.unwrap();
    wait_for(&mut events, &EventKind::Resume).await;
    monitor.announce_self(Announce::default()).await.unwrap();

    monitor.quit().await.unwrap();
    let reason = tokio::time::timeout(PATIENCE, monitor.closed())
        .await
        .unwrap();
    assert!(!reason.is_empty());
    assert!(guest.child.wait().unwrap().success());
}

#[tokio::test]
async fn qemus_refusal_is_told_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Guest::start(tiny(folder.path(), "a"));
    let monitor = guest.monitor().await;
    let error = monitor
        .qmp()
        .execute("no-such-command", json!({}))
        .await
        .unwrap_err();
    let QmpError::Refused { class, command, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(
        (class.as_str(), command.as_str()),
        ("CommandNotFound", "no-such-command")
    );
}

#[tokio::test]
async fn a_killed_qemu_fails_the_pending_call() {
    let folder = tempfile::tempdir().unwrap();
    let mut guest = Guest::start(tiny(folder.path(), "a"));
    let monitor = guest.monitor().await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(guest.pid()).unwrap());
    // Frozen, it cannot answer, so that the call is really pending when it dies.
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let call = tokio::spawn({
        let monitor = monitor.clone();
        async move { monitor.status().await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!call.is_finished());
    guest.child.kill().unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert!(error.is_closed(), "{error}");
    assert!(monitor.status().await.unwrap_err().is_closed());
}

#[tokio::test]
async fn another_client_takes_over_when_the_first_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Guest::start(tiny(folder.path(), "a"));
    let first = guest.monitor().await;
    first.cont().await.unwrap();
    drop(first);
    let second = guest.monitor().await;
    assert!(second.status().await.unwrap().running);
}

#[tokio::test]
async fn no_qemu_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let error = Qmp::connect(&folder.path().join("nobody"))
        .await
        .unwrap_err();
    assert!(matches!(error, QmpError::Connect { .. }));
    assert!(
        Monitor::connect(&folder.path().join("x"), Duration::ZERO)
            .await
            .is_err()
    );
}

/// Everything that the contract can hold except a card: a tap needs the network crate.
#[tokio::test]
async fn disks_media_and_screen_are_where_the_contract_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let images = ImageTool::find().unwrap();
    let template = path("template.qcow2");
    images
        .create(&template, DiskFormat::Qcow2, Bytes::mib(64))
        .await
        .unwrap();
    let overlay = path("disk,0.qcow2");
    images
        .create_overlay(&overlay, &template, DiskFormat::Qcow2, None)
        .await
        .unwrap();
    std::fs::write(path("seed.iso"), vec![0; 1 << 16]).unwrap();
    std::fs::write(path("cd.iso"), vec![0; 1 << 16]).unwrap();

    let mut config = tiny(folder.path(), "a");
    config.disks = vec![DiskDevice {
        path: overlay.clone(),
        format: DiskFormat::Qcow2,
        readonly: false,
        serial: Some("root".into()),
        template: Some(TemplateFile {
            path: template,
            format: DiskFormat::Qcow2,
        }),
    }];
    config.media = vec![
        MediumDevice {
            path: path("seed.iso"),
            kind: MediumKind::Seed,
        },
        MediumDevice {
            path: path("cd.iso"),
            kind: MediumKind::Cdrom,
        },
    ];
    config.display = Display::Vnc(path("vnc"));
    config.vcpus = 2;
    let guest = Guest::start(config);
    let monitor = guest.monitor().await;

    let devices = monitor.block_devices().await.unwrap();
    let names: Vec<_> = devices
        .iter()
        .map(|device| device.device.as_str())
        .collect();
    assert_eq!(names, ["vd0", "seed0", "cdrom1"]);
    assert_eq!(
        devices[0].file.as_deref().map(PathBuf::from),
        Some(overlay.clone())
    );
    assert_eq!(devices[0].io_status, Some(IoStatus::Ok));
    assert_eq!(slots(&monitor).await, [0, 1, 1, 1, 2, 3, 4, 8]);
    assert!(path("vnc").exists() && path("a.serial").exists());

    // The firmware looks for a boot sector.
    monitor.cont().await.unwrap();
    wait_until(async || monitor.block_stats().await.unwrap()[0].read > Bytes(0)).await;
    assert_eq!(usage::vcpu_threads(guest.pid()).unwrap().len(), 2);
    wait_until(async || {
        let usage = ProcessUsage::of(guest.pid()).unwrap();
        usage.vcpus > Duration::ZERO && usage.resident > Bytes::mib(8)
    })
    .await;

    // The image is locked: a second writer is refused.
    let error = images.check(&overlay, DiskFormat::Qcow2).await.unwrap_err();
    assert!(error.to_string().contains("lock"), "{error}");
}

/// The PCI slots in use, sorted.
async fn slots(monitor: &Monitor) -> Vec<u64> {
    let buses = monitor.qmp().execute("query-pci", json!({})).await.unwrap();
    let devices = buses[0]["devices"].as_array().unwrap();
    let mut slots: Vec<_> = devices
        .iter()
        .map(|d| d["slot"].as_u64().unwrap())
        .collect();
    slots.sort_unstable();
    slots
}
