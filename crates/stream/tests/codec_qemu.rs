//! The parser on what a real QEMU sends, under several settings: all pages are found, the stream is given back as it
//! was, and a destination QEMU loads it. The guest is a firmware of our own that never stops to write to its memory.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use godwit_stream::codec::walk::{End, Found, walk};
use serde_json::{Value, json};

const QEMU: &str = "qemu-system-x86_64";
/// Far above what a busy machine needs.
const LONG: Duration = Duration::from_secs(120);
const MEMORY: u64 = 16 << 20;

/// One recorded migration.
struct Setting {
    machine: &'static str,
    capabilities: &'static [&'static str],
    /// The guest writes while it is migrated, until memory was looked through this often; 0: it is paused.
    rounds: u64,
}

const I440FX: &str = "pc-i440fx-7.2";
const Q35: &str = "pc-q35-10.0";

#[test]
fn plain() {
    check(&Setting {
        machine: I440FX,
        capabilities: &[],
        rounds: 0,
    });
}

#[test]
fn several_rounds() {
    check(&Setting {
        machine: I440FX,
        capabilities: &[],
        rounds: 4,
    });
}

#[test]
fn xbzrle() {
    check(&Setting {
        machine: I440FX,
        capabilities: &["xbzrle"],
        rounds: 4,
    });
}

#[test]
fn postcopy_ram() {
    check(&Setting {
        machine: I440FX,
        capabilities: &["postcopy-ram"],
        rounds: 3,
    });
}

#[test]
fn newest_machine() {
    check(&Setting {
        machine: Q35,
        capabilities: &["return-path"],
        rounds: 3,
    });
}

#[test]
fn addresses_of_blocks() {
    // QEMU sends the memory all the same, as it has no name in the file system; but the format differs.
    check(&Setting {
        machine: I440FX,
        capabilities: &["x-ignore-shared"],
        rounds: 0,
    });
}

fn check(setting: &Setting) {
    let Some(machines) = machines() else {
        eprintln!("SKIPPED: {QEMU} is not installed, run `make setup`");
        return;
    };
    let offered = |line: &str| line.split(' ').next() == Some(setting.machine);
    if !machines.lines().any(offered) {
        eprintln!("SKIPPED: this QEMU offers no machine {}", setting.machine);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (stream, ram) = record(setting, folder.path());

    let walk = walk(&stream, || 10_007).unwrap();
    assert_eq!(walk.end, End::RamEnded);
    assert!(walk.rebuilt == stream);
    assert!(walk.last_section.unwrap() < walk.interpreted);
    let (pages, zeroes) = walk.counts();
    // QEMU's own count. Zero pages whose record names the block are not told apart from other headers.
    assert_eq!(ram["normal"], pages, "{ram}");
    assert!(zeroes as u64 <= ram["duplicate"].as_u64().unwrap(), "{ram}");
    let offset = |page: &Found| match *page {
        Found::Page { offset, .. } | Found::Zero { offset, .. } => offset,
    };
    let offsets: HashSet<u64> = walk.pages.iter().map(offset).collect();
    let all = MEMORY as usize / 4096;
    assert!(offsets.len() >= all - 64, "{} of {all}", offsets.len());
    if setting.rounds > 0 {
        assert!(pages + zeroes > all + 32, "no page was sent again");
    }
    if setting.capabilities.contains(&"xbzrle") {
        let deltas = &ram["deltas"];
        assert!(deltas.as_u64().unwrap() > 0, "no delta was sent: {ram}");
    }
    load(setting, folder.path(), walk.rebuilt);
}

/// The list of machines, if there is a QEMU.
fn machines() -> Option<String> {
    let output = Command::new(QEMU).args(["-M", "help"]).output().ok()?;
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A stream from QEMU, and its own account of the memory.
fn record(setting: &Setting, folder: &Path) -> (Vec<u8>, Value) {
    let mut guest = Guest::start(setting, folder, "source", &[]);
    let path = folder.join("stream");
    let listener = UnixListener::bind(&path).unwrap();
    let returning = ["postcopy-ram", "return-path"];
    let returning = returning
        .iter()
        .any(|name| setting.capabilities.contains(name));
    let reading = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        if returning {
            // SHUT without an error on the return path: the source then waits for nothing else.
            socket.write_all(&[0, 1, 0, 4, 0, 0, 0, 0]).unwrap();
        }
        let mut stream = vec![];
        socket.read_to_end(&mut stream).unwrap();
        stream
    });
    assert!(guest.capabilities(setting.capabilities));
    // What the guest writes takes far longer to send than 1 ms, so that the rounds go on. QEMU knows the bandwidth, and
    // with it what would take how long, only if the first round is not over within its first 100 ms.
    let (limit, bandwidth) = if setting.rounds > 0 {
        (1, 2 << 20)
    } else {
        (300, 64 << 20)
    };
    guest
        .ask(
            "migrate-set-parameters",
            &json!({ "downtime-limit": limit, "max-bandwidth": bandwidth }),
        )
        .unwrap();
    if setting.rounds > 0 {
        guest.ask("cont", &json!({})).unwrap();
    }
    guest
        .ask(
            "migrate",
            &json!({ "uri": format!("unix:{}", path.display()) }),
        )
        .unwrap();
    if setting.rounds > 0 {
        guest.until(|info| info["ram"]["dirty-sync-count"].as_u64() >= Some(setting.rounds));
        guest
            .ask(
                "migrate-set-parameters",
                &json!({ "downtime-limit": 60_000 }),
            )
            .unwrap();
    }
    let info = guest.until(|info| info["status"] == "completed");
    let mut ram = info["ram"].clone();
    ram["deltas"] = info["xbzrle-cache"]["pages"].clone();
    (reading.join().unwrap(), ram)
}

