//! Two real agents, real QEMU, a real guest: what a host promises.

#[path = "agent/farm.rs"]
mod farm;

use farm::{Farm, keyed};
use godwit_api::agent::client::AgentClient;
use godwit_api::agent::{DefineRequest, DiskSource, MigrationOptions, Phase, PowerRequest};
use godwit_api::error::ErrorCode;
use godwit_model::epoch::Epoch;
use godwit_model::migration::Outcome;
use godwit_model::units::Bytes;
use godwit_model::vm::{Nic, VmState};
use godwit_tls::Identity;
use std::io::Write;
use std::time::Duration;
use tokio::sync::Mutex;

/// One farm at a time: the machine is small.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// So slow that a migration is certainly caught in its precopy.
fn slow() -> MigrationOptions {
    MigrationOptions {
        max_bandwidth: Some(Bytes(30_000)),
        ..MigrationOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_lives_from_definition_to_deletion() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let farm = Farm::start().await;
    let (a, vm) = (farm.a(), farm.running("life").await);
    let power = |request| async move { a.client.power(vm.id, &request).await };

    assert_eq!(
        power(PowerRequest::Pause).await.unwrap().state,
        VmState::Paused
    );
    assert_eq!(
        power(PowerRequest::Resume).await.unwrap().state,
        VmState::Running
    );
    let wrong = power(PowerRequest::Start { epoch: Epoch(2) })
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::Conflict), "it runs already");

    // The guest knows no power button: it is killed when its grace is over.
    let stopped = power(PowerRequest::Stop { grace_seconds: 1 })
        .await
        .unwrap();
    assert_eq!(
        (stopped.state, stopped.epoch, stopped.pid),
        (VmState::Stopped, None, None)
    );
    let late = power(PowerRequest::Start { epoch: Epoch(1) })
        .await
        .unwrap_err();
    assert_eq!(
        late.code(),
        Some(ErrorCode::Conflict),
        "epoch 1 is used up: {late}"
    );
    let again = power(PowerRequest::Start { epoch: Epoch(2) })
        .await
        .unwrap();
    assert_eq!(
        (again.state, again.epoch),
        (VmState::Running, Some(Epoch(2)))
    );
    a.ticks(vm.id).await;

    let running = a.client.delete(vm.id).await.unwrap_err();
    assert_eq!(running.code(), Some(ErrorCode::Conflict));
    assert_eq!(
        power(PowerRequest::Kill).await.unwrap().state,
        VmState::Stopped
    );
    a.client.delete(vm.id).await.unwrap();
    assert_eq!(a.state(vm.id).await, None);
    let folder = farm.datastore().join("vms").join(vm.id.to_string());
    let left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["epoch"], "only the tombstone is left");
    let kinds: Vec<_> = a
        .changes(0)
        .await
        .happened
        .into_iter()
        .map(|event| event.kind)
        .collect();
    for kind in ["vm.defined", "vm.started", "vm.stopped", "vm.deleted"] {
        assert!(kinds.iter().any(|each| each == kind), "{kind} in {kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_vm_moves_there_and_back() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let farm = Farm::start().await;
    let vm = farm.running("traveller").await;
    for (from, epoch) in [(0, 2), (1, 3)] {
        let (source, destination) = (&farm.hosts[from], &farm.hosts[1 - from]);
        let view = farm.migrate(&vm, from, epoch).await;
        assert_eq!(view.outcome, Some(Outcome::Moved), "{view:?}");
        assert_eq!(source.state(vm.id).await, None);
        destination.reaches(vm.id, Some(VmState::Running)).await;
        assert_eq!(
            destination.view(vm.id).await.unwrap().epoch,
            Some(Epoch(epoch))
        );
        destination.ticks(vm.id).await;

        let receipt = view.receipt.expect("a receipt");
        if std::env::var_os("GODWIT_TEST_SHOW").is_some() {
            println!("{}{}", source.log(), destination.log());
        }
        println!("{}", serde_json::to_string_pretty(&receipt).unwrap());
        let blackout = receipt.blackout.expect("measured");
        assert!(
            blackout.ms > 0.0 && blackout.error_ms == 0.0,
            "one kernel, one clock"
        );
        assert!(receipt.stream_bytes > Bytes(0) && receipt.wire_bytes > Bytes(0));
        assert!(receipt.rounds > 0 && receipt.total_ms() > blackout.ms);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_migration_and_a_refused_one_leave_the_vm_running() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let farm = Farm::start().await;
    let vm = farm.running("stays").await;
    let id = farm.begin(&vm, 0, 2, slow()).await.unwrap();
    farm.a().reaches_phase(id, Phase::Precopy).await;
    let busy = farm
        .a()
        .client
        .power(vm.id, &PowerRequest::Pause)
        .await
        .unwrap_err();
    assert_eq!(
        busy.code(),
        Some(ErrorCode::Conflict),
        "the migration owns the VM"
    );
    farm.a().client.cancel(id).await.unwrap();
    let view = farm.a().end_of(id).await;
    assert!(
        matches!(view.outcome, Some(Outcome::Stayed { .. })),
        "{view:?}"
    );
    farm.a().reaches(vm.id, Some(VmState::Running)).await;
    farm.a().ticks(vm.id).await;
    farm.b().reaches(vm.id, None).await;

    let stale = farm.begin(&vm, 0, 7, slow()).await.unwrap_err();
    assert_eq!(stale.code(), Some(ErrorCode::Refused), "{stale}");
    let mut other = vm.clone();
    other.cpu_model = "NoSuchCpu".into();
    let refused = farm.begin(&other, 0, 2, slow()).await.unwrap_err();
    assert!(refused.to_string().contains("NoSuchCpu"), "{refused}");
    assert_eq!(
        farm.b().state(vm.id).await,
        None,
        "nothing is left of a refusal"
    );

    // The same number serves: nobody has won it.
    let view = farm.migrate(&vm, 0, 2).await;
    assert_eq!(view.outcome, Some(Outcome::Moved), "{view:?}");
    farm.b().ticks(vm.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_disturbs_no_vm_and_adopts_it() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut farm = Farm::start().await;
    let vm = farm.running("orphan").await;
    let before = farm.a().view(vm.id).await.unwrap();
    let number = farm.a().changes(0).await.next;

    farm.hosts[0].kill();
    farm.a().ticks(vm.id).await;
    farm.hosts[0].start();
    farm.a().answers().await;
    farm.a().reaches(vm.id, Some(VmState::Running)).await;
    let after = farm.a().view(vm.id).await.unwrap();
    assert_eq!(
        (after.pid, after.epoch),
        (before.pid, before.epoch),
        "the very same QEMU"
    );
    assert!(
        farm.a().changes(number).await.next < number,
        "a new life is seen as one"
    );

    // In the middle of a migration: the relay dies with the agent, the VM does not.
    let id = farm.begin(&vm, 0, 2, slow()).await.unwrap();
    farm.a().reaches_phase(id, Phase::Precopy).await;
    farm.hosts[0].kill();
    farm.hosts[0].start();
    farm.a().answers().await;
    farm.a().reaches(vm.id, Some(VmState::Running)).await;
    farm.a().ticks(vm.id).await;
    farm.b().reaches(vm.id, None).await;

    // The destination's agent: its half-filled copy is destroyed, the source runs on.
    let id = farm.begin(&vm, 0, 2, slow()).await.unwrap();
    farm.a().reaches_phase(id, Phase::Precopy).await;
    farm.hosts[1].kill();
    let view = farm.a().end_of(id).await;
    assert!(
        matches!(view.outcome, Some(Outcome::Stayed { .. })),
        "{view:?}"
    );
    farm.a().ticks(vm.id).await;
    farm.hosts[1].start();
    farm.b().answers().await;
    farm.b().reaches(vm.id, None).await;

    let view = farm.migrate(&vm, 0, 2).await;
    assert_eq!(view.outcome, Some(Outcome::Moved), "{view:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_garbage_get_nothing() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let farm = Farm::start().await;
    let a = farm.a();
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0xff; 4096], b""] {
        let mut socket = std::net::TcpStream::connect(a.address).unwrap();
        socket.write_all(garbage).unwrap();
    }
    let agent = keyed(&farm.ca, &Identity::Agent("b".into()));
    let peer = AgentClient::new(a.address, &a.id, &agent, farm.ca.cert_pem()).unwrap();
    peer.clock().await.unwrap();
    assert_eq!(
        peer.vms().await.unwrap_err().code(),
        Some(ErrorCode::Forbidden)
    );
    // Who expects another host notices.
    let other = AgentClient::new(a.address, &farm.b().id, &agent, farm.ca.cert_pem()).unwrap();
    assert!(other.clock().await.is_err());
    let facts = a.client.host().await.unwrap();
    assert_eq!(
        facts.datastores[0].uuid,
        farm.b().client.host().await.unwrap().datastores[0].uuid
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(a.client.stats().await.unwrap().cpu_seconds > 0.0);
}

/// At whatever moment an agent of either side is killed: afterwards exactly one copy runs.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_at_any_moment_of_a_migration_leaves_one_running_copy() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let rounds = std::env::var("GODWIT_TEST_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let mut farm = Farm::start().await;
    let vm = farm.running("survivor").await;
    for round in 0..rounds.unwrap_or(6_u64) {
        let from = farm.whereabouts(&vm).await;
        let epoch = farm.hosts[from]
            .view(vm.id)
            .await
            .unwrap()
            .newest_epoch
            .unwrap();
        let begun = farm
            .begin(&vm, from, epoch.next().0, MigrationOptions::default())
            .await;
        begun.expect("begins");
        // Spread over the whole migration, the same in each run.
        tokio::time::sleep(Duration::from_millis(round * 37 % 180)).await;
        let victim = usize::try_from(round / 2 % 2).unwrap();
        farm.hosts[victim].kill();
        farm.hosts[victim].start();
        farm.hosts[victim].answers().await;
        let now = farm.whereabouts(&vm).await;
        farm.hosts[now].ticks(vm.id).await;
        assert_eq!(farm::qemus_of(vm.id), 1, "round {round}");
        println!("round {round}: agent {victim} killed, from {from}, now on {now}");
    }
}

/// In a network namespace of its own, where the whole test runs.
#[test]
fn a_vm_is_plugged_into_its_network_and_a_shared_card_is_divided() {
    let inside = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root");
        ip("link set lo up");
        ip("link add card0 type veth peer name peer0");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(plugged_in());
    });
    inside.join().expect("passes");
}

