//! Customers: orders that come whether or not the shop keeps up, each remembered until the audit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use godwit_dvdstore::audit::{AuditOptions, AuditReport, audit};
use godwit_dvdstore::driver::{self, Driver, DriverConfig, Pace, Target, Timeouts};
use godwit_dvdstore::record::{OrderRecord, RunId};
use godwit_dvdstore::script::Mix;
use godwit_dvdstore::{Seed, Size};
use tokio_postgres::Config;

use crate::wait::until_so;

const ORDERS_PER_MINUTE: f64 = 60.0;
const CONNECTIONS: u32 = 4;

/// The customers of one shop.
pub struct Load {
    driver: tokio::sync::Mutex<Option<Driver>>,
    answered: Arc<AtomicU64>,
    orders: Arc<Mutex<Vec<OrderRecord>>>,
}

impl Load {
    /// Customers begin to order.
    pub fn begin(name: &str, number: u32, database: &Config) -> Self {
        let target = Target {
            name: name.to_owned(),
            config: database.clone(),
            number,
            size: Size::S,
        };
        let config = DriverConfig {
            seed: Seed(7),
            run: RunId::fresh(),
            mix: Mix::default(),
            pace: Pace::Open {
                orders_per_minute: ORDERS_PER_MINUTE,
                connections: CONNECTIONS,
            },
            warm_up: Duration::ZERO,
            run_time: None,
            timeouts: Timeouts::default(),
        };
        let (answered, orders) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (count, log) = (answered.clone(), orders.clone());
        let sink = Arc::new(move |order: OrderRecord| {
            count.fetch_add(u64::from(order.outcome.is_answered()), Ordering::Relaxed);
            log.lock().unwrap().push(order);
        });
        let driver = driver::start(vec![target], config, sink);
        Self {
            driver: tokio::sync::Mutex::new(Some(driver)),
            answered,
            orders,
        }
    }

    /// Orders that the shop has answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until some more orders are answered.
    pub async fn goes_on(&self) {
        let before = self.answered();
        until_so("orders are answered", async || self.answered() > before + 2).await;
    }

    /// The customers go; those that are being served are waited for. What became of every order?
    pub async fn audit(&self, database: &Config) -> AuditReport {
        if let Some(driver) = self.driver.lock().await.take() {
            driver.stop_handle().stop();
            driver.finished().await;
        }
        let orders = self.orders.lock().unwrap().clone();
        let report = audit(database, Some(&orders), AuditOptions::default());
        report.await.unwrap()
    }
}
