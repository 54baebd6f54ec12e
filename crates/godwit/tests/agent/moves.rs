//! Migrations: there and back, cancelled, refused, given back.

use super::ONE_AT_A_TIME;
use super::farm::{self, Farm};
use super::slow;
use godwit_api::agent::{MigrationOptions, Phase, PowerRequest};
use godwit_api::error::ErrorCode;
use godwit_model::epoch::Epoch;
use godwit_model::migration::Outcome;
use godwit_model::units::Bytes;
use godwit_model::vm::VmState;

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
