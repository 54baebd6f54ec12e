//! Labs of placeholders on this machine's real namespaces. Needs root.

// Helpers of tests are not tests to clippy, but fail in the same way.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{TestLab, wait_for};
use godwit_lab::folder::{Description, Folder};
use godwit_lab::plan::Plan;
use godwit_lab::storage::{self, Mode};
use godwit_lab::up::Stop;
use godwit_lab::{LabError, exec, network, processes, status};
use godwit_net::Netns;
use godwit_net::echo::{Options, Prober};
use godwit_net::htb;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Not a test: the first process of each box of the labs here, which are told to start this binary with this name.
#[test]
fn a_box_starts_here() {
    let (Some(dir), Some(name)) = (
        std::env::var_os("GODWIT_LAB_DIR"),
        std::env::var("GODWIT_LAB_BOX").ok(),
    ) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(godwit_lab::init::run(Path::new(&dir), &name))
        .unwrap();
}

fn agent_runs(lab: &TestLab, blade: usize, starts: u32) -> Option<i32> {
    let program = status(lab.dir()).unwrap().blades[blade].program;
    (program.starts >= starts)
        .then_some(program.program)
        .flatten()
}

#[test]
fn a_lab_is_built_once_used_and_taken_away_whole() {
    let lab = TestLab::new();
    let description = lab.up().unwrap();
    wait_for("both agents", || {
        status(lab.dir()).unwrap().is_up().then_some(())
    });
    let inits = processes::inits(lab.dir());
    assert_eq!(inits.len(), 2);

    // Once more changes nothing.
    assert_eq!(lab.up().unwrap(), description);
    assert_eq!(processes::inits(lab.dir()), inits);

    // A blade is a host of its own …
    let blade = &description.plan.blades[0];
    assert_eq!(lab.say("blade1", "hostname"), "blade1");
    let addresses = lab.say("blade1", "ip -o -4 address");
    assert!(
        addresses.contains(&blade.management.to_string()),
        "{addresses}"
    );
    assert!(
        addresses.contains(&blade.migration.to_string()),
        "{addresses}"
    );
    assert_eq!(
        lab.say("blade1", "ls /sys/class/net"),
        "br-prod\neth0\neth1\nlo"
    );
    assert_eq!(
        lab.say(
            "blade1",
            "cat /proc/sys/net/ipv6/conf/eth1/disable_ipv6 2>/dev/null || echo 1"
        ),
        "1"
    );
    assert!(
        lab.say("blade1", "cat /etc/godwit/agent.toml")
            .contains("id = \"blade1\"")
    );
    assert!(lab.log("blade1").contains("agent of blade1"));
    let cores = lab.say("blade1", "nproc").parse::<usize>().unwrap();
    assert_eq!(cores, blade.cores.len());

    // … with its own folders and shared datastores.
    lab.say(
        "blade1",
        "echo shared > /datastores/SAN1/x && echo own > /var/lib/godwit/x",
    );
    assert_eq!(lab.say("blade2", "cat /datastores/SAN1/x"), "shared");
    assert!(
        !lab.shell("blade2", "test -e /var/lib/godwit/x")
            .status
            .success()
    );
    assert!(!Path::new("/datastores/SAN1/x").exists());
    assert_eq!(
        fs::read_to_string(lab.dir().join("san1/x")).unwrap(),
        "shared\n"
    );

    lab.down();
    assert_eq!(lab.left_over(), Vec::<String>::new());
    assert!(matches!(status(lab.dir()), Err(LabError::NotUp { .. })));
    lab.down();
    assert!(lab.dir().join("san1/x").exists(), "files stay");
    godwit_lab::down(lab.dir(), true).unwrap();
    assert!(!lab.dir().exists());
}