async fn plugged_in() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let network = "[[cards]]\nname = \"card0\"\nroles = [\"vm\", \"migration\"]\nmbit = 100\n\
                   [[switches]]\nname = \"production\"\nbridge = \"br-test\"\nuplink = \"card0\"\n\
                   address = \"192.0.2.1/24\"\n";
    let mut farm = Farm::start_with(["", network]).await;
    let mut vm = farm.definition("plugged");
    vm.disks.clear();
    vm.nics = vec![Nic {
        network: "production".into(),
        mac: "52:54:00:12:34:56".into(),
    }];
    let define = DefineRequest {
        definition: vm.clone(),
        disks: vec![],
        seed: None,
    };
    let b = farm.b();
    b.client.define(&define).await.unwrap();
    let start = PowerRequest::Start {
        epoch: Epoch::FIRST,
    };
    b.client.power(vm.id, &start).await.unwrap();
    let ports = ip("-o link show master br-test");
    assert!(ports.contains("card0") && ports.contains("t0-"), "{ports}");
    assert!(ip("-o address show br-test").contains("192.0.2.1/24"));
    let classes = || run("tc", "class show dev card0");
    assert!(classes().contains("class htb 1:20"), "{}", classes());

    let refused = farm
        .begin(&vm, 1, 2, MigrationOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Refused));
    assert!(
        refused.to_string().contains("no network `production`"),
        "{refused}"
    );

    farm.hosts[1].kill();
    farm.hosts[1].start();
    let b = farm.b();
    b.answers().await;
    b.reaches(vm.id, Some(VmState::Running)).await;
    assert!(
        ip("-o link show master br-test").contains("t0-"),
        "adopting leaves the tap"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stats = b.client.stats().await.unwrap();
    assert_eq!((stats.cards.len(), stats.vms.len()), (1, 1));
    b.client.power(vm.id, &PowerRequest::Kill).await.unwrap();
    assert!(!ip("-o link show").contains("t0-"), "no tap is left");
}

