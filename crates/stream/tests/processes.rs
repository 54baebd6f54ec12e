//! Relays as their agent knows them: real processes, without root's rights, that end with their agent; and once with
//! real QEMU at both ends. As root, or the giving up of rights cannot be seen.
#![allow(clippy::unwrap_used)]

mod common;
mod qemu;

use std::{
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use common::{LONG, Rig, random, read_all, write_all};
use godwit_stream::{
    ByteCount, DestinationRelay, Event, Events, SourceRelay, process, source::PIECE,
};
use tokio::net::{UnixListener, UnixStream};

const NOBODY: u32 = 65534;
/// Class 1:20: setting it takes CAP_NET_ADMIN.
const CLASS: u32 = 0x1_0020;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["relay", "send"] => return process::send(),
        ["relay", "receive"] => return process::receive(),
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    macro_rules! tests {
        ($($test:path),* $(,)?) => { $(
            let name = stringify!($test);
            if args.iter().any(|arg| arg == "--list") {
                println!("{name}: test");
            } else if args.iter().all(|arg| arg.starts_with('-') || name.contains(arg.as_str())) {
                runtime.block_on($test());
                println!("test {name} ... ok");
            }
        )* };
    }
    tests![
        rights_are_given_up_and_everything_arrives,
        a_killed_relay_fails_on_both_sides,
        a_relay_ends_with_its_agent,
        a_relay_that_cannot_work_says_why,
        qemu::a_paused_guest_moves,
        qemu::a_guest_that_writes_arrives_page_for_page,
    ];
    ExitCode::SUCCESS
}

