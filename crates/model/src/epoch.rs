//! Epochs: the numbers that decide who may run a VM (see `crates/lease`).

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// The number of one right to run a VM. Epoch N belongs to whoever created file N;
/// numbers start at 1, have no gap and are never used again.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The first epoch of every VM.
    pub const FIRST: Self = Self(1);

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
