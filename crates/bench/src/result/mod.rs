//! From samples to results: medians with their least and greatest, ratios to stock QEMU, what was to be reached.
//!
//! [`spread`] sums up, [`verdict`] judges, [`table`] and [`chart`] show. The JSON holds the samples, too: results of
//! several labs (shaped, unshaped) are joined by joining those.

pub mod chart;
pub mod spread;
mod svg;
pub mod table;
pub mod verdict;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::measure::Sample;
use crate::plan::{Engine, Link, Load, Visit};
use spread::Row;

/// On what was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor.
    pub cpu: String,
    /// Cores of the machine.
    pub cores: usize,
    /// Cores of each blade.
    pub cores_per_blade: usize,
    /// QEMU's version.
    pub qemu: String,
    /// Who executes the guests' code.
    pub accelerator: String,
    /// The kernel.
    pub kernel: String,
    /// Rate of the shaped card, bits per second.
    #[serde(default)]
    pub bits_per_second: Option<u64>,
    /// Memory of a VM, bytes.
    pub vm_memory: u64,
    /// Orders per minute and VM.
    pub orders_per_minute: f64,
    /// Pages that the writer changes each second.
    pub dirty_pages_per_second: u32,
}

/// Everything that was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// On what.
    pub machine: Machine,
    /// Every move.
    pub samples: Vec<Sample>,
    /// What went wrong on the way.
    pub problems: Vec<String>,
}

/// A row against another engine's of the same load and link.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratio {
    /// The engine, visit, load and link.
    pub of: (Engine, Visit, Load, Link),
    /// Against which engine (its first visit).
    pub against: Engine,
    /// Bytes on the wire, of the other's.
    pub bytes: Option<f64>,
    /// Total time, of the other's.
    pub seconds: Option<f64>,
    /// CPU seconds, of the other's.
    pub cpu_seconds: Option<f64>,
    /// By how much the blackout that clients see is longer, in milliseconds.
    pub blackout_delta_ms: Option<f64>,
}

impl Results {
    /// Reads what [`Self::json`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Those of another lab of the same machine put before these.
    pub fn append_to(&mut self, earlier: Self) {
        let later = std::mem::take(&mut self.samples);
        self.samples = earlier.samples;
        self.samples.extend(later);
        self.problems.splice(0..0, earlier.problems);
        let rate = &mut self.machine.bits_per_second;
        *rate = rate.or(earlier.machine.bits_per_second);
    }

    /// The rows, in the order of link, load, engine and visit.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        spread::rows(&self.samples)
    }

    /// Every row against plain, and all but plain against multifd with zstd.
    #[must_use]
    pub fn ratios(&self) -> Vec<Ratio> {
        let rows = self.rows();
        let mut all = Vec::new();
        for against in [Engine::Plain, Engine::MultifdZstd] {
            let others = rows.iter().filter(|row| row.engine != against);
            let compared =
                others.filter(|row| against == Engine::Plain || row.engine == Engine::Godwit);
            all.extend(compared.filter_map(|row| ratio(row, against, &rows)));
        }
        all
    }

    /// The blackout that one in a hundred of all of Godwit's moves exceeds, as clients see it: the longest, with less
    /// than a hundred moves.
    #[must_use]
    pub fn godwit_blackout_p99_ms(&self) -> Option<f64> {
        let ours = self
            .samples
            .iter()
            .filter(|one| one.engine == Engine::Godwit);
        let mut all: Vec<f64> = ours.filter_map(|one| one.client_blackout_ms).collect();
        all.sort_by(f64::total_cmp);
        let rank = (all.len() * 99).div_ceil(100);
        all.get(rank.checked_sub(1)?).copied()
    }

    /// As a file for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows().iter().map(Row::json).collect();
        let ratios: Vec<Value> = self.ratios().iter().map(Ratio::json).collect();
        json!({
            "machine": self.machine,
            "results": rows,
            "ratios": ratios,
            "godwit_blackout_p99_ms": self.godwit_blackout_p99_ms(),
            "targets": verdict::judge(self),
            "problems": self.problems,
            "samples": self.samples,
        })
    }
}

