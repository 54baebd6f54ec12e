//! The parser: where it is in the stream, and what comes next there.

use super::{Head, Item, Opaque, PAGE, Step, flag, sections};

/// Takes a stream apart.
#[derive(Debug)]
pub struct Parser {
    at: At,
    /// The section id of the memory, once it was introduced.
    memory: Option<u32>,
    last: bool,
}

/// What is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Beginning,
    Section,
    /// A record in a section of memory.
    Record {
        last: bool,
    },
    /// A block in the list of blocks, which is of so many bytes more.
    Block(u64),
    Footer {
        last: bool,
    },
    RamEnded,
    Opaque(Opaque),
}

/// Bytes that are taken as a whole, and what comes after them; `Err` ends the taking apart; `None` wants more bytes.
type Taken<'a> = Option<Result<(Item<'a>, usize, At), Opaque>>;

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self {
            at: At::Beginning,
            memory: None,
            last: false,
        }
    }

    /// What the beginning of `input` is. `input` always begins with the first byte that was not consumed yet.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Step<'a> {
        let taken = match self.at {
            At::RamEnded => return Step::RamEnded,
            At::Opaque(why) => return Step::PassThrough(why),
            At::Beginning => beginning(input),
            At::Section => self.section(input),
            At::Record { last } => record(input, last),
            At::Block(left) => block(input, left),
            At::Footer { last } => self.footer(input, last),
        };
        match taken {
            None => Step::More,
            Some(Ok((item, consumed, next))) => {
                self.at = next;
                Step::Item { item, consumed }
            }
            Some(Err(why)) => {
                self.at = At::Opaque(why);
                Step::PassThrough(why)
            }
        }
    }

    /// Whether the memory's last section has begun: the guest is paused.
    #[must_use]
    pub fn in_last_section(&self) -> bool {
        self.last
    }

    fn section<'a>(&mut self, input: &'a [u8]) -> Taken<'a> {
        let kind = *input.first()?;
        match kind {
            sections::PART | sections::END => {
                let id = sections::be32(input, 1)?;
                if Some(id) != self.memory {
                    return Some(Err(Opaque::NotMemory));
                }
                self.last = kind == sections::END;
                literal(input, 5, At::Record { last: self.last })
            }
            sections::START | sections::FULL => match sections::introduction(input)? {
                Ok((id, length)) if kind == sections::START => {
                    self.memory = Some(id);
                    literal(input, length, At::Record { last: false })
                }
                Ok(_) => Some(Err(Opaque::NotMemory)),
                Err(why) => Some(Err(why)),
            },
            _ => match sections::fixed(input)? {
                Ok(length) => literal(input, length, At::Section),
                Err(why) => Some(Err(why)),
            },
        }
    }

    fn footer<'a>(&self, input: &'a [u8], last: bool) -> Taken<'a> {
        let kind = *input.first()?;
        if kind != sections::FOOTER || Some(sections::be32(input, 1)?) != self.memory {
            return Some(Err(Opaque::Section(kind)));
        }
        let next = if last { At::RamEnded } else { At::Section };
        literal(input, 5, next)
    }
}

fn literal(input: &[u8], length: usize, next: At) -> Taken<'_> {
    let bytes = input.get(..length)?;
    Some(Ok((Item::Literal(bytes), length, next)))
}

fn beginning(input: &[u8]) -> Taken<'_> {
    const MAGIC: [u8; 8] = *b"QEVM\0\0\0\x03";
    let given = input.len().min(MAGIC.len());
    if input[..given] != MAGIC[..given] {
        return Some(Err(Opaque::NotAStream));
    }
    literal(input, MAGIC.len(), At::Section)
}

/// One record: a word of offset and flags, the block's name unless it is the same as before, and what the flags say.
fn record(input: &[u8], last: bool) -> Taken<'_> {
    let word = u64::from_be_bytes(*input.first_chunk()?);
    let (flags, offset) = (word & flag::ALL, word & !flag::ALL);
    let unknown = Some(Err(Opaque::Record(flags)));
    let again = At::Record { last };
    match flags & !flag::CONTINUE {
        flag::EOS if flags == flag::EOS => return literal(input, 8, At::Footer { last }),
        flag::MULTIFD_FLUSH if flags == flag::MULTIFD_FLUSH => return literal(input, 8, again),
        // An empty list would be a list of a machine without memory.
        flag::MEM_SIZE if flags == flag::MEM_SIZE && !last && offset > 0 => {
            return literal(input, 8, At::Block(offset));
        }
        flag::ZERO | flag::PAGE | flag::XBZRLE => {}
        _ => return unknown,
    }
    let (block, length) = if flags & flag::CONTINUE == 0 {
        let name = sections::name(input, 8)?;
        (Some(name), 9 + name.len())
    } else {
        (None, 8)
    };
    let head = Head { offset, block };
    match flags & !flag::CONTINUE {
        flag::ZERO => match input.get(length)? {
            0 => Some(Ok((Item::Zero { head }, length + 1, again))),
            // Old QEMU could fill a page with another byte.
            _ => unknown,
        },
        flag::PAGE => {
            let content = input.get(length..)?.first_chunk()?;
            Some(Ok((Item::Page { head, content }, length + PAGE, again)))
        }
        _ => {
            // A delta: u8 | u16 length | data.
            let data = usize::from(sections::be16(input, length + 1)?);
            literal(input, length + 3 + data, again)
        }
    }
}

/// One block in the list of blocks: u8 length, name, u64 size.
fn block(input: &[u8], left: u64) -> Taken<'_> {
    let name = sections::name(input, 0)?;
    let length = 1 + name.len() + 8;
    let size = sections::be64(input, length - 8)?;
    let next = match left.checked_sub(size) {
        // Sizes that do not add up: an extension (a page size, an address) lies between them.
        None => return Some(Err(Opaque::Record(flag::MEM_SIZE))),
        Some(0) => At::Record { last: false },
        Some(left) => At::Block(left),
    };
    literal(input, length, next)
}
