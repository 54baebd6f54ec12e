//! Finds the rate for a load given as CPU, on VMs of its own: both parts start from fresh ones.

use std::time::Duration;

use godwit_dvdstore::Size;
use godwit_dvdstore::driver::{self, Driver};
use godwit_model::host::HostStats;

use crate::profile::{Load, Profile};
use crate::raw::CalibrationStep;
use crate::records::Part;
use crate::run::calibrate::{self, Next};
use crate::run::collect::cpu_percent;
use crate::run::error::{Asked, RunError};
use crate::run::farm::{self, Bench, Guest, Options};
use crate::run::load;
use crate::run::prepare;
use crate::run::probe;
use crate::run::status::Status;
use crate::run::stop::Stop;

/// After a change of rate the farm gets this long to settle: new connections fill their caches. The first time it gets
/// at least the profile's warm-up, or guests that have just booted seem dearer than they will be …
const SETTLE: Duration = Duration::from_secs(30);
/// … and is then measured for this long.
const MEASURE: Duration = Duration::from_secs(30);

/// Finds the rate. Returns it with the steps that led there.
///
/// # Errors
/// No rate gives that load, the VMs did not come up, or the run was stopped.
pub async fn find(
    bench: &Bench,
    options: &Options,
    status: &Status,
    stop: &Stop,
) -> Result<(f64, Vec<CalibrationStep>), RunError> {
    let target = match options.profile.load {
        Load::OrdersPerMinute(rate) => return Ok((rate, Vec::new())),
        Load::CpuPercent(percent) => percent,
    };
    status.step(&format!(
        "calibration: which rate keeps the hosts {target:.0} % busy?"
    ));
    let guests = farm::guests(options, Part::Baseline)?;
    let result = search(bench, options, &guests, target, status, stop).await;
    prepare::remove(bench, &guests).await?;
    result
}

async fn search(
    bench: &Bench,
    options: &Options,
    guests: &[Guest],
    target: f64,
    status: &Status,
    stop: &Stop,
) -> Result<(f64, Vec<CalibrationStep>), RunError> {
    let (store, _) = prepare::make(bench, options, guests, status, stop).await?;
    let mut points = Vec::new();
    loop {
        let rate = match calibrate::next(&points, target) {
            Next::Take(rate) => return Ok((rate, points)),
            Next::Hopeless => {
                let why = "the hosts are busier than that with next to no orders".to_owned();
                return Err(RunError::Calibration { target, why });
            }
            Next::Try(rate) => rate,
        };
        let driver = drive(guests, store.size, options, rate);
        // What the probe costs belongs to the load, as it will when the test is measured.
        let _prober = probe::start(guests, &options.profile)?;
        let settle = match points[..] {
            [] => SETTLE.max(Duration::from_secs(options.profile.warmup_s.into())),
            _ => SETTLE,
        };
        let measured = stop.or(cpu(bench, rate, settle, status)).await;
        driver.stop_handle().stop();
        driver.finished().await;
        let cpu_percent = measured.ok_or(RunError::Interrupted)??;
        status.step(&format!(
            "  {rate:.1} orders/min and VM: {cpu_percent:.1} % CPU"
        ));
        points.push(CalibrationStep {
            orders_per_minute_per_vm: rate,
            cpu_percent,
        });
    }
}

fn drive(guests: &[Guest], size: Size, options: &Options, rate: f64) -> Driver {
    let targets = guests
        .iter()
        .map(|guest| load::target(guest, size))
        .collect();
    let profile = Profile {
        warmup_s: 0,
        ..options.profile.clone()
    };
    // Other orders than the test's.
    let config = load::config(&profile, options.seed ^ 0x6361_6c69, rate);
    driver::start(targets, config, std::sync::Arc::new(|_| {}))
}

/// Mean CPU of both hosts once the farm has settled.
async fn cpu(bench: &Bench, rate: f64, settle: Duration, status: &Status) -> Result<f64, RunError> {
    wait(
        settle,
        &format!("calibration: settling at {rate:.1} orders/min and VM"),
        status,
    )
    .await;
    let before = figures(bench).await?;
    wait(
        MEASURE,
        &format!("calibration: measuring at {rate:.1} orders/min and VM"),
        status,
    )
    .await;
    let after = figures(bench).await?;
    let percents = (0..2).map(|k| cpu_percent(&bench.hosts[k], &before[k], &after[k]));
    Ok(percents.sum::<f64>() / 2.0)
}

async fn figures(bench: &Bench) -> Result<[HostStats; 2], RunError> {
    let of = async |k: usize| {
        let id = &bench.hosts[k].id;
        bench
            .client
            .host_stats(id)
            .await
            .asked(|| format!("reading the figures of {id}"))
    };
    Ok([of(0).await?, of(1).await?])
}

async fn wait(length: Duration, what: &str, status: &Status) {
    for left in (1..=length.as_secs()).rev() {
        status.live(&format!("{what}, {left} s"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