fn ratio(row: &Row, against: Engine, rows: &[Row]) -> Option<Ratio> {
    let same = |other: &&Row| {
        (other.engine, other.visit, other.load, other.link)
            == (against, Visit::First, row.load, row.link)
    };
    let other = rows.iter().find(same)?;
    let part = |name: &str| {
        let (ours, theirs) = (row.median(name)?, other.median(name)?);
        (theirs > 0.0).then(|| ours / theirs)
    };
    let blackout = |row: &Row| row.median("client_blackout_ms");
    Some(Ratio {
        of: (row.engine, row.visit, row.load, row.link),
        against,
        bytes: part("bytes"),
        seconds: part("seconds"),
        cpu_seconds: part("cpu_seconds"),
        blackout_delta_ms: blackout(row)
            .zip(blackout(other))
            .map(|(ours, theirs)| ours - theirs),
    })
}

impl Ratio {
    fn json(&self) -> Value {
        let (engine, visit, load, link) = self.of;
        json!({
            "engine": engine, "visit": visit, "load": load, "link": link, "against": self.against,
            "bytes": self.bytes, "seconds": self.seconds, "cpu_seconds": self.cpu_seconds,
            "blackout_delta_ms": self.blackout_delta_ms,
        })
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::plan::Side;

    /// A move of so many bytes.
    pub fn sample(engine: Engine, visit: Visit, bytes: f64) -> Sample {
        Sample {
            engine,
            visit: Some(visit),
            load: Load::Dvdstore,
            link: Link::Shaped,
            vm: "vm".into(),
            to: Side::B,
            window: (0, 1),
            bytes,
            bytes_back: 1.0,
            background_bytes_per_second: 0.0,
            seconds: bytes / 100.0,
            transfer_seconds: None,
            downtime_ms: Some(20.0),
            stop_resume_ms: 30.0,
            client_blackout_ms: Some(bytes / 10.0),
            cpu_seconds: 1.0,
            agents_cpu_seconds: None,
            stream_bytes: Some(4_000_000_000),
            datastore_bytes: None,
            rounds: Some(3),
            busy_before_percent: 10.0,
            orders_offered: 4,
            orders_kept: 3,
            kinds: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::sample;
    use super::*;

    fn results() -> Results {
        let first = |engine, bytes| sample(engine, Visit::First, bytes);
        Results {
            samples: vec![
                first(Engine::Plain, 300.0),
                first(Engine::Plain, 400.0),
                first(Engine::Plain, 1000.0),
                first(Engine::MultifdZstd, 80.0),
                first(Engine::Godwit, 40.0),
                sample(Engine::Godwit, Visit::Return60s, 4.0),
            ],
            ..Results::default()
        }
    }

    #[test]
    fn all_is_compared_with_plain_and_godwit_with_multifd() {
        let ratios = results().ratios();
        let found = |engine, visit, against| {
            let same = |one: &&Ratio| (one.of.0, one.of.1, one.against) == (engine, visit, against);
            ratios.iter().find(same).cloned()
        };
        let godwit = found(Engine::Godwit, Visit::First, Engine::Plain).unwrap();
        assert_eq!(godwit.bytes, Some(0.1));
        assert_eq!(godwit.blackout_delta_ms, Some(-36.0));
        assert_eq!(
            found(Engine::Godwit, Visit::First, Engine::MultifdZstd)
                .unwrap()
                .bytes,
            Some(0.5)
        );
        assert!(found(Engine::Godwit, Visit::Return60s, Engine::Plain).is_some());
        assert!(found(Engine::Plain, Visit::First, Engine::Plain).is_none());
    }

    #[test]
    fn the_json_has_what_readers_expect_and_is_read_back() {
        let results = results();
        let value = results.json();
        let plain = &value["results"][0];
        assert_eq!(plain["engine"], "plain");
        assert_eq!(
            (&plain["visit"], &plain["load"], &plain["link"]),
            (&json!("first"), &json!("dvdstore"), &json!("1gbit"))
        );
        assert_eq!(
            (&plain["runs"], &plain["bytes"]),
            (&json!(3), &json!(400.0))
        );
        assert_eq!(
            (&plain["bytes_min"], &plain["bytes_max"]),
            (&json!(300.0), &json!(1000.0))
        );
        assert_eq!(plain["orders_kept_percent"], 75.0);
        assert_eq!(value["godwit_blackout_p99_ms"], 4.0);
        assert_eq!(Results::read(&value.to_string()).unwrap(), results);
    }

    #[test]
    fn results_of_two_labs_become_one() {
        let (mut later, earlier) = (results(), results());
        later.append_to(earlier);
        assert_eq!(later.rows()[0].runs, 6);
    }
}
