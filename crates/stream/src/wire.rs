//! What relays say to each other, as pure encoding and decoding.
//!
//! ```text
//! frame   = type u8 | length u32 | payload          all integers big-endian
//!
//!   source                               destination
//!   Hello(magic, version, caps, id)  ──►
//!                                    ◄── Welcome(version, caps)      or Refused(reason)
//!   Query(hashes)                    ──►                             with PAGES: several may be under way
//!                                    ◄── Have(origins)
//!   Batch(ops, missing pages)        ──►                             in the order of the stream
//!   Data(piece) ...                  ──►                             what is not memory, or all without PAGES
//!   Final(digest, tail)              ──►                             after Release only
//!                                    ◄── Accepted                    or Refused(reason), at any time
//! ```
//! The length is checked against the type's limit before anything is allocated or read. The digest is BLAKE3 over
//! QEMU's whole stream as the source read it, tail included, with PAGES each page's hash in place of its content; the
//! tail travels unreduced. Batches are described in [`batch`].

pub mod batch;

use std::{fmt, ops::BitAnd, str::FromStr};

use serde::{Deserialize, Serialize};

/// The first bytes of a Hello.
pub const MAGIC: [u8; 8] = *b"GODWITRL";
/// The version of this protocol. A destination refuses every other one.
pub const VERSION: u16 = 2;
/// The longest payload of a Data frame, in bytes, and the longest tail.
pub const MAX_DATA: usize = 1 << 20;
/// The size of a digest in bytes.
pub const DIGEST: usize = blake3::OUT_LEN;
/// The size of a page's hash in bytes.
pub const HASH: usize = 16;
/// The longest reason in a Refused, in bytes.
pub const MAX_REASON: usize = 1024;

/// Something on the wire that is not this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A type that this version does not know.
    #[error("unknown frame type {0:#04x}; the other side is not a relay of this version")]
    UnknownType(u8),
    /// A length over the type's limit.
    #[error(
        "a {kind:?} frame of {length} bytes is over its limit; the other side is not a relay of this version"
    )]
    TooLong {
        /// The frame's type.
        kind: Kind,
        /// The length it claims.
        length: u32,
    },
    /// A payload that does not fit its type.
    #[error(
        "the payload of a {0:?} frame is malformed; the other side is not a relay of this version"
    )]
    Malformed(Kind),
    /// A Hello that does not begin with [`MAGIC`].
    #[error("the other side does not speak the relays' protocol")]
    NotARelay,
    /// Another version.
    #[error(
        "the other relay speaks version {0} of the protocol, this one version {VERSION}; install the same release on both hosts"
    )]
    Version(u16),
}

/// The types of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The source introduces itself.
    Hello,
    /// The destination agrees.
    Welcome,
    /// A piece of QEMU's stream as it is.
    Data,
    /// The digest of everything and the withheld tail.
    Final,
    /// The destination has verified everything and given it to QEMU.
    Accepted,
    /// The destination will not go on.
    Refused,
    /// The hashes of pages of the next Batch that asks, 16 bytes each.
    Query,
    /// Which of them the destination has ([`Origin`]).
    Have,
    /// A stretch of the memory's part of the stream, as [`batch`] describes.
    Batch,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Hello,
        Self::Welcome,
        Self::Data,
        Self::Final,
        Self::Accepted,
        Self::Refused,
        Self::Query,
        Self::Have,
        Self::Batch,
    ];

    fn code(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Welcome => 2,
            Self::Data => 3,
            Self::Final => 4,
            Self::Accepted => 5,
            Self::Refused => 6,
            Self::Query => 7,
            Self::Have => 8,
            Self::Batch => 9,
        }
    }

    /// The longest payload, in bytes.
    #[must_use]
    pub fn limit(self) -> usize {
        match self {
            Self::Hello => 256,
            Self::Welcome => 64,
            Self::Data => MAX_DATA,
            Self::Final => DIGEST + MAX_DATA,
            Self::Accepted => 0,
            Self::Refused => MAX_REASON,
            Self::Query => batch::MAX_PAGES * HASH,
            Self::Have => batch::MAX_PAGES.div_ceil(PER_BYTE),
            Self::Batch => 5 + batch::MAX_BODY,
        }
    }
}

/// What precedes each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The frame's type.
    pub kind: Kind,
    /// The payload's length in bytes, within the type's limit.
    pub length: usize,
}

impl Header {
    /// The size of a header on the wire, in bytes.
    pub const SIZE: usize = 5;

    /// The header for a payload of `length` bytes.
    ///
    /// # Panics
    /// If the payload is over its limit: nothing in this crate makes such a one.
    #[must_use]
    pub fn encode(kind: Kind, length: usize) -> [u8; Self::SIZE] {
        assert!(
            length <= kind.limit(),
            "a {kind:?} frame of {length} bytes must not be made"
        );
        let mut bytes = [kind.code(); Self::SIZE];
        bytes[1..].copy_from_slice(
            &u32::try_from(length)
                .expect("limits are far below 4 GiB")
                .to_be_bytes(),
        );
        bytes
    }

