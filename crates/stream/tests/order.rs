//! A guest's memory is that of the source whatever the stream consists of, even if QEMU reads its stream only after the
//! relay has written everything else.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{
    Rig, read_all,
    stream::{noise, stream, text},
    write_all,
};
use godwit_stream::{
    Command, MemoryConfig, PagesConfig,
    codec::{Head, PAGE},
    local::LocalPages,
    source::PIECE,
};
use proptest::prelude::*;

const PAGES: usize = 64;
/// QEMU has this flag for something that our codec does not know; here it is a word of its own.
const ODD: u64 = 0x80;
const DELTA: u64 = 0x40;
const END: u64 = 0x10;
const FLUSH: u64 = 0x200;
const SAME_BLOCK: u64 = 0x20;

/// A section of a kind that our codec does not know, of five bytes.
const ODD_SECTION: &[u8] = b"\x55odd!";

type Blocks = BTreeMap<Vec<u8>, Vec<[u8; PAGE]>>;

fn blocks() -> Blocks {
    let blocks = [b"pc.ram".to_vec(), b"rom".to_vec()];
    blocks.map(|name| (name, vec![[0; PAGE]; PAGES])).into()
}

fn page_of(memory: &mut Blocks, rom: bool, number: usize) -> &mut [u8; PAGE] {
    let name: &[u8] = if rom { b"rom" } else { b"pc.ram" };
    &mut memory.get_mut(name).unwrap()[number]
}

#[derive(Debug, Clone)]
enum Record {
    Page {
        rom: bool,
        number: usize,
        seed: u64,
    },
    Zero {
        rom: bool,
        number: usize,
    },
    /// Sets a byte of the page.
    Delta {
        rom: bool,
        number: usize,
        value: u8,
    },
    Flush,
    Odd,
    /// Ends this section, and begins another one after something between them that is not known.
    OddSection,
}

/// A stream of these sections, and the memory that it makes.
fn source(sections: &[Vec<Record>], devices: usize) -> (Vec<u8>, Blocks) {
    let mut out = stream(&vec![[0; PAGE]; PAGES], &[], 0);
    let mut memory = blocks();
    for (at, records) in sections.iter().enumerate() {
        let kind = if at + 1 == sections.len() { 3 } else { 2 };
        let begin = out.len();
        out.extend([kind, 0, 0, 0, 2]);
        let mut block = None;
        for record in records {
            let mut head = |rom: bool, number: usize| {
                let name: &[u8] = if rom { b"rom" } else { b"pc.ram" };
                let told = block.replace(name) == Some(name);
                Head {
                    offset: (number * PAGE) as u64,
                    block: (!told).then_some(name),
                }
            };
            match *record {
                Record::Page { rom, number, seed } => {
                    let content = if seed % 2 == 0 {
                        text(seed)
                    } else {
                        noise(seed)
                    };
                    head(rom, number).write_page(&mut out);
                    out.extend(content);
                    *page_of(&mut memory, rom, number) = content;
                }
                Record::Zero { rom, number } => {
                    head(rom, number).write_zero(&mut out);
                    *page_of(&mut memory, rom, number) = [0; PAGE];
                }
                Record::Delta { rom, number, value } => {
                    let Head { offset, block } = head(rom, number);
                    let same = block.map_or(SAME_BLOCK, |_| 0);
                    out.extend((offset | DELTA | same).to_be_bytes());
                    if let Some(name) = block {
                        out.push(name.len() as u8);
                        out.extend(name);
                    }
                    out.extend([1, 0, 3, 0, 1, value]);
                    page_of(&mut memory, rom, number)[0] = value;
                }
                Record::Flush => out.extend(FLUSH.to_be_bytes()),
                Record::OddSection => {
                    block = None;
                    // Only the newest is the last one.
                    out[begin] = 2;
                    out.extend(END.to_be_bytes());
                    out.extend(b"\x7e\0\0\0\x02");
                    out.extend(ODD_SECTION);
                    out.extend([kind, 0, 0, 0, 2]);
                }
                Record::Odd => out.extend((ODD | SAME_BLOCK).to_be_bytes()),
            }
        }
        out.extend(END.to_be_bytes());
        out.extend(b"\x7e\0\0\0\x02");
    }
    out.extend((0..devices).map(|at| (at % 251) as u8));
    (out, memory)
}

/// What QEMU does with its stream: everything that is not a page of `pc.ram` that the relay has written.
fn load(stream: &[u8], memory: &mut Blocks) {
    let mut rest = &stream[common::stream::stream(&vec![[0; PAGE]; PAGES], &[], 0).len()..];
    let mut take = |bytes: usize| {
        let (first, after) = rest.split_at(bytes);
        rest = after;
        first
    };
    loop {
        let head = take(5);
        if head == ODD_SECTION {
            continue;
        }
        assert!(
            matches!(head[0], 2 | 3),
            "QEMU: Unknown savevm section type {}",
            head[0]
        );
        let last = head[0] == 3;
        let mut block = None;
        loop {
            let word = u64::from_be_bytes(take(8).try_into().unwrap());
            let (flags, offset) = (word & 0xfff, word & !0xfff);
            match flags & !SAME_BLOCK {
                END => break,
                FLUSH | ODD => continue,
                _ => {}
            }
            if flags & SAME_BLOCK == 0 {
                let length = take(1)[0];
                block = Some(take(length.into()).to_vec());
            }
            let block = memory.get_mut(block.as_ref().expect("QEMU: Ack, bad migration stream!"));
            let page = &mut block.unwrap()[offset as usize / PAGE];
            match flags & !SAME_BLOCK {
                0x02 => *page = [take(1)[0]; PAGE],
                0x08 => *page = take(PAGE).try_into().unwrap(),
                DELTA => page[0] = take(6)[5],
                other => panic!("{other:#x}"),
            }
        }
        take(5);
        if last {
            return;
        }
    }
}

