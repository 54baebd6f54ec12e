//! Every step of a claim fails in every way, and a rival cuts in before every step: never two
//! winners, and in the end never none.

use super::{
    DatastoreLease,
    files::Files,
    memory::{Fault, Memory, View, home, host},
};
use crate::{Claim, ClaimError, Lease, Purpose, VmHome};
use godwit_model::{epoch::Epoch, ids::MigrationId};
use std::sync::{Arc, Mutex};

const N: Epoch = Epoch(2);

/// A VM that runs on A under epoch 1 and is being migrated to B, which may claim N = 2.
struct Scene {
    storage: Arc<Memory>,
    vm: VmHome,
    source: (DatastoreLease, Arc<View>),
    destination: (DatastoreLease, Arc<View>),
    migration: MigrationId,
    /// Whether the destination prepares its claim before it asks for the number.
    ahead: bool,
}

impl Scene {
    fn new() -> Self {
        Self::either(false)
    }

    fn either(ahead: bool) -> Self {
        let storage = Arc::new(Memory::default());
        let vm = home();
        let source = host(&storage, "a");
        let claim = source
            .0
            .claim(&vm, Epoch::FIRST, Purpose::Start)
            .expect("a first start");
        assert_eq!(claim.epoch(), Epoch::FIRST);
        let destination = host(&storage, "b");
        let migration = MigrationId::random();
        Self {
            storage,
            vm,
            source,
            destination,
            migration,
            ahead,
        }
    }

    fn activate(&self) -> Result<Claim, ClaimError> {
        let purpose = Purpose::Activate {
            migration: self.migration,
        };
        let lease = &self.destination.0;
        if self.ahead {
            let pending = lease.prepare(&self.vm, N, purpose)?;
            return lease.settle(&self.vm, pending);
        }
        lease.claim(&self.vm, N, purpose)
    }

    fn void(&self) -> Result<Claim, ClaimError> {
        self.source.0.void(&self.vm, N, self.migration)
    }

    /// How many operations an undisturbed activation takes.
    fn steps() -> usize {
        let scene = Self::new();
        scene.destination.1.heal();
        let _claim = scene.activate().expect("nothing disturbs it");
        let steps = scene.destination.1.steps();
        assert!(
            steps >= 6,
            "list, read, read, create, link, sync, …: {steps}"
        );
        steps
    }
}

/// Each step of a claim, at once or prepared.
fn cases() -> impl Iterator<Item = (bool, usize)> {
    let steps = |ahead| (0..Scene::steps()).map(move |step| (ahead, step));
    [false, true].into_iter().flat_map(steps)
}

/// What the destination may believe in the end, once its storage works again.
fn settled(scene: &Scene, first: Result<Claim, ClaimError>) -> bool {
    scene.destination.1.heal();
    match first {
        Err(ClaimError::Unknown { pending, .. }) => {
            match scene.destination.0.settle(&scene.vm, *pending) {
                Ok(claim) => claim.epoch() == N,
                Err(ClaimError::Lost { .. }) => false,
                Err(other) => panic!("a healthy storage settles it: {other:?}"),
            }
        }
        Ok(_) => true,
        Err(ClaimError::Lost { .. } | ClaimError::Unreachable(_)) => false,
        Err(ClaimError::Refused(refusal)) => panic!("it was in order: {refusal}"),
    }
}

fn won(result: &Result<Claim, ClaimError>) -> bool {
    match result {
        Ok(_) => true,
        Err(ClaimError::Lost { .. }) => false,
        Err(other) => panic!("the rival's storage works: {other:?}"),
    }
}

#[test]
fn each_step_failing_in_each_way_leaves_one_winner() {
    for (ahead, step) in cases() {
        for fault in Fault::ALL {
            for power_cut in [false, true] {
                for void_before_settling in [false, true] {
                    let case = format!("{fault:?} at {step}, {power_cut}, {void_before_settling}");
                    let scene = Scene::either(ahead);
                    scene.destination.1.plan_fault(step, fault);
                    let first = scene.activate();
                    if power_cut {
                        scene.storage.cut_power();
                    }
                    let (source, destination) = if void_before_settling {
                        let source = won(&scene.void());
                        (source, settled(&scene, first))
                    } else {
                        let destination = settled(&scene, first);
                        (won(&scene.void()), destination)
                    };
                    assert!(source != destination, "{case}: {source} and {destination}");
                }
            }
        }
    }
}

#[test]
fn an_agent_that_died_at_any_step_finds_again_exactly_what_it_won() {
    for (ahead, step) in cases() {
        for fault in [Fault::Gone, Fault::GoneAfter] {
            let scene = Scene::either(ahead);
            scene.destination.1.plan_fault(step, fault);
            drop(scene.activate());
            // The process is gone; another one of the same boot looks.
            scene.destination.1.heal();
            let held = scene.destination.0.held(&scene.vm).expect("reads");
            scene.storage.cut_power();
            assert!(
                won(&scene.void()) != held.is_some(),
                "{fault:?} at step {step}"
            );
            assert!(held.is_none_or(|claim| claim.found_again() && claim.epoch() == N));
        }
    }
}

