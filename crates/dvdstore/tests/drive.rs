//! The driver against a real server, in peace and in trouble, and the audit of what it did.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use godwit_dvdstore::audit::{AuditOptions, AuditReport, audit};
use godwit_dvdstore::connect::{Link, parse_url};
use godwit_dvdstore::driver::{
    DriveReport, Driver, DriverConfig, Pace, RunPhase, Target, Timeouts, start,
};
use godwit_dvdstore::load::{LoadOptions, load};
use godwit_dvdstore::record::{OrderRecord, Outcome};
use godwit_dvdstore::{Seed, Size};
use nix::sys::signal::Signal;
use support::Postgres;

const SIZE: Size = Size::SMALLEST;
const EVERYTHING: AuditOptions = AuditOptions { loaded_rows: true };

/// A server with a tiny store.
async fn store() -> Postgres {
    let server = Postgres::start();
    let options = LoadOptions {
        size: SIZE,
        seed: Seed(21),
        replace: false,
    };
    load(&parse_url(&server.url()).unwrap(), options, |_| {})
        .await
        .unwrap();
    server
}

fn closed(users: u32) -> DriverConfig {
    DriverConfig {
        pace: Pace::Closed {
            users,
            ramp_per_second: 100.0,
            think_time: Duration::ZERO,
        },
        warm_up: Duration::ZERO,
        timeouts: Timeouts {
            backoff_most: Duration::from_millis(200),
            ..Timeouts::default()
        },
        ..DriverConfig::classic(Seed(5))
    }
}

fn open(orders_per_minute: f64, connections: u32) -> DriverConfig {
    DriverConfig {
        pace: Pace::Open {
            orders_per_minute,
            connections,
        },
        ..closed(0)
    }
}

/// A run whose orders are kept.
struct Drive {
    driver: Driver,
    orders: Arc<Mutex<Vec<OrderRecord>>>,
}

impl Drive {
    fn begin(server: &Postgres, config: DriverConfig) -> Drive {
        let orders: Arc<Mutex<Vec<OrderRecord>>> = Arc::default();
        let target = Target::new("vm1", &server.url(), 1, SIZE).unwrap();
        let kept = orders.clone();
        let driver = start(
            vec![target],
            config,
            Arc::new(move |order| kept.lock().unwrap().push(order)),
        );
        Drive { driver, orders }
    }

