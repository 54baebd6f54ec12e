//! Whatever comes in comes out again byte for byte, cut in any way.

use proptest::prelude::*;

use super::*;

/// Takes `stream` apart as it would arrive in pieces that end at these places, puts it together again, and gives how it
/// ended and what its items were.
fn through(stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<Opaque>, Vec<(u64, bool)>) {
    let mut parser = Parser::new();
    let (mut out, mut pages) = (Vec::new(), Vec::new());
    let (mut at, mut given) = (0, 0);
    let mut cuts = cuts.iter().copied().chain([stream.len()]);
    loop {
        match parser.next(&stream[at..given]) {
            Step::Item { item, consumed } => {
                assert!(consumed > 0);
                match item {
                    Item::Literal(bytes) => out.extend(bytes),
                    Item::Page { head, content } => {
                        write_page_head(head, &mut out);
                        out.extend(content);
                        pages.push((head.offset, false));
                    }
                    Item::Zero { head } => {
                        write_zero(head, &mut out);
                        pages.push((head.offset, true));
                    }
                }
                at += consumed;
                assert_eq!(out, stream[..at]);
            }
            Step::More => match cuts.next() {
                Some(cut) => given = cut.clamp(given, stream.len()),
                None => return (out, None, pages),
            },
            Step::RamEnded => return (out, None, pages),
            Step::PassThrough(why) => return (out, Some(why), pages),
        }
    }
}

/// A stream with everything that can come before the devices.
fn stream(records: &[(u8, u64)]) -> Vec<u8> {
    let mut out = b"QEVM\0\0\0\x03\x07\0\0\0\x02pc".to_vec();
    let section = |out: &mut Vec<u8>, name: &[u8], payload: &[u8]| {
        out.extend([5, name.len() as u8]);
        out.extend(name);
        out.extend(1_u32.to_be_bytes());
        out.extend(payload);
    };
    section(
        &mut out,
        b"configuration/capabilities",
        b"\0\0\0\x02\x05three\x01x",
    );
    section(&mut out, b"configuration/uuid", &[9; 16]);
    section(
        &mut out,
        b"configuration/target-page-bits",
        &12_u32.to_be_bytes(),
    );
    out.extend(b"\x08\0\x02\0\x04ping");
    out.extend(b"\x01\0\0\0\x07\x03ram\0\0\0\0\0\0\0\x04");
    out.extend((0x3000_u64 | flag::MEM_SIZE).to_be_bytes());
    out.extend(b"\x06pc.ram");
    out.extend(0x2000_u64.to_be_bytes());
    out.extend(b"\x03rom");
    out.extend(0x1000_u64.to_be_bytes());
    let end = |out: &mut Vec<u8>| {
        out.extend(flag::EOS.to_be_bytes());
        out.extend(b"\x7e\0\0\0\x07");
    };
    end(&mut out);
    for last in [false, true] {
        out.extend([if last { END } else { PART }, 0, 0, 0, 7]);
        for (kind, offset) in records {
            let block = (kind & 1 == 1).then_some(&b"pc.ram"[..]);
            let head = Head {
                offset: offset & !flag::ALL,
                block,
            };
            match kind / 2 {
                0 => write_zero(head, &mut out),
                1 => {
                    write_page_head(head, &mut out);
                    out.extend([*offset as u8; PAGE]);
                }
                2 => {
                    super::head(flag::XBZRLE, head, &mut out);
                    out.extend(b"\x01\0\x03abc");
                }
                _ => out.extend(flag::MULTIFD_FLUSH.to_be_bytes()),
            }
        }
        end(&mut out);
    }
    out
}
use sections::{END, PART};

fn records() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0_u8..7, any::<u64>()), 0..20)
}

proptest! {
    #[test]
    fn whole_streams_end_with_the_memory(records in records(), cuts in prop::collection::vec(0_usize..200_000, 0..9)) {
        let memory = stream(&records);
        let mut cuts = cuts;
        cuts.sort_unstable();
        let all = [&memory[..], b"\x04devices and so on"].concat();
        let (out, opaque, pages) = through(&all, &cuts);
        prop_assert_eq!(opaque, None);
        prop_assert!(out == memory);
        let want = records.iter().filter(|(kind, _)| kind / 2 < 2);
        let want: Vec<_> = want.map(|(kind, offset)| (offset & !flag::ALL, kind / 2 == 0)).collect();
        prop_assert_eq!(pages, [&want[..], &want[..]].concat());
    }

    #[test]
    fn changed_streams_come_out_as_they_were(
        records in records(),
        changes in prop::collection::vec((0_usize..3000, any::<u8>()), 1..5),
        cuts in prop::collection::vec(0_usize..50_000, 0..5),
    ) {
        let mut bytes = stream(&records);
        for (at, byte) in changes {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        let mut cuts = cuts;
        cuts.sort_unstable();
        let (in_pieces, opaque, pages) = through(&bytes, &cuts);
        // However it is cut, it is taken apart in the same way.
        prop_assert_eq!((in_pieces, opaque, pages), through(&bytes, &[]));
    }

    #[test]
    fn any_bytes_come_out_as_they_were(bytes: Vec<u8>) {
        through(&bytes, &[]);
    }
}

#[test]
fn what_is_not_understood_is_named() {
    let whole = stream(&[(2, 0)]);
    let cases: [(&[u8], &[u8], Opaque); 6] = [
        (b"QEVM", b"QEVN", Opaque::NotAStream),
        (b"\0\0\0\x0c", b"\0\0\0\x10", Opaque::Version),
        (b"\x03ram", b"\x03rom", Opaque::NotMemory),
        (
            b"\0\0\0\0\0\0\0\x04",
            b"\0\0\0\0\0\0\0\x05",
            Opaque::Version,
        ),
        (b"\x7e\0\0\0\x07", b"\x7d\0\0\0\x07", Opaque::Section(0x7d)),
        (
            b"\0\0\0\0\0\0\0\x28",
            b"\0\0\0\0\0\0\x01\x28",
            Opaque::Record(0x128),
        ),
    ];
    for (from, to, why) in cases {
        let at = whole.windows(from.len()).position(|part| part == from);
        let mut bytes = whole.clone();
        bytes[at.unwrap()..][..to.len()].copy_from_slice(to);
        let (out, opaque, _) = through(&bytes, &[]);
        assert_eq!(opaque, Some(why), "{to:?}");
        assert!(bytes.starts_with(&out));
    }
}
