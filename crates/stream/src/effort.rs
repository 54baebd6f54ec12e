//! How much work to put into making a Batch smaller: a pure choice from how fast the link is and how busy the host.
//!
//! Speeds of zstd on pages of a database VM, per core: level 1 about 0.48 GB/s at 5.4:1, level -5 about 0.72 GB/s at
//! 3.5:1. On a link that takes more than the compressor gives, packing only costs time; below it, every byte that is
//! not sent is time for the VMs that share the card.

/// How a Batch is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Not at all.
    Raw,
    /// zstd level -5.
    Light,
    /// zstd level 1.
    Full,
}

/// What the choice depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// What the link has been seen to deliver, in bytes per second; `None` if nothing was seen yet.
    pub link: Option<f64>,
    /// The share of the host's CPU that nobody used before the migration, 0 to 1; `None` if unknown.
    pub idle: Option<f64>,
}

/// Faster links than this get pages raw: level -5 gives about 0.72 GB/s of pages on one core, and both ends work.
const FAST_LINK: f64 = 500e6;
/// With less of the cores idle than this, the cheaper level is taken: the VMs want them.
const BUSY: f64 = 0.15;

impl Effort {
    /// Chooses.
    #[must_use]
    pub fn choose(conditions: Conditions) -> Self {
        if conditions.link.is_some_and(|rate| rate > FAST_LINK) {
            Self::Raw
        } else if conditions.idle.is_some_and(|share| share < BUSY) {
            Self::Light
        } else {
            Self::Full
        }
    }

    /// The level as zstd counts; `None` for raw.
    #[must_use]
    pub fn level(self) -> Option<i32> {
        match self {
            Self::Raw => None,
            Self::Light => Some(-5),
            Self::Full => Some(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_links_get_small_batches_and_busy_hosts_cheap_ones() {
        let choose = |link, idle| Effort::choose(Conditions { link, idle });
        assert_eq!(choose(None, None), Effort::Full);
        assert_eq!(choose(Some(118e6), Some(0.5)), Effort::Full);
        assert_eq!(choose(Some(118e6), Some(0.05)), Effort::Light);
        assert_eq!(choose(Some(3e9), Some(0.05)), Effort::Raw);
    }
}
