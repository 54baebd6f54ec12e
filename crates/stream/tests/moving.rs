//! What is moved arrives as it was, and never whole before Release or after damage.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{LONG, Rig, bytes, connected, random, read_all, write_all};
use godwit_stream::{
    ByteCount, Command, Event,
    destination::DestinationError,
    source::{PIECE, SourceError},
    transfer::{PassThrough, Reducer, RestoreError, Restorer},
};
use tokio::io::AsyncReadExt;

/// Moves `data` and gives what arrived.
async fn moved(data: &[u8]) -> Vec<u8> {
    let rig = Rig::new();
    let (mut destination, address, qemu) = rig
        .start_destination(rig.destination_config(), PassThrough)
        .await;
    let arrived = read_all(qemu);
    let mut source = rig.start_source(rig.source_config(address), PassThrough);
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
    let (mut destination, address, mut qemu) = rig
        .start_destination(rig.destination_config(), PassThrough)
        .await;
    let mut source = rig.start_source(rig.source_config(address), PassThrough);
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
        let (mut destination, address, qemu) = rig
            .start_destination(rig.destination_config(), PassThrough)
            .await;
        let arrived = read_all(qemu);
        let mut source = rig.start_source(rig.source_config(address), PassThrough);
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
    let (mut destination, address, qemu) = rig
        .start_destination(rig.destination_config(), PassThrough)
        .await;
    let arrived = read_all(qemu);
    let mut source = rig.start_source(rig.source_config(address), PassThrough);
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

/// Damages one byte of the second piece, in either role.
#[derive(Default)]
struct Damaging {
    pieces: usize,
    buffer: Vec<u8>,
}

impl Damaging {
    fn damage(&mut self, piece: &[u8]) -> &[u8] {
        self.buffer = piece.to_vec();
        self.pieces += 1;
        if self.pieces == 2 {
            self.buffer[1234] ^= 1;
        }
        &self.buffer
    }
}

impl Reducer for Damaging {
    fn reduce<'a>(&'a mut self, piece: &'a [u8]) -> &'a [u8] {
        self.damage(piece)
    }
}

impl Restorer for Damaging {
    fn restore<'a>(&'a mut self, payload: &'a [u8]) -> Result<&'a [u8], RestoreError> {
        Ok(self.damage(payload))
    }
}

async fn damaged(reducer: impl Reducer + 'static, restorer: impl Restorer + 'static) {
    let rig = Rig::new();
    let (mut destination, address, qemu) = rig
        .start_destination(rig.destination_config(), restorer)
        .await;
    let arrived = read_all(qemu);
    let mut source = rig.start_source(rig.source_config(address), reducer);
    write_all(rig.source_qemu().await, random(5 * PIECE))
        .await
        .unwrap()
        .unwrap();
    source.wait_for(|event| *event == Event::Drained).await;
    source.orders.send(Command::Release).await.unwrap();

    let failure = source.end().await.unwrap_err();
    // The source cannot know that the tail stayed outside QEMU: only the epoch may decide now.
    assert!(failure.released);
    let SourceError::Refused(reason) = failure.error else {
        panic!("{failure:?}")
    };
    assert!(reason.contains("digest"), "{reason}");
    assert!(matches!(
        destination.end().await,
        Err(DestinationError::Digest)
    ));
    // The last full piece was withheld, and so was what would have followed it.
    assert_eq!(arrived.await.unwrap().len(), 4 * PIECE);
}

#[tokio::test]
async fn a_byte_damaged_on_either_side_keeps_the_tail_from_qemu() {
    damaged(Damaging::default(), PassThrough).await;
    damaged(PassThrough, Damaging::default()).await;
}

/// Restores nothing.
struct Broken;

impl Restorer for Broken {
    fn restore<'a>(&'a mut self, _: &'a [u8]) -> Result<&'a [u8], RestoreError> {
        Err(RestoreError("no such page".into()))
    }
}

#[tokio::test]
async fn the_source_learns_why_the_destination_gave_up_in_mid_stream() {
    let rig = Rig::new();
    let (mut destination, address, _qemu) = rig
        .start_destination(rig.destination_config(), Broken)
        .await;
    let mut source = rig.start_source(rig.source_config(address), PassThrough);
    let writing = write_all(rig.source_qemu().await, random(64 * PIECE));
    let failure = source.end().await.unwrap_err();
    assert!(!failure.released);
    let SourceError::Refused(reason) = failure.error else {
        panic!("{failure:?}")
    };
    assert!(reason.contains("no such page"), "{reason}");
    assert!(matches!(
        destination.end().await,
        Err(DestinationError::Restore(_))
    ));
    // QEMU at the source sees its connection break and does not hang.
    assert!(
        tokio::time::timeout(LONG, writing)
            .await
            .unwrap()
            .unwrap()
            .is_err()
    );
}

#[tokio::test]
async fn a_qemu_that_dies_at_the_destination_ends_both() {
    let rig = Rig::new();
    let (mut destination, address, qemu) = rig
        .start_destination(rig.destination_config(), PassThrough)
        .await;
    let mut source = rig.start_source(rig.source_config(address), PassThrough);
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
