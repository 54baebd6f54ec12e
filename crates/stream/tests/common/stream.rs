//! Streams such as QEMU writes: of a machine with one block of memory, in rounds.

use godwit_stream::codec::{Head, PAGE};

/// A machine's memory, page by page.
pub type Memory = Vec<[u8; PAGE]>;

/// A page that compresses: what a program would write.
pub fn text(seed: u64) -> [u8; PAGE] {
    let line = format!("{seed:016x} some words that are the same on every page\n");
    std::array::from_fn(|at| line.as_bytes()[at % line.len()])
}

/// A page that does not compress.
pub fn noise(seed: u64) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    blake3::Hasher::new()
        .update(&seed.to_be_bytes())
        .finalize_xof()
        .fill(&mut page);
    page
}

/// The stream of a machine whose memory is sent in these rounds: numbers of pages, the last in the blackout.
pub fn stream(memory: &Memory, rounds: &[Vec<usize>], devices: usize) -> Vec<u8> {
    let mut out = b"QEVM\0\0\0\x03".to_vec();
    out.extend(b"\x07\0\0\0\x0epc-i440fx-10.0");
    out.extend(b"\x01\0\0\0\x02\x03ram\0\0\0\0\0\0\0\x04");
    let total = (memory.len() * PAGE) as u64;
    out.extend((total | 0x04).to_be_bytes());
    out.extend(b"\x06pc.ram");
    out.extend(total.to_be_bytes());
    end(&mut out);
    for (at, round) in rounds.iter().enumerate() {
        let last = at + 1 == rounds.len();
        out.extend([if last { 3 } else { 2 }, 0, 0, 0, 2]);
        for (at, page) in round.iter().enumerate() {
            // The first names its block.
            let head = Head {
                offset: (page * PAGE) as u64,
                block: (at == 0).then_some(b"pc.ram"),
            };
            if memory[*page] == [0; PAGE] {
                head.write_zero(&mut out);
            } else {
                head.write_page(&mut out);
                out.extend(&memory[*page]);
            }
        }
        end(&mut out);
    }
    out.extend((0..devices).map(|at| (at % 251) as u8));
    out
}

/// The end of a section of memory.
fn end(out: &mut Vec<u8>) {
    out.extend(0x10_u64.to_be_bytes());
    out.extend(b"\x7e\0\0\0\x02");
}
