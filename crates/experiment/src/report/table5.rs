//! The paper's table 5 beside ours, as Markdown and for a terminal.

use std::fmt::Write;

use crate::report::paper;
use crate::report::schema::Report;

/// A figure, or a dash where there is none.
pub fn or_dash(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |v| format!("{v:.digits$}"))
}

/// One line of the table, ours and the paper's, as it is written everywhere.
pub struct Line {
    /// Interval.
    pub interval: String,
    /// Ours: migrations, mean seconds, orders per minute, percent kept.
    pub ours: [String; 4],
    /// The paper's.
    pub paper: [String; 4],
}

/// The lines of the table: the baseline, the intervals, all intervals together.
pub fn lines(report: &Report) -> Vec<Line> {
    let empty = || ["–"; 4].map(str::to_owned);
    let opm = |part: &Option<crate::report::schema::PartReport>| {
        part.as_ref().map(|p| p.orders_per_minute)
    };
    let mut lines = vec![Line {
        interval: "none (baseline)".to_owned(),
        ours: [
            "0".to_owned(),
            "–".to_owned(),
            or_dash(opm(&report.baseline), 1),
            "100.0".to_owned(),
        ],
        paper: [
            "0".to_owned(),
            "–".to_owned(),
            format!("{:.1}", paper::BASELINE_OPM),
            "100.0".to_owned(),
        ],
    }];
    for number in 1..=report.intervals.len().max(paper::TABLE_5.len()) {
        let ours = report
            .intervals
            .iter()
            .find(|i| i.interval as usize == number);
        let theirs = paper::TABLE_5
            .iter()
            .find(|l| l.interval as usize == number);
        lines.push(Line {
            interval: number.to_string(),
            ours: ours.map_or_else(empty, |i| {
                [
                    if i.migrations_failed == 0 {
                        i.migrations.to_string()
                    } else {
                        format!("{} (+{} failed)", i.migrations, i.migrations_failed)
                    },
                    or_dash(i.mean_seconds, 1),
                    or_dash(Some(i.orders_per_minute), 1),
                    or_dash(i.kept_percent, 1),
                ]
            }),
            paper: theirs.map_or_else(empty, |l| {
                [
                    l.migrations.to_string(),
                    format!("{:.1}", l.mean_seconds),
                    format!("{:.0}", l.opm),
                    format!("{:.1}", l.kept_percent()),
                ]
            }),
        });
    }
    let papers = &paper::TABLE_5;
    let mean = |f: fn(&paper::Line) -> f64| papers.iter().map(f).sum::<f64>() / papers.len() as f64;
    lines.push(Line {
        interval: "all".to_owned(),
        ours: [
            (report.migrations_total - report.migrations_failed).to_string(),
            or_dash(report.mean_migration_seconds, 1),
            or_dash(opm(&report.migrating), 1),
            or_dash(report.kept_percent, 1),
        ],
        paper: [
            papers.iter().map(|l| l.migrations).sum::<u32>().to_string(),
            format!("{:.1}", mean(|l| l.mean_seconds)),
            format!("{:.1}", mean(|l| l.opm)),
            format!("{:.1}", paper::kept_percent()),
        ],
    });
    lines
}

/// The table as Markdown, with what it compares in words.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut out =
        String::from("# Orders per minute with and without migrations (the paper's table 5)\n\n");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}\n", report.summary);
    for why in &report.invalid_because {
        let _ = writeln!(out, "- NOT VALID: {why}");
    }
    if !report.valid {
        out.push('\n');
    }
    out.push_str("| interval | migrations | mean s | opm | kept % | paper: migrations | paper: mean s | paper: opm | paper: kept % |\n");
    out.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for line in lines(report) {
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            line.interval,
            line.ours.join(" | "),
            line.paper.join(" | ")
        );
    }
    let _ = writeln!(
        out,
        "\nOurs: {} VMs, intervals of {} s, profile {}, seed {}. Paper: 20 VMs, intervals of 600 s.",
        report.vms, report.settings.interval_s, report.profile, report.seed
    );
    out
}

/// The table for a terminal.
#[must_use]
pub fn terminal(report: &Report) -> String {
    let mut out = format!(
        "{:<16} {:>38}   {:>38}\n{:<16} {:>10} {:>8} {:>8} {:>9}   {:>10} {:>8} {:>8} {:>9}\n",
        "",
        "this run",
        "the paper",
        "interval",
        "migrations",
        "mean s",
        "opm",
        "kept %",
        "migrations",
        "mean s",
        "opm",
        "kept %",
    );
    for line in lines(report) {
        let [a, b, c, d] = &line.ours;
        let [e, f, g, h] = &line.paper;
        let _ = writeln!(
            out,
            "{:<16} {a:>10} {b:>8} {c:>8} {d:>9}   {e:>10} {f:>8} {g:>8} {h:>9}",
            line.interval
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{build, sample};

    #[test]
    fn the_papers_figures_stand_beside_ours() {
        let report = build(&sample::run(1));
        let table = markdown(&report);
        assert!(table.contains("| none (baseline) | 0 | – |"));
        assert!(table.contains("| 3 | 6 |") && table.contains("| 6 | 28.8 | 978 | 97.9 |"));
        assert!(table.contains("| 10 | – | – | – | – | 20 | 29.3 | 985 | 98.6 |"));
        assert!(table.contains("| all | 12 |"));
        assert_eq!(terminal(&report).lines().count(), 2 + 12);
    }
}
