//! Whatever the source sends: no panic, nothing outside of the guest's memory, no tail without its digest.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{
    ByteCount, MemoryConfig, PagesConfig, StoreConfig,
    wire::batch::{ASKED, PACKED},
};

/// The guest's memory, in pages.
const PAGES: usize = 8;

/// What the destination's store has: pages of these seeds.
const KNOWN: u8 = 4;

fn page(seed: u8) -> [u8; PAGE] {
    [seed + 1; PAGE]
}

fn local(dir: &Path) -> LocalPages {
    let (mut local, without) = LocalPages::open(&PagesConfig {
        key: "5e".repeat(32).parse().unwrap(),
        vm: [7; 16],
        store: Some(StoreConfig {
            path: dir.join("store"),
            size: ByteCount(9 << 20),
        }),
        template: None,
    });
    assert!(without.is_empty(), "{without:?}");
    let pages: Vec<_> = (0..KNOWN).map(page).collect();
    let hashed: Vec<_> = pages
        .iter()
        .map(|page| (local.key().hash(page), page))
        .collect();
    local.remember(hashed.into_iter());
    local
}

#[derive(Debug, Clone)]
enum Sent {
    Query(Vec<u8>),
    /// Flags, ops, contents; and whether it is cut.
    Batch(u8, Vec<Vec<u8>>, Vec<u8>, Option<prop::sample::Index>),
    Bytes(Kind, Vec<u8>),
}

