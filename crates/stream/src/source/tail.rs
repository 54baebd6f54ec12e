//! The part of the stream that is not taken apart, and its withheld end.
//!
//! Two buffers take turns: one is filled while the other waits, and is sent only when the first is full. So between
//! one and two pieces are always withheld, or all that is left after the memory. A tail of a few bytes would not do: a
//! stream ends with a JSON description of the machine (140 KB for four vCPUs and eight devices), whose loss QEMU
//! forgives. That a still longer one might reach over the tail is why the destination's agent goes by this relay's
//! word and never by QEMU's alone.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
};

use super::SourceError;
use crate::{
    framed::write_frame,
    orders::Release,
    report::Counters,
    wire::{Kind, MAX_DATA},
};

/// The size of a piece in bytes.
pub const PIECE: usize = 256 << 10;
const _: () = assert!(2 * PIECE <= MAX_DATA, "the tail must fit into one frame");

/// The withheld end of the stream. What it needs to be sent is a [`Release`].
pub struct Tail {
    digest: blake3::Hash,
    older: Vec<u8>,
    newer: Vec<u8>,
}

impl Tail {
    /// POINT OF NO RETURN: sends the tail.
    pub async fn send(
        self,
        _authority: Release,
        network: &mut (impl AsyncWrite + Unpin),
        counters: &Counters,
    ) -> io::Result<()> {
        write_frame(
            network,
            Kind::Final,
            [self.digest.as_bytes(), &self.older, &self.newer],
        )
        .await?;
        network.flush().await?;
        counters.gave(self.older.len() + self.newer.len());
        Ok(())
    }
}

/// Sends what QEMU's stream has from here on up to its end, except the tail. `digest` is that of what came before,
/// `begun` what was read already.
pub async fn drain(
    qemu: &mut UnixStream,
    network: &mut (impl AsyncWrite + Unpin),
    mut digest: blake3::Hasher,
    begun: Vec<u8>,
    counters: &Counters,
) -> Result<Tail, SourceError> {
    let mut begun = &begun[..];
    let mut older = Vec::with_capacity(PIECE);
    let mut newer = Vec::with_capacity(PIECE);
    loop {
        fill(&mut begun, qemu, &mut newer, counters)
            .await
            .map_err(SourceError::Qemu)?;
        digest.update(&newer);
        if newer.len() < PIECE {
            network.flush().await.map_err(SourceError::Send)?;
            return Ok(Tail {
                digest: digest.finalize(),
                older,
                newer,
            });
        }
        if !older.is_empty() {
            write_frame(network, Kind::Data, [&older, &[], &[]])
                .await
                .map_err(SourceError::Send)?;
            counters.gave(older.len());
            older.clear();
        }
        std::mem::swap(&mut older, &mut newer);
    }
}

/// Fills a piece; it stays short only at the end of the stream.
async fn fill(
    begun: &mut &[u8],
    qemu: &mut UnixStream,
    piece: &mut Vec<u8>,
    counters: &Counters,
) -> io::Result<()> {
    let (first, rest) = begun.split_at(begun.len().min(PIECE - piece.len()));
    piece.extend_from_slice(first);
    *begun = rest;
    while piece.len() < PIECE {
        let room = PIECE - piece.len();
        match qemu.take(room as u64).read_buf(piece).await? {
            0 => break,
            bytes => counters.took(bytes),
        }
    }
    Ok(())
}