    /// Waits until `enough` says so of the orders so far.
    async fn until(&self, what: &str, enough: impl Fn(&[OrderRecord]) -> bool) {
        for _ in 0..1_200 {
            if enough(&self.orders.lock().unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "two minutes and still not {what}: {:?}",
            self.driver.progress().borrow()
        );
    }

    async fn answered(&self, more: usize) {
        let answered =
            |orders: &[OrderRecord]| orders.iter().filter(|o| o.outcome.is_answered()).count();
        let goal = answered(&self.orders.lock().unwrap()) + more;
        self.until("answered enough", |orders| answered(orders) >= goal)
            .await;
    }

    async fn end(self) -> (DriveReport, Vec<OrderRecord>) {
        self.driver.stop_handle().stop();
        let report = self.driver.finished().await;
        let orders = std::mem::take(&mut *self.orders.lock().unwrap());
        (report, orders)
    }
}

async fn audited(server: &Postgres, orders: Option<&[OrderRecord]>) -> AuditReport {
    audit(&parse_url(&server.url()).unwrap(), orders, EVERYTHING)
        .await
        .unwrap()
}

async fn execute(server: &Postgres, statement: &str) {
    let link = Link::for_tool(&parse_url(&server.url()).unwrap())
        .await
        .unwrap();
    link.client().batch_execute(statement).await.unwrap();
    link.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_loop_runs_and_the_audit_agrees() {
    let server = store().await;
    let drive = Drive::begin(&server, closed(4));
    drive.answered(400).await;
    let (report, orders) = drive.end().await;
    let seconds = (report.stopped.since(report.started)).as_secs_f64();
    eprintln!(
        "{:.0} orders/s; {:?}",
        report.total.measured.answered() as f64 / seconds,
        report.total
    );

    let count =
        |wanted: fn(&Outcome) -> bool| orders.iter().filter(|o| wanted(&o.outcome)).count() as u64;
    let all = report.total.all;
    assert_eq!(
        all.committed,
        count(|o| matches!(o, Outcome::Committed { .. }))
    );
    assert_eq!(all.rolled_back, count(|o| matches!(o, Outcome::RolledBack)));
    assert_eq!(
        (all.errors(), count(|o| !o.is_answered())),
        (0, 0),
        "{orders:?}"
    );
    assert!(
        all.rolled_back > 0,
        "some of 400 orders find too little stock"
    );
    assert_eq!(
        report
            .seconds
            .iter()
            .map(|s| s.counts.answered())
            .sum::<u64>(),
        report.total.measured.answered()
    );

    let audit = audited(&server, Some(&orders)).await;
    assert!(audit.ok, "{:#?}", audit.differences);
    assert_eq!(
        (audit.orders_committed, audit.orders_in_database),
        (all.committed, all.committed)
    );
    assert!(audit.restocks > 0 && audit.customers_new > 0, "{audit:?}");

    // A second run with the same seed finds its names taken, its tokens are new, and both logs together still agree.
    let drive = Drive::begin(&server, closed(2));
    drive.answered(60).await;
    let (_, more) = drive.end().await;
    assert!(
        !audited(&server, Some(&orders)).await.ok,
        "the second run's orders are not in the first one's log"
    );
    let both: Vec<OrderRecord> = orders.into_iter().chain(more).collect();
    let audit = audited(&server, Some(&both)).await;
    assert!(audit.ok, "{:#?}", audit.differences);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_follows_its_schedule_and_shows_what_a_pause_costs() {
    let server = store().await;
    let drive = Drive::begin(&server, open(1_800.0, 3));
    drive.answered(60).await;
    // Everything stands still for two seconds, as a paused VM does: no error, but long latencies and a queue.
    let pause = Duration::from_secs(2);
    server.pause();
    tokio::time::sleep(pause).await;
    server.resume();
    drive.answered(120).await;
    let (report, orders) = drive.end().await;
    assert_eq!(report.total.all.errors(), 0, "{:?}", report.total);
    assert!(
        report.total.latency.max_ms >= 1_000.0,
        "{:?}",
        report.total.latency
    );
    assert!(
        report.total.queue_lag.max_ms > 100.0,
        "{:?}",
        report.total.queue_lag
    );
    assert!(report.total.longest_gap_ms >= 1_000.0, "{:?}", report.total);

    // The arrivals are those of the seed, none skipped.
    let mut scripts: Vec<_> = orders.iter().map(|o| (o.script, o.intended)).collect();
    scripts.sort_unstable();
    assert!(
        scripts.iter().zip(0..).all(|((script, _), n)| *script == n),
        "an arrival was skipped"
    );
    assert!(scripts.windows(2).all(|w| w[0].1 <= w[1].1));
    let audit = audited(&server, Some(&orders)).await;
    assert!(audit.ok, "{:#?}", audit.differences);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_and_servers_lose_no_order_and_the_load_goes_on() {
    let server = store().await;
    for config in [closed(4), open(6_000.0, 4)] {
        let drive = Drive::begin(&server, config);
        drive.answered(100).await;
        // One connection is cut from the server's side.
        execute(
            &server,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE application_name = 'godwit-dvdstore' AND pid <> pg_backend_pid() LIMIT 2",
        )
        .await;
        drive.answered(100).await;
        // One of its processes is killed outright: the server throws all others out and recovers.
        server.signal(server.backends()[0], Signal::SIGKILL);
        drive.answered(100).await;
        // A restart, then a crash: down long enough that orders find nobody.
        server.down();
        let refused =
            |orders: &[OrderRecord]| orders.iter().filter(|o| !o.outcome.is_answered()).count();
        let before = refused(&drive.orders.lock().unwrap());
        drive
            .until("refused", |orders| refused(orders) > before + 5)
            .await;
        server.up();
        drive.answered(100).await;
        server.crash();
        server.up();
        drive.answered(100).await;
        let (report, orders) = drive.end().await;
        eprintln!(
            "{:?} reconnects {} {:?}",
            report.total.all, report.total.reconnects, report.total.errors
        );
        assert!(
            report.total.all.errors() > 5 && report.total.reconnects > 0,
            "{:?}",
            report.total
        );
        assert_eq!(
            report.total.errors.values().sum::<u64>(),
            report.total.all.errors()
        );
        let audit = audited(&server, Some(&orders)).await;
        eprintln!(
            "unknown {} of which committed {}",
            audit.orders_unknown, audit.orders_unknown_resolved
        );
        assert!(audit.ok, "{:#?}", audit.differences);
        assert_eq!(
            (audit.orders_lost, audit.orders_doubled, audit.orders_unsent),
            (0, 0, 0)
        );
        assert_eq!(
            audit.orders_in_database,
            audit.orders_committed + audit.orders_unknown_resolved
        );
        // A fresh store for the other loop.
        let options = LoadOptions {
            size: SIZE,
            seed: Seed(21),
            replace: true,
        };
        load(&parse_url(&server.url()).unwrap(), options, |_| {})
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_target_neither_hangs_the_run_nor_silences_it() {
    let server = store().await;
    let timeouts = Timeouts {
        connect: Duration::from_secs(1),
        statement: Duration::from_secs(1),
        ..closed(0).timeouts
    };
    let drive = Drive::begin(
        &server,
        DriverConfig {
            timeouts,
            ..closed(2)
        },
    );
    drive.answered(20).await;
    server.pause();
    drive
        .until("timed out", |orders| {
            orders.iter().filter(|o| !o.outcome.is_answered()).count() >= 2
        })
        .await;
    server.resume();
    drive.answered(20).await;
    let (report, orders) = drive.end().await;
    assert!(report.total.reconnects >= 2, "{:?}", report.total);
    // Purchases that were under way may have been committed after all: the audit waits for them and knows.
    let audit = audited(&server, Some(&orders)).await;
    assert!(audit.ok, "{:#?}", audit.differences);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_finds_what_was_tampered_with() {
    let server = store().await;
    let drive = Drive::begin(&server, closed(2));
    drive.answered(40).await;
    let (_, orders) = drive.end().await;
    assert!(audited(&server, Some(&orders)).await.ok);
    let newest = "(SELECT max(orderid) FROM orders)";
    let cases = [
        (format!("DELETE FROM orders WHERE orderid = {newest}"), "is lost", true),
        (
            format!(
                "INSERT INTO orderlines SELECT orderlineid + 20, orderid, prod_id, quantity, orderdate FROM orderlines
                  WHERE orderid = {newest} AND orderlineid = 1"
            ),
            "has a product on two lines",
            false,
        ),
        ("UPDATE inventory SET quan_in_stock = quan_in_stock + 1 WHERE prod_id = 7".to_owned(), "product 7: stock is", false),
        (format!("DELETE FROM cust_hist WHERE orderid = {newest}"), "history has products []", false),
        (
            "INSERT INTO orders SELECT nextval('orders_orderid_seq'), orderdate, customerid, netamount, tax, totalamount
               FROM orders WHERE orderid = 1"
                .to_owned(),
            "no driver sent it",
            false,
        ),
        ("DELETE FROM orders WHERE orderid = 17".to_owned(), "loaded orders", false),
        ("DELETE FROM customers WHERE customerid = 2000".to_owned(), "loaded customers", false),
    ];
    // Each is undone before the next by copying the database back.
    execute(&server, "SELECT 1").await;
    server.copy_database("ds2", "sound");
    for (statement, complaint, lost) in cases {
        execute(&server, &statement).await;
        let report = audited(&server, Some(&orders)).await;
        assert!(!report.ok, "not noticed: {statement}");
        assert!(
            report.differences.iter().any(|d| d.contains(complaint)),
            "{complaint}: {:?}",
            report.differences
        );
        assert_eq!(report.orders_lost, u64::from(lost), "{statement}");
        // Without a log it is found too: all of these break the database's own consistency, but a whole order's loss.
        let alone = audited(&server, None).await;
        assert!(!alone.ok && !alone.log_checked, "{statement}");
        assert!(alone.notes.iter().any(|note| note.contains("no order log")));
        server.drop_database("ds2");
        server.copy_database("sound", "ds2");
    }
    assert!(audited(&server, Some(&orders)).await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_warms_up_measures_and_ends_by_itself() {
    let server = store().await;
    let config = DriverConfig {
        warm_up: Duration::from_millis(700),
        run_time: Some(Duration::from_millis(1_500)),
        ..open(1_200.0, 4)
    };
    let drive = Drive::begin(&server, config);
    let mut progress = drive.driver.progress();
    assert_eq!(progress.borrow().phase, RunPhase::WarmUp);
    progress
        .wait_for(|p| p.phase == RunPhase::Finished)
        .await
        .unwrap();
    let (report, orders) = drive.end().await;
    assert!(
        orders
            .iter()
            .all(|o| o.warm_up == (o.intended < report.measured_from))
    );
    assert!(orders.iter().any(|o| o.warm_up) && orders.iter().any(|o| !o.warm_up));
    assert_eq!(report.total.all.answered(), orders.len() as u64);
    assert_eq!(
        report.total.measured.answered(),
        orders.iter().filter(|o| !o.warm_up).count() as u64
    );
    assert!(report.stopped.since(report.measured_from) >= Duration::from_millis(1_500));
    assert!(audited(&server, Some(&orders)).await.ok);
}
