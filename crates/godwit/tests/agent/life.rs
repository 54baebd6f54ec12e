//! A VM from its definition to its deletion; who may ask for what.

use super::ONE_AT_A_TIME;
use super::farm::Farm;
use super::host::keyed;
use godwit_api::agent::PowerRequest;
use godwit_api::agent::client::AgentClient;
use godwit_api::error::ErrorCode;
use godwit_model::epoch::Epoch;
use godwit_model::vm::VmState;
use godwit_tls::Identity;
use std::io::Write;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_lives_from_definition_to_deletion() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let farm = Farm::start().await;
    let (a, vm) = (farm.a(), farm.running("life").await);
    let power = |request| async move { a.client.power(vm.id, &request).await };

    assert_eq!(
        power(PowerRequest::Pause).await.unwrap().state,
        VmState::Paused
    );
    assert_eq!(
        power(PowerRequest::Resume).await.unwrap().state,
        VmState::Running
    );
    let wrong = power(PowerRequest::Start { epoch: Epoch(2) })
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::Conflict), "it runs already");

    // The guest knows no power button: it is killed when its grace is over.
    let stopped = power(PowerRequest::Stop { grace_seconds: 1 })
        .await
        .unwrap();
    assert_eq!(
        (stopped.state, stopped.epoch, stopped.pid),
        (VmState::Stopped, None, None)
    );
    let late = power(PowerRequest::Start { epoch: Epoch(1) })
        .await
        .unwrap_err();
    assert_eq!(
        late.code(),
        Some(ErrorCode::Conflict),
        "epoch 1 is used up: {late}"
    );
    let again = power(PowerRequest::Start { epoch: Epoch(2) })
        .await
        .unwrap();
    assert_eq!(
        (again.state, again.epoch),
        (VmState::Running, Some(Epoch(2)))
    );
    a.ticks(vm.id).await;

    let running = a.client.delete(vm.id).await.unwrap_err();
    assert_eq!(running.code(), Some(ErrorCode::Conflict));
    assert_eq!(
        power(PowerRequest::Kill).await.unwrap().state,
        VmState::Stopped
    );
    a.client.delete(vm.id).await.unwrap();
    assert_eq!(a.state(vm.id).await, None);
    let folder = farm.datastore().join("vms").join(vm.id.to_string());
    let left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["epoch"], "only the tombstone is left");
    let kinds: Vec<_> = a
        .changes(0)
        .await
        .happened
        .into_iter()
        .map(|event| event.kind)
        .collect();
    for kind in ["vm.defined", "vm.started", "vm.stopped", "vm.deleted"] {
        assert!(kinds.iter().any(|each| each == kind), "{kind} in {kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_garbage_get_nothing() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let farm = Farm::start().await;
    let a = farm.a();
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0xff; 4096], b""] {
        let mut socket = std::net::TcpStream::connect(a.address).unwrap();
        socket.write_all(garbage).unwrap();
    }
    let agent = keyed(&farm.ca, &Identity::Agent("b".into()));
    let peer = AgentClient::new(a.address, &a.id, &agent, farm.ca.cert_pem()).unwrap();
    peer.clock().await.unwrap();
    assert_eq!(
        peer.vms().await.unwrap_err().code(),
        Some(ErrorCode::Forbidden)
    );
    // Who expects another host notices.
    let other = AgentClient::new(a.address, &farm.b().id, &agent, farm.ca.cert_pem()).unwrap();
    assert!(other.clock().await.is_err());
    let facts = a.client.host().await.unwrap();
    assert_eq!(
        facts.datastores[0].uuid,
        farm.b().client.host().await.unwrap().datastores[0].uuid
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(a.client.stats().await.unwrap().cpu_seconds > 0.0);
}
