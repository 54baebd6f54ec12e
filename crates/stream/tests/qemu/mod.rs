//! Real QEMU at both ends: a paused guest without disks moves through two relay processes.

use std::{path::Path, process::Stdio, time::Duration};

use godwit_stream::{
    ByteCount, DestinationRelay, Event, MemoryConfig, PageCounts, PagesConfig, SourceRelay,
    StoreConfig,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixStream, unix},
    process::{Child, Command},
};

use super::{LONG, Rig, common::connected, exe, last, prepare, wait_for};

/// A guest with its monitor.
struct Guest {
    process: Child,
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
                "pc,accel=tcg,memory-backend=pc.ram",
                "-m",
                "64",
                "-object",
                "memory-backend-memfd,id=pc.ram,size=64M,share=on",
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
            process,
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

/// A boot sector that changes bytes in 16 pages as fast as it can.
fn writer() -> Vec<u8> {
    let code: [u8; 17] = [
        0xb8, 0x00, 0x20, // mov ax, 0x2000
        0x8e, 0xc0, // mov es, ax
        0x31, 0xff, // xor di, di
        0x26, 0xfe, 0x05, // again: inc byte [es:di]
        0x81, 0xc7, 0x07, 0x10, // add di, 0x1007
        0xeb, 0xf7, // jmp again
        0x90,
    ];
    let mut disk = vec![0; 1440 << 10];
    disk[..code.len()].copy_from_slice(&code);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

impl Guest {
    fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    fn memory(&self) -> Vec<u8> {
        std::fs::read(godwit_qemu::memory::shared_file(self.pid(), 64 << 20).unwrap()).unwrap()
    }
}

/// What a host has for one visit of the guest.
struct Host {
    store: Option<StoreConfig>,
    direct: bool,
}

/// Moves a guest that runs and writes. Gives the one at the destination, paused, after its memory was compared with the
/// source's, which is paused too then; and how the pages travelled.
async fn move_running(
    mut here: Guest,
    from: &Host,
    to: &Host,
    floppy: &str,
) -> (Guest, PageCounts) {
    let rig = Rig::new();
    prepare(rig.dir.path());
    let dir = rig.dir.path();
    let more = ["-drive", floppy, "-boot", "a", "-incoming", "defer"];
    let mut there = Guest::start(dir, "there", &more).await;
    let pages = |host: &Host| PagesConfig {
        key: "5e".repeat(32).parse().unwrap(),
        vm: [1; 16],
        store: host.store.clone(),
        template: None,
    };
    let mut config = rig.destination_config();
    config.pages = Some(pages(to));
    config.memory = to.direct.then(|| MemoryConfig {
        file: godwit_qemu::memory::shared_file(there.pid(), 64 << 20).unwrap(),
        block: "pc.ram".into(),
    });
    let uri = |socket: &Path| json!({ "uri": format!("unix:{}", socket.display()) });
    there.ask("migrate-incoming", uri(&config.socket)).await;
    let (destination, mut destination_events) =
        DestinationRelay::spawn(&exe(), &config).await.unwrap();
    let mut config = rig.source_config(destination.address());
    config.pages = Some(pages(from));
    let (source, mut source_events) = SourceRelay::spawn(&exe(), &config).await.unwrap();
    wait_for(&mut source_events, connected).await;
    here.ask("migrate", uri(&config.socket)).await;
    here.migration("completed").await;
    source.release();
    for events in [&mut destination_events, &mut source_events] {
        let verified = last(events).await;
        assert!(matches!(verified, Event::Verified { .. }), "{verified:?}");
    }
    there.migration("completed").await;
    let (sent, arrived) = (here.memory(), there.memory());
    let differing = sent
        .chunks(4096)
        .zip(arrived.chunks(4096))
        .enumerate()
        .find(|(_, (sent, arrived))| sent != arrived);
    assert!(
        differing.is_none(),
        "page {:?} differs",
        differing.map(|(at, _)| at)
    );
    (there, source.totals().pages)
}

/// The bytes that the guest changes: they must go on changing wherever it runs.
async fn goes_on_writing(guest: &Guest) {
    let written = |guest: &Guest| guest.memory()[0x20000..0x30000].to_vec();
    let before = written(guest);
    let changed = async {
        while written(guest) == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, changed).await.unwrap();
}

pub async fn a_guest_that_writes_arrives_page_for_page() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("writer.img");
    std::fs::write(&disk, writer()).unwrap();
    let floppy = format!("if=floppy,format=raw,readonly=on,file={}", disk.display());
    let mut guest = Guest::start(dir.path(), "first", &["-drive", &floppy, "-boot", "a"]).await;
    guest.ask("cont", json!({})).await;

    let store = |name: &str, mib: u64| {
        Some(StoreConfig {
            path: dir.path().join(name),
            size: ByteCount(mib << 20),
        })
    };
    let host = |store, direct| Host { store, direct };
    let (a, b) = (host(store("a", 64), true), host(store("b", 64), false));
    // A store that must evict while it is used, and one that somebody damages.
    let (small, none) = (host(store("small", 8), true), host(None, true));
    let hops = [
        (&a, &b),
        (&b, &a),
        (&a, &b),
        (&b, &small),
        (&small, &a),
        (&a, &none),
        (&none, &a),
    ];
    let mut found = Vec::new();
    for (at, (from, to)) in hops.into_iter().enumerate() {
        goes_on_writing(&guest).await;
        if at == 4 {
            damage(&dir.path().join("a"));
        }
        let (arrived, pages) = move_running(guest, from, to, &floppy).await;
        found.push(pages.store);
        guest = arrived;
        guest.ask("cont", json!({})).await;
    }
    goes_on_writing(&guest).await;
    assert!(
        found[1] > 0 && found[2] > 0,
        "a return finds what was left there: {found:?}"
    );
    assert!(found[5] == 0, "who has no store finds nothing: {found:?}");
}

/// Changes every page that a store holds.
fn damage(store: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(store)
        .unwrap();
    let length = file.metadata().unwrap().len();
    // Behind header, index and table, which are far smaller than this.
    for page in (length / 16 / 4096)..(length / 4096) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, page * 4096 + 99).unwrap();
        file.write_all_at(&[byte[0] ^ 1], page * 4096 + 99).unwrap();
    }
}
