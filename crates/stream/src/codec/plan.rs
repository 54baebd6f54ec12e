//! A whole stream as plain data, so that tests and fuzzing can make up any; it knows which pages the parser must find.

use super::{
    PAGE, format,
    writer::{Block, Part, Subsection, Writer},
};

/// What a stream is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The machine's name, of at most 255 bytes.
    pub machine: String,
    /// In the configuration.
    pub subsections: Vec<Subsection>,
    /// Between configuration and `ram`.
    pub commands: Vec<Announcement>,
    /// The id of the section `ram`.
    pub ram: u32,
    /// Its blocks.
    pub blocks: Vec<Block>,
    /// The rounds.
    pub rounds: Vec<Vec<Record>>,
    /// What is sent with the VM paused.
    pub last: Vec<Record>,
    /// Names and payloads of devices.
    pub devices: Vec<(String, Vec<u8>)>,
}

/// A command of precopy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announcement {
    /// The destination shall answer.
    OpenReturnPath,
    /// With a number that comes back.
    Ping(u32),
    /// Post-copy may follow; all pages are of 4 KiB.
    PostcopyAdvise,
    /// Post-copy may follow, without memory.
    PostcopyAdviseWithoutMemory,
    /// The source is paused (since QEMU 10.0's machine types).
    SwitchoverStart,
}

/// A record of `ram`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A page, or a page of zeroes if `seed` is `None`.
    Page {
        /// Number of the page within its block.
        number: u32,
        /// The block's name if it is another than before.
        block: Option<String>,
        /// Which content.
        seed: Option<u8>,
    },
    /// A difference.
    Xbzrle {
        /// Number of the page within its block.
        number: u32,
        /// The block's name if it is another than before.
        block: Option<String>,
        /// At most [`PAGE`] bytes.
        data: Vec<u8>,
    },
    /// Where multifd's channels come together.
    MultifdFlush,
}

/// A page that the parser must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// `Item::Page` with this offset and [`content`] of this seed.
    Page(u64, u8),
    /// `Item::Zero`.
    Zero(u64),
}

/// The content of a page: no two places alike, so that a shifted page is seen.
#[must_use]
pub fn content(seed: u8) -> [u8; PAGE] {
    std::array::from_fn(|at| (at as u8) ^ ((at >> 8) as u8).wrapping_mul(31) ^ seed)
}

fn offset(number: u32) -> u64 {
    u64::from(number) * PAGE as u64
}

impl Plan {
    /// The stream's bytes, and how many of them are before [`super::Step::RamEnded`].
    #[must_use]
    pub fn write(&self) -> (Vec<u8>, usize) {
        let mut writer = Writer::new();
        writer.configuration(&self.machine, &self.subsections);
        for command in &self.commands {
            command.write(&mut writer);
        }
        writer.ram_start(self.ram, &self.blocks);
        let rounds = self.rounds.iter().map(|round| (Part::Round, round));
        for (part, records) in rounds.chain([(Part::Last, &self.last)]) {
            writer.part(part, self.ram);
            for record in records {
                record.write(&mut writer);
            }
            writer.eos(self.ram);
        }
        let ram = writer.clone().into_bytes().len();
        for (id, (name, payload)) in (self.ram.wrapping_add(1)..).zip(&self.devices) {
            writer.device(id, name, payload);
        }
        writer.end("{}");
        (writer.into_bytes(), ram)
    }

    /// The pages that must be found, in order.
    #[must_use]
    pub fn expected(&self) -> Vec<Expected> {
        let records = self.rounds.iter().flatten().chain(&self.last);
        records.filter_map(Record::expected).collect()
    }
}

impl Announcement {
    fn write(self, writer: &mut Writer) {
        let page = (PAGE as u64).to_be_bytes();
        match self {
            Self::OpenReturnPath => writer.command(format::OPEN_RETURN_PATH, &[]),
            Self::Ping(value) => writer.command(format::PING, &value.to_be_bytes()),
            Self::PostcopyAdvise => writer.command(format::POSTCOPY_ADVISE, &[page, page].concat()),
            Self::PostcopyAdviseWithoutMemory => writer.command(format::POSTCOPY_ADVISE, &[]),
            Self::SwitchoverStart => writer.command(format::SWITCHOVER_START, &[]),
        };
    }
}

impl Record {
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Page {
                number,
                block,
                seed: Some(seed),
            } => writer.page(offset(*number), block.as_deref(), &content(*seed)),
            Self::Page { number, block, .. } => writer.zero(offset(*number), block.as_deref()),
            Self::Xbzrle {
                number,
                block,
                data,
            } => writer.xbzrle(offset(*number), block.as_deref(), data),
            Self::MultifdFlush => writer.multifd_flush(),
        };
    }

    fn expected(&self) -> Option<Expected> {
        let Self::Page { number, seed, .. } = self else {
            return None;
        };
        Some(match seed {
            Some(seed) => Expected::Page(offset(*number), *seed),
            None => Expected::Zero(offset(*number)),
        })
    }
}
