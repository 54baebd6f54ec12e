//! What is measured, in which order: pure, so that it can be looked at and tested without a lab.
//!
//! The words of the results are here. [`schedule`] makes the plan, [`history`] knows what kind of visit a move is.

pub mod history;
pub mod schedule;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use history::{History, VmKey};
pub use schedule::{Wishes, plan};

/// A way to move a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Stock QEMU with the limits that Godwit has: the baseline.
    Plain,
    /// Stock QEMU as it comes.
    PlainDefault,
    /// Stock QEMU, multifd with two channels and zstd level 1, the same limits.
    MultifdZstd,
    /// Stock QEMU with xbzrle and a cache as large as the memory, the same limits.
    Xbzrle,
    /// Godwit, through the farm's API.
    Godwit,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Plain,
        Self::PlainDefault,
        Self::MultifdZstd,
        Self::Xbzrle,
        Self::Godwit,
    ];

    /// Its name in the results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::PlainDefault => "plain-default",
            Self::MultifdZstd => "multifd-zstd",
            Self::Xbzrle => "xbzrle",
            Self::Godwit => "godwit",
        }
    }
}

/// What the destination may know of the VM beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Visit {
    /// Neither it nor another clone of its template.
    #[serde(rename = "first")]
    First,
    /// Another clone of its template runs there, or has come by.
    #[serde(rename = "sibling")]
    Sibling,
    /// It was there a minute ago.
    #[serde(rename = "return-60s")]
    Return60s,
    /// It was there ten minutes ago.
    #[serde(rename = "return-10min")]
    Return10min,
}

impl Visit {
    /// Its name in the results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Sibling => "sibling",
            Self::Return60s => "return-60s",
            Self::Return10min => "return-10min",
        }
    }
}

/// What keeps the VMs busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Load {
    /// Orders at the paper's rate.
    #[serde(rename = "dvdstore")]
    Dvdstore,
    /// Memory is written at a chosen rate.
    #[serde(rename = "writer")]
    Writer,
    /// Nothing.
    #[serde(rename = "none")]
    Idle,
}

impl Load {
    /// Its name in the results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dvdstore => "dvdstore",
            Self::Writer => "writer",
            Self::Idle => "none",
        }
    }
}

/// The card that VMs and migration share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Link {
    /// 1 Gb/s.
    #[serde(rename = "1gbit")]
    Shaped,
    /// As fast as the machine is.
    #[serde(rename = "unshaped")]
    Unshaped,
}

impl Link {
    /// Its name in the results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shaped => "1gbit",
            Self::Unshaped => "unshaped",
        }
    }
}

/// One of the two blades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// The first.
    #[serde(rename = "blade1")]
    A,
    /// The second.
    #[serde(rename = "blade2")]
    B,
}

impl Side {
    /// The opposite one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// Something that is done in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The hosts' page stores are emptied.
    EmptyStores,
    /// A VM moves to the other blade.
    Move {
        /// Its number in the stage.
        vm: usize,
        /// How.
        engine: Engine,
        /// How long it has been where it is, at least.
        rest: Duration,
    },
}

/// VMs that boot together, work, and move one after the other. They all start on side A.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Whether they are VMs of the farm; else the bench drives QEMU itself.
    pub farm: bool,
    /// What keeps them busy.
    pub load: Load,
    /// The link.
    pub link: Link,
    /// How many VMs.
    pub vms: usize,
    /// How long they work before the first step.
    pub warm_up: Duration,
    /// What is done then.
    pub steps: Vec<Step>,
}

/// A move as the plan expects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The stage.
    pub stage: usize,
    /// The VM's number in it.
    pub vm: usize,
    /// How it moves.
    pub engine: Engine,
    /// What kind of visit that is; none: it is not counted.
    pub visit: Option<Visit>,
}

/// The whole bench.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its stages, one after the other.
    pub stages: Vec<Stage>,
}
