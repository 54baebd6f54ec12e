//! The numbers of QEMU's stream, and reading them. All integers are big-endian.
//!
//! From QEMU 10.0: `migration/savevm.h` (sections), `migration/savevm.c` (commands), `migration/ram.c` (records).

/// How every stream begins: `QEVM`, version 3.
pub const MAGIC: [u8; 4] = *b"QEVM";
pub const VERSION: u32 = 3;

// What a section begins with.
pub const EOF: u8 = 0x00;
pub const START: u8 = 0x01;
pub const PART: u8 = 0x02;
pub const END: u8 = 0x03;
pub const FULL: u8 = 0x04;
pub const SUBSECTION: u8 = 0x05;
pub const DESCRIPTION: u8 = 0x06;
pub const CONFIGURATION: u8 = 0x07;
pub const COMMAND: u8 = 0x08;
pub const FOOTER: u8 = 0x7e;

// Commands of a precopy migration; the others belong to post-copy and COLO.
pub const OPEN_RETURN_PATH: u16 = 1;
pub const PING: u16 = 2;
pub const POSTCOPY_ADVISE: u16 = 3;
pub const SWITCHOVER_START: u16 = 11;

/// The version of the `ram` section.
pub const RAM_VERSION: u32 = 4;

// A record of `ram` begins with the offset of a page and these flags in its low bits.
pub const FLAGS: u64 = 0xfff;
pub const ZERO: u64 = 0x02;
pub const MEM_SIZE: u64 = 0x04;
pub const PAGE_FLAG: u64 = 0x08;
pub const EOS: u64 = 0x10;
pub const CONTINUE: u64 = 0x20;
pub const XBZRLE: u64 = 0x40;
pub const MULTIFD_FLUSH: u64 = 0x200;

pub const SAME_PAGE: u64 = PAGE_FLAG | CONTINUE;
pub const SAME_ZERO: u64 = ZERO | CONTINUE;
pub const SAME_XBZRLE: u64 = XBZRLE | CONTINUE;

/// The only encoding that an xbzrle record names.
pub const XBZRLE_ENCODING: u8 = 1;

/// The `N` bytes at `at`, if they are there.
pub fn array<const N: usize>(input: &[u8], at: usize) -> Option<[u8; N]> {
    input.get(at..)?.first_chunk().copied()
}

pub fn be16(input: &[u8], at: usize) -> Option<u16> {
    array(input, at).map(u16::from_be_bytes)
}

pub fn be32(input: &[u8], at: usize) -> Option<u32> {
    array(input, at).map(u32::from_be_bytes)
}

pub fn be64(input: &[u8], at: usize) -> Option<u64> {
    array(input, at).map(u64::from_be_bytes)
}

/// A string after a byte with its length.
pub fn name(input: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(*input.get(at)?);
    input.get(at + 1..at + 1 + length)
}