fn op() -> impl Strategy<Value = Vec<u8>> {
    // Places: mostly within the memory, at its end, and where numbers end.
    let first = prop_oneof![
        4 => (0..PAGES as u8 + 2).prop_map(|first| vec![first]),
        1 => Just(vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 7]),
        1 => Just(vec![0xff; 8]),
    ];
    prop_oneof![
        4 => (1..3_u8, first, 1..5_u8)
            .prop_map(|(code, first, count)| [vec![code], first, vec![count]].concat()),
        2 => Just(b"\x03\x06pc.ram".to_vec()),
        1 => Just(b"\x03\x03rom".to_vec()),
        1 => Just(vec![4]),
        1 => Just(b"\x00\x08\0\0\0\0\0\0\0\x10".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let seeds = || prop::collection::vec(0..2 * KNOWN, 0..6);
    let flags = prop_oneof![4 => Just(ASKED), 4 => Just(0), 1 => Just(PACKED), 1 => any::<u8>()];
    let cut = prop::option::weighted(0.1, any::<prop::sample::Index>());
    let bytes = || prop::collection::vec(any::<u8>(), 0..100);
    prop_oneof![
        4 => seeds().prop_map(Sent::Query),
        8 => (flags, prop::collection::vec(op(), 0..6), seeds(), cut)
            .prop_map(|(flags, ops, contents, cut)| Sent::Batch(flags, ops, contents, cut)),
        1 => (prop::sample::select(&[Kind::Query, Kind::Batch, Kind::Data, Kind::Final, Kind::Have][..]), bytes())
            .prop_map(|(kind, bytes)| Sent::Bytes(kind, bytes)),
    ]
}

fn payload(sent: &Sent, local: &LocalPages) -> (Kind, Vec<u8>) {
    match sent {
        Sent::Bytes(kind, bytes) => (*kind, bytes[..bytes.len().min(kind.limit())].to_vec()),
        Sent::Query(seeds) => {
            let hashes = seeds
                .iter()
                .flat_map(|seed| local.key().hash(&page(*seed)).0);
            (Kind::Query, hashes.collect())
        }
        Sent::Batch(flags, ops, contents, cut) => {
            let ops = ops.concat();
            let mut body = (ops.len() as u32).to_be_bytes().to_vec();
            body.extend(&ops);
            body.extend(contents.iter().flat_map(|seed| page(*seed)));
            let mut payload = vec![*flags];
            if flags & PACKED != 0 {
                payload.extend((body.len() as u32).to_be_bytes());
                body = zstd::bulk::compress(&body, 1).unwrap();
            }
            payload.extend(&body);
            if let Some(cut) = cut {
                payload.truncate(cut.index(payload.len()));
            }
            (Kind::Batch, payload)
        }
    }
}

/// Feeds these frames and then nothing; says what became of it.
fn fed(dir: &Path, frames: &[Sent]) -> Result<(), DestinationError> {
    reported(dir, frames).0
}

/// The same, and what was reported meanwhile.
fn reported(dir: &Path, frames: &[Sent]) -> (Result<(), DestinationError>, Vec<Event>) {
    let file = dir.join("memory");
    std::fs::write(&file, [0; PAGES * PAGE]).unwrap();
    let memory = GuestMemory::open(&MemoryConfig {
        file: file.clone(),
        block: "pc.ram".into(),
    })
    .unwrap();
    let local = local(dir);
    let mut sent = Vec::new();
    for frame in frames {
        let (kind, payload) = payload(frame, &local);
        sent.extend(crate::wire::Header::encode(kind, payload.len()));
        sent.extend(payload);
    }
    let mut network = FrameReader::new(tokio::io::join(&sent[..], tokio::io::sink()));
    let mut feeder = Feeder::new(Some(local), Some(memory)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (report, mut events) = Reporter::new();
    let end =
        runtime.block_on(feeder.feed(&mut network, &mut Vec::new(), &report, &Counters::default()));
    assert_eq!(
        std::fs::metadata(&file).unwrap().len(),
        (PAGES * PAGE) as u64
    );
    let pages = feeder.pages.unwrap();
    assert!(pages.restorer.waiting() <= MAX_WAITING);
    assert!(pages.later.len() <= REMEMBERED_LATER);
    // Nothing but pages that somebody had: zeros, or one of ours.
    for page in std::fs::read(&file).unwrap().as_chunks::<PAGE>().0 {
        assert!(page.iter().all(|byte| *byte == page[0]) && page[0] <= 2 * KNOWN);
    }
    drop(report);
    let events = std::iter::from_fn(|| events.blocking_recv()).collect();
    (end, events)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_frames_are_refused_or_stay_within_the_memory(frames in prop::collection::vec(sent(), 0..20)) {
        let dir = tempfile::tempdir().unwrap();
        // No digest of these is right, so it cannot end well.
        prop_assert!(fed(dir.path(), &frames).is_err());
    }
}

#[test]
fn frames_that_make_sense_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let pages = b"\x03\x06pc.ram".to_vec();
    let batch = |flags, ops: &[&[u8]], contents: &[u8]| {
        let ops = ops.iter().map(|op| op.to_vec());
        Sent::Batch(flags, ops.collect(), contents.to_vec(), None)
    };
    let good = [
        Sent::Query(vec![0, 6, 1]),
        batch(ASKED, &[&pages, &[2, 0, 2], &[1, 2, 3], &[2, 7, 1]], &[6]),
        batch(PACKED, &[&pages, &[2, 5, 1]], &[7]),
    ];
    // Only what should have followed is missing.
    let end = fed(dir.path(), &good);
    assert!(
        matches!(end, Err(DestinationError::Frame(FrameError::Closed))),
        "{end:?}"
    );
    let bytes = std::fs::read(dir.path().join("memory")).unwrap();
    let first: Vec<_> = bytes.chunks(PAGE).map(|page| page[9]).collect();
    assert_eq!(first, [1, 7, 0, 0, 0, 8, 0, 2]);
}

#[test]
fn pages_that_were_not_asked_about_tell_of_the_blackout_once() {
    let dir = tempfile::tempdir().unwrap();
    let block = b"\x03\x06pc.ram".to_vec();
    let batch = |flags, op: &[u8], contents: &[u8]| {
        Sent::Batch(
            flags,
            vec![block.clone(), op.to_vec()],
            contents.to_vec(),
            None,
        )
    };
    let running = [
        Sent::Query(vec![6]),
        batch(ASKED, &[2, 0, 1], &[6]),
        batch(0, &[1, 1, 2], &[]),
    ];
    assert_eq!(reported(dir.path(), &running).1, []);
    // A stream that goes on as it is, with the VM running: nobody knows when it stops.
    let opaque = [batch(0, &[4], &[]), Sent::Bytes(Kind::Data, vec![1])];
    assert_eq!(reported(dir.path(), &opaque).1, []);
    let paused = [
        running[2].clone(),
        batch(0, &[2, 3, 1], &[7]),
        batch(0, &[2, 4, 1], &[7]),
    ];
    assert_eq!(reported(dir.path(), &paused).1, [Event::Blackout]);
}

#[test]
fn a_page_beyond_the_memory_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let ops = vec![b"\x03\x06pc.ram".to_vec(), vec![1, PAGES as u8 - 1, 2]];
    let end = fed(dir.path(), &[Sent::Batch(0, ops, vec![], None)]);
    assert!(matches!(end, Err(DestinationError::Memory(_))), "{end:?}");
}

#[test]
fn no_pages_follow_what_is_not_memory() {
    let dir = tempfile::tempdir().unwrap();
    for late in [Sent::Query(vec![1]), Sent::Batch(0, vec![], vec![], None)] {
        let end = fed(dir.path(), &[Sent::Bytes(Kind::Data, vec![1]), late]);
        let refused = matches!(end, Err(DestinationError::Frame(FrameError::OutOfTurn(_))));
        assert!(refused, "{end:?}");
    }
}

#[test]
fn queries_without_batches_are_not_kept_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let frames: Vec<_> = (0..100).map(|_| Sent::Query(vec![0; 100])).collect();
    let end = fed(dir.path(), &frames);
    let refused = matches!(
        end,
        Err(DestinationError::Frame(FrameError::OutOfTurn(Kind::Query)))
    );
    assert!(refused, "{end:?}");
}
