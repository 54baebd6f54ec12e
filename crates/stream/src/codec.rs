//! QEMU's precopy stream, taken apart: a parser without I/O over borrowed bytes.
//!
//! ```text
//! "QEVM" u32 3 | CONFIGURATION | COMMAND ... | START ram | PART ram ... | END ram | devices ... | EOF | description
//! ```
//! The pieces that [`Parser::next`] gives are the stream, byte for byte and in order. Sections of devices carry no
//! length, so the parser ends with the memory; what it does not understand before that ends it too ([`Opaque`]), and
//! the rest passes through as it is. The format is that of QEMU 7.2 to 10.x without multifd: `migration/savevm.c` and
//! `migration/ram.c` in QEMU's sources, `docs/devel/migration/` for its story. All integers are big-endian.

mod parser;
mod sections;

pub use parser::Parser;

/// The size of a page in bytes (x86; a stream of another size is not taken apart).
pub const PAGE: usize = 4096;

/// Flags in the low bits of a record's first word.
mod flag {
    pub const ZERO: u64 = 0x02;
    pub const MEM_SIZE: u64 = 0x04;
    pub const PAGE: u64 = 0x08;
    pub const EOS: u64 = 0x10;
    pub const CONTINUE: u64 = 0x20;
    pub const XBZRLE: u64 = 0x40;
    pub const MULTIFD_FLUSH: u64 = 0x200;
    pub const ALL: u64 = 0xfff;
}

/// What the beginning of some bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// An item, which covers so many bytes.
    Item {
        /// What it is.
        item: Item<'a>,
        /// Its length in the stream.
        consumed: usize,
    },
    /// More bytes are needed; nothing was consumed.
    More,
    /// The memory is complete, with the footer of its last section. Nothing was consumed, here and ever after.
    RamEnded,
    /// From here on it is not understood. Nothing was consumed, here and ever after.
    PassThrough(Opaque),
}

/// A piece of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// To be passed on as it is: headers, marks, records that are not worth taking apart.
    Literal(&'a [u8]),
    /// A page's record.
    Page {
        /// Which page.
        head: Head<'a>,
        /// What it contains.
        content: &'a [u8; PAGE],
    },
    /// The record of a page that is all zeros.
    Zero {
        /// Which page.
        head: Head<'a>,
    },
}

/// Which page a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The page's offset in its block, a multiple of [`PAGE`].
    pub offset: u64,
    /// The block's name, if the record says it; else it is the block of the record before.
    pub block: Option<&'a [u8]>,
}

/// Why a stream is not taken apart any further.
#[derive(Debug, Clone, PartialEq, Eq, Copy, thiserror::Error)]
pub enum Opaque {
    /// It does not begin as a stream of version 3 does.
    #[error("it is not a migration stream of version 3")]
    NotAStream,
    /// A kind of section, or of subsection, that is not known.
    #[error("it has a section of the unknown kind {0:#04x} before the end of the memory")]
    Section(u8),
    /// A section of something that is not memory, so that its length is not known.
    #[error("it has a section that is not memory before the end of the memory")]
    NotMemory,
    /// Memory in another version of the format, or pages of another size.
    #[error("its memory is in another version or with pages of another size")]
    Version,
    /// A record with flags that are not known, or a number that cannot be.
    #[error("it has a record of memory with the unknown flags {0:#05x}")]
    Record(u64),
}

/// Writes a record's first word and name.
fn head(flags: u64, head: Head<'_>, to: &mut Vec<u8>) {
    let same = if head.block.is_none() {
        flag::CONTINUE
    } else {
        0
    };
    to.extend_from_slice(&(head.offset | flags | same).to_be_bytes());
    if let Some(name) = head.block {
        to.push(name.len() as u8);
        to.extend_from_slice(name);
    }
}

/// Writes the part of a page's record before its content.
pub fn write_page_head(page: Head<'_>, to: &mut Vec<u8>) {
    head(flag::PAGE, page, to);
}

/// Writes the record of a page that is all zeros.
pub fn write_zero(page: Head<'_>, to: &mut Vec<u8>) {
    head(flag::ZERO, page, to);
    to.push(0);
}

#[cfg(test)]
mod tests;
