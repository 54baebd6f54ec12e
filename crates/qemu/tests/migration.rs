//! From one QEMU to another over a unix socket, with the contract's settings and no relay.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Guest, tiny, wait_for, wait_until};
use godwit_model::{
    units::{Bytes, MonoNs},
    vm::DiskFormat,
};
use godwit_qemu::{
    hardware::{DiskDevice, Display, MachineConfig},
    image::ImageTool,
    monitor::{MigrationSettings, Monitor, RunState},
    qmp::{Event, EventKind, StreamState},
};
use std::path::Path;
use uuid::Uuid;

struct Pair {
    source: Guest,
    destination: Guest,
    at_source: Monitor,
    at_destination: Monitor,
    stream: std::path::PathBuf,
}

/// A running source and a destination that listens.
async fn pair(source: MachineConfig, destination: MachineConfig, folder: &Path) -> Pair {
    let source = Guest::start(source);
    let destination = Guest::start(MachineConfig {
        incoming: true,
        ..destination
    });
    let (at_source, at_destination) = (source.monitor().await, destination.monitor().await);
    at_source.cont().await.unwrap();
    assert_eq!(
        at_destination.status().await.unwrap().state,
        RunState::Inmigrate
    );
    at_destination.prepare_incoming().await.unwrap();
    let stream = folder.join("stream");
    at_destination.migrate_incoming(&stream).await.unwrap();
    Pair {
        source,
        destination,
        at_source,
        at_destination,
        stream,
    }
}

/// A pair with a disk and a screen.
async fn pair_with_disk(folder: &Path) -> Pair {
    let disk = folder.join("disk.qcow2");
    let images = ImageTool::find().unwrap();
    images
        .create(&disk, DiskFormat::Qcow2, Bytes::mib(16))
        .await
        .unwrap();
    let machine = |role: &str| MachineConfig {
        disks: vec![DiskDevice {
            path: disk.clone(),
            format: DiskFormat::Qcow2,
            readonly: false,
            serial: None,
            template: None,
        }],
        display: Display::Vnc(folder.join(format!("{role}.vnc"))),
        ..tiny(folder, role)
    };
    // Both have the disk open: the locks are the source's until `cont`.
    pair(machine("s"), machine("d"), folder).await
}

/// Sends everything; both ends are paused then. Returns the source's STOP.
async fn send_all(pair: &Pair) -> Event {
    let settings = MigrationSettings {
        switchover_bandwidth: Some(Bytes(100_000_000)),
        ..MigrationSettings::default()
    };
    pair.at_source.prepare_outgoing(&settings).await.unwrap();
    let (mut source, mut destination) = (pair.at_source.events(), pair.at_destination.events());
    pair.at_source.migrate(&pair.stream).await.unwrap();
    let stopped = wait_for(&mut source, &EventKind::Stop).await;
    let completed = EventKind::Migration(StreamState::Completed);
    wait_for(&mut source, &completed).await;
    wait_for(&mut destination, &completed).await;
    // QEMU says `completed` a moment before its run state follows.
    wait_until(async || pair.at_source.status().await.unwrap().state == RunState::Postmigrate)
        .await;
    stopped
}

#[tokio::test]
async fn a_running_guest_moves() {
    let folder = tempfile::tempdir().unwrap();
    let pair = pair_with_disk(folder.path()).await;
    let mut destination = pair.at_destination.events();
    let stopped = send_all(&pair).await;
    assert!(!pair.at_destination.status().await.unwrap().running);

    let info = pair.at_source.query_migrate().await.unwrap();
    let ram = info.ram.unwrap();
    assert_eq!(info.status, StreamState::Completed);
    assert!(info.total_ms.is_some() && info.downtime_ms.is_some());
    // 64 MiB of memory and 8 MiB of the screen at least, mostly zeroes.
    assert!(
        ram.total > Bytes::mib(72) && ram.duplicate > ram.normal,
        "{ram:?}"
    );
    assert_eq!(ram.remaining, Bytes(0));

    pair.at_destination.cont().await.unwrap();
    let resumed = wait_for(&mut destination, &EventKind::Resume).await;
    assert!(pair.at_destination.status().await.unwrap().running);
    assert_ne!(resumed.received, MonoNs(0));
    assert!(resumed.received > stopped.received);

    // The locks have moved with it, so the source cannot run any more.
    assert!(pair.at_source.cont().await.is_err());
    pair.at_source.quit().await.unwrap();
}

/// What giving back rests on: the destination holds no lock before `cont`.
#[tokio::test]
async fn until_the_destination_continues_the_source_can_take_back() {
    let folder = tempfile::tempdir().unwrap();
    let pair = pair_with_disk(folder.path()).await;
    send_all(&pair).await;
    pair.at_source.cont().await.unwrap();
    assert!(pair.at_source.status().await.unwrap().running);
    let refused = pair.at_destination.cont().await.unwrap_err();
    assert!(refused.to_string().contains("lock"), "{refused}");
    assert!(!pair.at_destination.status().await.unwrap().running);
}

#[tokio::test]
async fn the_stream_of_another_vm_is_refused_and_the_source_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let stranger = MachineConfig {
        uuid: Uuid::from_u128(8),
        ..tiny(folder.path(), "d")
    };
    let pair = pair(tiny(folder.path(), "s"), stranger, folder.path()).await;
    pair.at_source
        .prepare_outgoing(&MigrationSettings::default())
        .await
        .unwrap();
    let mut destination = pair.at_destination.events();
    pair.at_source.migrate(&pair.stream).await.unwrap();
    wait_for(&mut destination, &EventKind::Migration(StreamState::Failed)).await;
    let info = pair.at_destination.query_migrate().await.unwrap();
    assert_eq!(info.status, StreamState::Failed);
    assert!(pair.at_source.status().await.unwrap().running);
}

#[tokio::test]
async fn a_cancelled_migration_leaves_the_source_running() {
    let folder = tempfile::tempdir().unwrap();
    let pair = pair(
        tiny(folder.path(), "s"),
        tiny(folder.path(), "d"),
        folder.path(),
    )
    .await;
    // So slow that it cannot be through before the cancel.
    let slow = MigrationSettings {
        max_bandwidth: Bytes(1000),
        ..MigrationSettings::default()
    };
    pair.at_source.prepare_outgoing(&slow).await.unwrap();
    let mut events = pair.at_source.events();
    pair.at_source.migrate(&pair.stream).await.unwrap();
    wait_for(&mut events, &EventKind::Migration(StreamState::Active)).await;
    pair.at_source.migrate_cancel().await.unwrap();
    wait_for(&mut events, &EventKind::Migration(StreamState::Cancelled)).await;
    assert!(pair.at_source.status().await.unwrap().running);

    // And it can be tried again, with the slowness taken back, to a new destination.
    drop(pair.destination);
    let again = MachineConfig {
        incoming: true,
        ..tiny(folder.path(), "e")
    };
    let destination = Guest::start(again);
    let monitor = destination.monitor().await;
    monitor.prepare_incoming().await.unwrap();
    let stream = folder.path().join("again");
    monitor.migrate_incoming(&stream).await.unwrap();
    pair.at_source
        .prepare_outgoing(&MigrationSettings::default())
        .await
        .unwrap();
    pair.at_source.migrate(&stream).await.unwrap();
    wait_for(&mut events, &EventKind::Migration(StreamState::Completed)).await;
    wait_until(async || monitor.cont().await.is_ok()).await;
    assert!(monitor.status().await.unwrap().running);
    drop(pair.source);
}
