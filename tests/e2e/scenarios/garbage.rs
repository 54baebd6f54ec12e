//! Whatever strangers send to the farm's sockets, those who belong to it are served.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use godwit_api::agent::{IncomingRequest, OutgoingRequest, PeerRef};
use godwit_lab::config::AGENT_PORT;
use godwit_model::host::PROTOCOL_VERSION;
use godwit_model::ids::MigrationId;
use godwit_model::vm::VmState;

use crate::farm::{Farm, host, options};

/// How long to wait for what a server says to garbage before going on.
const HEARD: Duration = Duration::from_millis(200);

/// Thrown at the manager, both agents, and the relay of a move that is being prepared; then the move is made.
pub async fn garbage_on_the_sockets_stops_nothing(farm: Arc<Farm>) {
    let shop = &farm.shops().await.first;
    let vm = farm.vm(shop.name).await;
    let from = vm.host.to_string();
    let to = farm.other(&from);
    let peer = |blade: &str| PeerRef {
        id: host(blade),
        address: agent_of(&farm, blade),
    };
    throw_at(vec![
        farm.lab.access.address,
        agent_of(&farm, &from),
        agent_of(&farm, &to),
    ])
    .await;
    farm.client.about().await.unwrap();

    // As the manager would: between the two calls the destination's relay waits for anybody to connect.
    let (migration, epoch) = (MigrationId::random(), vm.epoch.unwrap().next());
    let request = IncomingRequest {
        protocol: PROTOCOL_VERSION,
        migration,
        definition: vm.definition.clone(),
        epoch,
        source: peer(&from),
        options: options(None),
        page_key: None,
    };
    let relay = farm.agent(&to).incoming(&request).await.unwrap().relay;
    throw_at(vec![relay]).await;
    let request = OutgoingRequest {
        migration,
        vm: vm.definition.id,
        epoch,
        destination: peer(&to),
        relay,
        prepare_ms: 0.0,
        options: options(None),
        page_key: None,
    };
    farm.agent(&from).outgoing(&request).await.unwrap();
    farm.is(shop.name, &to, VmState::Running).await;
    assert_eq!(farm.vm(shop.name).await.epoch, Some(epoch));
    shop.load.goes_on().await;
    for blade in [&from, &to] {
        farm.agent(blade).clock().await.unwrap();
    }
}

fn agent_of(farm: &Farm, blade: &str) -> SocketAddr {
    let plan = farm.lab.description.plan.blade(blade).unwrap();
    (plan.management, AGENT_PORT).into()
}

async fn throw_at(all: Vec<SocketAddr>) {
    let work = move || all.into_iter().for_each(throw);
    tokio::task::spawn_blocking(work).await.unwrap();
}

fn throw(at: SocketAddr) {
    // A TLS 1.2 record of type handshake that promises much, and what no record begins with.
    let promise = [&[0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb][..], &[0; 600]].concat();
    let lots = vec![0xa5; 1 << 20];
    let plain = b"GET / HTTP/1.1\r\nHost: godwit\r\n\r\n";
    let mut held = Vec::new();
    for garbage in [&promise[..], &lots, plain, b"\0", b""] {
        let mut socket = TcpStream::connect(at).unwrap();
        socket.set_write_timeout(Some(HEARD)).unwrap();
        socket.set_read_timeout(Some(HEARD)).unwrap();
        // The server may hang up at any byte: that is its right.
        let _ = socket.write_all(garbage);
        let mut answer = [0; 512];
        let _ = socket.read(&mut answer);
        held.push(socket);
    }
    // Some hang up, some are left hanging.
    for socket in held.iter().step_by(2) {
        let _ = socket.shutdown(Shutdown::Both);
    }
}
