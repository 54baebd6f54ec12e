//! The life of a migration, as two pure state machines: one at the host that has the VM
//! ([`source`]), one at the host that gets it ([`destination`]). The agents run exactly
//! this code: an event and a state give the next state and the effects to carry out.
//!
//! ```text
//!   source                                destination
//!   Connecting ── relay connected ──────► Listening → Receiving
//!   Sending      (precopy, last round)
//!   QEMU completed and relay drained
//!   ═══ release: the last frame is sent ═══════════════════════ point of no return:
//!   Released     before it an abort needs no claim,   Claiming(N)   after it nobody
//!                after it only a claim decides        Activating    runs without a claim
//!   Left ◄────── RESUME reported ──────── Running
//! ```
//! Outcomes of every fault are listed in FAULTS.md.

pub mod destination;
pub mod patience;
pub mod predict;
pub mod receipt;
pub mod source;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a migration ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The VM runs at the destination (D).
    Moved,
    /// The VM runs at the source, as before (S).
    Stayed {
        /// Why it did not move.
        reason: String,
    },
}

/// Both halves of a migration run against each other in every order of messages, losses
/// and claims: at most one of them ever runs the VM.
#[cfg(test)]
mod exploration;
