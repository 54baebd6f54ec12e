//! What was to be reached, and whether it was: under the paper's load on the 1 Gb/s link, medians of one run.

use serde::Serialize;

use super::{Ratio, Results};
use crate::plan::{Engine, Link, Load, Visit};

/// One thing that was to be reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What.
    pub what: String,
    /// At most this.
    pub limit: f64,
    /// This it was.
    pub value: f64,
    /// Whether that is enough.
    pub met: bool,
}

/// Of each visit: bytes and seconds, of plain's.
const OF_PLAIN: [(Visit, f64, f64); 3] = [
    (Visit::First, 0.12, 0.60),
    (Visit::Return60s, 0.02, 0.45),
    (Visit::Return10min, 0.05, 0.50),
];
/// How much longer than plain's the blackout may be, in milliseconds.
const BLACKOUT_DELTA_MS: f64 = 15.0;
/// The blackout that one move in a hundred may exceed, in milliseconds.
const BLACKOUT_P99_MS: f64 = 100.0;
/// Of multifd with zstd.
const BYTES_OF_MULTIFD: f64 = 2.0 / 3.0;
/// Of multifd with zstd.
const CPU_OF_MULTIFD: f64 = 1.25;
/// Unshaped, where each host has one core: of plain's time; with four cores it shall be no slower.
const UNSHAPED_SECONDS: f64 = 2.0;

/// Judges what was measured; what was not is left out.
#[must_use]
pub fn judge(results: &Results) -> Vec<Verdict> {
    let ratios = results.ratios();
    let find = |visit, load, link, against| {
        let of = (Engine::Godwit, visit, load, link);
        ratios
            .iter()
            .find(|ratio| ratio.of == of && ratio.against == against)
    };
    let paper = |visit, against| find(visit, Load::Dvdstore, Link::Shaped, against);
    let mut all = Vec::new();
    for (visit, bytes, seconds) in OF_PLAIN {
        let Some(ratio) = paper(visit, Engine::Plain) else {
            continue;
        };
        let name = visit.name();
        all.extend(verdict(
            format!("{name}: bytes, of plain"),
            ratio.bytes,
            bytes,
        ));
        all.extend(verdict(
            format!("{name}: seconds, of plain"),
            ratio.seconds,
            seconds,
        ));
        let blackout = format!("{name}: ms of blackout more than plain");
        all.extend(verdict(
            blackout,
            ratio.blackout_delta_ms,
            BLACKOUT_DELTA_MS,
        ));
    }
    let p99 = results.godwit_blackout_p99_ms();
    all.extend(verdict(
        "blackout of all moves, p99, ms".into(),
        p99,
        BLACKOUT_P99_MS,
    ));
    if let Some(ratio) = paper(Visit::First, Engine::MultifdZstd) {
        let name = |what: &str| format!("first: {what}, of multifd-zstd");
        all.extend(verdict(name("bytes"), ratio.bytes, BYTES_OF_MULTIFD));
        all.extend(verdict(
            name("CPU seconds"),
            ratio.cpu_seconds,
            CPU_OF_MULTIFD,
        ));
    }
    let unshaped = find(Visit::First, Load::Idle, Link::Unshaped, Engine::Plain);
    let limit = if results.machine.cores_per_blade >= 4 {
        1.0
    } else {
        UNSHAPED_SECONDS
    };
    let seconds = unshaped.and_then(|ratio: &Ratio| ratio.seconds);
    all.extend(verdict(
        "unshaped, first: seconds, of plain".into(),
        seconds,
        limit,
    ));
    all
}

fn verdict(what: String, value: Option<f64>, limit: f64) -> Option<Verdict> {
    value.map(|value| Verdict {
        what,
        limit,
        value,
        met: value <= limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::testing::sample;

    #[test]
    fn what_was_measured_is_judged() {
        let results = Results {
            samples: vec![
                sample(Engine::Plain, Visit::First, 1000.0),
                sample(Engine::Godwit, Visit::First, 130.0),
                sample(Engine::Godwit, Visit::Return60s, 20.0),
            ],
            ..Results::default()
        };
        let judged = judge(&results);
        let met = |what: &str| {
            judged
                .iter()
                .find(|one| one.what == what)
                .map(|one| one.met)
        };
        assert_eq!(met("first: bytes, of plain"), Some(false));
        assert_eq!(met("first: seconds, of plain"), Some(true));
        assert_eq!(met("return-60s: bytes, of plain"), Some(true));
        assert_eq!(met("return-10min: bytes, of plain"), None);
        assert_eq!(met("blackout of all moves, p99, ms"), Some(true));
    }
}
