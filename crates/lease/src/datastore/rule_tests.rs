//! On the real file system: what may follow what, and many claiming at once.

use super::{DatastoreLease, memory::owner};
use crate::{Claim, ClaimError, Lease, Purpose, Refusal, VmHome};
use godwit_model::{
    epoch::Epoch,
    ids::{MigrationId, VmId},
};
use std::{fs, sync::Barrier, thread};
use tempfile::TempDir;

fn vm() -> (TempDir, VmHome) {
    let datastore = tempfile::tempdir().expect("a temporary folder");
    let vm = VmHome::new(datastore.path(), VmId::random());
    vm.create().expect("creates the folder");
    (datastore, vm)
}

fn host(name: &str) -> DatastoreLease {
    DatastoreLease::new(owner(name, "boot1"))
}

fn start(lease: &DatastoreLease, vm: &VmHome, epoch: u64) -> Result<Claim, ClaimError> {
    lease.claim(vm, Epoch(epoch), Purpose::Start)
}

fn refusal(result: Result<Claim, ClaimError>) -> Refusal {
    match result {
        Err(ClaimError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn many_threads_race_for_one_number_and_one_wins() {
    const RIVALS: usize = 8;
    for _ in 0..25 {
        let (_datastore, vm) = vm();
        let barrier = Barrier::new(RIVALS);
        let race = |rival: usize| {
            let lease = host(&format!("host{rival}"));
            barrier.wait();
            start(&lease, &vm, 1)
        };
        let results: Vec<_> = thread::scope(|scope| {
            let race = &race;
            let rivals: Vec<_> = (0..RIVALS)
                .map(|rival| scope.spawn(move || race(rival)))
                .collect();
            rivals
                .into_iter()
                .map(|rival| rival.join().expect("no panic"))
                .collect()
        });
        let (winners, losers): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(winners.len(), 1);
        let winner = winners[0].as_ref().expect("partitioned").record();
        for loser in losers {
            let named = matches!(&loser, Err(ClaimError::Lost { winner: w }) if **w == *winner);
            assert!(named, "{loser:?}");
        }
        let names = fs::read_dir(vm.dir().join("epoch")).expect("lists").count();
        assert_eq!(names, 1, "no temporary file is left");
    }
}

#[test]
fn gaps_and_past_numbers_are_refused() {
    let (_datastore, vm) = vm();
    let (a, b) = (host("a"), host("b"));
    let missing = Epoch(1);
    let epoch = Epoch(2);
    assert_eq!(refusal(start(&b, &vm, 2)), Refusal::Gap { epoch, missing });
    for n in 1..=3 {
        let claim = start(&a, &vm, n).expect("in order");
        a.release(&vm, claim).expect("releases");
    }
    assert!(matches!(
        refusal(start(&b, &vm, 2)),
        Refusal::Passed {
            newest: Epoch(3),
            ..
        }
    ));
    assert!(matches!(refusal(start(&b, &vm, 0)), Refusal::Passed { .. }));
    assert!(matches!(
        refusal(start(&b, &vm, 5)),
        Refusal::Gap {
            missing: Epoch(4),
            ..
        }
    ));
    assert!(matches!(start(&b, &vm, 3), Err(ClaimError::Lost { .. })));
    assert!(start(&b, &vm, 4).is_ok());
}

#[test]
fn a_cold_start_elsewhere_needs_the_release() {
    let (_datastore, vm) = vm();
    let (a, b) = (host("a"), host("b"));
    let claim = start(&a, &vm, 1).expect("the first");
    assert!(matches!(
        refusal(start(&b, &vm, 2)),
        Refusal::NotReleased {
            epoch: Epoch(1),
            ..
        }
    ));
    assert!(!b.newest(&vm).expect("reads").expect("there").released);
    a.release(&vm, claim).expect("releases");
    assert!(b.newest(&vm).expect("reads").expect("there").released);
    assert!(
        a.held(&vm).expect("reads").is_none(),
        "what is released is not held"
    );
    assert!(start(&b, &vm, 2).is_ok());
}

#[test]
fn only_the_same_boot_of_the_same_host_finds_its_claim_again() {
    let (_datastore, vm) = vm();
    let _claim = start(&host("a"), &vm, 1).expect("the first");
    let held = host("a").held(&vm).expect("reads").expect("held");
    assert!(held.found_again());
    assert!(host("b").held(&vm).expect("reads").is_none());
    let rebooted = DatastoreLease::new(owner("a", "boot2"));
    assert!(rebooted.held(&vm).expect("reads").is_none());
    assert_eq!(host("b").release_former_boot(&vm).expect("reads"), None);
    assert_eq!(host("a").release_former_boot(&vm).expect("reads"), None);
    assert_eq!(
        rebooted.release_former_boot(&vm).expect("reads"),
        Some(Epoch(1))
    );
    assert!(start(&host("b"), &vm, 2).is_ok());
}

#[test]
fn a_migration_is_committed_voided_or_given_back_in_turn() {
    let (_datastore, vm) = vm();
    let (a, b, c) = (host("a"), host("b"), host("c"));
    let migration = MigrationId::random();
    let activate = Purpose::Activate { migration };
    let take_back = Purpose::TakeBack { migration };
    let _first = start(&a, &vm, 1).expect("the first");
    // Neither may the owner activate what it runs, nor another host void it.
    let own = refusal(a.claim(&vm, Epoch(2), activate.clone()));
    assert!(matches!(own, Refusal::OutOfTurn { .. }));
    assert!(matches!(
        refusal(c.void(&vm, Epoch(2), migration)),
        Refusal::OutOfTurn { .. }
    ));

    let won = b
        .claim(&vm, Epoch(2), activate.clone())
        .expect("the commit");
    let lost = a.void(&vm, Epoch(2), migration);
    assert!(matches!(lost, Err(ClaimError::Lost { winner }) if winner.owner == *b.owner()));

    let to = a.owner().host.clone();
    let forged = Purpose::GiveBack {
        to: c.owner().host.clone(),
        migration,
    };
    let refused = refusal(c.claim(&vm, Epoch(3), forged));
    assert!(
        matches!(refused, Refusal::OutOfTurn { .. }),
        "only its owner gives it back"
    );
    assert_eq!(
        b.give_back(&vm, won, to, migration).expect("gives back"),
        Epoch(3)
    );
    assert!(
        b.held(&vm).expect("reads").is_none(),
        "nobody runs under a give-back"
    );
    for (lease, purpose) in [
        (&c, take_back.clone()),
        (&c, activate),
        (&a, Purpose::Start),
    ] {
        let refused = refusal(lease.claim(&vm, Epoch(4), purpose.clone()));
        let expected = matches!(
            refused,
            Refusal::OutOfTurn { .. } | Refusal::NotReleased { .. }
        );
        assert!(expected, "{purpose:?}: {refused}");
    }
    let other = Purpose::TakeBack {
        migration: MigrationId::random(),
    };
    assert!(matches!(
        refusal(a.claim(&vm, Epoch(4), other)),
        Refusal::OutOfTurn { .. }
    ));
    assert_eq!(
        a.claim(&vm, Epoch(4), take_back)
            .expect("takes back")
            .epoch(),
        Epoch(4)
    );
}

#[test]
fn a_source_whose_qemu_is_gone_cannot_void() {
    let (_datastore, vm) = vm();
    let a = host("a");
    let claim = start(&a, &vm, 1).expect("the first");
    a.release(&vm, claim).expect("releases");
    let refused = refusal(a.void(&vm, Epoch(2), MigrationId::random()));
    assert!(
        matches!(refused, Refusal::OutOfTurn { .. }),
        "there is nothing to continue"
    );
}

#[test]
fn a_deleted_vm_leaves_its_epochs_and_never_comes_back() {
    let (datastore, vm) = vm();
    let a = host("a");
    let claim = start(&a, &vm, 1).expect("the first");
    fs::write(vm.dir().join("disk0.qcow2"), b"disk").expect("writes");
    let refused = refusal(a.claim(&vm, Epoch(2), Purpose::Delete));
    assert!(matches!(refused, Refusal::NotReleased { .. }));
    a.release(&vm, claim).expect("releases");
    drop(
        a.claim(&vm, Epoch(2), Purpose::Delete)
            .expect("a tombstone"),
    );
    let tombstone = a
        .held(&vm)
        .expect("reads")
        .expect("a restarted agent goes on deleting");
    vm.remove(&tombstone).expect("removes");
    vm.remove(&tombstone).expect("may be repeated");

    let left: Vec<_> = fs::read_dir(vm.dir()).expect("lists").flatten().collect();
    assert_eq!(left.len(), 1, "only the epochs: {left:?}");
    assert!(a.newest(&vm).expect("reads").expect("there").deleted());
    for n in [1, 3] {
        assert!(
            matches!(refusal(start(&a, &vm, n)), Refusal::Deleted { .. }),
            "{n}"
        );
    }
    assert!(matches!(
        start(&a, &vm, 2),
        Err(ClaimError::Lost { .. }) | Err(ClaimError::Refused(_))
    ));
    assert_eq!(VmHome::list(datastore.path()).expect("lists"), [vm]);
}

#[test]
fn a_vm_without_a_folder_is_refused_and_not_made() {
    let datastore = tempfile::tempdir().expect("a temporary folder");
    let vm = VmHome::new(datastore.path(), VmId::random());
    assert!(matches!(
        refusal(start(&host("a"), &vm, 1)),
        Refusal::NoHome { .. }
    ));
    assert!(!vm.dir().exists());
    assert_eq!(host("a").newest(&vm).expect("reads"), None);
    assert!(VmHome::list(datastore.path()).expect("lists").is_empty());
}

#[test]
fn a_record_that_is_damaged_or_misplaced_authorizes_nothing() {
    let (_datastore, vm) = vm();
    let a = host("a");
    let epochs = vm.dir().join("epoch");
    fs::write(epochs.join("1"), b"").expect("writes");
    assert!(matches!(start(&a, &vm, 1), Err(ClaimError::Unknown { .. })));
    assert!(a.held(&vm).is_err());
    assert!(matches!(start(&a, &vm, 2), Err(ClaimError::Unreachable(_))));

    let (_datastore2, other) = self::vm();
    let _claim = start(&a, &other, 1).expect("the first");
    fs::copy(other.dir().join("epoch/1"), epochs.join("1")).expect("copies");
    assert!(a.held(&vm).is_err(), "the record of another VM");
}