#[test]
fn blades_reach_each_other_on_both_cards_and_card_1_is_shaped() {
    let lab = TestLab::new();
    let description = lab.up().unwrap();
    let [first, second] = &description.plan.blades[..] else {
        panic!("two blades")
    };
    let targets = [
        second.management,
        second.migration,
        lab.spec.management.gateway(),
    ];
    let inside = Netns::named(&first.netns);
    let prober = inside
        .run(|| Prober::start(&targets, Options::default()))
        .unwrap()
        .unwrap();
    for target in targets {
        let answered = || prober.recording().target(target).unwrap().answered > 0;
        wait_for("an echo", || answered().then_some(()));
    }
    assert!(
        !htb::counters(&Netns::Here, &first.shared_port)
            .unwrap()
            .is_empty()
    );
    assert!(
        htb::counters(&Netns::Here, &first.management_port)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn an_agent_that_dies_is_started_again() {
    let lab = TestLab::new();
    lab.up().unwrap();
    let agent = wait_for("the agent", || agent_runs(&lab, 0, 1));
    lab.say("blade1", &format!("kill -9 {agent}"));
    let next = wait_for("its next start", || agent_runs(&lab, 0, 2));
    assert_ne!(agent, next);
    assert!(lab.log("blade1").contains("ended with signal SIGKILL"));
}

#[test]
fn orphans_are_buried() {
    let lab = TestLab::new();
    lab.up().unwrap();
    lab.say("blade1", "sh -c 'sleep 0.1 & exit 0'");
    let init = processes::find(lab.dir(), "blade1").unwrap();
    wait_for("the agent", || agent_runs(&lab, 0, 1));
    wait_for("the burial", || {
        (processes::members(&init).len() == 2).then_some(())
    });
}

#[test]
fn a_killed_blade_takes_all_of_it_along_and_comes_back() {
    let lab = TestLab::new();
    lab.up().unwrap();
    wait_for("the agent", || agent_runs(&lab, 0, 1));
    let init = processes::find(lab.dir(), "blade1").unwrap();
    let members = processes::members(&init);
    assert!(members.len() >= 2, "{members:?}");
    kill(Pid::from_raw(init.pid), Signal::SIGKILL).unwrap();
    wait_for("its end", || {
        processes::find(lab.dir(), "blade1").is_none().then_some(())
    });
    for member in members {
        let gone = || kill(Pid::from_raw(member.pid), None).is_err();
        wait_for("the end of a member", || gone().then_some(()));
    }
    assert!(!status(lab.dir()).unwrap().is_up());
    lab.up().unwrap();
    wait_for("a new agent", || agent_runs(&lab, 0, 1));
    assert!(processes::find(lab.dir(), "blade2").is_some());
    lab.down();
    assert_eq!(lab.left_over(), Vec::<String>::new());
}

#[test]
fn a_half_made_lab_is_taken_away() {
    let lab = TestLab::new();
    let plan = Plan::new(&lab.spec, &[0]);
    let description = Description {
        spec: lab.spec.clone(),
        plan,
        switches: Vec::new(),
    };
    Folder::new(lab.dir()).describe(&description).unwrap();
    network::make_switches(&description).unwrap();
    network::make_blade(&description, &description.plan.blades[0]).unwrap();
    assert!(!lab.left_over().is_empty());
    lab.down();
    assert_eq!(lab.left_over(), Vec::<String>::new());
}

#[test]
fn a_failing_step_undoes_the_others() {
    let mut lab = TestLab::new();
    lab.spec.programs.init = vec!["/no/such/program".into()];
    let error = lab.up().unwrap_err();
    assert!(error.to_string().contains("start blade1"), "{error}");
    assert_eq!(lab.left_over(), Vec::<String>::new());
}

#[test]
fn an_interrupted_up_undoes_itself() {
    let lab = TestLab::new();
    let stop = Stop::default();
    let later = stop.clone();
    let timer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        later.stop();
    });
    // Whether the request came in time depends on the machine; both ends must be clean.
    match lab.up_until(&stop) {
        Err(LabError::Interrupted) => {}
        Ok(_) => lab.down(),
        Err(other) => panic!("{other}"),
    }
    timer.join().unwrap();
    assert_eq!(lab.left_over(), Vec::<String>::new());
}

