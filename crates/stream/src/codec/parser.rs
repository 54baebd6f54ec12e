//! The parser: a state, and one small function for each place in the stream.
//!
//! Headers are consumed whole or not at all, so the outcome does not depend on where the input is cut. Names and other
//! bytes without meaning here are skipped as they come. Nothing is taken for known that a QEMU could mean otherwise.

use super::{Head, Item, Opaque, PAGE, Step, format::*};

/// Splits one stream into items. Made for the stream from its first byte to [`Step::RamEnded`].
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    /// Bytes to pass before the state applies.
    skip: usize,
    configured: bool,
    /// The id of the `ram` section, once it has started.
    ram: Option<u32>,
    last_section: bool,
    seen_deltas: bool,
    /// Bytes after the length in the description of a block.
    after_block_length: usize,
}

/// What comes next.
#[derive(Debug, Default)]
enum State {
    #[default]
    Magic,
    /// A subsection of the configuration, or a section.
    Subsection,
    Capability {
        left: u32,
    },
    Section,
    /// Memory blocks, of `left` bytes together.
    Block {
        left: u64,
    },
    Record,
    Xbzrle,
    Footer,
    Ended,
    Opaque(Opaque),
}

/// Why there is no item.
enum Stop {
    More,
    Opaque(Opaque),
}

impl From<Opaque> for Stop {
    fn from(reason: Opaque) -> Self {
        Self::Opaque(reason)
    }
}

type Found<'a> = Result<Step<'a>, Stop>;

fn more<T>(read: Option<T>) -> Result<T, Stop> {
    read.ok_or(Stop::More)
}

fn item(item: Item<'_>, consumed: usize) -> Found<'_> {
    Ok(Step::Item { item, consumed })
}

/// The first `length` bytes as they are.
fn literal(input: &[u8], length: usize) -> Found<'_> {
    item(Item::Literal(more(input.get(..length))?), length)
}

fn readable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

impl Parser {
    /// For a stream from its first byte.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the END section of `ram` has begun: the VM is paused at the source, what is sent now is blackout.
    #[must_use]
    pub fn in_last_section(&self) -> bool {
        self.last_section
    }

    /// Whether there was an xbzrle record, also if the step before gave its head: a page may have changed then without
    /// its content having been seen.
    #[must_use]
    pub fn seen_deltas(&self) -> bool {
        self.seen_deltas
    }

