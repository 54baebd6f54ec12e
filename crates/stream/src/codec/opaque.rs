//! Why the rest of a stream is not interpreted.

/// Why the parser stopped to interpret. The migration goes on, with everything from there on sent as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Opaque {
    /// The first bytes are not `QEVM`.
    #[error("not a migration stream of QEMU")]
    Magic,
    /// The stream's version is not 3.
    #[error("stream version {0}, only 3 is known")]
    Version(u32),
    /// The machine's name has more bytes than any known machine's.
    #[error("a machine name of {0} bytes")]
    MachineName(u32),
    /// Something unknown in the configuration.
    #[error("unknown configuration {0:?}")]
    Configuration(String),
    /// A capability that may change the format.
    #[error("unknown capability {0:?}")]
    Capability(String),
    /// The guest's pages are not of 4 KiB.
    #[error("guest pages of 2^{0} bytes, only 2^12 is known")]
    PageBits(u32),
    /// Post-copy was announced for memory whose pages, at the host, are not all of 4 KiB: blocks are described
    /// differently then. The sizes, in bytes, are or-ed.
    #[error("post-copy with host pages of {0:#x} bytes")]
    HostPages(u64),
    /// A command that does not belong to precopy, or whose length is not the known one.
    #[error("unknown command {command} with {length} bytes")]
    Command {
        /// Its number.
        command: u16,
        /// Of its data, in bytes.
        length: u16,
    },
    /// What begins a section is unknown, or out of place.
    #[error("unknown or misplaced section type {0:#04x}")]
    SectionType(u8),
    /// A section before the end of `ram` that has no known length, as `dirty-bitmap`.
    #[error("unknown section {0:?}")]
    Section(String),
    /// A further part of a section that is not `ram`.
    #[error("unknown section id {0}")]
    SectionId(u32),
    /// `ram` has another version than 4.
    #[error("version {0} of ram, only 4 is known")]
    RamVersion(u32),
    /// A section did not end with its footer.
    #[error("a section without its footer")]
    Footer,
    /// The blocks' lengths are more than the announced total.
    #[error("memory blocks longer than their total")]
    Blocks,
    /// A record's flags are unknown, or unknown in this combination, or its offset is not that of a page.
    #[error("unknown record {0:#x} in ram")]
    Record(u64),
    /// A record of a page of zeroes with another byte.
    #[error("a page of bytes {0:#04x} said to be zero")]
    ZeroByte(u8),
    /// The header of an xbzrle record is unknown.
    #[error("unknown xbzrle encoding {encoding} of {length} bytes")]
    Xbzrle {
        /// Its number; 1 is known.
        encoding: u8,
        /// Of the data, in bytes; at most a page is known.
        length: u16,
    },
}
