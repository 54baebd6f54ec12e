//! The known pause on a farm: one VM under orders and probes is stopped for half a second through
//! the manager, three times.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use godwit_api::farm::Power;
use godwit_api::farm::client::FarmClient;
use godwit_dvdstore::clock::MonotonicNs;
use godwit_dvdstore::driver::{self, Sink};
use godwit_net::echo::{self, Prober};

use crate::profile::{LoopKind, Profile};
use crate::records::{OrderRow, Part, SilenceRow};
use crate::run::collect::order_row;
use crate::run::error::{Asked, RunError};
use crate::run::farm::{self, Bench, Guest, Options};
use crate::run::load;
use crate::run::time::{Origin, millis};
use crate::run::{Status, Stop, prepare};
use crate::selftest::{Check, Pause, check_pauses};

/// How long the VM is stopped.
const LENGTH: Duration = Duration::from_millis(500);
/// How often.
const TIMES: usize = 3;
/// Between two pauses.
const APART: Duration = Duration::from_secs(4);
/// Enough orders that some fall due in each pause, few enough for one emulated CPU.
const ORDERS_PER_MINUTE: f64 = 300.0;

/// Makes a VM, pauses it, takes it away, and judges what was measured.
pub async fn run(
    client: FarmClient,
    options: &Options,
    status: &Status,
    stop: &Stop,
) -> Result<Vec<Check>, RunError> {
    let bench = Bench::find(client, options).await?;
    let mut guests = farm::guests(options, Part::Migrating)?;
    guests.truncate(1);
    let result = measure(&bench, options, &guests, status, stop).await;
    prepare::remove(&bench, &guests).await?;
    let (pauses, silences, orders) = result?;
    Ok(check_pauses(
        &pauses,
        &silences,
        &orders,
        f64::from(options.profile.probe_ms),
    ))
}

type Seen = (Vec<Pause>, Vec<SilenceRow>, Vec<OrderRow>);

async fn measure(
    bench: &Bench,
    options: &Options,
    guests: &[Guest],
    status: &Status,
    stop: &Stop,
) -> Result<Seen, RunError> {
    let (store, _) = prepare::make(bench, options, guests, status, stop).await?;
    let Some(guest) = guests.first() else {
        return Err(RunError::Interrupted);
    };
    let interval = Duration::from_millis(u64::from(options.profile.probe_ms));
    let probe = echo::Options {
        interval,
        ..echo::Options::default()
    };
    let prober = Prober::start(&[guest.address], probe)?;
    let origin = Origin::now();
    let orders: Arc<Mutex<Vec<OrderRow>>> = Arc::default();
    let kept = Arc::clone(&orders);
    let sink: Sink = Arc::new(move |record| {
        let row = order_row(Part::Baseline, origin, &record);
        kept.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(row);
    });
    let profile = Profile {
        warmup_s: 0,
        loop_kind: LoopKind::Open,
        ..options.profile.clone()
    };
    let config = load::config(&profile, options.seed, ORDERS_PER_MINUTE);
    let driver = driver::start(vec![load::target(guest, store.size)], config, sink);
    let mut pauses = Vec::new();
    for number in 1..=TIMES {
        status.live(&format!("pause {number} of {TIMES}"));
        if stop.or(tokio::time::sleep(APART)).await.is_none() {
            return Err(RunError::Interrupted);
        }
        pauses.push(pause(bench, guest, origin).await?);
    }
    tokio::time::sleep(APART).await;
    driver.stop_handle().stop();
    driver.finished().await;
    let recording = prober.stop();
    let silences = recording
        .target(guest.address)
        .map_or(&[][..], |t| &t.silences);
    let row = |s: &echo::Silence| SilenceRow {
        part: Part::Baseline,
        vm: guest.name.clone(),
        start_s: origin.seconds_of(s.from.0),
        end_s: origin.seconds_of(s.until.0),
        silence_ms: millis(s.length()),
    };
    let orders = orders
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Ok((pauses, silences.iter().map(row).collect(), orders))
}

async fn pause(bench: &Bench, guest: &Guest, origin: Origin) -> Result<Pause, RunError> {
    let now = || origin.seconds(MonotonicNs::now());
    let asked_s = now();
    power(bench, guest, &Power::Pause, "pausing").await?;
    let stopped_s = now();
    tokio::time::sleep(LENGTH).await;
    let resume_asked_s = now();
    power(bench, guest, &Power::Resume, "resuming").await?;
    Ok(Pause {
        asked_s,
        stopped_s,
        resume_asked_s,
        resumed_s: now(),
    })
}

async fn power(bench: &Bench, guest: &Guest, how: &Power, word: &str) -> Result<(), RunError> {
    let what = || format!("{word} {}", guest.name);
    let task = bench.client.power(&guest.name, how).await.asked(what)?;
    bench.done(task, what).await.map(|_| ())
}