    /// What the beginning of `input` is. `input` always starts at the first byte that was not consumed yet.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Step<'a> {
        match self.found(input) {
            Ok(step) => step,
            Err(Stop::More) => Step::More,
            Err(Stop::Opaque(reason)) => {
                self.state = State::Opaque(reason.clone());
                Step::PassThrough(reason)
            }
        }
    }

    fn found<'a>(&mut self, input: &'a [u8]) -> Found<'a> {
        if self.skip > 0 {
            return self.skip(input);
        }
        match self.state {
            State::Record => self.record(input),
            State::Xbzrle => self.xbzrle(input),
            State::Section => self.section(input),
            State::Footer => self.footer(input),
            State::Block { left } => self.block(input, left),
            State::Magic => self.magic(input),
            State::Subsection => self.subsection(input),
            State::Capability { left } => self.capability(input, left),
            State::Ended => Ok(Step::RamEnded),
            State::Opaque(ref reason) => Err(reason.clone().into()),
        }
    }

    fn skip<'a>(&mut self, input: &'a [u8]) -> Found<'a> {
        let length = self.skip.min(input.len());
        if length == 0 {
            return Err(Stop::More);
        }
        self.skip -= length;
        literal(input, length)
    }

    fn magic<'a>(&mut self, input: &'a [u8]) -> Found<'a> {
        if more(array(input, 0))? != MAGIC {
            return Err(Opaque::Magic.into());
        }
        let version = more(be32(input, 4))?;
        if version != VERSION {
            return Err(Opaque::Version(version).into());
        }
        self.state = State::Section;
        literal(input, 8)
    }

    fn section<'a>(&mut self, input: &'a [u8]) -> Found<'a> {
        match *more(input.first())? {
            CONFIGURATION if !self.configured && self.ram.is_none() => self.configuration(input),
            COMMAND => command(input),
            START if self.ram.is_none() => self.start(input),
            START | FULL => {
                let name = more(name(input, 5))?;
                Err(Opaque::Section(readable(name)).into())
            }
            kind @ (PART | END) => {
                let id = more(be32(input, 1))?;
                if self.ram != Some(id) {
                    return Err(Opaque::SectionId(id).into());
                }
                self.last_section = kind == END;
                self.state = State::Record;
                literal(input, 5)
            }
            kind => Err(Opaque::SectionType(kind).into()),
        }
    }

    fn configuration<'a>(&mut self, input: &'a [u8]) -> Found<'a> {
        let length = more(be32(input, 1))?;
        if length > 255 {
            return Err(Opaque::MachineName(length).into());
        }
        self.configured = true;
        self.skip = length as usize;
        self.state = State::Subsection;
        literal(input, 5)
    }

    fn subsection<'a>(&mut self, input: &'a [u8]) -> Found<'a> {
        if *more(input.first())? != SUBSECTION {
            self.state = State::Section;
            return self.section(input);
        }
        let name = more(name(input, 1))?;
        let version = 2 + name.len();
        let payload = version + 4;
        let known = more(be32(input, version))? == 1;
        match name {
            b"configuration/capabilities" if known => {
                let left = more(be32(input, payload))?;
                self.state = State::after_capabilities(left);
                literal(input, payload + 4)
            }
            b"configuration/uuid" if known => literal(input, payload + 16),
            b"configuration/target-page-bits" if known => match more(be32(input, payload))? {
                12 => literal(input, payload + 4),
                bits => Err(Opaque::PageBits(bits).into()),
            },
            _ => Err(Opaque::Configuration(readable(name)).into()),
        }
    }

    /// QEMU names only those capabilities that both ends must share because they change what is sent.
    fn capability<'a>(&mut self, input: &'a [u8], left: u32) -> Found<'a> {
        let name = more(name(input, 0))?;
        match name {
            // Then each block's guest-physical address follows its length.
            b"x-ignore-shared" => self.after_block_length = 8,
            _ => return Err(Opaque::Capability(readable(name)).into()),
        }
        self.state = State::after_capabilities(left - 1);
        literal(input, 1 + name.len())
    }

    fn start<'a>(&mut self, input: &'a [u8]) -> Found<'a> {
        let id = more(be32(input, 1))?;
        let name = more(name(input, 5))?;
        let instance = 6 + name.len();
        let (instance, version, length) = (
            more(be32(input, instance))?,
            more(be32(input, instance + 4))?,
            instance + 8,
        );
        if name != b"ram" || instance != 0 {
            return Err(Opaque::Section(readable(name)).into());
        }
        if version != RAM_VERSION {
            return Err(Opaque::RamVersion(version).into());
        }
        self.ram = Some(id);
        self.state = State::Record;
        literal(input, length)
    }

    fn footer<'a>(&mut self, input: &'a [u8]) -> Found<'a> {
        if *more(input.first())? != FOOTER || Some(more(be32(input, 1))?) != self.ram {
            return Err(Opaque::Footer.into());
        }
        self.state = if self.last_section {
            State::Ended
        } else {
            State::Section
        };
        literal(input, 5)
    }

    fn record<'a>(&mut self, input: &'a [u8]) -> Found<'a> {
        let word = more(be64(input, 0))?;
        let (offset, flags) = (word & !FLAGS, word & FLAGS);
        match flags {
            PAGE_FLAG | SAME_PAGE => {
                let (head, end) = head(input, offset, flags)?;
                let content = more(input.get(end..).and_then(<[u8]>::first_chunk))?;
                item(Item::Page { head, content }, end + PAGE)
            }
            ZERO | SAME_ZERO => {
                let (head, end) = head(input, offset, flags)?;
                match *more(input.get(end))? {
                    0 => item(Item::Zero { head }, end + 1),
                    byte => Err(Opaque::ZeroByte(byte).into()),
                }
            }
            XBZRLE | SAME_XBZRLE => {
                let (_, end) = head(input, offset, flags)?;
                self.state = State::Xbzrle;
                self.seen_deltas = true;
                literal(input, end)
            }
            MEM_SIZE => {
                self.state = State::after_blocks(offset);
                literal(input, 8)
            }
            EOS if offset == 0 => {
                self.state = State::Footer;
                literal(input, 8)
            }
            MULTIFD_FLUSH if offset == 0 => literal(input, 8),
            _ => Err(Opaque::Record(word).into()),
        }
    }

    fn xbzrle<'a>(&mut self, input: &'a [u8]) -> Found<'a> {
        let [encoding, high, low] = more(array(input, 0))?;
        let length = u16::from_be_bytes([high, low]);
        if encoding != XBZRLE_ENCODING || usize::from(length) > PAGE {
            return Err(Opaque::Xbzrle { encoding, length }.into());
        }
        self.skip = usize::from(length);
        self.state = State::Record;
        literal(input, 3)
    }

    fn block<'a>(&mut self, input: &'a [u8], left: u64) -> Found<'a> {
        let after_name = 1 + more(name(input, 0))?.len();
        let length = more(be64(input, after_name))?;
        let end = after_name + 8 + self.after_block_length;
        let found = literal(input, end)?;
        let left = left.checked_sub(length).ok_or(Opaque::Blocks)?;
        self.state = State::after_blocks(left);
        Ok(found)
    }
}

impl State {
    fn after_capabilities(left: u32) -> Self {
        match left {
            0 => Self::Subsection,
            left => Self::Capability { left },
        }
    }

    fn after_blocks(left: u64) -> Self {
        match left {
            0 => Self::Record,
            left => Self::Block { left },
        }
    }
}

/// Which page a record is for, and where its head ends.
fn head(input: &[u8], offset: u64, flags: u64) -> Result<(Head<'_>, usize), Stop> {
    if flags & CONTINUE != 0 {
        let block = None;
        return Ok((Head { offset, block }, 8));
    }
    let name = more(name(input, 8))?;
    let block = Some(name);
    Ok((Head { offset, block }, 9 + name.len()))
}

/// A command, if it belongs to precopy and is as long as it is known to be.
fn command(input: &[u8]) -> Found<'_> {
    let (command, length) = (more(be16(input, 1))?, more(be16(input, 3))?);
    match (command, length) {
        (OPEN_RETURN_PATH | SWITCHOVER_START | POSTCOPY_ADVISE, 0) | (PING, 4) => {}
        (POSTCOPY_ADVISE, 16) => {
            let (host, guest) = (more(be64(input, 5))?, more(be64(input, 13))?);
            if host != PAGE as u64 {
                return Err(Opaque::HostPages(host).into());
            }
            if guest != PAGE as u64 {
                return Err(Opaque::PageBits(guest.checked_ilog2().unwrap_or(0)).into());
            }
        }
        _ => return Err(Opaque::Command { command, length }.into()),
    }
    literal(input, 5 + usize::from(length))
}
