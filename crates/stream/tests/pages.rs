//! What is moved page by page arrives as it was, and costs what the destination does not have.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;

use common::{
    Rig, read_all,
    stream::{Memory, noise, stream, text},
    write_all,
};
use godwit_stream::{
    ByteCount, Command, Event, MemoryConfig, PageCounts, PagesConfig, StoreConfig, Totals,
    codec::PAGE,
    destination::DestinationError,
    local::LocalPages,
    pages::PageStore,
    source::{PIECE, SourceError},
};

const KEY: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

/// A host's pages: a store in this file.
fn host(store: Option<PathBuf>, key: &str) -> LocalPages {
    let store = store.map(|path| StoreConfig {
        path,
        size: ByteCount(64 << 20),
    });
    let config = PagesConfig {
        key: key.parse().unwrap(),
        vm: [7; 16],
        store,
        template: None,
    };
    let (local, without) = LocalPages::open(&config);
    assert!(without.is_empty(), "{without:?}");
    local
}

/// Moves `data` between hosts with these pages; gives what arrived and what it cost the source.
async fn moved(data: &[u8], from: LocalPages, to: LocalPages) -> (Vec<u8>, Totals) {
    let rig = Rig::new();
    let (mut destination, address, qemu) = rig
        .start_destination(rig.destination_config(), Some(to))
        .await;
    let arrived = read_all(qemu);
    let mut source = rig.start_source(rig.source_config(address), Some(from));
    write_all(rig.source_qemu().await, data.to_vec())
        .await
        .unwrap()
        .unwrap();
    source.orders.send(Command::Release).await.unwrap();
    source.end().await.unwrap();
    destination.end().await.unwrap();
    let totals = source.counters.totals();
    assert_eq!(totals.bytes_in, ByteCount(data.len() as u64));
    assert_eq!(destination.counters.totals().bytes_out, totals.bytes_in);
    (arrived.await.unwrap(), totals)
}

