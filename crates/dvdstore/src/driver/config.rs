//! What a run of the driver is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_postgres::Config;

use crate::connect::{UrlError, parse_url};
use crate::random::Seed;
use crate::record::RunId;
use crate::script::Mix;
use crate::size::Size;

/// A database to order from.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in records and reports, e.g. the VM's.
    pub name: String,
    /// How to reach it.
    pub config: Config,
    /// Picks its scripts and arrivals; keep it the same in all parts of an experiment. Below 2^24, unique in a run.
    pub number: u32,
    /// The size its store was loaded with (see [`crate::load::inspect`]).
    pub size: Size,
}

impl Target {
    /// A target reached by a PostgreSQL URL or `key=value` string.
    ///
    /// # Errors
    /// If the URL cannot be read.
    pub fn new(name: &str, url: &str, number: u32, size: Size) -> Result<Target, UrlError> {
        Ok(Target {
            name: name.to_owned(),
            config: parse_url(url)?,
            number,
            size,
        })
    }
}

/// How orders come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Each user sends the next order after the last is answered and some thought. A paused target stops a closed
    /// loop, which hides part of the cost.
    Closed {
        /// Users for each target, a connection each.
        users: u32,
        /// Users that begin each second, until all have.
        ramp_per_second: f64,
        /// Mean thinking time after an order, uniform from 0 to twice this.
        think_time: Duration,
    },
    /// Orders arrive as a Poisson stream whether or not the target keeps up; latency counts from the arrival.
    Open {
        /// Arrivals for each target.
        orders_per_minute: f64,
        /// Most connections to a target; arrivals beyond them wait.
        connections: u32,
    },
}

impl Default for Pace {
    /// The classic driver's: one user, ramp rate 10/s, no thinking.
    fn default() -> Self {
        Pace::Closed {
            users: 1,
            ramp_per_second: 10.0,
            think_time: Duration::ZERO,
        }
    }
}

/// How long to wait before giving up. Generous, because a VM that stands still for a minute must look like a long
/// latency and not like an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// For making a connection.
    pub connect: Duration,
    /// For an answer to one statement.
    pub statement: Duration,
    /// Pause after the first failed connection; doubles with each further one.
    pub backoff_first: Duration,
    /// Longest such pause.
    pub backoff_most: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(120),
            statement: Duration::from_secs(120),
            backoff_first: Duration::from_millis(100),
            backoff_most: Duration::from_secs(5),
        }
    }
}

/// A run of the driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverConfig {
    /// Decides scripts, arrivals and thinking.
    pub seed: Seed,
    /// Tells this run's tokens from those of any other run on the same database.
    pub run: RunId,
    /// Proportions of an order.
    pub mix: Mix,
    /// How orders come.
    pub pace: Pace,
    /// Orders of this time are sent and audited, but are not part of the figures.
    pub warm_up: Duration,
    /// How long to measure after the warm-up; `None`: until stopped.
    pub run_time: Option<Duration>,
    /// When to give up waiting.
    pub timeouts: Timeouts,
}

impl DriverConfig {
    /// The classic defaults with a seed of one's own: one user, a minute of warm-up, until stopped.
    #[must_use]
    pub fn classic(seed: Seed) -> DriverConfig {
        DriverConfig {
            seed,
            run: RunId::fresh(),
            mix: Mix::default(),
            pace: Pace::default(),
            warm_up: Duration::from_secs(60),
            run_time: None,
            timeouts: Timeouts::default(),
        }
    }
}
