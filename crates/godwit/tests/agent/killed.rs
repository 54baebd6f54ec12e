//! Agents that are killed: no VM notices, and never do two copies run.

use super::ONE_AT_A_TIME;
use super::farm::{self, Farm};
use super::slow;
use godwit_api::agent::{MigrationOptions, Phase};
use godwit_model::migration::Outcome;
use godwit_model::vm::VmState;
use std::time::Duration;

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
