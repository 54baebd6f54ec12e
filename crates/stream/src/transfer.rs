//! How a piece of QEMU's stream travels. THE PLACE OF PAGE AWARENESS: a reducer that reads the stream page by page
//! and sends references, compressed and zero pages goes behind these two traits; relays do not care.
//!
//! ```text
//! QEMU ─► piece ─► Reducer ─► payload of a Data frame ═══► Restorer ─► piece ─► QEMU
//!            └► digest                                                   └► digest
//! ```
//! The digest is taken outside: of what came from QEMU, and of what would be given to QEMU. So a faulty reducer or
//! restorer can make a migration fail, but cannot make a wrong VM.

/// A payload from which nothing can be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a data frame cannot be restored ({0}); the relays' releases differ or the stream was damaged"
)]
pub struct RestoreError(pub String);

/// The source's half.
pub trait Reducer: Send {
    /// Turns the next piece of QEMU's stream, of at most [`crate::source::PIECE`] bytes, into a payload of at most
    /// [`crate::wire::MAX_DATA`].
    fn reduce<'a>(&'a mut self, piece: &'a [u8]) -> &'a [u8];
}

/// The destination's half.
pub trait Restorer: Send {
    /// Turns a payload back into the piece it was made from.
    fn restore<'a>(&'a mut self, payload: &'a [u8]) -> Result<&'a [u8], RestoreError>;
}

/// Sends everything as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassThrough;

impl Reducer for PassThrough {
    fn reduce<'a>(&'a mut self, piece: &'a [u8]) -> &'a [u8] {
        piece
    }
}

impl Restorer for PassThrough {
    fn restore<'a>(&'a mut self, payload: &'a [u8]) -> Result<&'a [u8], RestoreError> {
        Ok(payload)
    }
}
