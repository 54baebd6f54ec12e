//! Live migration, while customers order.

use std::sync::Arc;

use godwit_api::agent::MigrationOptions;
use godwit_api::error::ErrorCode;
use godwit_api::farm::Migrate;
use godwit_model::migration::Outcome;
use godwit_model::task::TaskState;
use godwit_model::units::Bytes;
use godwit_model::vm::VmState;

use crate::farm::{Farm, host, options};

/// So slow that a move is certainly caught while it sends memory.
pub const SLOW: Option<u64> = Some(200_000);

/// There and back, each with a receipt, and the customers notice nothing but a pause.
pub async fn a_vm_moves_under_load_and_back(farm: Arc<Farm>) {
    let shop = &farm.shops().await.first;
    let home = farm.vm(shop.name).await.host.to_string();
    for back in [false, true] {
        let before = farm.vm(shop.name).await;
        let from = before.host.to_string();
        let to = farm.other(&from);
        let task = farm.move_to(shop.name, &to, None).await;
        let task = farm.succeeded(task).await;
        let after = farm.vm(shop.name).await;
        assert_eq!(after.host.as_str(), to);
        assert!(
            after.epoch > before.epoch,
            "{:?} {:?}",
            after.epoch,
            before.epoch
        );
        let moved = task.result.expect("the migration's id").parse().unwrap();
        let moved = farm.client.migration(moved).await.unwrap();
        assert_eq!(moved.outcome, Some(Outcome::Moved));
        let receipt = moved.receipt.expect("a receipt");
        assert!(receipt.stream_bytes > Bytes(0) && receipt.wire_bytes > Bytes(0));
        assert!(receipt.rounds > 0, "{receipt:?}");
        assert!(receipt.pages.template > Bytes(0), "{receipt:?}");
        if back {
            assert!(receipt.pages.store > Bytes(0), "{receipt:?}");
            assert!(
                receipt.wire_bytes.0 < receipt.stream_bytes.0 / 5,
                "{receipt:?}"
            );
            let there = farm.client.host_pages(&after.host).await.unwrap();
            assert!(
                there.pages > 0 && there.hits > 0 && there.bad == 0,
                "{there:?}"
            );
        }
        let blackout = receipt.blackout.expect("measured");
        assert!(
            blackout.ms > 0.0 && receipt.total_ms() > blackout.ms,
            "{receipt:?}"
        );
        println!(
            "{from} to {to} in {:.2} s, blackout {:.0} ms",
            receipt.total_ms() / 1e3,
            blackout.ms
        );
        shop.load.goes_on().await;
        farm.is(shop.name, &to, VmState::Running).await;
        let agent = farm.agent(&from);
        let left = agent.vms().await.unwrap();
        assert!(
            left.iter()
                .all(|one| one.definition.id != before.definition.id)
        );
    }
    assert_eq!(farm.vm(shop.name).await.host.as_str(), home);
}

/// Nothing is left at the destination, the source goes on, and the next move works.
pub async fn a_cancelled_move_leaves_the_vm_where_it_is(farm: Arc<Farm>) {
    let shop = &farm.shops().await.first;
    let before = farm.vm(shop.name).await;
    let from = before.host.to_string();
    let to = farm.other(&from);
    let others = farm.lab.qemus(&to);
    let task = farm.move_to(shop.name, &to, SLOW).await;
    farm.sends_memory(&task).await;
    let held = farm.client.delete_vm(shop.name).await.unwrap_err();
    assert_eq!(held.code(), Some(ErrorCode::Conflict), "{held}");
    farm.client.cancel_task(task.id).await.unwrap();
    let task = farm.ended(task).await;
    assert_eq!(task.state, TaskState::Cancelled, "{task:?}");
    farm.is(shop.name, &from, VmState::Running).await;
    farm.nothing_of(&before, &to, others).await;
    assert_eq!(farm.vm(shop.name).await.epoch, before.epoch);
    shop.load.goes_on().await;
    let late = farm.client.cancel_task(task.id).await.unwrap_err();
    assert_eq!(late.code(), Some(ErrorCode::Conflict), "{late}");
}

