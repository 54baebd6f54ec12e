//! The probe on a real (virtual) wire. Only one-sided, generous facts: the machine may be busy.

use super::*;
use crate::address::{self, Cidr};
use crate::testing::ScratchNetns;
use crate::{link, veth};

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 7, 7, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 7, 7, 2);
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 7, 7, 3);

fn wire() -> (ScratchNetns, ScratchNetns) {
    let (near, far) = (ScratchNetns::new(), ScratchNetns::new());
    veth::ensure(&near, "near", &far, "far").unwrap();
    address::ensure(&near, "near", Cidr::new(NEAR, 24)).unwrap();
    address::ensure(&far, "far", Cidr::new(FAR, 24)).unwrap();
    (near, far)
}

/// Waits until `done` says so; half a minute is enough for any machine.
fn wait_for(prober: &Prober, done: impl Fn(&Recording) -> bool) -> Recording {
    for _ in 0..3_000 {
        let recording = prober.recording();
        if done(&recording) {
            return recording;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("did not happen within 30 s: {:#?}", prober.recording());
}

fn answered(recording: &Recording, address: Ipv4Addr) -> u64 {
    recording
        .target(address)
        .map_or(0, |target| target.answered)
}

#[test]
fn a_link_that_is_down_is_silent_and_one_that_is_up_answers() {
    let (near, far) = wire();
    let prober = near
        .run(|| Prober::start(&[FAR, NOBODY], Options::default()))
        .unwrap()
        .unwrap();
    wait_for(&prober, |recording| answered(recording, FAR) >= 20);
    let cut = clock::now();
    link::set_down(&far, "far").unwrap();
    thread::sleep(Duration::from_millis(500));
    link::set_up(&far, "far").unwrap();
    let mended = clock::now();
    let before = answered(&prober.recording(), FAR);
    wait_for(&prober, |recording| answered(recording, FAR) >= before + 20);
    let recording = prober.stop();
    let silence = recording
        .target(FAR)
        .unwrap()
        .longest_between(cut, mended)
        .unwrap();
    // Less by as much as the probe itself was held up; on an idle machine this is 500 ms.
    let expected = Duration::from_millis(400).saturating_sub(silence.pause);
    assert!(silence.length() >= expected, "{silence:?}");
    assert!(
        clock::between(silence.from, silence.until) >= Duration::from_millis(400),
        "{silence:?}"
    );
    assert_eq!(answered(&recording, NOBODY), 0);
    assert!(recording.rounds > 0 && recording.cpu > Duration::ZERO);
}

#[test]
fn a_target_can_be_added_while_the_probe_runs() {
    let (near, _far) = wire();
    let prober = near
        .run(|| Prober::start(&[], Options::default()))
        .unwrap()
        .unwrap();
    prober.watch(FAR).unwrap();
    prober.watch(FAR).unwrap();
    let recording = wait_for(&prober, |recording| answered(recording, FAR) >= 5);
    assert_eq!(recording.targets.len(), 1);
    assert!(recording.targets[0].first_reply.is_some());
    assert_eq!(recording.targets[0].doubled, 0);
}

/// Not a test but a measurement: `cargo test -p godwit-net --release -- --ignored --nocapture cost_of_probing`.
#[test]
#[ignore = "a measurement, for people"]
fn cost_of_probing_twenty_targets() {
    let (near, far) = wire();
    let targets: Vec<Ipv4Addr> = (10..30).map(|last| Ipv4Addr::new(10, 7, 7, last)).collect();
    for target in &targets {
        address::ensure(&far, "far", Cidr::new(*target, 24)).unwrap();
    }
    let prober = near
        .run(|| Prober::start(&targets, Options::default()))
        .unwrap()
        .unwrap();
    thread::sleep(Duration::from_secs(10));
    let recording = prober.stop();
    let time = clock::between(recording.from, recording.until);
    println!(
        "{:.1} % of a core",
        100.0 * recording.cpu.as_secs_f64() / time.as_secs_f64()
    );
    println!(
        "missed {} of {}, worst lag {:?}",
        recording.missed_rounds, recording.rounds, recording.worst_lag
    );
    println!("{:#?}", recording.targets[0]);
}

#[test]
fn a_target_is_probed_rarely_until_it_is_watched_closely() {
    let (near, far) = wire();
    let options = Options {
        relaxed: 20,
        ..Options::default()
    };
    let prober = near.run(|| Prober::start(&[FAR, NOBODY], options));
    let prober = prober.unwrap().unwrap();
    let sent = |recording: &Recording, address| recording.target(address).unwrap().sent;
    let recording = wait_for(&prober, |recording| recording.rounds >= 100);
    // Unsent ones count too where the address does not resolve; a turn comes each 20th round, missed rounds aside.
    assert!(sent(&recording, FAR) <= recording.rounds / 20 + recording.missed_rounds + 1);
    prober.watch_closely(FAR, true);
    let before = prober.recording();
    let after = wait_for(&prober, |r| r.rounds >= before.rounds + 100);
    assert!(sent(&after, FAR) - sent(&before, FAR) >= after.rounds - before.rounds - 1);
    prober.watch_closely(FAR, false);
    let before = prober.recording();
    let after = wait_for(&prober, |r| r.rounds >= before.rounds + 100);
    assert!(sent(&after, FAR) - sent(&before, FAR) < after.rounds - before.rounds);
    drop(far);
}
