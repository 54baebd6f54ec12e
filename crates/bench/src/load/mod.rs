//! What keeps the VMs of a stage busy, and what became of their orders.

pub mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use godwit_dvdstore::connect::{Link, parse_url};
use godwit_dvdstore::driver::{self, Driver, DriverConfig, Pace, Target, Timeouts};
use godwit_dvdstore::load::{LoadError, StoreInfo, inspect};
use godwit_dvdstore::record::{OrderRecord, RunId};
use godwit_dvdstore::script::Mix;
use godwit_dvdstore::{Seed, Size};

use crate::error::BenchError;
use crate::measure::Sample;
use crate::options::{Identity, Options};
use crate::plan::Load;
use crate::stop::Stop;
use writer::Writer;

/// Connections to each VM.
const CONNECTIONS: u32 = 4;
/// An order that is answered within this time of its arrival is kept; and orders that arrive within this time after
/// RESUME belong to the move: what queued in the blackout is served then.
const IN_TIME: Duration = Duration::from_secs(5);
/// The last orders may take this long.
const LAST_ORDERS: Duration = Duration::from_secs(30);
/// One attempt to reach a database may take this long.
const ATTEMPT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

/// An order, as far as the bench is interested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    vm: String,
    due: u64,
    latency: Duration,
    answered: bool,
}

/// The load of a stage. It ends with this value.
#[derive(Default)]
pub struct Busy {
    driver: Option<Driver>,
    orders: Arc<Mutex<Vec<Order>>>,
    writers: Vec<Writer>,
}

impl Busy {
    /// Starts it.
    ///
    /// # Errors
    /// A writer's table cannot be made.
    pub async fn start(
        load: Load,
        vms: &[Identity],
        size: Size,
        options: &Options,
    ) -> Result<Self, BenchError> {
        let mut busy = Self::default();
        match load {
            Load::Idle => {}
            Load::Dvdstore => busy.driver = Some(busy.drive(vms, size, options)?),
            Load::Writer => {
                for vm in vms {
                    let writer = Writer::start(vm, options.dirty_pages_per_second).await?;
                    busy.writers.push(writer);
                }
            }
        }
        Ok(busy)
    }

    fn drive(&self, vms: &[Identity], size: Size, options: &Options) -> Result<Driver, BenchError> {
        let target = |vm: &Identity| Target::new(&vm.name, &vm.database(), vm.number, size);
        let targets = vms.iter().map(target).collect::<Result<Vec<_>, _>>()?;
        let config = DriverConfig {
            seed: Seed(options.seed),
            run: RunId::fresh(),
            mix: Mix::default(),
            pace: Pace::Open {
                orders_per_minute: options.orders_per_minute,
                connections: CONNECTIONS,
            },
            warm_up: Duration::ZERO,
            run_time: None,
            timeouts: Timeouts::default(),
        };
        let orders = Arc::clone(&self.orders);
        let sink = move |order: OrderRecord| {
            let order = Order {
                due: order.intended.0,
                latency: order.latency(),
                answered: order.outcome.is_answered(),
                vm: order.target,
            };
            orders
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(order);
        };
        Ok(driver::start(targets, config, Arc::new(sink)))
    }

    /// Ends it and says what became of all orders.
    pub async fn end(mut self) -> Vec<Order> {
        if let Some(driver) = self.driver.take() {
            driver.stop_handle().stop();
            // A VM that is lost answers none of its last orders.
            let _ = tokio::time::timeout(LAST_ORDERS, driver.finished()).await;
        }
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.stop_handle().stop();
        }
    }
}

/// Writes into a sample what became of its VM's orders.
pub fn count(sample: &mut Sample, orders: &[Order]) {
    let in_time = u64::try_from(IN_TIME.as_nanos()).unwrap_or_default();
    let (from, until) = (sample.window.0, sample.window.1 + in_time);
    let due = |order: &&Order| order.vm == sample.vm && (from..until).contains(&order.due);
    let offered: Vec<&Order> = orders.iter().filter(due).collect();
    let kept = offered
        .iter()
        .filter(|order| order.answered && order.latency <= IN_TIME);
    sample.orders_kept = kept.count() as u64;
    sample.orders_offered = offered.len() as u64;
}

/// The tables by their size, the largest first.
const TABLES: [&str; 4] = ["customers", "orderlines", "orders", "cust_hist"];

/// Reads a VM's whole database once: a server that has run for a while has its memory full of what it has read. Of a
/// database that is larger than the memory, the last part stays there.
///
/// # Errors
/// The guest's database refuses, or the bench was interrupted.
pub async fn read_through(vm: &Identity, stop: &Stop) -> Result<(), BenchError> {
    let failed = |source| BenchError::Load {
        vm: vm.name.clone(),
        source,
    };
    let config = parse_url(&vm.database())?;
    let link = Link::for_tool(&config).await;
    let link = link.map_err(|error| BenchError::failed(&vm.name, error.to_string()))?;
    for table in TABLES {
        let query = format!("SELECT count(*) FROM {table}");
        let reading = link.client().batch_execute(&query);
        stop.or(reading).await?.map_err(failed)?;
    }
    Ok(())
}

/// Waits until a VM's database answers.
///
/// # Errors
/// It did not in time, is not the workload's, or the bench was interrupted.
pub async fn ready(vm: &Identity, within: Duration, stop: &Stop) -> Result<StoreInfo, BenchError> {
    let config = parse_url(&vm.database())?;
    let began = Instant::now();
    loop {
        let attempt = tokio::time::timeout(ATTEMPT, inspect(&config));
        let last = match stop.or(attempt).await? {
            Ok(Ok(store)) => return Ok(store),
            Ok(Err(error @ (LoadError::NoStore | LoadError::Format { .. }))) => {
                return Err(error.into());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("{} is silent", vm.address),
        };
        if began.elapsed() > within {
            let (vm, seconds) = (vm.name.clone(), within.as_secs());
            return Err(BenchError::NotReady { vm, seconds, last });
        }
        stop.sleep(PAUSE).await?;
    }
}
