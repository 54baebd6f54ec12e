//! Samples of one kind summed up: median, least, greatest.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::measure::Sample;
use crate::plan::{Engine, Link, Load, Visit};

/// A figure of several samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of some figures; none of none.
    #[must_use]
    pub fn of(mut all: Vec<f64>) -> Option<Self> {
        all.sort_by(f64::total_cmp);
        let (min, max) = (*all.first()?, *all.last()?);
        let half = all.len() / 2;
        let median = if all.len() % 2 == 1 {
            all[half]
        } else {
            f64::midpoint(all[half - 1], all[half])
        };
        Some(Self { median, min, max })
    }
}

/// Samples of one engine, visit, load and link.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The engine.
    pub engine: Engine,
    /// The visit.
    pub visit: Visit,
    /// The load.
    pub load: Load,
    /// The link.
    pub link: Link,
    /// How many.
    pub runs: usize,
    /// The figures by their names in the JSON.
    pub figures: BTreeMap<&'static str, Spread>,
    /// Orders kept of all that were offered, in percent.
    pub orders_kept_percent: Option<f64>,
    /// Medians of the bytes of memory by how they travelled.
    pub kinds: BTreeMap<String, f64>,
}

type Figure = (&'static str, fn(&Sample) -> Option<f64>);

/// What is summed up.
const FIGURES: [Figure; 15] = [
    ("bytes", |one| Some(one.bytes)),
    ("bytes_back", |one| Some(one.bytes_back)),
    ("background_bytes_per_second", |one| {
        Some(one.background_bytes_per_second)
    }),
    ("seconds", |one| Some(one.seconds)),
    ("transfer_seconds", |one| one.transfer_seconds),
    ("downtime_ms", |one| one.downtime_ms),
    ("stop_resume_ms", |one| Some(one.stop_resume_ms)),
    ("client_blackout_ms", |one| one.client_blackout_ms),
    ("cpu_seconds", |one| Some(one.cpu_seconds)),
    ("agents_cpu_seconds", |one| one.agents_cpu_seconds),
    ("stream_bytes", |one| {
        one.stream_bytes.map(|bytes| bytes as f64)
    }),
    ("datastore_bytes", |one| {
        one.datastore_bytes.map(|bytes| bytes as f64)
    }),
    ("rounds", |one| one.rounds.map(|rounds| rounds as f64)),
    ("busy_before_percent", |one| Some(one.busy_before_percent)),
    // How much memory a core moves in a second of its time.
    ("gigabytes_per_core_second", |one| {
        let bytes = one.stream_bytes? as f64;
        (one.cpu_seconds > 0.0).then(|| bytes / 1e9 / one.cpu_seconds)
    }),
];

/// All samples that can be compared, summed up.
#[must_use]
pub fn rows(samples: &[Sample]) -> Vec<Row> {
    let mut groups: BTreeMap<(Link, Load, Engine, Visit), Vec<&Sample>> = BTreeMap::new();
    for one in samples {
        if let Some(visit) = one.visit {
            groups
                .entry((one.link, one.load, one.engine, visit))
                .or_default()
                .push(one);
        }
    }
    groups
        .into_iter()
        .map(|(key, all)| row(key, &all))
        .collect()
}

fn row((link, load, engine, visit): (Link, Load, Engine, Visit), all: &[&Sample]) -> Row {
    let figure = |(name, of): &Figure| {
        let values = all.iter().filter_map(|one| of(one)).collect();
        Some((*name, Spread::of(values)?))
    };
    let mut figures: BTreeMap<&'static str, Spread> = FIGURES.iter().filter_map(figure).collect();
    let percent =
        |kept: u64, offered: u64| (offered > 0).then(|| kept as f64 / offered as f64 * 100.0);
    let each = all
        .iter()
        .filter_map(|one| percent(one.orders_kept, one.orders_offered));
    if let Some(spread) = Spread::of(each.collect()) {
        figures.insert("orders_kept_percent", spread);
    }
    let sum = |of: fn(&Sample) -> u64| all.iter().map(|one| of(one)).sum();
    let mut kinds: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, bytes) in all.iter().filter_map(|one| one.kinds.as_ref()).flatten() {
        kinds.entry(name.clone()).or_default().push(*bytes as f64);
    }
    let median = |(name, values)| Some((name, Spread::of(values)?.median));
    Row {
        engine,
        visit,
        load,
        link,
        runs: all.len(),
        figures,
        orders_kept_percent: percent(sum(|one| one.orders_kept), sum(|one| one.orders_offered)),
        kinds: kinds.into_iter().filter_map(median).collect(),
    }
}

impl Row {
    /// A figure's median, by its name in the JSON.
    #[must_use]
    pub fn median(&self, name: &str) -> Option<f64> {
        self.figures.get(name).map(|spread| spread.median)
    }

    /// As it stands in the JSON: each figure, and the same name with `_min` and `_max`. Orders kept are of all moves
    /// together, since few fall into one.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("engine".into(), json!(self.engine));
        all.insert("visit".into(), json!(self.visit));
        all.insert("load".into(), json!(self.load));
        all.insert("link".into(), json!(self.link));
        all.insert("runs".into(), json!(self.runs));
        for (name, spread) in &self.figures {
            all.insert((*name).into(), json!(spread.median));
            all.insert(format!("{name}_min"), json!(spread.min));
            all.insert(format!("{name}_max"), json!(spread.max));
        }
        if let Some(percent) = self.orders_kept_percent {
            all.insert("orders_kept_percent".into(), json!(percent));
        }
        if !self.kinds.is_empty() {
            all.insert("kinds".into(), json!(self.kinds));
        }
        Value::Object(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::testing::sample;

    #[test]
    fn a_median_is_the_middle_one_or_between_two() {
        assert_eq!(Spread::of(vec![]), None);
        let odd = Spread::of(vec![9.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 9.0));
        assert_eq!(Spread::of(vec![4.0, 1.0]).unwrap().median, 2.5);
    }

    #[test]
    fn what_cannot_be_compared_is_left_out() {
        let mut odd = sample(Engine::Godwit, Visit::First, 1.0);
        odd.visit = None;
        assert!(rows(&[odd]).is_empty());
    }

    #[test]
    fn memory_per_core_second_is_the_stream_by_the_cpu_time() {
        let rows = rows(&[sample(Engine::Plain, Visit::First, 1.0)]);
        assert_eq!(rows[0].median("gigabytes_per_core_second"), Some(4.0));
    }
}
