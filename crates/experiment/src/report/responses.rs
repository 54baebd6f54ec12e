//! The pictures the paper does not have: response times per interval, blackout per migration.

use crate::records::MoveOutcome;
use crate::report::axis::{Scale, ticks};
use crate::report::charts::{LEFT, RIGHT, Sign, WIDTH, legend, y_axis};
use crate::report::schema::Report;
use crate::report::svg::{Anchor, Svg};

/// Median, 95th and 99th percentile of each interval, both parts side by side.
pub fn per_interval(report: &Report) -> Svg {
    const TOP: f64 = 66.0;
    const BOTTOM: f64 = 286.0;
    let mut svg = Svg::new(WIDTH, 334.0, "Response times per interval");
    svg.text(
        "title",
        (LEFT, 22.0),
        Anchor::Start,
        "Response time of an order in milliseconds",
    );
    legend(
        &mut svg,
        46.0,
        &[
            ("baseline", Sign::Line, "without migration"),
            ("migrating", Sign::Line, "with migrations"),
            ("migrating", Sign::Dot, "median"),
            ("migrating hollow", Sign::Dot, "95th and 99th percentile"),
        ],
    );
    let highest = report
        .intervals
        .iter()
        .flat_map(|i| [i.p99_ms, i.baseline.and_then(|b| b.p99_ms)]);
    let values = ticks(highest.flatten().fold(1.0, f64::max), 4);
    let y = Scale::new(0.0, values[values.len() - 1], BOTTOM, TOP);
    y_axis(&mut svg, y, &values);
    let width = (RIGHT - LEFT) / report.intervals.len().max(1) as f64;
    for (k, interval) in report.intervals.iter().enumerate() {
        let middle = LEFT + width * (k as f64 + 0.5);
        let apart = (width * 0.14).min(22.0);
        let base = interval.baseline.map(|b| [b.p50_ms, b.p95_ms, b.p99_ms]);
        stem(
            &mut svg,
            "baseline",
            middle - apart,
            y,
            base.unwrap_or_default(),
        );
        stem(
            &mut svg,
            "migrating",
            middle + apart,
            y,
            [interval.p50_ms, interval.p95_ms, interval.p99_ms],
        );
        let moves = interval.migrations;
        let text = if width > 150.0 {
            format!("interval {}: {moves} migrations", interval.interval)
        } else {
            moves.to_string()
        };
        svg.text("", (middle, BOTTOM + 19.0), Anchor::Middle, &text);
    }
    if width <= 150.0 {
        svg.text(
            "",
            ((LEFT + RIGHT) / 2.0, BOTTOM + 38.0),
            Anchor::Middle,
            "migrations in the interval",
        );
    }
    svg
}

fn stem(svg: &mut Svg, class: &str, x: f64, y: Scale, [p50, p95, p99]: [Option<f64>; 3]) {
    let (Some(p50), Some(p95), Some(p99)) = (p50, p95, p99) else {
        return;
    };
    svg.line(class, (x, y.at(p50)), (x, y.at(p99)));
    for (value, what) in [(p99, "99th percentile"), (p95, "95th percentile")] {
        svg.dot(
            &format!("{class} hollow"),
            (x, y.at(value)),
            3.5,
            &format!("{what}: {value:.0} ms"),
        );
    }
    svg.dot(class, (x, y.at(p50)), 4.5, &format!("median: {p50:.0} ms"));
}

/// One stem per migration: the silence that the VM's clients met.
pub fn blackouts(report: &Report) -> Svg {
    const TOP: f64 = 66.0;
    const BOTTOM: f64 = 246.0;
    let mut svg = Svg::new(WIDTH, 294.0, "Blackout of each migration as clients saw it");
    let title = "Blackout of each migration as a client saw it, milliseconds without an answer";
    svg.text("title", (LEFT, 22.0), Anchor::Start, title);
    let moves: Vec<_> = report
        .migrations
        .iter()
        .filter(|m| m.row.outcome != MoveOutcome::NotStarted)
        .collect();
    let quiet = report.baseline.as_ref().and_then(|b| b.longest_silence_ms);
    let highest = moves
        .iter()
        .filter_map(|m| m.blackout_ms)
        .chain(quiet)
        .fold(10.0, f64::max);
    let values = ticks(highest, 4);
    let y = Scale::new(0.0, values[values.len() - 1], BOTTOM, TOP);
    let mut signs = vec![("move", Sign::Dot, "a migration")];
    if moves.iter().any(|m| m.row.outcome == MoveOutcome::Failed) {
        signs.push(("failed", Sign::Dot, "a failed migration"));
    }
    if quiet.is_some() {
        signs.push(("mean", Sign::Line, "longest silence without migration"));
    }
    legend(&mut svg, 46.0, &signs);
    y_axis(&mut svg, y, &values);
    if let Some(quiet) = quiet {
        svg.line("mean", (LEFT, y.at(quiet)), (RIGHT, y.at(quiet)));
    }
    let width = (RIGHT - LEFT) / moves.len().max(1) as f64;
    let every = (moves.len() / 25 + 1).max(1);
    for (k, one) in moves.iter().enumerate() {
        let x = LEFT + width * (k as f64 + 0.5);
        if one.row.outcome == MoveOutcome::Failed {
            svg.dot(
                "failed",
                (x, y.at(0.0)),
                4.0,
                &format!("{} failed: {}", one.row.vm, one.row.error),
            );
        } else if let Some(ms) = one.blackout_ms {
            svg.line("move", (x, y.at(0.0)), (x, y.at(ms)));
            svg.dot(
                "move",
                (x, y.at(ms)),
                4.0,
                &format!("{}: {ms:.0} ms", one.row.vm),
            );
        }
        if k % every == 0 {
            svg.text(
                "",
                (x, BOTTOM + 19.0),
                Anchor::Middle,
                &one.row.number.to_string(),
            );
        }
    }
    svg.text(
        "",
        ((LEFT + RIGHT) / 2.0, BOTTOM + 38.0),
        Anchor::Middle,
        "migrations in the order they were made",
    );
    svg
}
