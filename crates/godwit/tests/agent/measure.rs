//! Figures, by hand; they assert little.

use super::ONE_AT_A_TIME;
use super::farm::Farm;
use godwit_api::agent::PowerRequest;
use godwit_model::epoch::Epoch;
use godwit_model::migration::Outcome;
use std::time::Duration;

/// By hand, with a golden image: `GODWIT_TEST_IMAGE=… cargo test --test agent golden -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a golden image; measures, and asserts little"]
async fn a_golden_guest_moves_quickly() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let image = std::env::var("GODWIT_TEST_IMAGE").expect("the path of a golden image");
    let farm = Farm::start().await;
    let vm = farm.clone_of(image.as_ref(), "golden").await;
    let start = PowerRequest::Start {
        epoch: Epoch::FIRST,
    };
    farm.a().client.power(vm.id, &start).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    for round in 0..6 {
        let view = farm.migrate(&vm, round % 2, round as u64 + 2).await;
        assert_eq!(view.outcome, Some(Outcome::Moved), "{view:?}");
        let receipt = view.receipt.unwrap();
        println!(
            "total {:.0} ms, {:?}, {} in {} rounds, blackout {:?}, QEMU says {:?}, CPU {:?} {:?}",
            receipt.total_ms(),
            receipt.phases,
            receipt.wire_bytes,
            receipt.rounds,
            receipt.blackout,
            receipt.qemu_downtime_ms,
            receipt.source_cpu,
            receipt.destination_cpu
        );
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

/// By hand: what the agent itself costs beside ten VMs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and asserts little"]
async fn the_agent_itself_is_cheap() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let farm = Farm::start().await;
    for number in 0..10 {
        farm.running(&format!("vm{number}")).await;
    }
    let seconds = 20.0;
    let before = farm.a().agent_cpu();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let used = (farm.a().agent_cpu() - before) / seconds * 100.0;
    println!("the agent uses {used:.2} % of a core");
    assert!(used < 20.0);
}
