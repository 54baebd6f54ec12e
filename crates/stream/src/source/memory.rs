//! The part of the stream that is memory, sent page by page.
//!
//! A few chunks are under way at any time: the oldest wait for the destination's answer, the newest is being read. A
//! chunk is asked about when it is full, or as soon as nothing else is under way and QEMU has no more for the moment.
//! In the blackout nothing is asked: that would cost a round trip more than it saves.

use std::{collections::VecDeque, io, os::fd::OwnedFd};

use bytes::BufMut;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
};

use super::SourceError;
use crate::{
    codec::PAGE,
    effort::{Conditions, Effort},
    framed::{FrameError, write_frame},
    link::LinkWatch,
    local::LocalPages,
    packing::Packer,
    report::Counters,
    transfer::{Chunk, Gatherer, Progress},
    wire::{
        Kind, Origin,
        batch::{ASKED, MAX_BODY, MAX_PAGES, PACKED},
    },
};

/// Chunks under way at once. They bound the memory, and how far QEMU's idea of the bandwidth can be off.
const UNDER_WAY: usize = 4;
/// Chunks of the blackout that are remembered after it; what is over this is not.
const REMEMBERED_LATER: usize = 32;

/// What is needed to send memory.
pub struct MemorySender<W> {
    network: W,
    packer: Packer,
    link: LinkWatch<OwnedFd>,
    idle: Option<f64>,
    local: LocalPages,
    /// In the stream's order; those that were asked about wait for an answer.
    under_way: VecDeque<(Chunk, bool)>,
    spare: Vec<Chunk>,
    later: Vec<Chunk>,
    body: Vec<u8>,
}

/// Where the memory ended.
pub struct Rest {
    /// The digest so far.
    pub digest: blake3::Hasher,
    /// What was read of the rest.
    pub begun: Vec<u8>,
    /// Why the memory was not taken apart to its end, if it was not.
    pub opaque: Option<String>,
}

impl<W: AsyncWrite + Unpin> MemorySender<W> {
    /// Sends over `network`, whose socket `link` watches; so much of the host's CPU is idle.
    pub fn new(
        network: W,
        link: LinkWatch<OwnedFd>,
        idle: Option<f64>,
        local: LocalPages,
    ) -> io::Result<Self> {
        Ok(Self {
            network,
            packer: Packer::new()?,
            link,
            idle,
            local,
            under_way: VecDeque::new(),
            spare: Vec::new(),
            later: Vec::new(),
            body: Vec::new(),
        })
    }

    /// Sends QEMU's stream up to the end of the memory. `haves` brings the answers.
    pub async fn drain(
        &mut self,
        qemu: &mut UnixStream,
        haves: &mut mpsc::Receiver<Vec<u8>>,
        counters: &Counters,
    ) -> Result<Rest, SourceError> {
        let mut gatherer = Gatherer::new(self.local.key().clone());
        let mut chunk = self.blank();
        let mut ended = false;
        while !ended {
            let mut dry = true;
            let waits = !self.under_way.is_empty();
            tokio::select! {
                biased;
                have = haves.recv(), if waits => self.answered(have, counters).await?,
                ready = qemu.readable(), if self.under_way.len() < UNDER_WAY => {
                    ready.map_err(SourceError::Qemu)?;
                    (dry, ended) = read(qemu, &mut chunk, counters).map_err(SourceError::Qemu)?;
                }
            }
            loop {
                ended |= gatherer.gather(&mut chunk) == Progress::Rest;
                let full = chunk.room() < PAGE || chunk.page_count() == MAX_PAGES;
                let idle = dry && self.under_way.is_empty();
                if !(ended || full || idle) || chunk.is_empty() {
                    break;
                }
                let mut next = self.blank();
                chunk.hand_over(&mut next);
                let full = std::mem::replace(&mut chunk, next);
                self.submit(full, !gatherer.in_blackout(), counters).await?;
            }
        }
        while !self.under_way.is_empty() {
            let have = haves.recv().await;
            self.answered(have, counters).await?;
        }
        let (digest, opaque) = gatherer.into_end();
        Ok(Rest {
            digest,
            begun: std::mem::take(chunk.bytes()),
            opaque,
        })
    }

    fn blank(&mut self) -> Chunk {
        let mut chunk = self.spare.pop().unwrap_or_default();
        chunk.clear();
        chunk.bytes().reserve(Chunk::SIZE);
        chunk
    }

    /// Puts a chunk on its way: asks about it, or sends it at once if there is nothing to ask and nothing before it.
    async fn submit(
        &mut self,
        chunk: Chunk,
        ask: bool,
        counters: &Counters,
    ) -> Result<(), SourceError> {
        let asked = ask && chunk.page_count() > 0;
        if asked {
            let query = chunk.query();
            self.frame(Kind::Query, [&query, &[], &[]], counters)
                .await?;
        } else if self.under_way.is_empty() {
            return self.send(chunk, None, counters).await;
        }
        self.under_way.push_back((chunk, asked));
        Ok(())
    }

