//! The parser on streams written by hand, and on each thing it must not take for known.

use super::{
    writer::{Block, Part, Subsection, Writer},
    *,
};

const ID: u32 = 2;

fn block(name: &str, length: u64) -> Block {
    Block {
        name: name.into(),
        length,
        address: None,
    }
}

/// Up to and including the START section of `ram`.
fn begun() -> Writer {
    let mut writer = Writer::new();
    writer.configuration("pc-i440fx-7.2", &[Subsection::Uuid([7; 16])]);
    writer.ram_start(ID, &[block("pc.ram", 1 << 20), block("pc.bios", 1 << 18)]);
    writer
}

/// A round that is not over yet.
fn round() -> Writer {
    let mut writer = begun();
    writer.part(Part::Round, ID);
    writer
}

/// Takes all items from the input. What was found other than literals, and the step that ended it.
fn parse<'a>(parser: &mut Parser, input: &'a [u8]) -> (Vec<Item<'a>>, usize, Step<'a>) {
    let (mut items, mut at) = (vec![], 0);
    loop {
        match parser.next(&input[at..]) {
            Step::Item { item, consumed } => {
                assert!(consumed > 0);
                if let Item::Literal(bytes) = item {
                    assert_eq!(bytes, &input[at..at + consumed]);
                } else {
                    items.push(item);
                }
                at += consumed;
            }
            end => return (items, at, end),
        }
    }
}

#[test]
fn a_stream_is_split_up_to_the_end_of_ram() {
    let content = plan::content(9);
    let mut writer = round();
    writer.page(0, Some("pc.ram"), &content);
    writer.page(4096, None, &content).zero(8192, None);
    writer.xbzrle(12288, None, &[1; 300]).multifd_flush();
    writer.zero(0, Some("pc.bios")).eos(ID);
    writer.command(format::SWITCHOVER_START, &[]);
    writer.part(Part::Last, ID).zero(4096, None).eos(ID);
    let end = writer.clone().into_bytes().len();
    writer.device(3, "timer", &[1, 2, 3]).end("{}");
    let bytes = writer.into_bytes();

    let mut parser = Parser::new();
    let (items, at, step) = parse(&mut parser, &bytes);
    let head = |offset, block: Option<&'static str>| Head {
        offset,
        block: block.map(str::as_bytes),
    };
    let page = |offset, block| Item::Page {
        head: head(offset, block),
        content: &content,
    };
    let zero = |offset, block| Item::Zero {
        head: head(offset, block),
    };
    let wanted = [
        page(0, Some("pc.ram")),
        page(4096, None),
        zero(8192, None),
        zero(0, Some("pc.bios")),
        zero(4096, None),
    ];
    assert_eq!(items, wanted);
    assert_eq!((at, step), (end, Step::RamEnded));
    assert_eq!(parser.next(&[]), Step::RamEnded);
}

#[test]
fn the_last_section_is_known_from_its_first_bytes_on() {
    let mut writer = round();
    let mut parser = Parser::new();
    let before = writer.eos(ID).clone().into_bytes();
    assert_eq!(parse(&mut parser, &before).2, Step::More);
    assert!(!parser.in_last_section());
    let mut last = Writer::default();
    let last = last.part(Part::Last, ID).clone().into_bytes();
    assert_eq!(parse(&mut parser, &last).2, Step::More);
    assert!(parser.in_last_section());
}

#[test]
fn the_implied_bytes_are_those_of_the_stream() {
    for block in [None, Some("pc.ram")] {
        let head = Head {
            offset: 0x7000,
            block: block.map(str::as_bytes),
        };
        let (mut page, mut zero) = (vec![], vec![]);
        head.write_page(&mut page);
        head.write_zero(&mut zero);
        let written = Writer::default().page(0x7000, block, &[]).clone();
        assert_eq!(written.into_bytes(), page);
        let written = Writer::default().zero(0x7000, block).clone();
        assert_eq!(written.into_bytes(), zero);
    }
}

#[test]
fn addresses_follow_lengths_when_shared_memory_is_left_out() {
    let mut writer = Writer::new();
    let shared = Subsection::Capabilities(vec!["x-ignore-shared".into()]);
    writer.configuration("pc", &[shared, Subsection::TargetPageBits(12)]);
    let address = Some(0x1_0000_0000);
    let block = Block {
        address,
        ..block("pc.ram", 8192)
    };
    writer.ram_start(ID, &[block.clone(), block]);
    writer.part(Part::Last, ID).eos(ID);
    let bytes = writer.into_bytes();
    assert_eq!(
        parse(&mut Parser::new(), &bytes),
        (vec![], bytes.len(), Step::RamEnded)
    );
}

/// Everything before the stop is consumed, nothing after, and it stays so.
#[track_caller]
fn stops(known: &Writer, strange: &Writer, reason: &Opaque) {
    let known = known.clone().into_bytes();
    let bytes = [known.clone(), strange.clone().into_bytes()].concat();
    let mut parser = Parser::new();
    let (_, at, step) = parse(&mut parser, &bytes);
    assert_eq!(step, Step::PassThrough(reason.clone()));
    assert_eq!(at, known.len());
    assert_eq!(parser.next(&[]), step);
    assert_eq!(parser.next(&bytes), step);
    assert!(!reason.to_string().is_empty());
}