fn ip(arguments: &str) -> String {
    run("ip", arguments)
}

fn run(program: &str, arguments: &str) -> String {
    let output = std::process::Command::new(program)
        .args(arguments.split(' '))
        .output();
    let output = output.expect("iproute2");
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Somebody else holds the disk when the destination wants to run the VM.
#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_cannot_run_at_its_destination_is_given_back() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let farm = Farm::start().await;
    let vm = farm.running("boomerang").await;
    let lock = ForeignLock::take(&farm.datastore().join(&vm.disks[0].path));
    let id = farm
        .begin(&vm, 0, 2, MigrationOptions::default())
        .await
        .unwrap();
    farm.b().reaches_phase(id, Phase::GaveBack).await;
    drop(lock);
    let view = farm.a().end_of(id).await;
    let Some(Outcome::Stayed { reason }) = view.outcome else {
        panic!("{view:?}");
    };
    assert!(reason.contains("lock"), "{reason}");
    farm.a().reaches(vm.id, Some(VmState::Running)).await;
    farm.a().ticks(vm.id).await;
    // 2 was the destination's, 3 gave it back, 4 took it back.
    assert_eq!(farm.a().view(vm.id).await.unwrap().epoch, Some(Epoch(4)));
    assert_eq!(farm::qemus_of(vm.id), 1);
    let view = farm.migrate(&vm, 0, 5).await;
    assert_eq!(view.outcome, Some(Outcome::Moved), "{view:?}");
}