#[test]
fn a_rival_that_cuts_in_before_any_step_leaves_one_winner() {
    for (ahead, step) in cases() {
        // The rival's own reply of `link` (the fifth operation) may be lost as well.
        for rivals_fault in [None, Some((4, Fault::ReplyLost))] {
            let scene = Scene::either(ahead);
            let (rival, view) = (scene.source.0.clone(), scene.source.1.clone());
            let (vm, migration) = (scene.vm.clone(), scene.migration);
            let outcome = Arc::new(Mutex::new(None));
            let report = outcome.clone();
            let hook = Box::new(move || {
                if let Some((step, fault)) = rivals_fault {
                    view.plan_fault(step, fault);
                }
                *report.lock().expect("unpoisoned") = Some(rival.void(&vm, N, migration));
            });
            scene.destination.1.plan_hook(step, hook);
            let first = scene.activate();
            let voided = outcome
                .lock()
                .expect("unpoisoned")
                .take()
                .expect("the hook ran");
            let destination = won(&first);
            assert!(won(&voided) != destination, "at step {step}");
        }
    }
}

#[test]
fn a_won_claim_survives_a_power_cut() {
    let scene = Scene::new();
    let _claim = scene.activate().expect("nothing disturbs it");
    scene.storage.cut_power();
    assert!(matches!(scene.void(), Err(ClaimError::Lost { winner }) if winner.epoch == N));
}

#[test]
fn a_link_that_takes_place_long_after_its_error_is_still_its_senders() {
    let scene = Scene::new();
    let link = 4;
    scene.destination.1.plan_fault(link, Fault::Failed);
    let first = scene.activate();
    assert!(
        matches!(first, Err(ClaimError::Unknown { .. })),
        "{first:?}"
    );
    // The packet was only late: the server does what the client has given up on.
    let dir = scene.vm.epochs();
    let names = scene.storage.names(&dir).expect("lists");
    let temp = names
        .iter()
        .find(|name| name.starts_with(".claim"))
        .expect("kept for this");
    scene
        .storage
        .link(&dir.join(temp), &scene.vm.epoch(N))
        .expect("links");
    assert!(!won(&scene.void()));
    assert!(settled(&scene, first));
}

#[test]
fn a_failure_while_settling_settles_nothing() {
    let scene = Scene::new();
    let link = 4;
    scene.destination.1.plan_fault(link, Fault::Failed);
    let Err(ClaimError::Unknown { pending, .. }) = scene.activate() else {
        panic!("its link may be on its way");
    };
    // Reading finds nothing yet, then writing fails. For a first attempt that would be certain.
    scene.destination.1.plan_fault(1, Fault::Failed);
    let again = scene.destination.0.settle(&scene.vm, *pending);
    assert!(
        matches!(again, Err(ClaimError::Unknown { .. })),
        "{again:?}"
    );
    assert!(settled(&scene, again));
    assert!(!won(&scene.void()));
}

#[test]
fn an_error_that_says_it_was_never_tried_is_certain() {
    let scene = Scene::new();
    // The first operation lists the folder, the fourth writes the temporary file.
    for step in [0, 3] {
        scene.destination.1.plan_fault(step, Fault::Failed);
        assert!(
            matches!(scene.activate(), Err(ClaimError::Unreachable(_))),
            "step {step}"
        );
    }
    scene.destination.1.heal();
    assert!(scene.activate().is_ok());
}

#[test]
fn temporary_files_do_not_pile_up() {
    let scene = Scene::new();
    scene.destination.1.plan_fault(4, Fault::Gone);
    drop(scene.activate());
    assert!(won(&scene.void()));
    let names = scene.storage.names(&scene.vm.epochs()).expect("lists");
    assert_eq!(names, ["1", "2"]);
}

#[test]
fn giving_back_may_be_repeated_after_any_failure() {
    for step in 0..Scene::steps() {
        for fault in Fault::ALL {
            let scene = Scene::new();
            let claim = scene.activate().expect("wins");
            let to = scene.source.0.owner().host.clone();
            let (lease, view) = &scene.destination;
            view.plan_fault(step, fault);
            let given = match lease.give_back(&scene.vm, claim, to.clone(), scene.migration) {
                Ok(epoch) => epoch,
                Err(failed) => {
                    view.heal();
                    let again = lease.give_back(&scene.vm, *failed.claim, to, scene.migration);
                    again.expect("a healthy storage takes it")
                }
            };
            assert_eq!(given, N.next(), "{fault:?} at {step}");
            let migration = scene.migration;
            let back =
                scene
                    .source
                    .0
                    .claim(&scene.vm, N.next().next(), Purpose::TakeBack { migration });
            assert!(won(&back));
        }
    }
}

#[test]
fn a_release_may_be_repeated_after_any_failure() {
    for step in 0..3 {
        for fault in Fault::ALL {
            let scene = Scene::new();
            let claim = scene.activate().expect("wins");
            let (lease, view) = &scene.destination;
            view.plan_fault(step, fault);
            if let Err(failed) = lease.release(&scene.vm, claim) {
                view.heal();
                lease
                    .release(&scene.vm, *failed.claim)
                    .expect("a healthy storage takes it");
            }
            scene.storage.cut_power();
            let start = scene.source.0.claim(&scene.vm, N.next(), Purpose::Start);
            assert!(won(&start), "{fault:?} at {step}");
        }
    }
}

#[test]
fn a_prepared_claim_is_none_and_loses_to_whoever_asks_first() {
    let scene = Scene::either(true);
    let purpose = Purpose::Activate {
        migration: scene.migration,
    };
    let lease = &scene.destination.0;
    let pending = lease.prepare(&scene.vm, N, purpose).expect("prepared");
    assert!(lease.held(&scene.vm).expect("reads").is_none());
    assert!(won(&scene.void()), "the number is free");
    let settled = lease.settle(&scene.vm, pending);
    assert!(matches!(settled, Err(ClaimError::Lost { winner }) if winner.epoch == N));
}
