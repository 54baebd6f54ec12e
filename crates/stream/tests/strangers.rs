//! The migration port is open to anybody: only the right relay gets through, and a broken connection is noticed.
#![allow(clippy::unwrap_used)]

mod common;

use std::{net::SocketAddr, time::Duration};

use common::{LONG, Rig, Running, connected, let_in, random, read_all, said, stranger, write_all};
use godwit_stream::{
    Command, DestinationConfig, Event,
    destination::DestinationError,
    source::{PIECE, SourceError},
};
use godwit_tls::{Ca, Identity};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream},
};

/// The right relay still gets through and moves something.
async fn still_works(
    rig: &Rig,
    address: SocketAddr,
    mut destination: Running<DestinationError>,
    qemu: UnixStream,
) {
    let arrived = read_all(qemu);
    let _ = std::fs::remove_file(rig.dir.path().join("out.sock"));
    let mut source = rig.start_source(rig.source_config(address), None);
    let data = random(PIECE + 1);
    write_all(rig.source_qemu().await, data.clone())
        .await
        .unwrap()
        .unwrap();
    source.orders.send(Command::Release).await.unwrap();
    source.end().await.unwrap();
    destination.end().await.unwrap();
    assert!(arrived.await.unwrap() == data);
}

fn reason(event: Event) -> String {
    match event {
        Event::Stranger { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn another_migrations_relay_is_refused_and_the_wait_goes_on() {
    let rig = Rig::new();
    let (mut destination, address, qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    let mut config = rig.source_config(address);
    config.migration = "m-2".parse().unwrap();
    let failure = rig.start_source(config, None).end().await.unwrap_err();
    assert!(
        matches!(&failure.error, SourceError::Refused(why) if why.contains("m-2")),
        "{failure:?}"
    );
    assert!(reason(destination.wait_for(stranger).await).contains("m-2"));
    still_works(&rig, address, destination, qemu).await;
}

#[tokio::test]
async fn other_members_of_the_farm_are_refused() {
    let rig = Rig::new();
    let (mut destination, address, qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    for who in [
        Identity::Relay("third".into()),
        Identity::Agent("source".into()),
        Identity::Manager,
    ] {
        let mut config = rig.source_config(address);
        config.socket = rig.dir.path().join(format!("{who}.sock"));
        config.credentials = rig.credentials(&who);
        let failure = rig.start_source(config, None).end().await.unwrap_err();
        assert!(
            matches!(&failure.error, SourceError::Refused(_)),
            "{failure:?}"
        );
        assert!(reason(destination.wait_for(stranger).await).contains(&format!("it is {who}")));
    }
    still_works(&rig, address, destination, qemu).await;
}

#[tokio::test]
async fn the_source_refuses_another_destination() {
    let rig = Rig::new();
    let (mut destination, address, _qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    let mut config = rig.source_config(address);
    config.destination_host = "third".into();
    let failure = rig.start_source(config, None).end().await.unwrap_err();
    assert!(
        matches!(failure.error, SourceError::Connect(_)),
        "{failure:?}"
    );
    destination.wait_for(stranger).await;
}

#[tokio::test]
async fn garbage_and_foreign_farms_do_not_end_the_wait() {
    let rig = Rig::new();
    let (mut destination, address, qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 5000],
        b"\x16\x03\x01\xff\xff",
    ] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(garbage).await.unwrap();
        drop(connection);
        destination.wait_for(stranger).await;
    }
    let foreign = Rig {
        ca: Ca::create("test farm").unwrap(),
        dir: tempfile::tempdir().unwrap(),
    };
    foreign
        .start_source(foreign.source_config(address), None)
        .end()
        .await
        .unwrap_err();
    destination.wait_for(stranger).await;
    // One that says nothing at all does not hold up the right one.
    let _silent = TcpStream::connect(address).await.unwrap();
    still_works(&rig, address, destination, qemu).await;
}

#[tokio::test]
async fn the_wait_has_a_limit() {
    let rig = Rig::new();
    let config = DestinationConfig {
        wait: Duration::from_millis(50),
        ..rig.destination_config()
    };
    let (mut destination, address, _qemu) = rig.start_destination(config, None).await;
    assert!(matches!(
        destination.end().await,
        Err(DestinationError::NobodyCame(_))
    ));
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn nobody_gets_in_after_the_right_one() {
    let rig = Rig::new();
    let (mut destination, address, _qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    let mut source = rig.start_source(rig.source_config(address), None);
    source.wait_for(connected).await;
    destination.wait_for(connected).await;
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn frames_that_break_the_rules_end_the_migration() {
    let cases: [&[u8]; 5] = [
        b"\x03\xff\xff\xff\xff", // a length over the limit
        b"\x2a\0\0\0\0",         // an unknown type
        b"\x01\0\0\0\0",         // a second Hello
        b"\x04\0\0\0\x05short",  // a Final without a whole digest
        b"\x03\0\0\0\x09cut",    // truncated by the end of the connection
    ];
    for case in cases {
        let rig = Rig::new();
        let (mut destination, address, qemu) =
            rig.start_destination(rig.destination_config(), None).await;
        let mut connection = let_in(&rig, address).await;
        connection.write_all(case).await.unwrap();
        let _ = connection.shutdown().await;
        assert!(
            matches!(destination.end().await, Err(DestinationError::Frame(_))),
            "{case:?}"
        );
        assert!(read_all(qemu).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn another_version_is_refused_with_words() {
    let rig = Rig::new();
    let (mut destination, address, _qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    let mut connection = said(&rig, address, b"\x01\0\0\0\x0aGODWITRL\0\x09").await;
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    assert_eq!(answer[0], 6, "a Refused");
    assert!(String::from_utf8_lossy(&answer[5..]).contains("version 9"));
    assert!(reason(destination.wait_for(stranger).await).contains("version 9"));
}

#[tokio::test]
async fn a_connection_cut_in_mid_stream_fails_on_both_sides() {
    let rig = Rig::new();
    let (mut destination, address, qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    // A cable that can be pulled.
    let cable = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cable_address = cable.local_addr().unwrap();
    let pulled = tokio::spawn(async move {
        let (mut near, _) = cable.accept().await.unwrap();
        let mut far = TcpStream::connect(address).await.unwrap();
        let _ = copy_bidirectional(&mut near, &mut far).await;
    });
    let mut source = rig.start_source(rig.source_config(cable_address), None);
    source.wait_for(connected).await;
    let writing = write_all(rig.source_qemu().await, random(256 * PIECE));
    let mut qemu = qemu;
    qemu.read_exact(&mut vec![0; PIECE]).await.unwrap();
    let rest = read_all(qemu);
    pulled.abort();

    let failure = source.end().await.unwrap_err();
    assert!(!failure.released, "{failure:?}");
    assert!(
        matches!(failure.error, SourceError::Send(_) | SourceError::Frame(_)),
        "{failure:?}"
    );
    assert!(matches!(
        destination.end().await,
        Err(DestinationError::Frame(_))
    ));
    assert!(
        tokio::time::timeout(LONG, writing)
            .await
            .unwrap()
            .unwrap()
            .is_err()
    );
    assert!(rest.await.unwrap().len() < 255 * PIECE);
}

#[tokio::test]
async fn a_destination_without_agent_ends_and_says_so() {
    let rig = Rig::new();
    let (destination, address, _qemu) = rig.start_destination(rig.destination_config(), None).await;
    let mut source = rig.start_source(rig.source_config(address), None);
    source.wait_for(connected).await;
    let Running {
        orders, mut end, ..
    } = destination;
    drop(orders);
    assert!(matches!(
        (&mut end).await.unwrap(),
        Err(DestinationError::Stopped(_))
    ));
    let failure = source.end().await.unwrap_err();
    assert!(
        matches!(&failure.error, SourceError::Refused(why) if why.contains("agent")),
        "{failure:?}"
    );
}
