//! The migration data path: relays and their wire protocol.
//!
//! ```text
//!  source host                                              destination host
//!  QEMU ──unix──► relay send ══ TLS 1.3, both certificates ══► relay receive ──unix──► QEMU
//!                 │ keeps the newest pieces back               │ digest of the whole stream
//!                 │ until Release                              │ before QEMU sees the last piece
//! ```
//!
//! A relay is a process without root rights (`godwit relay send|receive`, [`process`]); its agent starts and steers it
//! through [`SourceRelay`] and [`DestinationRelay`]. What travels between relays is in [`wire`]; how memory becomes
//! references and compressed pages, and memory again, in [`transfer`]: QEMU's stream is taken apart by [`codec`], what a
//! host has already is in [`pages`].
//!
//! Invariants
//! - The last piece is sent only after Release ([`source`] marks the point).
//! - QEMU at the destination sees the last piece only if the digest of everything matches ([`destination`]).
//! - Every queue is bounded: what lies in a relay lengthens the blackout.

mod accept;
pub mod codec;
pub mod config;
pub mod destination;
pub mod effort;
mod framed;
pub mod handle;
mod link;
pub mod local;
pub mod memory;
pub mod orders;
mod packing;
pub mod pages;
mod privilege;
pub mod process;
pub mod report;
pub mod sockets;
pub mod source;
pub mod transfer;
pub mod wire;

pub use config::{
    Credentials, DestinationConfig, MemoryConfig, PagesConfig, SourceConfig, StoreConfig,
    TemplateConfig,
};
pub use handle::{DestinationRelay, Events, RelayError, SourceRelay};
pub use report::{ByteCount, Command, Event, PageCounts, Totals};
pub use wire::{BadMigrationId, MigrationId};