/// A lock that says "nobody else may write", as QEMU's own (block/file-posix.c): byte 200 and
/// the number of the permission, which for writing is 1.
struct ForeignLock(#[allow(dead_code)] std::fs::File);

impl ForeignLock {
    fn take(path: &std::path::Path) -> Self {
        let file = std::fs::File::open(path).expect("the disk");
        let lock = libc::flock {
            l_type: libc::F_RDLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 201,
            l_len: 1,
            l_pid: 0,
        };
        nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).expect("locks");
        Self(file)
    }
}

/// In a mount namespace of its own, where a small file system is a datastore.
#[test]
fn a_full_datastore_is_told_as_such_and_nothing_is_left() {
    let inside = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("root");
        run("mount", "--make-rprivate /");
        let folder = tempfile::tempdir().expect("a folder");
        let small = folder.path().display().to_string();
        run("mount", &format!("-t tmpfs -o size=4m none {small}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(filled_up(&small));
        run("umount", &small);
    });
    inside.join().expect("passes");
}

async fn filled_up(small: &str) {
    let _turn = ONE_AT_A_TIME.lock().await;
    let more = format!("[[datastores]]\nname = \"SMALL\"\npath = \"{small}\"\n");
    let farm = Farm::start_with([&more, ""]).await;
    let image = farm.folder.path().join("big.raw");
    let noise: Vec<u8> = (0..16_u32 << 20)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 | 1)
        .collect();
    std::fs::write(&image, noise).unwrap();
    let mut vm = farm.definition("big");
    vm.datastore = "SMALL".into();
    vm.disks[0].datastore = "SMALL".into();
    let define = DefineRequest {
        definition: vm.clone(),
        disks: vec![DiskSource::Import { path: image }],
        seed: None,
    };
    let full = farm.a().client.define(&define).await.unwrap_err();
    assert_eq!(full.code(), Some(ErrorCode::Full), "{full}");
    assert_eq!(farm.a().state(vm.id).await, None);
    assert_eq!(
        std::fs::read_dir(format!("{small}/vms")).unwrap().count(),
        0,
        "nothing is left"
    );
    // The id is free again.
    let empty = DefineRequest {
        disks: vec![DiskSource::Empty],
        ..define
    };
    farm.a().client.define(&empty).await.unwrap();
    let missing = farm
        .a()
        .client
        .delete_template("none", "SMALL")
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Some(ErrorCode::NotFound));
}

/// By hand, with a golden image: `GODWIT_TEST_IMAGE=… cargo test --test agent golden -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a golden image; measures, and asserts little"]
async fn a_golden_guest_moves_quickly() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let image = std::env::var("GODWIT_TEST_IMAGE").expect("the path of a golden image");
    let farm = Farm::start().await;
    let vm = farm.clone_of(image.as_ref(), "golden").await;
    let start = PowerRequest::Start {
        epoch: Epoch::FIRST,
    };
    farm.a().client.power(vm.id, &start).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    for round in 0..6 {
        let view = farm.migrate(&vm, round % 2, round as u64 + 2).await;
        assert_eq!(view.outcome, Some(Outcome::Moved), "{view:?}");
        let receipt = view.receipt.unwrap();
        println!(
            "total {:.0} ms, {:?}, {} in {} rounds, blackout {:?}, QEMU says {:?}, CPU {:?} {:?}",
            receipt.total_ms(),
            receipt.phases,
            receipt.wire_bytes,
            receipt.rounds,
            receipt.blackout,
            receipt.qemu_downtime_ms,
            receipt.source_cpu,
            receipt.destination_cpu
        );
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

/// By hand: what the agent itself costs beside ten VMs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and asserts little"]
async fn the_agent_itself_is_cheap() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let farm = Farm::start().await;
    for number in 0..10 {
        farm.running(&format!("vm{number}")).await;
    }
    let seconds = 20.0;
    let before = farm.a().agent_cpu();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let used = (farm.a().agent_cpu() - before) / seconds * 100.0;
    println!("the agent uses {used:.2} % of a core");
    assert!(used < 20.0);
}
