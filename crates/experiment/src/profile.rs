//! What a run consists of: how many VMs, how long, how busy. Three named profiles (`demo`, `half`,
//! `paper`) and overrides on top of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The profiles a run can start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProfileName {
    /// Four VMs with small databases; under five minutes for both parts.
    Demo,
    /// Ten VMs, five intervals of five minutes.
    Half,
    /// The paper's own: 20 VMs with 1 GB databases, ten intervals of ten minutes.
    Paper,
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Demo => "demo",
            Self::Half => "half",
            Self::Paper => "paper",
        })
    }
}

impl FromStr for ProfileName {
    type Err = ProfileError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "demo" => Ok(Self::Demo),
            "half" => Ok(Self::Half),
            "paper" => Ok(Self::Paper),
            other => Err(ProfileError::UnknownProfile(other.to_owned())),
        }
    }
}

/// How busy the VMs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// A fixed rate of orders per minute and VM (the paper: about 50).
    OrdersPerMinute(f64),
    /// The rate is found first, so that the hosts are this busy without migration
    /// (the paper: 55 to 60 percent).
    CpuPercent(f64),
}

impl FromStr for Load {
    type Err = ProfileError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ProfileError::BadLoad(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let number = |digits: &str| digits.trim().parse::<f64>().map_err(|_| bad());
        let load = if let Some(digits) = lower.strip_suffix("opm") {
            Self::OrdersPerMinute(number(digits)?)
        } else if let Some(digits) = lower.strip_suffix("%cpu").or(lower.strip_suffix('%')) {
            Self::CpuPercent(number(digits)?)
        } else {
            return Err(bad());
        };
        match load {
            Self::OrdersPerMinute(rate) if rate > 0.0 && rate <= 10_000.0 => Ok(load),
            Self::CpuPercent(percent) if percent > 1.0 && percent <= 95.0 => Ok(load),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OrdersPerMinute(rate) => write!(f, "{rate}opm"),
            Self::CpuPercent(percent) => write!(f, "{percent}%cpu"),
        }
    }
}

/// How orders are given out to the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopKind {
    /// Orders fall due at random times fixed by the seed, whether or not the shop answers; the
    /// response time counts from then. Hides nothing.
    Open,
    /// Each client waits for its order to end, thinks, and gives the next one, as in the paper. A
    /// shop that stands still is given fewer orders.
    Closed,
}

impl FromStr for LoopKind {
    type Err = ProfileError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            other => Err(ProfileError::BadLoop(other.to_owned())),
        }
    }
}

/// A complete description of a run, after all overrides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The profile it started from.
    pub name: ProfileName,
    /// Number of VMs.
    pub vms: u32,
    /// Seconds before the measured window in which the same load already runs.
    pub warmup_s: u32,
    /// Seconds per interval.
    pub interval_s: u32,
    /// Number of intervals.
    pub intervals: u32,
    /// Migrations in interval k are k times this (the paper: 2, 4, 6 …).
    pub migrations_step: u32,
    /// How busy the VMs are kept.
    pub load: Load,
    /// Open or closed loop.
    pub loop_kind: LoopKind,
    /// Template the VMs are cloned from; empty: the farm's only one, or the one named after the
    /// database's size.
    pub template: String,
    /// Size that the databases should have, as `godwit image build` takes it.
    pub database: String,
    /// Milliseconds between two echo probes into one VM.
    pub probe_ms: u32,
    /// Clones that may boot at the same time; 0 leaves it to the manager.
    pub boots_at_once: u32,
}

/// Why a profile cannot be run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// No such profile.
    #[error("there is no profile {0:?}; use demo, half or paper")]
    UnknownProfile(String),
    /// The load cannot be read.
    #[error(
        "cannot read the load {0:?}; write 50opm (orders per minute and VM) or 57%cpu (1 to 95)"
    )]
    BadLoad(String),
    /// The loop cannot be read.
    #[error("there is no loop {0:?}; use open or closed")]
    BadLoop(String),
    /// A figure is out of range.
    #[error("{what} is {value}, but must be {must}")]
    OutOfRange {
        /// The setting.
        what: &'static str,
        /// What it was set to.
        value: u32,
        /// What it may be.
        must: &'static str,
    },
}

