//! What QEMU is told of memory that it is not given.

use super::*;

/// A body of ops and contents: pages of these bytes.
fn body(ops: &[&[u8]], contents: &[u8]) -> Vec<u8> {
    let ops = ops.concat();
    let mut body = (ops.len() as u32).to_be_bytes().to_vec();
    body.extend(ops);
    body.extend(contents.iter().flat_map(|byte| [*byte; PAGE]));
    body
}

fn restorer() -> Restorer {
    Restorer::new("5e".repeat(32).parse().unwrap(), Some("ram"))
}

/// What QEMU gets, and which pages go into the memory.
fn restored(restorer: &mut Restorer, body: &[u8]) -> (Vec<u8>, Vec<u64>) {
    let piece = restorer.restore(0, body).unwrap();
    let stream = piece
        .stream()
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect();
    let pages = piece.memory().map(|run| run.offset / PAGE as u64).collect();
    (stream, pages)
}

/// A page's record with the block's name.
fn told(number: u64, byte: u8) -> Vec<u8> {
    let mut record = Vec::new();
    write_page_head(named(number, b"ram"), &mut record);
    record.extend([byte; PAGE]);
    record
}

const RAM: &[u8] = b"\x03\x03ram";
const FLUSH: &[u8] = b"\0\0\0\0\0\0\x02\0";
const END: &[u8] = b"\0\0\0\0\0\0\0\x10";

fn literal(bytes: &[&[u8]]) -> Vec<u8> {
    let bytes = bytes.concat();
    [&[0, bytes.len() as u8][..], &bytes].concat()
}

#[test]
fn before_a_strange_record_qemu_is_told_the_block_and_gets_it_from_there_on() {
    for (zero, byte) in [(false, 8), (true, 0)] {
        let mut restorer = restorer();
        let newest: &[u8] = if zero { &[1, 4, 1] } else { &[2, 4, 1] };
        let strange = literal(&[FLUSH, b"strange!"]);
        let contents = if zero { vec![7, 9] } else { vec![7, byte, 9] };
        let ops = [RAM, &[2, 1, 1], newest, &strange, &[2, 5, 1]];
        let (stream, pages) = restored(&mut restorer, &body(&ops, &contents));
        let mut after = Vec::new();
        let head = Head {
            offset: 5 * PAGE as u64,
            block: None,
        };
        write_page_head(head, &mut after);
        after.extend([9; PAGE]);
        assert!(stream == [told(4, byte), FLUSH.to_vec(), b"strange!".to_vec(), after].concat());
        assert_eq!(pages, [1, 4]);
        assert!(restorer.end_of_batches().is_empty());
    }
}

#[test]
fn the_newest_page_is_kept_from_one_batch_to_the_next() {
    let mut restorer = restorer();
    restored(&mut restorer, &body(&[RAM, &[2, 3, 1]], &[5]));
    let strange = literal(&[b"strange!"]);
    let (stream, pages) = restored(&mut restorer, &body(&[&strange], &[]));
    assert!(stream == [told(3, 5), b"strange!".to_vec()].concat());
    assert!(pages.is_empty());
}

#[test]
fn qemu_is_told_nothing_where_the_next_record_names_its_block() {
    let rom: &[u8] = b"\x03\x03rom";
    let end = literal(&[FLUSH, END, b"\x7e\0\0\0\x02"]);
    let flush = literal(&[FLUSH]);
    for last in [
        &[RAM, &[2, 3, 1], &end][..],
        &[RAM, &[2, 3, 1], rom, &[1, 0, 1]],
    ] {
        let mut restorer = restorer();
        restored(&mut restorer, &body(last, &[5]));
        assert!(restorer.end_of_batches().is_empty());
    }
    // And if the stream breaks off in the middle.
    let mut restorer = restorer();
    restored(&mut restorer, &body(&[RAM, &[2, 3, 1], &flush], &[5]));
    assert!(restorer.end_of_batches() == told(3, 5));
}
