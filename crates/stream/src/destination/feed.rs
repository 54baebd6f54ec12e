//! From frames to QEMU: answers what it is asked for pages, puts the stream together, and gives it to QEMU.
//!
//! Everything that the source sends is of the memory, page by page, until the first Data; then nothing is any more.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::DestinationError;
use crate::{
    codec::PAGE,
    framed::{FrameError, FrameReader, write_frame, write_slices},
    local::{Afterwards, LocalPages},
    memory::GuestMemory,
    packing::Unpacker,
    pages::PageHash,
    report::{Counters, Event, Reporter},
    transfer::{RestoreError, Restorer},
    wire::{HASH, Kind, Origin, decode_final},
};

/// Queries that may wait for their Batches; a source asks for fewer at once. They bound the memory.
const MAX_WAITING: usize = 16;
/// Pages that came after the last Query and are remembered at the end; what is over this is not.
const REMEMBERED_LATER: usize = 4096;

/// Feeds QEMU.
pub struct Feeder {
    pages: Option<Pages>,
    /// The digest, where pages do not travel by themselves.
    plain: blake3::Hasher,
}

/// What page by page takes.
struct Pages {
    local: LocalPages,
    restorer: Restorer,
    unpacker: Unpacker,
    memory: Option<GuestMemory>,
    /// It was told that the VM stands still.
    blackout: bool,
    /// No Batch may follow.
    ended: bool,
    later: Vec<(PageHash, Box<[u8; PAGE]>)>,
}

impl Feeder {
    /// A feeder; without `local` it takes no pages by themselves, without `memory` QEMU gets them all.
    pub fn new(local: Option<LocalPages>, memory: Option<GuestMemory>) -> io::Result<Self> {
        let pages = match local {
            Some(local) => Some(Pages {
                restorer: Restorer::new(
                    local.key().clone(),
                    memory.as_ref().map(GuestMemory::block),
                ),
                memory,
                unpacker: Unpacker::new()?,
                blackout: false,
                ended: false,
                later: Vec::new(),
                local,
            }),
            None => None,
        };
        Ok(Self {
            pages,
            plain: blake3::Hasher::new(),
        })
    }

    /// Passes the stream to QEMU until the tail has come and is verified and handed over.
    pub async fn feed(
        &mut self,
        frames: &mut FrameReader<impl AsyncRead + AsyncWrite + Unpin>,
        qemu: &mut (impl AsyncWrite + Unpin),
        report: &Reporter,
        counters: &Counters,
    ) -> Result<(), DestinationError> {
        loop {
            let (kind, payload) = frames.next().await?;
            counters.took(payload.len());
            match (kind, &mut self.pages) {
                (Kind::Query, Some(pages)) if !pages.ended => {
                    let have = pages.look_for(payload)?;
                    let network = frames.get_mut();
                    write_frame(network, Kind::Have, [&have, &[], &[]])
                        .await
                        .map_err(FrameError::from)?;
                    network.flush().await.map_err(FrameError::from)?;
                }
                (Kind::Batch, Some(pages)) if !pages.ended => {
                    pages.take(payload, qemu, report, counters).await?;
                }
                (Kind::Data, _) => {
                    self.digest().update(payload);
                    if let Some(pages) = &mut self.pages {
                        pages.ended = true;
                    }
                    give(qemu, payload, counters).await?;
                }
                (Kind::Final, _) => {
                    let (digest, tail) = decode_final(payload).map_err(FrameError::from)?;
                    if self.digest().update(tail).finalize() != digest {
                        return Err(DestinationError::Digest);
                    }
                    return give(qemu, tail, counters).await;
                }
                (other, _) => return Err(FrameError::OutOfTurn(other).into()),
            }
        }
    }

    fn digest(&mut self) -> &mut blake3::Hasher {
        match &mut self.pages {
            Some(pages) => pages.restorer.digest(),
            None => &mut self.plain,
        }
    }

    /// Remembers the pages that came in the blackout, when it is called. The guest's memory is let go of now.
    pub fn afterwards(self) -> Afterwards {
        let kept = self.pages.map(|pages| (pages.local, pages.later));
        Box::new(|| {
            if let Some((mut local, later)) = kept {
                local.remember(later.iter().map(|(hash, page)| (*hash, &**page)));
            }
        })
    }
}

impl Pages {
    /// Looks for the pages of a Query, and keeps what is found until the Batch comes. Gives the Have.
    fn look_for(&mut self, query: &[u8]) -> Result<Vec<u8>, DestinationError> {
        let (hashes, []) = query.as_chunks::<HASH>() else {
            return Err(RestoreError::Unasked.into());
        };
        if self.restorer.waiting() == MAX_WAITING {
            return Err(FrameError::OutOfTurn(Kind::Query).into());
        }
        let mut answered = self.restorer.blank();
        let mut origins: Vec<Option<Origin>> = Vec::with_capacity(hashes.len());
        let mut page = [0; PAGE];
        for hash in hashes {
            let hash = PageHash(*hash);
            let origin = self.local.find(hash, &mut page);
            if origin.is_some() {
                answered.contents.push(page);
            }
            answered.found.push(origin.map(|_| hash));
            origins.push(origin);
        }
        self.restorer.answered(answered);
        Ok(Origin::encode(&origins))
    }

    async fn take(
        &mut self,
        payload: &[u8],
        qemu: &mut (impl AsyncWrite + Unpin),
        report: &Reporter,
        counters: &Counters,
    ) -> Result<(), DestinationError> {
        let Some((flags, rest)) = payload.split_first() else {
            return Err(RestoreError::Packing.into());
        };
        let body = self.unpacker.unpack(*flags, rest)?;
        let piece = self.restorer.restore(*flags, body)?;
        if let Some(memory) = &self.memory {
            for run in piece.memory() {
                counters.gave(run.slices.iter().map(|slice| slice.len()).sum());
                memory.write(run).map_err(DestinationError::Memory)?;
            }
        }
        let mut slices = piece.stream();
        counters.gave(slices.iter().map(|slice| slice.len()).sum());
        write_slices(qemu, &mut slices)
            .await
            .map_err(DestinationError::Qemu)?;
        if let (Some(block), Some(memory)) = (piece.untold_block(), &self.memory) {
            let record = memory.first_page_record(block);
            let record = record.map_err(DestinationError::Memory)?;
            give(qemu, &record, counters).await?;
        }
        if piece.asked() {
            self.local.remember(piece.received());
        } else {
            let room = REMEMBERED_LATER - self.later.len();
            let pages = piece.received().take(room);
            self.later
                .extend(pages.map(|(hash, page)| (hash, Box::new(*page))));
            // While the VM runs, every page is asked about.
            let has_pages = piece.received().next().is_some();
            if has_pages && !std::mem::replace(&mut self.blackout, true) {
                report.say(Event::Blackout);
            }
        }
        Ok(())
    }
}

async fn give(
    qemu: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    counters: &Counters,
) -> Result<(), DestinationError> {
    qemu.write_all(bytes)
        .await
        .map_err(DestinationError::Qemu)?;
    counters.gave(bytes.len());
    Ok(())
}

#[cfg(test)]
mod tests;