fn local() -> LocalPages {
    let config = PagesConfig {
        key: "5e".repeat(32).parse().unwrap(),
        vm: [7; 16],
        store: None,
        template: None,
    };
    LocalPages::open(&config).0
}

async fn moves(sections: &[Vec<Record>], devices: usize) {
    let (data, expected) = source(sections, devices);
    let rig = Rig::new();
    let file = rig.dir.path().join("memory");
    std::fs::write(&file, vec![0; PAGES * PAGE]).unwrap();
    let mut config = rig.destination_config();
    config.memory = Some(MemoryConfig {
        file: file.clone(),
        block: "pc.ram".into(),
    });
    let (mut destination, address, qemu) = rig.start_destination(config, Some(local())).await;
    let arrived = read_all(qemu);
    let mut source = rig.start_source(rig.source_config(address), Some(local()));
    write_all(rig.source_qemu().await, data)
        .await
        .unwrap()
        .unwrap();
    source.orders.send(Command::Release).await.unwrap();
    source.end().await.unwrap();
    destination.end().await.unwrap();

    let mut loaded = blocks();
    let written = std::fs::read(&file).unwrap().as_chunks().0.to_vec();
    loaded.insert(b"pc.ram".to_vec(), written);
    load(&arrived.await.unwrap(), &mut loaded);
    for (name, pages) in expected {
        for (at, page) in pages.iter().enumerate() {
            assert!(
                loaded[&name][at] == *page,
                "page {at} of {}",
                String::from_utf8_lossy(&name)
            );
        }
    }
}

fn page(number: usize, seed: u64) -> Record {
    Record::Page {
        rom: false,
        number,
        seed,
    }
}

#[tokio::test]
async fn what_follows_something_unknown_goes_into_the_right_block() {
    let rom = Record::Page {
        rom: true,
        number: 2,
        seed: 9,
    };
    for devices in [1000, 3 * PIECE] {
        let zero = Record::Zero {
            rom: false,
            number: 2,
        };
        let first = vec![
            rom.clone(),
            page(1, 1),
            page(2, 2),
            Record::Odd,
            page(3, 3),
            zero,
        ];
        moves(&[first, vec![page(1, 4)]], devices).await;
        // The marks between records are known, and so is the end of a section.
        let first = vec![rom.clone(), page(1, 1), Record::Flush, Record::Flush];
        moves(&[first, vec![page(5, 4), Record::Odd, page(6, 5)]], devices).await;
    }
}

#[tokio::test]
async fn what_follows_something_unknown_between_sections_is_still_a_section() {
    let first = vec![page(1, 1), page(2, 2), Record::OddSection, page(1, 3)];
    moves(&[first, vec![page(3, 4)]], 1000).await;
}

#[tokio::test]
async fn a_delta_is_never_applied_to_what_came_after_it() {
    let delta = Record::Delta {
        rom: false,
        number: 5,
        value: 77,
    };
    moves(&[vec![page(5, 1), delta.clone()], vec![page(5, 2)]], 1000).await;
    moves(
        &[vec![page(5, 1)], vec![delta, page(6, 3)], vec![page(5, 2)]],
        1000,
    )
    .await;
}

fn record() -> impl Strategy<Value = Record> {
    let at = || (prop::bool::weighted(0.2), 0..PAGES);
    prop_oneof![
        8 => (at(), 0_u64..50).prop_map(|((rom, number), seed)| Record::Page { rom, number, seed }),
        4 => at().prop_map(|(rom, number)| Record::Zero { rom, number }),
        1 => Just(Record::Flush),
    ]
}

/// What may or may not occur somewhere.
fn rare() -> impl Strategy<Value = Option<Record>> {
    prop_oneof![
        Just(None),
        Just(Some(Record::Odd)),
        Just(Some(Record::OddSection)),
        (any::<bool>(), 0..PAGES, any::<u8>())
            .prop_map(|(rom, number, value)| Some(Record::Delta { rom, number, value })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_stream_makes_the_same_memory(
        mut sections in prop::collection::vec(prop::collection::vec(record(), 0..200), 1..4),
        rare in rare(),
        at in any::<(prop::sample::Index, prop::sample::Index)>(),
        devices in 1_usize..2000,
    ) {
        if let Some(rare) = rare {
            let section = at.0.index(sections.len());
            let section = &mut sections[section];
            section.insert(at.1.index(section.len() + 1), rare);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(moves(&sections, devices));
    }
}
