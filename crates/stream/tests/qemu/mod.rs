//! Real QEMU at both ends: a paused guest without disks moves through two relay processes.

use std::{path::Path, process::Stdio, time::Duration};

use godwit_stream::{DestinationRelay, Event, SourceRelay};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixStream, unix},
    process::{Child, Command},
};

use super::{LONG, Rig, common::connected, exe, last, prepare, wait_for};

/// A guest with its monitor.
struct Guest {
    _process: Child,
    lines: tokio::io::Lines<BufReader<unix::OwnedReadHalf>>,
    monitor: unix::OwnedWriteHalf,
}

impl Guest {
    async fn start(dir: &Path, name: &str, more: &[&str]) -> Self {
        let path = dir.join(format!("{name}.qmp"));
        let process = Command::new("qemu-system-x86_64")
            .args([
                "-S",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-machine",
                "pc,accel=tcg",
                "-m",
                "64",
            ])
            .args(["-device", "virtio-net-pci", "-device", "VGA", "-smp", "2"])
            .args([
                "-qmp",
                &format!("unix:{},server=on,wait=off", path.display()),
            ])
            .args(more)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let connected = async {
            loop {
                match UnixStream::connect(&path).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let (reading, monitor) = tokio::time::timeout(LONG, connected)
            .await
            .unwrap()
            .into_split();
        let mut guest = Self {
            _process: process,
            lines: BufReader::new(reading).lines(),
            monitor,
        };
        guest.lines.next_line().await.unwrap();
        guest.ask("qmp_capabilities", json!({})).await;
        guest
    }

    async fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        self.monitor.write_all(line.as_bytes()).await.unwrap();
        loop {
            let line = self.lines.next_line().await.unwrap().expect("QEMU ended");
            let answer: Value = serde_json::from_str(&line).unwrap();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(result) = answer.get("return") {
                return result.clone();
            }
        }
    }

    /// Waits until a migration at this end has this status.
    async fn migration(&mut self, status: &str) {
        let reached = async {
            loop {
                let info = self.ask("query-migrate", json!({})).await;
                assert_ne!(info["status"], "failed", "{info}");
                if info["status"] == status {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, reached).await.unwrap();
    }
}

pub async fn a_paused_guest_moves() {
    let rig = Rig::new();
    prepare(rig.dir.path());
    let dir = rig.dir.path();
    let mut there = Guest::start(dir, "there", &["-incoming", "defer"]).await;
    let config = rig.destination_config();
    there
        .ask(
            "migrate-incoming",
            json!({ "uri": format!("unix:{}", config.socket.display()) }),
        )
        .await;
    let (destination, mut destination_events) =
        DestinationRelay::spawn(&exe(), &config).await.unwrap();

    let mut here = Guest::start(dir, "here", &[]).await;
    let config = rig.source_config(destination.address());
    let (source, mut source_events) = SourceRelay::spawn(&exe(), &config).await.unwrap();
    wait_for(&mut source_events, connected).await;
    here.ask(
        "migrate",
        json!({ "uri": format!("unix:{}", config.socket.display()) }),
    )
    .await;
    here.migration("completed").await;
    wait_for(&mut source_events, |event| *event == Event::Drained).await;
    // The source is done, and yet the destination has nothing that it could run.
    let info = there.ask("query-migrate", json!({})).await;
    assert_eq!(info["status"], "active", "{info}");

    source.release();
    let verified = last(&mut destination_events).await;
    assert!(matches!(verified, Event::Verified { .. }), "{verified:?}");
    assert!(matches!(
        last(&mut source_events).await,
        Event::Verified { .. }
    ));
    there.migration("completed").await;
    let status = there.ask("query-status", json!({})).await;
    assert_eq!(status["running"], false);
    there.ask("cont", json!({})).await;
    assert_eq!(
        there.ask("query-status", json!({})).await["status"],
        "running"
    );
}
