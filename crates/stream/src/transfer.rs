//! How QEMU's stream travels page by page. Pure: [`crate::source`] and [`crate::destination`] do the talking.
//!
//! ```text
//! QEMU ─► Gatherer ─► Chunk ─► Query(hashes) ═══► find ─► Have ═══► missing pages ─► Batch ═══► Restorer ─► QEMU
//!            └► digest                                                                            └► digest
//! ```
//! Both sides take the same digest: over the stream's bytes in order, with each page's hash in place of its content.
//! The destination takes it of what it gives to QEMU; what it takes from its own store or the template it has verified
//! by that hash. So no fault of either relay can make a wrong VM; it only makes the migration fail.

mod gather;
mod restore;

pub use gather::{Chunk, Gatherer, Progress};
pub use restore::{Answered, Piece, Restorer, Run};

use crate::wire::batch::BatchError;

/// A Batch from which nothing can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Its body does not follow the rules.
    #[error(
        "a batch of pages makes no sense: {0}; the relays' releases differ or the stream was damaged"
    )]
    Body(#[from] BatchError),
    /// It cannot be unpacked.
    #[error(
        "a batch of pages cannot be unpacked; the relays' releases differ or the stream was damaged"
    )]
    Packing,
    /// It answers to nothing, or with the wrong number of pages.
    #[error("a batch of pages does not fit to what was asked for; the relays' releases differ")]
    Unasked,
}
