//! The results as text for a terminal.

use std::fmt::Write;

use super::spread::{Row, Spread};
use super::{Results, verdict};

const MIB: f64 = 1e6;

/// The rows, then what was to be reached.
#[must_use]
pub fn text(results: &Results) -> String {
    let mut lines = vec![HEADS.map(str::to_owned).to_vec()];
    lines.extend(results.rows().iter().map(cells));
    let mut text = aligned(&lines);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\nmedian (least-greatest). MB: sent by the source's card; store: read from the datastore by the destination;\n\
         s: request to RESUME; QEMU: its own downtime; echo: silence seen by a probe each 5 ms;\n\
         CPU: both ends, QEMU outside its vCPUs and relays; GB/s: memory moved per core second"
    );
    let judged = verdict::judge(results);
    if !judged.is_empty() {
        let _ = writeln!(text);
        let line = |one: &verdict::Verdict| {
            let met = if one.met { "yes" } else { "NO" };
            vec![
                one.what.clone(),
                format!("{:.3}", one.value),
                format!("≤ {:.3}", one.limit),
                met.to_owned(),
            ]
        };
        let mut lines = vec![
            ["TO BE REACHED", "WAS", "WANTED", "MET"]
                .map(str::to_owned)
                .to_vec(),
        ];
        lines.extend(judged.iter().map(line));
        text += &aligned(&lines);
    }
    for problem in &results.problems {
        let _ = writeln!(text, "problem: {problem}");
    }
    text
}

const HEADS: [&str; 13] = [
    "LINK",
    "LOAD",
    "ENGINE",
    "VISIT",
    "RUNS",
    "MB",
    "STORE MB",
    "S",
    "QEMU MS",
    "STOP-RESUME MS",
    "ECHO MS",
    "CPU S",
    "GB/S",
];

fn cells(row: &Row) -> Vec<String> {
    let figure = |name: &str, unit: f64, digits: usize| {
        row.figures
            .get(name)
            .map_or_else(|| "-".to_owned(), |spread| shown(*spread, unit, digits))
    };
    vec![
        row.link.name().to_owned(),
        row.load.name().to_owned(),
        row.engine.name().to_owned(),
        row.visit.name().to_owned(),
        row.runs.to_string(),
        figure("bytes", MIB, 1),
        figure("datastore_bytes", MIB, 0),
        figure("seconds", 1.0, 2),
        figure("downtime_ms", 1.0, 0),
        figure("stop_resume_ms", 1.0, 0),
        figure("client_blackout_ms", 1.0, 0),
        figure("cpu_seconds", 1.0, 2),
        figure("gigabytes_per_core_second", 1.0, 2),
    ]
}

/// `median (least-greatest)`.
fn shown(spread: Spread, unit: f64, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    let [median, min, max] = [median, min, max].map(|value| format!("{:.digits$}", value / unit));
    format!("{median} ({min}-{max})")
}

fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Engine, Visit};
    use crate::result::testing::sample;

    #[test]
    fn a_row_shows_median_least_and_greatest() {
        let results = Results {
            samples: [1e6, 2e6, 9e6]
                .map(|bytes| sample(Engine::Plain, Visit::First, bytes))
                .to_vec(),
            ..Results::default()
        };
        let text = text(&results);
        assert!(text.contains("2.0 (1.0-9.0)"), "{text}");
        assert!(text.starts_with("LINK "), "{text}");
    }
}
