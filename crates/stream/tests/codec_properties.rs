//! Any stream is given back as it was, with all its pages found, wherever it is cut; so are damaged ones and garbage.
#![allow(clippy::unwrap_used, missing_docs)]

use godwit_stream::codec::{
    PAGE,
    plan::{Announcement, Plan, Record},
    walk::{End, Walk, walk},
    writer::{Block, Subsection},
};
use proptest::{collection::vec, option, prelude::*, sample::Index};

fn subsections() -> impl Strategy<Value = Vec<Subsection>> {
    let capabilities = Just(Subsection::Capabilities(vec![]));
    let uuid = any::<[u8; 16]>().prop_map(Subsection::Uuid);
    let bits = Just(Subsection::TargetPageBits(12));
    vec(prop_oneof![capabilities, uuid, bits], 0..4)
}

fn commands() -> impl Strategy<Value = Vec<Announcement>> {
    let any_of_them = prop_oneof![
        Just(Announcement::OpenReturnPath),
        any::<u32>().prop_map(Announcement::Ping),
        Just(Announcement::PostcopyAdvise),
        Just(Announcement::PostcopyAdviseWithoutMemory),
        Just(Announcement::SwitchoverStart),
    ];
    vec(any_of_them, 0..4)
}

fn record() -> impl Strategy<Value = Record> {
    let block = || option::weighted(0.2, "[a-z./@]{0,20}");
    let page = (any::<u32>(), block(), option::of(any::<u8>()));
    let page = page.prop_map(|(number, block, seed)| Record::Page {
        number,
        block,
        seed,
    });
    let delta = (any::<u32>(), block(), vec(any::<u8>(), 0..300));
    let delta = delta.prop_map(|(number, block, data)| Record::Xbzrle {
        number,
        block,
        data,
    });
    prop_oneof![8 => page, 2 => delta, 1 => Just(Record::MultifdFlush)]
}

fn blocks() -> impl Strategy<Value = Vec<(String, u64)>> {
    vec(("[a-z./@]{0,20}", 1..u64::from(u32::MAX)), 0..5)
}

prop_compose! {
    fn plan()(
        machine in "[a-z0-9.-]{0,30}",
        mut subsections in subsections(),
        commands in commands(),
        ram: u32,
        blocks in blocks(),
        shared in option::of(any::<u64>()),
        rounds in vec(vec(record(), 0..12), 0..4),
        last in vec(record(), 0..12),
        devices in vec(("[a-z/]{0,20}", vec(any::<u8>(), 0..200)), 0..3),
    ) -> Plan {
        if shared.is_some() {
            subsections.push(Subsection::Capabilities(vec!["x-ignore-shared".into()]));
        }
        let block = |(name, pages)| Block { name, length: pages * PAGE as u64, address: shared };
        let blocks = blocks.into_iter().map(block).collect();
        Plan { machine, subsections, commands, ram, blocks, rounds, last, devices }
    }
}

/// Pieces of these sizes, again and again.
fn in_pieces(stream: &[u8], pieces: &[usize]) -> Walk {
    let mut sizes = pieces.iter().copied().cycle();
    walk(stream, || sizes.next().unwrap_or(1)).unwrap()
}

fn whole(stream: &[u8]) -> Walk {
    walk(stream, || usize::MAX).unwrap()
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..20_usize, 1..10_000_usize], 1..20)
}

proptest! {
    // A failure is to be kept as a test of its own, not in a file.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_pages_are_found_wherever_it_is_cut(plan in plan(), pieces in pieces()) {
        let (stream, ram) = plan.write();
        let walk = in_pieces(&stream, &pieces);
        prop_assert!(walk.rebuilt == stream);
        prop_assert_eq!(&walk.end, &End::RamEnded);
        prop_assert_eq!(walk.interpreted, ram);
        prop_assert!(walk.last_section.unwrap() < ram);
        prop_assert!(walk.agrees_with(&plan.expected(), &stream));
        prop_assert!(walk == whole(&stream));
    }

    #[test]
    fn damage_changes_no_byte(
        plan in plan(),
        damage in vec((any::<Index>(), any::<u8>()), 1..10),
        keep in any::<Index>(),
        pieces in pieces(),
    ) {
        let (mut stream, _) = plan.write();
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        stream.truncate(keep.index(stream.len()) + 1);
        let walk = in_pieces(&stream, &pieces);
        prop_assert!(walk.rebuilt == stream);
        prop_assert!(walk == whole(&stream));
    }

    #[test]
    fn garbage_is_passed_through(bytes: Vec<u8>, magic: bool, pieces in pieces()) {
        let begin: &[u8] = if magic { b"QEVM\0\0\0\x03" } else { b"" };
        let stream = [begin, &bytes].concat();
        let walk = in_pieces(&stream, &pieces);
        prop_assert!(walk.rebuilt == stream);
        prop_assert!(walk == whole(&stream));
    }
}

#[test]
fn every_single_byte_may_come_alone() {
    let page = |block: Option<&str>, seed| Record::Page {
        number: 3,
        block: block.map(Into::into),
        seed,
    };
    let plan = Plan {
        machine: "pc".into(),
        subsections: vec![Subsection::Uuid([1; 16])],
        commands: vec![Announcement::PostcopyAdvise],
        ram: 1,
        blocks: vec![],
        rounds: vec![vec![page(Some("pc.ram"), Some(1)), page(None, Some(2))]],
        last: vec![page(Some("pc.bios"), None), page(None, None)],
        devices: vec![],
    };
    let (stream, _) = plan.write();
    let walk = in_pieces(&stream, &[1]);
    assert!(walk.rebuilt == stream && walk == whole(&stream));
    assert_eq!(walk.counts(), (2, 2));
}
