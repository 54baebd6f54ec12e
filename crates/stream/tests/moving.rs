//! What is moved arrives as it was, and never whole before Release or after damage.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Rig, bytes, connected, let_in, random, read_all, write_all};
use godwit_stream::{
    ByteCount, Command, Event,
    destination::DestinationError,
    source::{PIECE, SourceError},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Moves `data` and gives what arrived.
async fn moved(data: &[u8]) -> Vec<u8> {
    let rig = Rig::new();
    let (mut destination, address, qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    let arrived = read_all(qemu);
    let mut source = rig.start_source(rig.source_config(address), None);
    source.wait_for(connected).await;
    destination.wait_for(connected).await;
    write_all(rig.source_qemu().await, data.to_vec())
        .await
        .unwrap()
        .unwrap();
    source.wait_for(|event| *event == Event::Drained).await;
    source.orders.send(Command::Release).await.unwrap();
    source.wait_for(|event| *event == Event::Released).await;
    source.end().await.unwrap();
    destination.end().await.unwrap();

    let all = ByteCount(data.len() as u64);
    assert_eq!(bytes(&source.counters.totals()), (all, all));
    assert_eq!(destination.counters.totals().bytes_out, all);
    arrived.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_stream_arrives_as_it_was() {
    let data = random(64 << 20);
    assert!(moved(&data).await == data);
}

#[tokio::test]
async fn streams_of_every_odd_length_arrive_as_they_were() {
    for length in [
        0,
        1,
        PIECE - 1,
        PIECE,
        PIECE + 1,
        2 * PIECE,
        2 * PIECE + 1,
        3 * PIECE - 1,
        3 * PIECE,
    ] {
        let data = random(length);
        assert!(moved(&data).await == data, "{length} bytes");
    }
}

#[tokio::test]
async fn the_tail_stays_until_release() {
    let rig = Rig::new();
    let (mut destination, address, mut qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    let mut source = rig.start_source(rig.source_config(address), None);
    // One byte in the last piece: the piece before it has to stay as well.
    let data = random(4 * PIECE + 1);
    write_all(rig.source_qemu().await, data.clone())
        .await
        .unwrap()
        .unwrap();
    source.wait_for(|event| *event == Event::Drained).await;

    let mut arrived = vec![0; 3 * PIECE];
    qemu.read_exact(&mut arrived).await.unwrap();
    let mut one = [0];
    let more = tokio::time::timeout(Duration::from_millis(500), qemu.read(&mut one)).await;
    assert!(more.is_err(), "bytes of the tail came without release");
    assert!(!destination.end.is_finished() && !source.end.is_finished());

    source.orders.send(Command::Release).await.unwrap();
    arrived.extend(read_all(qemu).await.unwrap());
    assert!(arrived == data);
    source.end().await.unwrap();
    destination.end().await.unwrap();
}

#[tokio::test]
async fn cancel_and_a_lost_agent_before_release_keep_the_tail() {
    for cancel in [true, false] {
        let rig = Rig::new();
        let (mut destination, address, qemu) =
            rig.start_destination(rig.destination_config(), None).await;
        let arrived = read_all(qemu);
        let mut source = rig.start_source(rig.source_config(address), None);
        write_all(rig.source_qemu().await, random(2 * PIECE))
            .await
            .unwrap()
            .unwrap();
        source.wait_for(|event| *event == Event::Drained).await;
        if cancel {
            source.orders.send(Command::Cancel).await.unwrap();
        } else {
            source.orders = tokio::sync::mpsc::channel(1).0;
        }
        let failure = source.end().await.unwrap_err();
        assert!(
            matches!(failure.error, SourceError::Stopped(_)) && !failure.released,
            "{failure:?}"
        );
        assert!(matches!(
            destination.end().await,
            Err(DestinationError::Frame(_))
        ));
        assert!(arrived.await.unwrap().len() < 2 * PIECE);
    }
}

#[tokio::test]
async fn a_release_that_comes_before_the_end_of_the_stream_counts() {
    let rig = Rig::new();
    let (mut destination, address, qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    let arrived = read_all(qemu);
    let mut source = rig.start_source(rig.source_config(address), None);
    source.wait_for(connected).await;
    source.orders.send(Command::Release).await.unwrap();
    let data = random(PIECE + 7);
    write_all(rig.source_qemu().await, data.clone())
        .await
        .unwrap()
        .unwrap();
    source.end().await.unwrap();
    destination.end().await.unwrap();
    assert!(arrived.await.unwrap() == data);
}

#[tokio::test]
async fn a_digest_that_does_not_match_keeps_the_tail_from_qemu() {
    let rig = Rig::new();
    let (mut destination, address, qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    let arrived = read_all(qemu);
    let mut source = let_in(&rig, address).await;
    source.write_all(b"\x03\0\0\0\x05whole").await.unwrap();
    let mut last = b"\x04\0\0\0\x24".to_vec();
    // The digest of another stream.
    last.extend(blake3::hash(b"wholeTail").as_bytes());
    last.extend(b"tail");
    source.write_all(&last).await.unwrap();
    source.flush().await.unwrap();
    assert!(matches!(
        destination.end().await,
        Err(DestinationError::Digest)
    ));
    let mut answer = Vec::new();
    let _ = source.read_to_end(&mut answer).await;
    assert_eq!(answer[0], 6, "a Refused");
    assert!(String::from_utf8_lossy(&answer[5..]).contains("digest"));
    assert_eq!(arrived.await.unwrap(), b"whole");
}

#[tokio::test]
async fn a_qemu_that_dies_at_the_destination_ends_both() {
    let rig = Rig::new();
    let (mut destination, address, qemu) =
        rig.start_destination(rig.destination_config(), None).await;
    let mut source = rig.start_source(rig.source_config(address), None);
    source.wait_for(connected).await;
    // Before any byte was sent: noticed without writing.
    drop(qemu);
    let failure = source.end().await.unwrap_err();
    assert!(
        matches!(&failure.error, SourceError::Refused(reason) if reason.contains("QEMU")),
        "{failure:?}"
    );
    assert!(matches!(
        destination.end().await,
        Err(DestinationError::Qemu(_))
    ));
}