/// A destination takes the stream and is paused then.
fn load(setting: &Setting, folder: &Path, stream: Vec<u8>) {
    let mut guest = Guest::start(setting, folder, "destination", &["-incoming", "defer"]);
    if !guest.capabilities(setting.capabilities) {
        eprintln!(
            "NOT LOADED: this machine's kernel lacks what {:?} needs",
            setting.capabilities
        );
        return;
    }
    let path = folder.join("incoming");
    guest
        .ask(
            "migrate-incoming",
            &json!({ "uri": format!("unix:{}", path.display()) }),
        )
        .unwrap();
    let mut socket = UnixStream::connect(&path).unwrap();
    let writing = thread::spawn(move || {
        socket.write_all(&stream).unwrap();
        socket
    });
    guest.until(|info| info["status"] == "completed");
    drop(writing.join().unwrap());
    assert_eq!(
        guest.ask("query-status", &json!({})).unwrap()["running"],
        false
    );
    guest.ask("cont", &json!({})).unwrap();
}

/// A QEMU with its monitor, ended when dropped.
struct Guest {
    process: Child,
    reader: BufReader<UnixStream>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Guest {
    fn start(setting: &Setting, folder: &Path, role: &str, more: &[&str]) -> Self {
        let monitor = folder.join(format!("{role}.qmp"));
        let machine = format!("{},memory-backend=pc.ram,hpet=off", setting.machine);
        let memory = format!("memory-backend-memfd,id=pc.ram,share=on,size={MEMORY}");
        let process = Command::new(QEMU)
            .args([
                "-M", &machine, "-object", &memory, "-m", "16M", "-accel", "tcg",
            ])
            .args([
                "-cpu",
                "Nehalem",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-S",
            ])
            .args([
                "-qmp",
                &format!("unix:{},server=on,wait=off", monitor.display()),
            ])
            .arg("-bios")
            .arg(firmware(folder))
            .args(more)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let socket = loop {
            match UnixStream::connect(&monitor) {
                Ok(socket) => break socket,
                Err(error) => assert!(begun.elapsed() < LONG, "no monitor: {error}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        socket.set_read_timeout(Some(LONG)).unwrap();
        let reader = BufReader::new(socket);
        let mut guest = Self { process, reader };
        guest.reader.read_line(&mut String::new()).unwrap();
        guest.ask("qmp_capabilities", &json!({})).unwrap();
        guest
    }

    /// The result, or the error's text.
    fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value, String> {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        self.reader.get_ref().write_all(line.as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(self.reader.read_line(&mut line).unwrap(), 0, "QEMU ended");
            let answer: Value = serde_json::from_str(&line).unwrap();
            if let Some(error) = answer.get("error") {
                return Err(error["desc"].to_string());
            }
            if let Some(result) = answer.get("return") {
                return Ok(result.clone());
            }
        }
    }

    /// Whether they could be set.
    fn capabilities(&mut self, names: &[&str]) -> bool {
        let on = |name| json!({ "capability": name, "state": true });
        let list: Vec<Value> = names.iter().map(on).collect();
        self.ask("migrate-set-capabilities", &json!({ "capabilities": list }))
            .is_ok()
    }

    /// Looks at the migration until it is as wanted.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let info = self.ask("query-migrate", &json!({})).unwrap();
            if wanted(&info) {
                return info;
            }
            let over = info["status"] == "failed" || info["status"] == "completed";
            assert!(!over, "ended before that: {info}");
            assert!(begun.elapsed() < LONG, "it never came: {info}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// 64 KiB that the processor starts in. In real mode, it counts up the first byte of each page from 64 KiB to 576 KiB,
/// without an end.
fn firmware(folder: &Path) -> PathBuf {
    let mut image = vec![0; 0x1_0000];
    #[rustfmt::skip]
    let code = [
        0xb8, 0x00, 0x10,       //        mov ax, 0x1000
        0x8e, 0xd8,             // outer: mov ds, ax
        0x31, 0xdb,             //        xor bx, bx
        0xfe, 0x07,             // inner: inc byte [bx]
        0x81, 0xc3, 0x00, 0x10, //        add bx, 0x1000
        0x73, 0xf8,             //        jnc inner
        0x05, 0x00, 0x10,       //        add ax, 0x1000
        0x3d, 0x00, 0x90,       //        cmp ax, 0x9000
        0x72, 0xec,             //        jb outer
        0xeb, 0xe5,             //        jmp to the beginning
    ];
    image[..code.len()].copy_from_slice(&code);
    // The processor begins 16 bytes before the end: jmp to the beginning.
    image[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]);
    let path = folder.join("firmware");
    std::fs::write(&path, image).unwrap();
    path
}