/// A move that cannot keep up with what the guest writes ends by itself and says so; the VM runs where it was.
pub async fn a_guest_that_outruns_its_move_stays(farm: Arc<Farm>) {
    let shop = &farm.shops().await.first;
    let before = farm.vm(shop.name).await;
    let from = before.host.to_string();
    let to = farm.other(&from);
    let others = farm.lab.qemus(&to);
    let options = MigrationOptions {
        precopy_limit_seconds: 5,
        ..options(SLOW)
    };
    let request = Migrate {
        to: host(&to),
        options,
    };
    let task = farm.client.migrate(shop.name, &request).await.unwrap();
    let task = farm.ended(task).await;
    assert_eq!(task.state, TaskState::Failed, "{task:?}");
    let error = task.error.unwrap_or_default();
    assert!(error.contains("not sent within 5 s"), "{error}");
    farm.is(shop.name, &from, VmState::Running).await;
    farm.nothing_of(&before, &to, others).await;
    assert_eq!(farm.vm(shop.name).await.epoch, before.epoch);
    shop.load.goes_on().await;
}

/// VMs that belong together stand still one after the other, however they are asked to move.
pub async fn moves_of_one_application_do_not_overlap(farm: Arc<Farm>) {
    let shops = farm.shops().await;
    let both = [shops.first.name, shops.second.name];
    farm.done(&["vm", "set", both[0], both[1], "--application", "shop"])
        .await;
    let mut tasks = Vec::new();
    for name in both {
        let to = farm.other(farm.vm(name).await.host.as_str());
        tasks.push(farm.move_to(name, &to, None).await);
    }
    let mut times = Vec::new();
    for task in tasks {
        let id = farm.succeeded(task).await.result.unwrap().parse().unwrap();
        let receipt = farm.client.migration(id).await.unwrap().receipt.unwrap();
        times.push((receipt.began_mono, receipt.ended_mono));
    }
    times.sort();
    assert!(times[0].1 <= times[1].0, "{times:?}");
    let vm = farm.vm(both[0]).await;
    assert_eq!(vm.definition.application.as_deref(), Some("shop"));
    farm.done(&["vm", "set", both[0], both[1], "--application", ""])
        .await;
}

/// What the manager knows is refused before a task begins; what only the destination sees is refused there, and the VM
/// runs on.
pub async fn a_destination_that_refuses_says_why(farm: Arc<Farm>) {
    let shop = &farm.shops().await.first;
    let before = farm.vm(shop.name).await;
    let from = before.host.to_string();
    let to = farm.other(&from);
    for (wrong, code) in [
        (from.as_str(), ErrorCode::Conflict),
        ("blade9", ErrorCode::NotFound),
    ] {
        let request = Migrate {
            to: host(wrong),
            options: options(None),
        };
        let refused = farm.client.migrate(shop.name, &request).await.unwrap_err();
        assert_eq!(refused.code(), Some(code), "{refused}");
    }

    let others = farm.lab.qemus(&to);
    let disk = format!("/datastores/SAN1/{}", before.definition.disks[0].path);
    let hidden = farm.lab.exec(&to, &["mount", "--bind", "/dev/null", &disk]);
    assert!(hidden.status.success(), "{hidden:?}");
    let task = farm.move_to(shop.name, &to, None).await;
    let task = farm.ended(task).await;
    let shown = farm.lab.exec(&to, &["umount", &disk]);
    assert!(shown.status.success(), "{shown:?}");
    assert_eq!(task.state, TaskState::Failed, "{task:?}");
    let error = task.error.unwrap_or_default();
    assert!(
        error.contains("disk0.qcow2") && error.contains(&to),
        "{error}"
    );
    farm.is(shop.name, &from, VmState::Running).await;
    farm.nothing_of(&before, &to, others).await;
    shop.load.goes_on().await;
}