/// 4096 pages: half zero, a quarter text, a quarter noise, in an order that mixes them.
fn memory(seed: u64) -> Memory {
    let page = |at: u64| match at % 4 {
        0 | 1 => [0; PAGE],
        2 => text(seed + at),
        _ => noise(seed + at),
    };
    (0..4096).map(page).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_arrives_as_it_was_and_a_return_costs_what_has_changed() {
    let stores = tempfile::tempdir().unwrap();
    let [here, there] = ["here", "there"].map(|name| Some(stores.path().join(name)));
    let mut memory = memory(1);
    let all: Vec<usize> = (0..memory.len()).collect();
    let again: Vec<usize> = all.iter().copied().step_by(5).collect();
    let blackout = vec![1, 2, 3, 5, 7, 11];
    let rounds = [all.clone(), again, blackout];
    let data = stream(&memory, &rounds, 100_000);
    let (arrived, totals) = moved(&data, host(here.clone(), KEY), host(there.clone(), KEY)).await;
    assert!(arrived == data);
    let PageCounts {
        zero,
        store,
        compressed,
        raw,
        template,
    } = totals.pages;
    assert_eq!(template, 0);
    // The second round repeats what the first has brought, but what was still under way when it was asked for.
    assert!((200..=410).contains(&store), "{store}");
    assert_eq!(zero + store + compressed + raw, 4096 + 820 + 6);
    assert!(totals.bytes_out.0 < 1024 * 4096 + 1_000_000, "{totals:?}");

    // Back, with some pages changed.
    for at in 0..40 {
        memory[at * 17] = noise(1_000_000 + at as u64);
    }
    let data = stream(&memory, &[all, vec![17, 34]], 1000);
    let (arrived, totals) = moved(&data, host(there, KEY), host(here, KEY)).await;
    assert!(arrived == data);
    // A chunk that reaches into the blackout is not asked about: at most 127 pages of it.
    let known = totals.pages.store + totals.pages.zero;
    assert!((4096 - 40 - 127..=4096 - 40).contains(&known), "{totals:?}");
    assert!(
        totals.bytes_out.0 < (42 + 127) * 4200 + 60_000,
        "{totals:?}"
    );
}

#[tokio::test]
async fn the_vm_does_not_wait_for_the_keeping_of_its_last_pages() {
    let stores = tempfile::tempdir().unwrap();
    let [here, there] = ["here", "there"].map(|name| stores.path().join(name));
    // Everything is sent in the blackout.
    let blackout: Vec<usize> = (0..400).collect();
    let data = stream(&memory(9), &[blackout], 1000);
    let rig = Rig::new();
    let local = |path: &PathBuf| host(Some(path.clone()), KEY);
    let (mut destination, address, qemu) = rig
        .start_destination(rig.destination_config(), Some(local(&there)))
        .await;
    let reading = read_all(qemu);
    let mut source = rig.start_source(rig.source_config(address), Some(local(&here)));
    write_all(rig.source_qemu().await, data)
        .await
        .unwrap()
        .unwrap();
    source.orders.send(Command::Release).await.unwrap();
    let ends = [
        (source.verdict().await.unwrap(), here),
        (destination.verdict().await.unwrap(), there),
    ];
    reading.await.unwrap();
    for (afterwards, path) in ends {
        let kept = || PageStore::look(&path).unwrap().unwrap().pages;
        assert_eq!(kept(), 0, "that can wait");
        afterwards();
        assert_eq!(kept(), 200);
    }
}

#[tokio::test]
async fn without_stores_everything_is_sent_and_arrives() {
    let memory = memory(3);
    let data = stream(&memory, &[(0..4096).collect(), vec![9]], 3 * PIECE);
    let (arrived, totals) = moved(&data, host(None, KEY), host(None, KEY)).await;
    assert!(arrived == data);
    assert_eq!(totals.pages.store, 0);
}

#[tokio::test]
async fn what_is_not_understood_passes_as_it_is() {
    let memory = memory(4);
    let mut data = stream(&memory, &[(0..2000).collect(), vec![9]], 1000);
    // An unknown section after the first round.
    let at = data.len() - 1000 - 4096 - 40;
    data.splice(at..at, [0x55; 700_000]);
    let (arrived, totals) = moved(&data, host(None, KEY), host(None, KEY)).await;
    assert!(arrived == data);
    assert!(totals.pages.zero > 0);

    for data in [
        vec![],
        b"QEVM".to_vec(),
        common::random(3 * PIECE + 5),
        data[..data.len() / 2].to_vec(),
    ] {
        let (arrived, _) = moved(&data, host(None, KEY), host(None, KEY)).await;
        assert!(arrived == data, "{} bytes", data.len());
    }
}

#[tokio::test]
async fn a_destination_that_takes_no_pages_gets_the_stream_as_it_is() {
    let data = stream(&memory(5), &[(0..4096).collect(), vec![9]], 1000);
    for (from, to) in [(true, false), (false, true)] {
        let rig = Rig::new();
        let local = |yes: bool| yes.then(|| host(None, KEY));
        let (mut destination, address, qemu) = rig
            .start_destination(rig.destination_config(), local(to))
            .await;
        let arrived = read_all(qemu);
        let mut source = rig.start_source(rig.source_config(address), local(from));
        write_all(rig.source_qemu().await, data.clone())
            .await
            .unwrap()
            .unwrap();
        source.orders.send(Command::Release).await.unwrap();
        source.end().await.unwrap();
        destination.end().await.unwrap();
        assert!(arrived.await.unwrap() == data);
        assert_eq!(source.counters.totals().pages, PageCounts::default());
    }
}

#[tokio::test]
async fn hosts_with_different_keys_move_nothing_and_say_so() {
    let rig = Rig::new();
    let (mut destination, address, qemu) = rig
        .start_destination(rig.destination_config(), Some(host(None, &"a1".repeat(32))))
        .await;
    let arrived = read_all(qemu);
    let mut source = rig.start_source(rig.source_config(address), Some(host(None, KEY)));
    let data = stream(&memory(6), &[(0..300).collect(), vec![9]], 1000);
    write_all(rig.source_qemu().await, data.clone())
        .await
        .unwrap()
        .unwrap();
    source.wait_for(|event| *event == Event::Drained).await;
    source.orders.send(Command::Release).await.unwrap();
    let failure = source.end().await.unwrap_err();
    // The source cannot know that the tail stayed outside QEMU: only the epoch may decide now.
    assert!(failure.released);
    assert!(
        matches!(&failure.error, SourceError::Refused(reason) if reason.contains("digest")),
        "{failure:?}"
    );
    assert!(matches!(
        destination.end().await,
        Err(DestinationError::Digest)
    ));
    assert_eq!(
        arrived.await.unwrap().len(),
        data.len() - 1000,
        "the tail was kept"
    );
}

#[tokio::test]
async fn pages_go_straight_into_the_guests_memory() {
    let stores = tempfile::tempdir().unwrap();
    let store = Some(stores.path().join("there"));
    let mut memory = memory(8);
    let first = stream(
        &memory,
        &[
            (0..4096).collect(),
            (0..4096).step_by(3).collect(),
            vec![9, 4095, 1],
        ],
        5000,
    );
    // The second machine differs; where it has zeros, the first has left something.
    let before = memory.clone();
    memory.rotate_left(1);
    let second = stream(&memory, &[(0..4096).collect(), vec![0]], 5000);
    let file = stores.path().join("memory");
    std::fs::write(&file, vec![0; 4096 * PAGE]).unwrap();
    for (data, memory) in [(first, before), (second, memory)] {
        let rig = Rig::new();
        let mut config = rig.destination_config();
        config.memory = Some(MemoryConfig {
            file: file.clone(),
            block: "pc.ram".into(),
        });
        let (mut destination, address, qemu) = rig
            .start_destination(config, Some(host(store.clone(), KEY)))
            .await;
        let arrived = read_all(qemu);
        let mut source = rig.start_source(rig.source_config(address), Some(host(None, KEY)));
        write_all(rig.source_qemu().await, data.clone())
            .await
            .unwrap()
            .unwrap();
        source.orders.send(Command::Release).await.unwrap();
        source.end().await.unwrap();
        destination.end().await.unwrap();
        assert!(std::fs::read(&file).unwrap() == memory.as_flattened());
        // QEMU gets the rest: the stream of a machine that sends no page.
        let rounds = data
            .windows(5)
            .filter(|mark| mark == b"\x7e\0\0\0\x02")
            .count()
            - 1;
        let rest = stream(&memory, &vec![vec![]; rounds], 5000);
        assert!(arrived.await.unwrap() == rest);
    }
}

#[tokio::test]
async fn a_stream_that_is_not_understood_half_way_goes_on_in_the_right_block() {
    let dir = tempfile::tempdir().unwrap();
    let memory = memory(9);
    let mut data = stream(&memory, &[(0..1000).collect(), vec![10, 14]], 1000);
    // A record with an unknown flag in the blackout's section, then the page's own, of the same block as before.
    let record = data.len() - 1000 - 13 - 4096 - 8;
    let tail = [&[0, 0, 0, 0, 0, 0, 0x90, 0xa0][..], &data[record..]].concat();
    data.splice(record.., tail.clone());
    let file = dir.path().join("memory");
    std::fs::write(&file, vec![0; 4096 * PAGE]).unwrap();
    let rig = Rig::new();
    let mut config = rig.destination_config();
    config.memory = Some(MemoryConfig {
        file: file.clone(),
        block: "pc.ram".into(),
    });
    let (mut destination, address, qemu) =
        rig.start_destination(config, Some(host(None, KEY))).await;
    let arrived = read_all(qemu);
    let mut source = rig.start_source(rig.source_config(address), Some(host(None, KEY)));
    write_all(rig.source_qemu().await, data)
        .await
        .unwrap()
        .unwrap();
    source
        .wait_for(|event| matches!(event, Event::Without { what } if what.contains("0x90a0")))
        .await;
    source.orders.send(Command::Release).await.unwrap();
    source.end().await.unwrap();
    destination.end().await.unwrap();
    let arrived = arrived.await.unwrap();
    assert!(std::fs::read(&file).unwrap()[..1000 * PAGE] == *memory[..1000].as_flattened());
    // What QEMU gets last: the block by name with a page as it is, then what was not understood.
    let told = [&8_u64.to_be_bytes()[..], b"\x06pc.ram", &memory[0], &tail].concat();
    assert!(arrived.ends_with(&told));
}