impl Profile {
    /// The profile of that name without overrides.
    #[must_use]
    pub fn named(name: ProfileName) -> Self {
        let base = Self {
            name,
            vms: 4,
            warmup_s: 20,
            interval_s: 35,
            intervals: 3,
            migrations_step: 2,
            load: Load::OrdersPerMinute(50.0),
            loop_kind: LoopKind::Open,
            template: String::new(),
            database: "10MB".to_owned(),
            probe_ms: 5,
            boots_at_once: 0,
        };
        match name {
            ProfileName::Demo => base,
            ProfileName::Half => Self {
                vms: 10,
                warmup_s: 60,
                interval_s: 300,
                intervals: 5,
                ..base
            },
            ProfileName::Paper => Self {
                vms: 20,
                warmup_s: 120,
                interval_s: 600,
                intervals: 10,
                load: Load::CpuPercent(57.0),
                database: "1GB".to_owned(),
                ..base
            },
        }
    }

    /// Checks what overrides may have broken.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub fn check(&self) -> Result<(), ProfileError> {
        let limits = [
            ("--vms", self.vms, 2..=500, "between 2 and 500"),
            (
                "--interval",
                self.interval_s,
                10..=86_400,
                "between 10 s and a day",
            ),
            ("--intervals", self.intervals, 1..=100, "between 1 and 100"),
            ("--warmup", self.warmup_s, 0..=86_400, "at most a day"),
            (
                "--migrations-step",
                self.migrations_step,
                0..=100,
                "at most 100",
            ),
            ("--probe-ms", self.probe_ms, 1..=1000, "between 1 and 1000"),
        ];
        for (what, value, range, must) in limits {
            if !range.contains(&value) {
                return Err(ProfileError::OutOfRange { what, value, must });
            }
        }
        Ok(())
    }

    /// Seconds of the measured window of one part.
    #[must_use]
    pub fn window_s(&self) -> u32 {
        self.interval_s * self.intervals
    }

    /// The measured window of one part.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(u64::from(self.window_s()))
    }

    /// Migrations in each interval: 2, 4, 6 … with the paper's step.
    #[must_use]
    pub fn migrations_per_interval(&self) -> Vec<u32> {
        (1..=self.intervals)
            .map(|k| k * self.migrations_step)
            .collect()
    }

    /// All migrations of part 2.
    #[must_use]
    pub fn migrations_total(&self) -> u32 {
        self.migrations_per_interval().iter().sum()
    }

    /// Which interval (from 0) a moment of the window lies in; `None` outside the window.
    #[must_use]
    pub fn interval_at(&self, seconds: f64) -> Option<usize> {
        let inside = seconds >= 0.0 && seconds < f64::from(self.window_s());
        inside.then(|| (seconds / f64::from(self.interval_s)) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_fits_five_minutes_and_moves_at_least_six_times() {
        let demo = Profile::named(ProfileName::Demo);
        assert_eq!(demo.check(), Ok(()));
        assert!(2 * (demo.warmup_s + demo.window_s()) <= 300);
        assert!(demo.vms >= 4);
        assert!(demo.migrations_total() >= 6);
    }

    #[test]
    fn paper_is_the_papers() {
        let paper = Profile::named(ProfileName::Paper);
        assert_eq!(
            (paper.vms, paper.intervals, paper.interval_s),
            (20, 10, 600)
        );
        assert_eq!(
            paper.migrations_per_interval(),
            [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
        );
        assert_eq!(paper.migrations_total(), 110);
    }

    #[test]
    fn loads_are_read() {
        assert_eq!("50opm".parse(), Ok(Load::OrdersPerMinute(50.0)));
        assert_eq!("57%cpu".parse(), Ok(Load::CpuPercent(57.0)));
        assert_eq!("57 %".parse(), Ok(Load::CpuPercent(57.0)));
        for bad in [
            "", "50", "opm", "-1opm", "0opm", "100%cpu", "NaNopm", "5 apples",
        ] {
            assert!(bad.parse::<Load>().is_err(), "{bad}");
        }
    }

    #[test]
    fn overrides_out_of_range_are_named() {
        let mut profile = Profile::named(ProfileName::Demo);
        profile.vms = 1;
        assert!(profile.check().unwrap_err().to_string().contains("--vms"));
    }

    #[test]
    fn moments_fall_into_their_interval() {
        let demo = Profile::named(ProfileName::Demo);
        assert_eq!(demo.interval_at(-0.1), None);
        assert_eq!(demo.interval_at(0.0), Some(0));
        assert_eq!(demo.interval_at(35.0), Some(1));
        assert_eq!(demo.interval_at(105.0), None);
    }
}
