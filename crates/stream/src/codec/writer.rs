//! Writes streams as QEMU does, piece by piece: for tests, fuzzing and tools. It writes what it is told to, sense or
//! not; [`super::plan`] is for whole streams.

use super::format::*;

/// A stream in the making.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// A part of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subsection {
    /// The capabilities that both ends must share.
    Capabilities(Vec<String>),
    /// The VM's id.
    Uuid([u8; 16]),
    /// Size of a page: 12 for 4 KiB.
    TargetPageBits(u32),
}

/// A block of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its name, such as `pc.ram`; what is over 255 bytes is cut off.
    pub name: String,
    /// In bytes.
    pub length: u64,
    /// The guest-physical address, only with `x-ignore-shared`.
    pub address: Option<u64>,
}

/// Which part of a section in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One of the rounds.
    Round,
    /// The last, with the VM paused.
    Last,
}

impl Writer {
    /// Begins with `QEVM` and version 3.
    #[must_use]
    pub fn new() -> Self {
        let mut writer = Self::default();
        writer.bytes(&MAGIC).be32(VERSION);
        writer
    }

    /// The stream so far.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn byte(&mut self, byte: u8) -> &mut Self {
        self.bytes(&[byte])
    }

    fn be32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    fn be64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    fn name(&mut self, name: &str) -> &mut Self {
        let name = &name.as_bytes()[..name.len().min(255)];
        self.byte(name.len() as u8).bytes(name)
    }

    /// The configuration section.
    pub fn configuration(&mut self, machine: &str, subsections: &[Subsection]) -> &mut Self {
        self.byte(CONFIGURATION).be32(machine.len() as u32);
        self.bytes(machine.as_bytes());
        for subsection in subsections {
            self.byte(SUBSECTION);
            match subsection {
                Subsection::Capabilities(names) => {
                    self.name("configuration/capabilities").be32(1);
                    self.be32(names.len() as u32);
                    for name in names {
                        self.name(name);
                    }
                }
                Subsection::Uuid(uuid) => {
                    self.name("configuration/uuid").be32(1).bytes(uuid);
                }
                Subsection::TargetPageBits(bits) => {
                    self.name("configuration/target-page-bits").be32(1);
                    self.be32(*bits);
                }
            }
        }
        self
    }

    /// A command; data over 65535 bytes are cut off.
    pub fn command(&mut self, command: u16, data: &[u8]) -> &mut Self {
        let data = &data[..data.len().min(usize::from(u16::MAX))];
        self.byte(COMMAND).bytes(&command.to_be_bytes());
        self.bytes(&(data.len() as u16).to_be_bytes()).bytes(data)
    }

    /// The beginning of a section in parts; what follows is its payload, to be ended by [`Writer::footer`].
    pub fn start(&mut self, id: u32, name: &str, instance: u32, version: u32) -> &mut Self {
        self.byte(START).be32(id).name(name);
        self.be32(instance).be32(version)
    }

    /// The whole START section of `ram`.
    pub fn ram_start(&mut self, id: u32, blocks: &[Block]) -> &mut Self {
        self.start(id, "ram", 0, RAM_VERSION).blocks(blocks).eos(id)
    }

    /// The record that describes the blocks of memory.
    pub fn blocks(&mut self, blocks: &[Block]) -> &mut Self {
        let total: u64 = blocks.iter().map(|block| block.length).sum();
        self.be64(total | MEM_SIZE);
        for block in blocks {
            self.name(&block.name).be64(block.length);
            if let Some(address) = block.address {
                self.be64(address);
            }
        }
        self
    }

    /// The beginning of a further part of a section.
    pub fn part(&mut self, part: Part, id: u32) -> &mut Self {
        let kind = match part {
            Part::Round => PART,
            Part::Last => END,
        };
        self.byte(kind).be32(id)
    }

    /// A record's beginning; with the name of its block if it is another than before.
    pub fn record(&mut self, offset: u64, flags: u64, block: Option<&str>) -> &mut Self {
        match block {
            Some(name) => self.be64(offset | flags).name(name),
            None => self.be64(offset | flags | CONTINUE),
        }
    }

    /// A page.
    pub fn page(&mut self, offset: u64, block: Option<&str>, content: &[u8]) -> &mut Self {
        self.record(offset, PAGE_FLAG, block).bytes(content)
    }

    /// A page of zeroes.
    pub fn zero(&mut self, offset: u64, block: Option<&str>) -> &mut Self {
        self.record(offset, ZERO, block).byte(0)
    }

    /// A page as a difference; data over 65535 bytes are cut off.
    pub fn xbzrle(&mut self, offset: u64, block: Option<&str>, data: &[u8]) -> &mut Self {
        let data = &data[..data.len().min(usize::from(u16::MAX))];
        self.record(offset, XBZRLE, block).byte(XBZRLE_ENCODING);
        self.bytes(&(data.len() as u16).to_be_bytes()).bytes(data)
    }

    /// Where multifd's channels come together.
    pub fn multifd_flush(&mut self) -> &mut Self {
        self.be64(MULTIFD_FLUSH)
    }

    /// The end of a payload of `ram`, and its footer.
    pub fn eos(&mut self, id: u32) -> &mut Self {
        self.be64(EOS).footer(id)
    }

    /// The end of a section.
    pub fn footer(&mut self, id: u32) -> &mut Self {
        self.byte(FOOTER).be32(id)
    }

    /// A device: version 1, with its footer.
    pub fn device(&mut self, id: u32, name: &str, payload: &[u8]) -> &mut Self {
        self.byte(FULL).be32(id).name(name).be32(0).be32(1);
        self.bytes(payload).footer(id)
    }

    /// The end of the stream and the description of the machine.
    pub fn end(&mut self, description: &str) -> &mut Self {
        self.byte(EOF).byte(DESCRIPTION);
        self.be32(description.len() as u32)
            .bytes(description.as_bytes())
    }
}