    /// Sends the chunk that an answer is for, and those after it that need none.
    async fn answered(
        &mut self,
        have: Option<Vec<u8>>,
        counters: &Counters,
    ) -> Result<(), SourceError> {
        let have = have.ok_or(FrameError::Closed)?;
        let Some((chunk, true)) = self.under_way.pop_front() else {
            return Err(FrameError::OutOfTurn(Kind::Have).into());
        };
        let origins = Origin::decode(&have, chunk.page_count()).map_err(FrameError::from)?;
        self.send(chunk, Some(origins), counters).await?;
        while self.under_way.front().is_some_and(|(_, asked)| !asked) {
            if let Some((chunk, _)) = self.under_way.pop_front() {
                self.send(chunk, None, counters).await?;
            }
        }
        Ok(())
    }

    async fn send(
        &mut self,
        mut chunk: Chunk,
        origins: Option<Vec<Option<Origin>>>,
        counters: &Counters,
    ) -> Result<(), SourceError> {
        let asked = origins.is_some();
        let missing = compose(&mut self.body, &mut chunk, origins.as_deref());
        debug_assert!(self.body.len() <= MAX_BODY);
        let effort = Effort::choose(Conditions {
            link: self.link.rate(),
            idle: self.idle,
        });
        let length = (self.body.len() as u32).to_be_bytes();
        let flags = if asked { ASKED } else { 0 };
        let packed = self.packer.pack(&self.body, effort);
        let was_packed = packed.is_some();
        let written = match packed {
            Some(packed) => {
                let parts: [&[u8]; 3] = [&[flags | PACKED], &length, packed];
                counters.gave(parts.iter().map(|part| part.len()).sum());
                write_frame(&mut self.network, Kind::Batch, parts).await
            }
            None => {
                counters.gave(1 + self.body.len());
                write_frame(&mut self.network, Kind::Batch, [&[flags], &self.body, &[]]).await
            }
        };
        written.map_err(SourceError::Send)?;
        self.network.flush().await.map_err(SourceError::Send)?;
        counters.pages(|pages| {
            pages.zero += chunk.zeros;
            for origin in origins.iter().flatten().flatten() {
                *pages.of(*origin) += 1;
            }
            *(if was_packed {
                &mut pages.compressed
            } else {
                &mut pages.raw
            }) += missing;
        });
        if asked {
            self.local.remember(chunk.pages());
            self.spare.push(chunk);
        } else if self.later.len() < REMEMBERED_LATER {
            self.later.push(chunk);
        }
        Ok(())
    }

    async fn frame(
        &mut self,
        kind: Kind,
        parts: [&[u8]; 3],
        counters: &Counters,
    ) -> Result<(), SourceError> {
        counters.gave(parts.iter().map(|part| part.len()).sum());
        write_frame(&mut self.network, kind, parts)
            .await
            .map_err(SourceError::Send)?;
        self.network.flush().await.map_err(SourceError::Send)
    }

    /// What there was no time for in the blackout.
    pub fn into_later(self) -> Later {
        Later {
            local: self.local,
            chunks: self.later,
        }
    }
}

/// Pages that are still to be remembered.
pub struct Later {
    local: LocalPages,
    chunks: Vec<Chunk>,
}

impl Later {
    /// Remembers them.
    pub fn remember(mut self) {
        for chunk in &self.chunks {
            self.local.remember(chunk.pages());
        }
    }
}

/// Writes the body of a chunk's Batch; gives how many contents it has.
fn compose(body: &mut Vec<u8>, chunk: &mut Chunk, origins: Option<&[Option<Origin>]>) -> u64 {
    body.clear();
    let ops = chunk.ops();
    body.extend_from_slice(&(ops.len() as u32).to_be_bytes());
    body.extend_from_slice(ops);
    let mut missing = 0;
    for (at, (_, content)) in chunk.pages().enumerate() {
        let there = origins.is_some_and(|origins| origins[at].is_some());
        if !there {
            body.extend_from_slice(content);
            missing += 1;
        }
    }
    missing
}

/// Reads what there is without waiting. Says whether there is no more for the moment, and whether for ever.
fn read(qemu: &UnixStream, chunk: &mut Chunk, counters: &Counters) -> io::Result<(bool, bool)> {
    while chunk.room() > 0 {
        let room = chunk.room();
        match qemu.try_read_buf(&mut chunk.bytes().limit(room)) {
            Ok(0) => return Ok((true, true)),
            Ok(count) => counters.took(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((true, false)),
            Err(error) => return Err(error),
        }
    }
    Ok((false, false))
}