#[test]
fn a_second_lab_is_refused_and_harms_nothing() {
    let lab = TestLab::new();
    lab.up().unwrap();
    let mut second = TestLab::new();
    second.spec.prefix.clone_from(&lab.spec.prefix);
    assert!(matches!(second.up(), Err(LabError::Another { .. })));
    second.spec.prefix.push('x');
    second.spec.production = lab.spec.production;
    let error = second.up().unwrap_err();
    assert!(matches!(error, LabError::Another { .. }), "{error}");
    assert!(
        error.to_string().contains(&lab.dir().display().to_string()),
        "{error}"
    );
    second.down();
    assert!(status(lab.dir()).unwrap().network);
    assert_eq!(processes::inits(lab.dir()).len(), 2);
}

#[test]
fn exit_statuses_come_through() {
    let lab = TestLab::new();
    lab.up().unwrap();
    let status_of = |line: &str| exec::shell_status(lab.shell("blade1", line).status);
    assert_eq!(status_of("exit 0"), 0);
    assert_eq!(status_of("exit 7"), 7);
    assert_eq!(status_of("kill -9 $$"), 137);
    let error = exec(lab.dir(), "blade9", &["true".into()]).unwrap_err();
    assert!(error.to_string().contains("blade1, blade2"), "{error}");
    assert!(exec(lab.dir(), "blade1", &["/no/such".into()]).is_err());
}

#[test]
fn storage_fails_for_one_blade_and_never_keeps_a_lab_from_going() {
    let mut lab = TestLab::new();
    lab.spec.faulty_storage = true;
    lab.up().unwrap();
    lab.say("blade1", "echo shared > /datastores/SAN1/x");
    assert_eq!(lab.say("blade2", "cat /datastores/SAN1/x"), "shared");
    storage::set(lab.dir(), "blade1", "SAN1", Mode::Cut).unwrap();
    let failed = lab.shell("blade1", "cat /datastores/SAN1/x");
    assert!(String::from_utf8_lossy(&failed.stderr).contains("Input/output error"));
    assert_eq!(lab.say("blade2", "cat /datastores/SAN1/x"), "shared");
    lab.say("blade1", "ls /datastores/SAN2");
    assert_eq!(
        status(lab.dir()).unwrap().blades[0].storage["SAN1"],
        Mode::Cut
    );

    // A process that hangs in the kernel must not keep the lab.
    storage::set(lab.dir(), "blade1", "SAN1", Mode::Hang).unwrap();
    lab.say("blade1", "cat /datastores/SAN1/x >/dev/null 2>&1 &");
    lab.down();
    assert_eq!(lab.left_over(), Vec::<String>::new());
}

#[test]
fn storage_that_cannot_fail_says_so() {
    let lab = TestLab::new();
    lab.up().unwrap();
    let error = storage::set(lab.dir(), "blade1", "SAN1", Mode::Cut).unwrap_err();
    assert!(error.to_string().contains("--faulty-storage"), "{error}");
}

/// Not a test but a measurement: megabits per second of one connection from blade to blade on card 1.
/// `cargo test -p godwit-lab --release -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, for people"]
fn throughput_of_card_1() {
    for bandwidth in [Some(htb::Bandwidth::GIGABIT), None] {
        let mut lab = TestLab::new();
        lab.spec.bandwidth = bandwidth;
        let description = lab.up().unwrap();
        let [first, second] = &description.plan.blades[..] else {
            panic!("two blades")
        };
        let (from, to) = (Netns::named(&first.netns), Netns::named(&second.netns));
        let rate = common::throughput(&from, &to, second.migration);
        println!("shaped towards the blade by {bandwidth:?}: {rate:.0} Mb/s");
        if let Some(bandwidth) = bandwidth {
            // What the agent does in the blade.
            htb::share_card(&from, "eth1", &htb::CardPlan::new(bandwidth)).unwrap();
            let rate = common::throughput(&from, &to, second.migration);
            println!("shaped both ways: {rate:.0} Mb/s");
        }
    }
}
