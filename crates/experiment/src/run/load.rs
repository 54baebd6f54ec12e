//! The load as the DVD Store's driver is told it.

use std::time::Duration;

use godwit_dvdstore::driver::{DriverConfig, Pace, Target, TargetReport, Timeouts};
use godwit_dvdstore::record::RunId;
use godwit_dvdstore::script::Mix;
use godwit_dvdstore::{Seed, Size};

use crate::profile::{LoopKind, Profile};
use crate::run::farm::Guest;

/// Connections to each VM in an open loop.
const CONNECTIONS: u32 = 4;

/// The driver's target for a VM. Its number picks the same orders in both parts.
#[must_use]
pub fn target(guest: &Guest, size: Size) -> Target {
    Target {
        name: guest.name.clone(),
        config: guest.database.clone(),
        number: guest.number,
        size,
    }
}

/// Orders until stopped, at this rate per VM.
#[must_use]
pub fn config(profile: &Profile, seed: u64, orders_per_minute: f64) -> DriverConfig {
    DriverConfig {
        seed: Seed(seed),
        run: RunId::fresh(),
        mix: Mix::default(),
        pace: pace(profile.loop_kind, orders_per_minute),
        warm_up: Duration::from_secs(u64::from(profile.warmup_s)),
        run_time: None,
        timeouts: Timeouts::default(),
    }
}

fn pace(kind: LoopKind, orders_per_minute: f64) -> Pace {
    match kind {
        LoopKind::Open => Pace::Open {
            orders_per_minute,
            connections: CONNECTIONS,
        },
        LoopKind::Closed => Pace::Closed {
            users: 1,
            ramp_per_second: 10.0,
            think_time: Duration::from_secs_f64(60.0 / orders_per_minute),
        },
    }
}

/// What a reader should know of errors that clients met.
#[must_use]
pub fn errors_note(total: &TargetReport) -> Option<String> {
    let errors: u64 = total.errors.values().sum();
    let kinds: Vec<String> = total
        .errors
        .iter()
        .map(|(kind, n)| format!("{n} × {}", kind.name()))
        .collect();
    (errors > 0 || total.reconnects > 0).then(|| {
        format!(
            "clients met {errors} errors ({}) and connected anew {} times",
            kinds.join(", "),
            total.reconnects
        )
    })
}