    /// Reads a header and checks the length against the type's limit.
    pub fn decode([code, length @ ..]: [u8; Self::SIZE]) -> Result<Self, WireError> {
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.code() == code)
            .ok_or(WireError::UnknownType(code))?;
        let claimed = u32::from_be_bytes(length);
        match usize::try_from(claimed) {
            Ok(length) if length <= kind.limit() => Ok(Self { kind, length }),
            _ => Err(WireError::TooLong {
                kind,
                length: claimed,
            }),
        }
    }
}

/// Which optional parts of the protocol a relay can do, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// It can ask and answer for pages.
    pub const PAGES: Self = Self(1);

    /// Whether all of these are among them.
    #[must_use]
    pub fn include(self, these: Self) -> bool {
        self & these == these
    }
}

impl BitAnd for Capabilities {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Where the destination has a page from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its page store.
    Store,
    /// A block of the VM's template.
    Template,
}

/// Origins in one byte of a Have: two bits each, the first page in the lowest; 0 is a page that is not there.
const PER_BYTE: usize = 4;

impl Origin {
    fn code(origin: Option<Self>) -> u8 {
        match origin {
            None => 0,
            Some(Self::Store) => 1,
            Some(Self::Template) => 2,
        }
    }

    /// The payload of a Have.
    #[must_use]
    pub fn encode(origins: &[Option<Self>]) -> Vec<u8> {
        let byte = |four: &[Option<Self>]| {
            let codes = four.iter().enumerate();
            codes.fold(0, |byte, (at, origin)| {
                byte | Self::code(*origin) << (2 * at)
            })
        };
        origins.chunks(PER_BYTE).map(byte).collect()
    }

    /// Reads the payload of a Have for so many pages.
    pub fn decode(payload: &[u8], pages: usize) -> Result<Vec<Option<Self>>, WireError> {
        if payload.len() != pages.div_ceil(PER_BYTE) {
            return Err(WireError::Malformed(Kind::Have));
        }
        let origin = |at: usize| match payload[at / PER_BYTE] >> (2 * (at % PER_BYTE)) & 3 {
            0 => Ok(None),
            1 => Ok(Some(Self::Store)),
            2 => Ok(Some(Self::Template)),
            _ => Err(WireError::Malformed(Kind::Have)),
        };
        (0..pages).map(origin).collect()
    }
}

/// Names a migration to both relays.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MigrationId(String);

/// A text that cannot be a migration's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" cannot be a migration's id; use 1 to 64 letters, digits, '-' or '_'")]
pub struct BadMigrationId(String);

impl FromStr for MigrationId {
    type Err = BadMigrationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let usable = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=64).contains(&text.len()) && text.bytes().all(usable) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadMigrationId(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for MigrationId {
    type Error = BadMigrationId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MigrationId> for String {
    fn from(id: MigrationId) -> Self {
        id.0
    }
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The source's first frame. Version [`VERSION`] is implied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the source can do.
    pub capabilities: Capabilities,
    /// The migration it belongs to.
    pub migration: MigrationId,
}

impl Hello {
    /// magic | version u16 | capabilities u32 | id
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(self.capabilities.0.to_be_bytes());
        bytes.extend(self.migration.0.as_bytes());
        bytes
    }

    /// Reads a Hello; another version is an error, whatever follows it.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let malformed = WireError::Malformed(Kind::Hello);
        let rest = payload.strip_prefix(&MAGIC).ok_or(WireError::NotARelay)?;
        let (capabilities, id) = decode_terms(rest).ok_or(malformed.clone())??;
        let id = std::str::from_utf8(id).map_err(|_| malformed.clone())?;
        Ok(Self {
            capabilities,
            migration: id.parse().map_err(|_| malformed)?,
        })
    }
}

/// The destination's answer to a Hello. Version [`VERSION`] is implied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// What both can do.
    pub capabilities: Capabilities,
}

impl Welcome {
    /// version u16 | capabilities u32
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = VERSION.to_be_bytes().to_vec();
        bytes.extend(self.capabilities.0.to_be_bytes());
        bytes
    }

    /// Reads a Welcome.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        match decode_terms(payload).ok_or(WireError::Malformed(Kind::Welcome))?? {
            (capabilities, []) => Ok(Self { capabilities }),
            _ => Err(WireError::Malformed(Kind::Welcome)),
        }
    }
}

/// version u16 | capabilities u32 | rest; `None` if too short.
fn decode_terms(bytes: &[u8]) -> Option<Result<(Capabilities, &[u8]), WireError>> {
    let (version, rest) = bytes.split_first_chunk()?;
    let version = u16::from_be_bytes(*version);
    if version != VERSION {
        return Some(Err(WireError::Version(version)));
    }
    let (capabilities, rest) = rest.split_first_chunk()?;
    Some(Ok((Capabilities(u32::from_be_bytes(*capabilities)), rest)))
}

/// Splits the payload of a Final into the digest and the tail.
pub fn decode_final(payload: &[u8]) -> Result<(blake3::Hash, &[u8]), WireError> {
    let (digest, tail) = payload
        .split_first_chunk::<DIGEST>()
        .ok_or(WireError::Malformed(Kind::Final))?;
    Ok((blake3::Hash::from_bytes(*digest), tail))
}

/// A reason as the payload of a Refused: cut to its limit at a character's boundary.
#[must_use]
pub fn encode_reason(reason: &str) -> &[u8] {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason.as_bytes()[..end]
}

/// Reads a reason; what is not text becomes readable, since it goes into messages only.
#[must_use]
pub fn decode_reason(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
