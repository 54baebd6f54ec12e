//! Everything that can be chosen about the bench.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::plan::{Engine, Load};

/// What to measure, and on what.
#[derive(Debug, Clone)]
pub struct Options {
    /// The lab's folder.
    pub lab: PathBuf,
    /// The template to clone; none: the only one.
    pub template: Option<String>,
    /// The engines to compare, in the order of the results.
    pub engines: Vec<Engine>,
    /// What keeps the VMs busy.
    pub loads: Vec<Load>,

    /// Moves of each kind on the shaped link.
    pub runs: usize,
    /// Moves of each kind on the unshaped link.
    pub unshaped_runs: usize,
    /// How long VMs work before the first of them moves.
    pub warm_up: Duration,
    /// Whether VMs return after ten minutes, too.
    pub long_return: bool,
    /// Orders per minute and VM: an open loop.
    pub orders_per_minute: f64,
    /// Pages of 4 KiB that the writer changes each second.
    pub dirty_pages_per_second: u32,
    /// Seed of the orders.
    pub seed: u64,
    /// Last byte of the first VM's address; each VM of the bench gets one of its own.
    pub first_address: u8,
    /// How long a VM may take until it answers queries.
    pub ready_within: Duration,
}

impl Options {
    /// The whole bench, on the lab in this folder.
    #[must_use]
    pub fn new(lab: PathBuf) -> Self {
        Self {
            lab,
            template: None,
            engines: Engine::ALL.to_vec(),
            loads: vec![Load::Dvdstore, Load::Writer],

            runs: 5,
            unshaped_runs: 2,
            warm_up: Duration::from_secs(60),
            long_return: true,
            orders_per_minute: 50.0,
            dirty_pages_per_second: 1000,
            seed: 1,
            first_address: 101,
            ready_within: Duration::from_secs(300),
        }
    }

    /// The form of about five minutes: two runs, the paper's load, the shaped link, no return after ten minutes.
    #[must_use]
    pub fn quick(lab: PathBuf) -> Self {
        Self {
            loads: vec![Load::Dvdstore],

            runs: 2,
            warm_up: Duration::from_secs(20),
            long_return: false,
            ..Self::new(lab)
        }
    }
}

/// Who a VM of the bench is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its number among the VMs of its stage, which picks its orders.
    pub number: u32,
}

impl Identity {
    /// How its database is reached, as PostgreSQL writes it.
    #[must_use]
    pub fn database(&self) -> String {
        format!("postgresql://ds2:ds2@{}:5432/ds2", self.address)
    }
}
