//! How keepers end, and what becomes of their children then.

use crate::keepers::code;
use crate::support::{KillOnDrop, RunDir, alive, kill, run, this_program, until};
use godwit_lease::keeper::{
    Client, KillSignal, RefusalCode, log_path, socket_path, vm_process_gone,
};
use godwit_model::ids::VmId;
use std::{fs, os::unix::net::UnixStream, path::Path, process::Command};

pub fn a_full_log_harms_nobody() {
    let dir = RunDir::new();
    let full = || {
        fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("there")
    };
    let mut keeper = Command::new(this_program())
        .args(["keeper", "--run-dir"])
        .arg(dir.path())
        .stderr(full())
        .spawn()
        .expect("starts");
    until("it answers", || {
        UnixStream::connect(socket_path(dir.path())).is_ok()
    });
    run(async {
        let client = Client::connect(dir.path()).await.expect("it is there");
        let spawn = dir.script("exec sleep 1000");
        client.spawn(spawn.clone()).await.expect("starts");
        client
            .kill(spawn.vm, KillSignal::Kill)
            .await
            .expect("signals");
        client.shutdown(true).await.expect("ends");
    });
    assert!(keeper.wait().expect("it is a child").success());
}

pub fn children_die_with_a_killed_keeper() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let mut vms = Vec::new();
        for _ in 0..3 {
            let spawn = dir.script("trap '' TERM HUP INT; exec sleep 1000");
            let vm = spawn.vm;
            vms.push((vm, client.spawn(spawn).await.expect("starts")));
        }
        kill(dir.keeper_pid().expect("written down"), 9);
        for (_, pid) in vms {
            until("the child is dead", || !alive(pid));
        }
        assert!(client.list().await.expect("a new keeper").is_empty());
        let log = fs::read_to_string(log_path(dir.path())).expect("a log");
        assert_eq!(log.matches("is up").count(), 2, "{log}");
    });
}

/// A VM's process that does not die with its keeper, as one that is stuck in the kernel would
/// not, is not joined by a second one.
pub fn a_survivor_of_a_dead_keeper_blocks_its_vm() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let pid_file = dir.path().join("survivor");
        // Only the child itself gets the signal; its own child lives on, with the lock.
        let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
        let spawn = dir.script(&script);
        client.spawn(spawn.clone()).await.expect("starts");
        let mut survivor = None;
        until("it has written down its child", || {
            let pid = fs::read_to_string(&pid_file).unwrap_or_default();
            survivor = pid.trim().parse().ok();
            survivor.is_some()
        });
        let survivor = KillOnDrop(survivor.expect("read above"));
        let keeper = dir.keeper_pid().expect("written down");
        kill(keeper, 9);
        until("the keeper is gone", || !alive(keeper));
        let refused = client
            .spawn(spawn.clone())
            .await
            .expect_err("one is still there");
        assert_eq!(code(refused), RefusalCode::StillThere);
        assert!(!vm_process_gone(dir.path(), spawn.vm).expect("locks work"));
        assert!(vm_process_gone(dir.path(), VmId::random()).expect("locks work"));
        drop(survivor);
        until("it is gone", || {
            vm_process_gone(dir.path(), spawn.vm).expect("locks work")
        });
        client.spawn(dir.script("true")).await.expect("starts");
        client.spawn(spawn.clone()).await.expect("now it may");
        client
            .kill(spawn.vm, KillSignal::Kill)
            .await
            .expect("the group goes too");
    });
}

fn client_is_gone(run_dir: &Path) -> bool {
    UnixStream::connect(socket_path(run_dir)).is_err()
}

pub fn shutdown_waits_for_the_children() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let pid = client
            .spawn(dir.script("exec sleep 1000"))
            .await
            .expect("starts");
        let keeper = dir.keeper_pid().expect("written down");
        let refused = client.shutdown(false).await.expect_err("a VM runs");
        assert_eq!(code(refused), RefusalCode::HasChildren);
        assert!(alive(pid));
        client.shutdown(true).await.expect("ends");
        assert!(!alive(pid));
        assert!(client_is_gone(dir.path()));
        until("the process has ended", || !alive(keeper));
        // And the next one can start at once.
        assert!(client.list().await.expect("a new keeper").is_empty());
        client.shutdown(false).await.expect("nothing runs");
    });
}

pub fn a_terminated_keeper_ends_with_its_last_child() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let spawn = dir.script("exec sleep 1000");
        let vm = spawn.vm;
        let pid = client.spawn(spawn).await.expect("starts");
        let keeper = dir.keeper_pid().expect("written down");
        for signal in [libc::SIGHUP, libc::SIGTERM, libc::SIGINT] {
            kill(keeper, signal);
        }
        let mut refused = None;
        until("it starts no more", || {
            let spawn = client.spawn(dir.script("true"));
            refused = futures_block(spawn).err();
            refused.is_some()
        });
        assert_eq!(refused.map(code), Some(RefusalCode::ShuttingDown));
        assert!(alive(pid) && alive(keeper));
        client.kill(vm, KillSignal::Kill).await.expect("signals");
        until("the keeper has ended", || !alive(keeper));
    });
}

/// Waits for a future from within `until`, on a runtime thread.
fn futures_block<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}
