//! QEMU's precopy migration stream, split into items so that a relay can replace what pages contain.
//!
//! ```text
//! QEVM ─ configuration ─ commands ─ ram START ─ ram PART … ─ ram END ─ devices …
//! └────────────── Literal ────────────────┘ └ Page, Zero, Literal ┘└ RamEnded: pass through
//! ```
//! No input or output happens here, nothing is copied, and no memory is asked for in the steady state. The bytes of
//! all items one after another are the stream exactly. What is not understood ends the interpretation and never the
//! migration: [`Step::PassThrough`]. So a relay is correct on any input, only its gain depends on what is recognized.
//!
//! The format was read in QEMU 7.2 to 10.0 (`migration/savevm.c`, `migration/ram.c`), without multifd's channels.

mod format;
mod opaque;
mod parser;
pub mod plan;
#[cfg(test)]
mod tests;
pub mod walk;
pub mod writer;

pub use opaque::Opaque;
pub use parser::Parser;

/// Bytes of a page of the guest's memory, the only size that is interpreted.
pub const PAGE: usize = 4096;

/// Bytes of the longest item: given as many, [`Parser::next`] never answers [`Step::More`].
pub const LONGEST_ITEM: usize = 8 + PAGE;

/// What the beginning of the input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// The item covers `consumed` bytes of the input.
    Item {
        /// What it is.
        item: Item<'a>,
        /// How many bytes of the input it stands for; at least one.
        consumed: usize,
    },
    /// More bytes are needed: nothing was consumed. At the end of the stream: what is left is to be passed through.
    More,
    /// The END section of `ram` is complete (including its footer); the rest of the stream is devices, to be passed
    /// through. Nothing was consumed. Every later call says the same.
    RamEnded,
    /// Not understood from here on: pass the rest through. Nothing was consumed. Every later call says the same.
    PassThrough(Opaque),
}

/// A piece of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// Passed on as it is: headers, marks of sections, record headers with block names, xbzrle records. It may be any
    /// piece of such bytes.
    Literal(&'a [u8]),
    /// A page's content.
    Page {
        /// In bytes, within the block. `Some` if the record's header was exactly [`page_header`]`(offset)`, which is
        /// part of `consumed` then (8 + 4096 bytes); `None` if the header came before as [`Item::Literal`] (`consumed`
        /// is 4096 then).
        offset: Option<u64>,
        /// The 4096 bytes.
        content: &'a [u8; PAGE],
    },
    /// A whole record of a page of zeroes, exactly [`zero_record`]`(offset)`: 9 bytes.
    Zero {
        /// In bytes, within the block.
        offset: u64,
    },
}

/// The bytes before the content of an [`Item::Page`] with an offset. `offset` is in bytes, a multiple of [`PAGE`].
#[must_use]
pub const fn page_header(offset: u64) -> [u8; 8] {
    (offset | format::SAME_PAGE).to_be_bytes()
}

/// The bytes of an [`Item::Zero`]. `offset` is in bytes, a multiple of [`PAGE`].
#[must_use]
pub const fn zero_record(offset: u64) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = (offset | format::SAME_ZERO).to_be_bytes();
    [a, b, c, d, e, f, g, h, 0]
}
