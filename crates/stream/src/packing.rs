//! Packing and unpacking a Batch's body with zstd, within limits and in buffers that are kept.

use std::io;

use zstd::bulk::{Compressor, Decompressor};

use crate::{
    effort::Effort,
    transfer::RestoreError,
    wire::batch::{MAX_BODY, PACKED},
};

/// Packs bodies.
pub struct Packer {
    compressor: Compressor<'static>,
    effort: Effort,
    packed: Vec<u8>,
}

impl Packer {
    /// A packer; it fails only without memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(1)?,
            effort: Effort::Full,
            packed: Vec::new(),
        })
    }

    /// The body packed, if the effort is for it and it becomes smaller by it.
    pub fn pack(&mut self, body: &[u8], effort: Effort) -> Option<&[u8]> {
        let level = effort.level()?;
        if effort != self.effort {
            self.compressor.set_compression_level(level).ok()?;
            self.effort = effort;
        }
        self.packed.clear();
        // No room for more than the body itself: then packing fails, and is not worth it.
        self.packed.reserve(body.len());
        let length = self
            .compressor
            .compress_to_buffer(body, &mut self.packed)
            .ok()?;
        (length + 4 < body.len()).then_some(&self.packed[..length])
    }
}

/// Unpacks the payloads of Batches.
pub struct Unpacker {
    decompressor: Decompressor<'static>,
    body: Vec<u8>,
}

impl Unpacker {
    /// An unpacker; it fails only without memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            decompressor: Decompressor::new()?,
            body: Vec::new(),
        })
    }

    /// The body in this payload, after its flags.
    pub fn unpack<'a>(&'a mut self, flags: u8, rest: &'a [u8]) -> Result<&'a [u8], RestoreError> {
        if flags & PACKED == 0 {
            return Ok(rest);
        }
        let (length, packed) = rest.split_first_chunk().ok_or(RestoreError::Packing)?;
        let length = usize::try_from(u32::from_be_bytes(*length))
            .ok()
            .filter(|length| *length <= MAX_BODY)
            .ok_or(RestoreError::Packing)?;
        self.body.clear();
        self.body.reserve(length);
        let unpacked = self
            .decompressor
            .decompress_to_buffer(packed, &mut self.body)
            .map_err(|_| RestoreError::Packing)?;
        if unpacked == length {
            Ok(&self.body)
        } else {
            Err(RestoreError::Packing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_and_what_does_not_shrink_is_not_packed() {
        let text = b"abcdefgh".repeat(1000);
        let noise: Vec<u8> = (0..4096_u32)
            .flat_map(|i| *blake3::hash(&i.to_be_bytes()).as_bytes())
            .collect();
        let mut packer = Packer::new().unwrap();
        let mut unpacker = Unpacker::new().unwrap();
        for effort in [Effort::Full, Effort::Light, Effort::Full] {
            let mut payload = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
            payload.extend(packer.pack(&text, effort).unwrap());
            assert!(payload.len() < 500);
            assert_eq!(unpacker.unpack(PACKED, &payload).unwrap(), text);
            payload.truncate(20);
            assert!(unpacker.unpack(PACKED, &payload).is_err());
            assert_eq!(packer.pack(&noise, effort), None);
        }
        assert_eq!(packer.pack(&text, Effort::Raw), None);
        assert_eq!(unpacker.unpack(0, &text).unwrap(), text);
    }

    #[test]
    fn a_claim_over_the_limit_and_a_bomb_are_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 8 << 20], 1).unwrap();
        for claim in [u32::MAX, 1000] {
            let mut payload = claim.to_be_bytes().to_vec();
            payload.extend(&bomb);
            let mut unpacker = Unpacker::new().unwrap();
            assert!(unpacker.unpack(PACKED, &payload).is_err());
            assert!(unpacker.body.capacity() < MAX_BODY + (64 << 10));
        }
    }
}