/// Some bytes.
fn raw(bytes: &[u8]) -> Writer {
    Writer::default().bytes(bytes).clone()
}

#[test]
fn a_strange_beginning_stops_it() {
    let none = Writer::default();
    stops(&none, &raw(b"QEVX\0\0\0\x03"), &Opaque::Magic);
    stops(&none, &raw(b"QEVM\0\0\0\x02"), &Opaque::Version(2));
    let begin = Writer::new();
    let name = raw(b"\x07\0\0\x01\0");
    stops(&begin, &name, &Opaque::MachineName(256));
    let mut machine = begin.clone();
    machine.configuration("pc", &[]);
    let strange = raw(b"\x05\x0fconfiguration/x\0\0\0\x01\0\0\0\0");
    let reason = Opaque::Configuration("configuration/x".into());
    stops(&machine, &strange, &reason);
    let bits = raw(b"\x05\x1econfiguration/target-page-bits\0\0\0\x01\0\0\0\x0e");
    stops(&machine, &bits, &Opaque::PageBits(14));
    stops(&machine, &raw(b"\x07\0\0\0\0"), &Opaque::SectionType(7));
    let list = raw(b"\x05\x1aconfiguration/capabilities\0\0\0\x01\0\0\0\x01");
    let mut known = machine.clone();
    known.bytes(&list.into_bytes());
    let reason = Opaque::Capability("mapped-ram".into());
    stops(&known, &raw(b"\x0amapped-ram"), &reason);
}

#[test]
fn strange_commands_stop_it() {
    let begin = Writer::new();
    let command = |command, data: &[u8]| Writer::default().command(command, data).clone();
    for (number, data) in [(0, 0), (1, 1), (2, 3), (3, 8), (4, 0), (7, 4), (8, 0)] {
        let strange = command(number, &vec![0; data]);
        let reason = Opaque::Command {
            command: number,
            length: data as u16,
        };
        stops(&begin, &strange, &reason);
    }
    let [small, huge] = [4096_u64, 0x20_1000].map(u64::to_be_bytes);
    let strange = command(3, &[huge, small].concat());
    stops(&begin, &strange, &Opaque::HostPages(0x20_1000));
    let strange = command(3, &[small, huge].concat());
    stops(&begin, &strange, &Opaque::PageBits(21));
}

#[test]
fn strange_sections_stop_it() {
    let begin = Writer::new();
    let start = |name, instance, version| {
        Writer::default()
            .start(1, name, instance, version)
            .bytes(&[0; 9])
            .clone()
    };
    let section = |name: &str| Opaque::Section(name.into());
    stops(
        &begin,
        &start("dirty-bitmap", 0, 1),
        &section("dirty-bitmap"),
    );
    stops(&begin, &start("ram", 1, 4), &section("ram"));
    stops(&begin, &start("ram", 0, 3), &Opaque::RamVersion(3));
    stops(&begun(), &start("ram", 0, 4), &section("ram"));
    let device = Writer::default().device(1, "virtio-mem", &[1]).clone();
    stops(&begin, &device, &section("virtio-mem"));
    stops(&begin, &raw(&[0]), &Opaque::SectionType(0));
    let other = Writer::default().part(Part::Last, ID + 1).clone();
    stops(&begun(), &other, &Opaque::SectionId(ID + 1));
    let mut open = round();
    open.bytes(&0x10_u64.to_be_bytes());
    stops(&open, &raw(&[2]), &Opaque::Footer);
    let footer = Writer::default().footer(ID + 1).clone();
    stops(&open, &footer, &Opaque::Footer);
}

#[test]
fn strange_records_stop_it() {
    // FULL, a hook, compressed, two at once, an end with an offset, an offset that is none of a page.
    for word in [0x21, 0x80, 0x128, 0x2a, 0x1010, 0x1200, 0x24, 0x828, 0x0] {
        let strange = raw(&u64::to_be_bytes(word));
        stops(&round(), &strange, &Opaque::Record(word));
    }
    for block in [None, Some("pc.ram")] {
        let mut strange = Writer::default();
        strange.record(0, format::ZERO, block).bytes(&[5]);
        stops(&round(), &strange, &Opaque::ZeroByte(5));
    }
    let mut delta = round();
    delta.record(0, format::XBZRLE, None);
    for (encoding, length) in [(2, 1), (1, 4097)] {
        let [high, low] = u16::to_be_bytes(length);
        let reason = Opaque::Xbzrle { encoding, length };
        stops(&delta, &raw(&[encoding, high, low]), &reason);
    }
    let mut blocks = Writer::new();
    blocks.start(ID, "ram", 0, 4);
    blocks.bytes(&0x1004_u64.to_be_bytes());
    let strange = raw(b"\x01x\0\0\0\0\0\0\x20\0");
    stops(&blocks, &strange, &Opaque::Blocks);
}
