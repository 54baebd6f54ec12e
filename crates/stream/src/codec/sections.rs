//! The frame of the stream around the memory: which sections there are and how long their heads are.

use super::Opaque;

/// u32 id | u8 length, name | u32 instance | u32 version | payload
pub const START: u8 = 0x01;
/// u32 id | payload
pub const PART: u8 = 0x02;
/// u32 id | payload
pub const END: u8 = 0x03;
/// As [`START`], complete in itself.
pub const FULL: u8 = 0x04;
const SUBSECTION: u8 = 0x05;
const CONFIGURATION: u8 = 0x07;
const COMMAND: u8 = 0x08;
/// u32 id
pub const FOOTER: u8 = 0x7e;

/// The version of the memory's format that is known.
const MEMORY_VERSION: u32 = 4;
/// Pages of 2¹² bytes.
const PAGE_BITS: u32 = 12;
/// Lists and names longer than this are not what they seem.
const LONGEST: usize = 1024;

/// A u32 at this place; `None` if there are not that many bytes.
pub fn be32(input: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*input.get(at..)?.first_chunk()?))
}

/// A u16 at this place.
pub fn be16(input: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*input.get(at..)?.first_chunk()?))
}

/// A u64 at this place.
pub fn be64(input: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*input.get(at..)?.first_chunk()?))
}

/// A u8 length and a name at this place.
pub fn name(input: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(*input.get(at)?);
    input.get(at + 1..at + 1 + length)
}

/// The head of a section of memory that is introduced: its id and its length. An error if it is of anything else.
pub fn introduction(input: &[u8]) -> Option<Result<(u32, usize), Opaque>> {
    let id = be32(input, 1)?;
    let name = name(input, 5)?;
    let version = be32(input, 10 + name.len())?;
    Some(match name {
        b"ram" if version == MEMORY_VERSION => Ok((id, 14 + name.len())),
        b"ram" => Err(Opaque::Version),
        _ => Err(Opaque::NotMemory),
    })
}

/// The length of something else of a length that is known: the configuration, one of its subsections, a command.
pub fn fixed(input: &[u8]) -> Option<Result<usize, Opaque>> {
    match *input.first()? {
        // u32 length | the machine's name
        CONFIGURATION => {
            let length = be32(input, 1)? as usize;
            Some(if length > LONGEST {
                Err(Opaque::Section(CONFIGURATION))
            } else {
                Ok(5 + length)
            })
        }
        // u8 length | name | u32 version | payload
        SUBSECTION => subsection(input),
        // u16 command | u16 length | data
        COMMAND => Some(Ok(5 + usize::from(be16(input, 3)?))),
        other => Some(Err(Opaque::Section(other))),
    }
}

fn subsection(input: &[u8]) -> Option<Result<usize, Opaque>> {
    let name = name(input, 1)?;
    let payload = 2 + name.len() + 4;
    match name {
        b"configuration/capabilities" => capabilities(input, payload),
        b"configuration/uuid" => Some(Ok(payload + 16)),
        b"configuration/target-page-bits" => Some(match be32(input, payload)? {
            PAGE_BITS => Ok(payload + 4),
            _ => Err(Opaque::Version),
        }),
        _ => Some(Err(Opaque::Section(SUBSECTION))),
    }
}

/// u32 count | as many names
fn capabilities(input: &[u8], payload: usize) -> Option<Result<usize, Opaque>> {
    let count = be32(input, payload)? as usize;
    if count > LONGEST {
        return Some(Err(Opaque::Section(SUBSECTION)));
    }
    let mut end = payload + 4;
    for _ in 0..count {
        end += 1 + name(input, end)?.len();
    }
    Some(Ok(end))
}
