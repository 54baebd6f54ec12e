//! Agents that come and go while the keeper stays, and the other way round.

use crate::support::{RunDir, alive, kill, next_exit, run, this_program, until};
use godwit_lease::keeper::{Client, ExitStatus, KeeperEvent, KillSignal, Seen, vm_process_gone};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// This program as an agent that starts a keeper and two VMs, and then waits to be killed.
pub fn be_an_agent(run_dir: &Path) -> ! {
    run(async {
        let client = Client::connect_or_start(&this_program(), run_dir)
            .await
            .expect("a keeper");
        let scripts = RunDir::new();
        for script in [
            "exec sleep 1000",
            "while [ ! -e $0.end ]; do sleep 0.05; done; exit 5",
        ] {
            let mut spawn = scripts.script(script);
            spawn.log = run_dir.join("vm.log");
            spawn
                .argv
                .push(run_dir.join("second").display().to_string());
            client.spawn(spawn).await.expect("starts");
        }
        fs::write(run_dir.join("agent-ready"), "").expect("writes");
    });
    loop {
        std::thread::park();
    }
}

/// Starts an agent, waits until its VMs run, and kills it together with its process group, as
/// a terminal or a supervisor would.
fn an_agent_that_was_killed(dir: &RunDir) {
    use std::os::unix::process::CommandExt;
    let mut agent = Command::new(this_program())
        .arg("agent")
        .arg(dir.path())
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("starts");
    until("the agent has started its VMs", || {
        dir.path().join("agent-ready").exists()
    });
    // SAFETY: sending a signal touches no memory.
    unsafe { libc::killpg(agent.id().cast_signed(), libc::SIGKILL) };
    agent.wait().expect("reaped");
}

pub fn vms_outlive_a_killed_agent() {
    let dir = RunDir::new();
    an_agent_that_was_killed(&dir);
    run(async {
        let keeper = dir.keeper_pid().expect("written down");
        let client = dir.client().await;
        assert_eq!(dir.keeper_pid(), Some(keeper), "the same keeper");
        let list = client.list().await.expect("lists");
        assert_eq!(list.len(), 2);
        assert!(list.iter().all(|vm| alive(vm.pid) && vm.tag == "epoch 7"));
        for vm in list {
            client.kill(vm.vm, KillSignal::Kill).await.expect("signals");
        }
    });
}

pub fn exits_of_the_meantime_arrive_after_reconnecting() {
    let dir = RunDir::new();
    an_agent_that_was_killed(&dir);
    // No agent is there while it ends.
    fs::write(dir.path().join("second.end"), "").expect("writes");
    let log = godwit_lease::keeper::log_path(dir.path());
    until("the keeper has seen it", || {
        fs::read_to_string(&log)
            .unwrap_or_default()
            .contains("Code(5)")
    });
    run(async {
        let client = dir.client().await;
        let mut exits = client.exits(Seen::default());
        let exit = next_exit(&mut exits).await;
        assert_eq!((exit.seq, exit.status), (1, ExitStatus::Code(5)));

        // Another restart: what was seen does not come again.
        let seen = exits.seen();
        drop((exits, client));
        let client = dir.client().await;
        let mut exits = client.exits(seen);
        let other = client.list().await.expect("lists")[0].vm;
        client.kill(other, KillSignal::Kill).await.expect("signals");
        let exit = next_exit(&mut exits).await;
        assert_eq!(
            (exit.seq, exit.vm, exit.status),
            (2, other, ExitStatus::Signal(9))
        );
    });
}

pub fn a_replaced_keeper_is_noticed() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let before = client.keeper().await.expect("answers");
        let mut exits = client.exits(Seen::default());
        client.spawn(dir.script("exit 1")).await.expect("starts");
        assert_eq!(next_exit(&mut exits).await.seq, 1);
        // The keeper dies while the agent waits for an exit.
        let waiting = tokio::spawn(async move {
            let event = exits.next().await.expect("a new keeper");
            (event, exits)
        });
        kill(dir.keeper_pid().expect("written down"), 9);
        let (event, mut exits) = waiting.await.expect("no panic");
        let after = client.keeper().await.expect("answers");
        assert_ne!(before, after);
        assert_eq!(event, KeeperEvent::Replaced { keeper: after });
        // The new one counts from 1 again, and is followed.
        client.spawn(dir.script("exit 2")).await.expect("starts");
        let exit = next_exit(&mut exits).await;
        assert_eq!((exit.seq, exit.status), (1, ExitStatus::Code(2)));
    });
}

/// An agent that was away while the keeper was replaced, and one exit came from the new one.
pub fn a_number_of_a_former_keeper_hides_nothing() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let mut exits = client.exits(Seen::default());
        client.spawn(dir.script("exit 1")).await.expect("starts");
        assert_eq!(next_exit(&mut exits).await.seq, 1);
        let seen = exits.seen();
        drop(exits);
        client.shutdown(false).await.expect("ends");

        let spawn = dir.script("exit 2");
        client
            .spawn(spawn.clone())
            .await
            .expect("a new keeper starts it");
        until("it is gone", || {
            vm_process_gone(dir.path(), spawn.vm).expect("locks work")
        });
        let mut exits = client.exits(seen);
        let event = exits.next().await.expect("a keeper");
        assert!(matches!(event, KeeperEvent::Replaced { .. }), "{event:?}");
        let exit = next_exit(&mut exits).await;
        assert_eq!((exit.seq, exit.vm), (1, spawn.vm));
    });
}
