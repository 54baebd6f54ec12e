//! The end of a VM's life: stopped in good order, started again with all its data, deleted without a trace.

use std::sync::Arc;
use std::{fs, path::PathBuf};

use godwit_api::farm::Power;
use godwit_model::vm::VmState;

use crate::farm::Farm;
use crate::shop::answers;

/// The guest itself powers off; afterwards nothing but the epochs that must never be used again is left.
pub async fn a_vm_stops_starts_and_goes_without_a_trace(farm: Arc<Farm>) {
    let shop = &farm.shops().await.second;
    let vm = farm.vm(shop.name).await;
    let (blade, id) = (vm.host.to_string(), vm.definition.id.to_string());
    let taps = || farm.lab.interfaces(&blade).len();
    let (taps_before, qemus_before) = (taps(), farm.lab.qemus(&blade));
    let power = async |how: Power| {
        let task = farm.client.power(shop.name, &how).await.unwrap();
        farm.succeeded(task).await;
    };

    power(Power::Off { grace_seconds: 180 }).await;
    farm.is(shop.name, &blade, VmState::Stopped).await;
    let events = farm.client.events(None, 200).await.unwrap();
    let told = events.iter().rev().find(|one| one.kind == "vm.stopped");
    let told = told.expect("an event");
    assert!(
        told.message.contains("powered off"),
        "not by itself: {told:?}"
    );
    assert_eq!(
        (taps(), farm.lab.qemus(&blade)),
        (taps_before - 1, qemus_before - 1)
    );

    power(Power::On).await;
    answers(&shop.database).await;
    shop.load.goes_on().await;
    let report = shop.load.audit(&shop.database).await;
    assert!(report.ok && report.log_checked, "{report:?}");
    println!(
        "{}: {} orders, none lost, none doubled",
        shop.name, report.orders_committed
    );

    power(Power::Kill).await;
    let task = farm.client.delete_vm(shop.name).await.unwrap();
    farm.succeeded(task).await;
    farm.client.vm(shop.name).await.unwrap_err();
    assert_eq!(
        (taps(), farm.lab.qemus(&blade)),
        (taps_before - 1, qemus_before - 1)
    );
    let left = names(farm.lab.datastore("SAN2").join("vms").join(&id));
    assert_eq!(left, ["epoch"], "only the tombstone");
    assert!(!farm.lab.datastore("SAN1").join("vms").join(&id).exists());
    for blade in &farm.lab.description.plan.blades {
        let run = farm.lab.run_dir(&blade.name).join("vm");
        assert!(!names(run).contains(&id), "its sockets on {}", blade.name);
        let records = format!("{:?}", walk(farm.lab.agent_state(&blade.name)));
        assert!(
            !records.contains(&id),
            "its record on {}: {records}",
            blade.name
        );
    }
}

fn names(folder: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|one| one.file_name().to_string_lossy().into_owned())
        .collect()
}

fn walk(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|one| one.path());
    paths
        .flat_map(|path| [vec![path.clone()], walk(path)].concat())
        .collect()
}
