//! Networks and datastores, in namespaces of their own.

use super::ONE_AT_A_TIME;
use super::farm::Farm;
use godwit_api::agent::{DefineRequest, DiskSource, MigrationOptions, PowerRequest};
use godwit_api::error::ErrorCode;
use godwit_model::epoch::Epoch;
use godwit_model::vm::{Nic, VmState};
use std::time::Duration;

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
