//! `kill -9` for those that watch and steer: the VMs notice nothing.

use std::sync::Arc;

use godwit_lab::plan::MANAGER_BOX;
use godwit_model::task::TaskState;
use godwit_model::vm::VmState;

use super::moves::SLOW;
use crate::farm::Farm;
use crate::wait::until_so;

/// Fast enough to end soon, slow enough to be caught under way.
const UNHURRIED: Option<u64> = Some(25_000_000);

/// The same QEMU goes on under the same epoch; the next agent adopts it.
pub async fn an_agent_killed_under_load_is_not_noticed(farm: Arc<Farm>) {
    let shop = &farm.shops().await.first;
    let vm = farm.vm(shop.name).await;
    let (blade, id) = (vm.host.to_string(), vm.definition.id);
    let before = farm.agent(&blade).vm(id).await.unwrap();
    for _ in 0..2 {
        let starts = farm.lab.state(&blade).starts;
        farm.lab.kill_agent(&blade);
        shop.load.goes_on().await;
        until_so("another agent", async || {
            farm.lab.state(&blade).starts > starts
        })
        .await;
        let agent = farm.agent(&blade);
        until_so("the VM is adopted", async || {
            let view = agent.vm(id).await;
            view.is_ok_and(|view| view.state == VmState::Running)
        })
        .await;
        let after = farm.agent(&blade).vm(id).await.unwrap();
        assert_eq!((after.pid, after.epoch), (before.pid, before.epoch));
    }
    farm.all_up().await;
    farm.is(shop.name, &blade, VmState::Running).await;
    shop.load.goes_on().await;
}

/// Whichever end dies: the VM stays where it is, runs, and the half-filled copy goes.
pub async fn an_agent_killed_during_a_move_leaves_the_vm_running(farm: Arc<Farm>) {
    let shop = &farm.shops().await.first;
    let vm = farm.vm(shop.name).await;
    let from = vm.host.to_string();
    let to = farm.other(&from);
    let others = farm.lab.qemus(&to);
    for victim in [&from, &to] {
        let task = farm.move_to(shop.name, &to, SLOW).await;
        farm.sends_memory(&task).await;
        farm.lab.kill_agent(victim);
        let task = farm.ended(task).await;
        assert_eq!(task.state, TaskState::Failed, "{victim}: {task:?}");
        farm.all_up().await;
        farm.is(shop.name, &from, VmState::Running).await;
        farm.nothing_of(&vm, &to, others).await;
        assert_eq!(farm.vm(shop.name).await.epoch, vm.epoch);
        shop.load.goes_on().await;
    }
}

/// The agents end the move by themselves; the next manager takes its task up again and tells how it ended.
pub async fn a_manager_killed_during_a_move_finds_out_how_it_ended(farm: Arc<Farm>) {
    let shop = &farm.shops().await.first;
    let from = farm.vm(shop.name).await.host.to_string();
    let to = farm.other(&from);
    let starts = farm.lab.state(MANAGER_BOX).starts;
    let task = farm.move_to(shop.name, &to, UNHURRIED).await;
    farm.sends_memory(&task).await;
    farm.lab.kill_manager();
    let task = farm.succeeded(task).await;
    assert!(farm.lab.state(MANAGER_BOX).starts > starts);
    let moved = task.result.expect("the migration's id").parse().unwrap();
    assert!(
        farm.client
            .migration(moved)
            .await
            .unwrap()
            .receipt
            .is_some()
    );
    farm.all_up().await;
    farm.is(shop.name, &to, VmState::Running).await;
    shop.load.goes_on().await;
}