fn exe() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// The directory for the sockets as an agent prepares it.
fn prepare(dir: &Path) {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).unwrap();
    if nix::unistd::Uid::effective().is_root() {
        chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

async fn wait_for(events: &mut Events, wanted: fn(&Event) -> bool) -> Event {
    let found = async {
        loop {
            let event = events
                .next()
                .await
                .expect("the relay ended before the event");
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(LONG, found)
        .await
        .expect("the event never came")
}

async fn last(events: &mut Events) -> Event {
    let mut last = None;
    while let Some(event) = tokio::time::timeout(LONG, events.next()).await.unwrap() {
        assert!(
            !matches!(last, Some(Event::Verified { .. } | Event::Failed { .. })),
            "{last:?}, then {event:?}"
        );
        last = Some(event);
    }
    last.unwrap()
}

struct Pair {
    rig: Rig,
    source: SourceRelay,
    source_events: Events,
    destination: DestinationRelay,
    destination_events: Events,
    qemu: UnixStream,
}

/// Two relays that have recognized each other.
async fn pair() -> Pair {
    let rig = Rig::new();
    prepare(rig.dir.path());
    let root = nix::unistd::Uid::effective().is_root();
    let mut config = rig.destination_config();
    config.priority = root.then_some(CLASS);
    let qemu = UnixListener::bind(&config.socket).unwrap();
    let (destination, mut destination_events) =
        DestinationRelay::spawn(&exe(), &config).await.unwrap();
    let (qemu, _) = qemu.accept().await.unwrap();
    let mut config = rig.source_config(destination.address());
    config.priority = root.then_some(CLASS);
    let (source, mut source_events) = SourceRelay::spawn(&exe(), &config).await.unwrap();
    wait_for(&mut source_events, common::connected).await;
    wait_for(&mut destination_events, common::connected).await;
    Pair {
        rig,
        source,
        source_events,
        destination,
        destination_events,
        qemu,
    }
}

/// A line of the status of each of a process's threads: rights belong to threads.
fn status(pid: u32, key: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let line = |thread: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line[key.len() + 1..].trim().replace('\t', " ")
    };
    let lines: Vec<_> = threads.map(line).collect();
    assert!(lines.len() > 1, "main and the relay's own");
    lines
}

fn all(lines: &[String], wanted: &str) {
    assert!(
        lines.iter().all(|line| line == wanted),
        "{lines:?} should be {wanted}"
    );
}

async fn rights_are_given_up_and_everything_arrives() {
    let mut pair = pair().await;
    for pid in [pair.source.pid(), pair.destination.pid()] {
        all(&status(pid, "NoNewPrivs"), "1");
        if nix::unistd::Uid::effective().is_root() {
            let nobody = "65534 65534 65534 65534";
            all(&status(pid, "Uid"), nobody);
            all(&status(pid, "Gid"), nobody);
            all(&status(pid, "Groups"), "");
            for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
                all(&status(pid, set), "0000000000000000");
            }
        }
    }
    let data = random(8 << 20);
    let arrived = read_all(pair.qemu);
    write_all(pair.rig.source_qemu().await, data.clone())
        .await
        .unwrap()
        .unwrap();
    wait_for(&mut pair.source_events, |event| *event == Event::Drained).await;
    pair.source.release();
    wait_for(&mut pair.source_events, |event| *event == Event::Released).await;
    assert!(matches!(
        last(&mut pair.source_events).await,
        Event::Verified { .. }
    ));
    assert!(matches!(
        last(&mut pair.destination_events).await,
        Event::Verified { .. }
    ));
    assert!(arrived.await.unwrap() == data);

    let all = ByteCount(8 << 20);
    assert_eq!(common::bytes(&pair.source.totals()), (all, all));
    assert!(
        pair.source.totals().cpu > Duration::ZERO && pair.destination.totals().cpu > Duration::ZERO
    );
    assert!(
        !Path::new(&format!("/proc/{}", pair.source.pid())).exists(),
        "the process outlived its last event"
    );
}

async fn a_killed_relay_fails_on_both_sides() {
    let mut pair = pair().await;
    let _arriving = read_all(pair.qemu);
    let _writing = write_all(pair.rig.source_qemu().await, random(64 * PIECE));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pair.source.pid()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let Event::Failed {
        reason,
        released: false,
        ..
    } = last(&mut pair.source_events).await
    else {
        panic!()
    };
    assert!(reason.contains("signal: 9"), "{reason}");
    assert!(matches!(
        last(&mut pair.destination_events).await,
        Event::Failed {
            released: false,
            ..
        }
    ));

    // The same after release: nobody can know what had left.
    let mut pair = self::pair().await;
    pair.source.release();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pair.source.pid()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(matches!(
        last(&mut pair.source_events).await,
        Event::Failed { released: true, .. }
    ));

    // And when the relay itself lives and had not come to sending it: whoever called release must assume the worst.
    let mut pair = self::pair().await;
    pair.source.release();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pair.destination.pid()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(matches!(
        last(&mut pair.source_events).await,
        Event::Failed { released: true, .. }
    ));
}

async fn a_relay_ends_with_its_agent() {
    let rig = Rig::new();
    prepare(rig.dir.path());
    let config = rig.destination_config();
    let qemu = UnixListener::bind(&config.socket).unwrap();
    // Started by hand: the handle would kill it anyway.
    let mut child = tokio::process::Command::new(exe())
        .args(["relay", "receive"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let line = format!("{}\n", serde_json::to_string(&config).unwrap());
    tokio::io::AsyncWriteExt::write_all(&mut stdin, line.as_bytes())
        .await
        .unwrap();
    qemu.accept().await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(LONG, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.lines().last().unwrap().contains("the agent is gone"),
        "{said}"
    );

    // And with its handle.
    let pair = pair().await;
    let pid = pair.destination.pid();
    drop(pair.destination);
    while Path::new(&format!("/proc/{pid}")).exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_relay_that_cannot_work_says_why() {
    let rig = Rig::new();
    let mut config = rig.source_config("127.0.0.1:1".parse().unwrap());
    config.socket = rig.dir.path().join("missing/out.sock");
    let error = SourceRelay::spawn(&exe(), &config)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("missing/out.sock"), "{error}");

    // Nobody at home.
    let config = rig.source_config("127.0.0.1:1".parse().unwrap());
    let (relay, mut events) = SourceRelay::spawn(&exe(), &config).await.unwrap();
    let Event::Failed {
        reason,
        released: false,
        ..
    } = last(&mut events).await
    else {
        panic!()
    };
    assert!(reason.contains("refused"), "{reason}");
    relay.release();

    let error = SourceRelay::spawn(Path::new("/nowhere/godwit"), &config)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot start the relay"), "{error}");
}
