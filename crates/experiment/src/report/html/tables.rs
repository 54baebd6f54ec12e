//! The tables of `report.html`.

use std::fmt::Write;

use crate::records::MoveOutcome;
use crate::report::schema::{MoveReport, PartReport, Report};
use crate::report::svg::escape;
use crate::report::table5::{self, or_dash};

/// A table with one head row; cells are HTML already.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = String::from("<div class=\"scroll\"><table><thead><tr>");
    for cell in head {
        let _ = write!(out, "<th>{cell}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{cell}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// The paper's table beside ours.
pub fn table5(report: &Report) -> String {
    let mut out = String::from(
        "<div class=\"scroll\"><table><thead><tr><th></th><th colspan=\"4\">this run</th>\
         <th colspan=\"4\" class=\"sep\">the paper</th></tr>\n<tr><th>interval</th>",
    );
    for sep in ["", " class=\"sep\""] {
        let _ = write!(
            out,
            "<th{sep}>migrations</th><th>mean s</th><th>orders/min</th><th>kept %</th>"
        );
    }
    out.push_str("</tr></thead><tbody>\n");
    for line in table5::lines(report) {
        let class = if line.interval == "all" {
            " class=\"total\""
        } else {
            ""
        };
        let _ = write!(out, "<tr{class}><td>{}</td>", line.interval);
        for cell in &line.ours {
            let _ = write!(out, "<td>{cell}</td>");
        }
        for (k, cell) in line.paper.iter().enumerate() {
            let class = if k == 0 { "sep muted" } else { "muted" };
            let _ = write!(out, "<td class=\"{class}\">{cell}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// Mean CPU per blade.
pub fn cpu(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .hosts
        .iter()
        .map(|h| {
            let (base, moved) = (h.cpu_percent.baseline, h.cpu_percent.migrating);
            let more = base.zip(moved).map(|(b, m)| m - b);
            vec![
                escape(&h.info.name),
                format!("{}", h.info.cores),
                or_dash(base, 1),
                or_dash(moved, 1),
                more.map_or_else(|| "–".to_owned(), |m| format!("{m:+.1}")),
            ]
        })
        .collect();
    table(
        &[
            "blade",
            "cores",
            "without migration %",
            "with migrations %",
            "difference, points",
        ],
        &rows,
    )
}

/// Percentiles of the response time: each interval and both parts whole.
pub fn responses(report: &Report) -> String {
    let mut rows: Vec<Vec<String>> = report
        .intervals
        .iter()
        .map(|i| {
            let base = i.baseline;
            vec![
                i.interval.to_string(),
                i.migrations.to_string(),
                or_dash(base.and_then(|b| b.p50_ms), 0),
                or_dash(i.p50_ms, 0),
                or_dash(base.and_then(|b| b.p95_ms), 0),
                or_dash(i.p95_ms, 0),
                or_dash(base.and_then(|b| b.p99_ms), 0),
                or_dash(i.p99_ms, 0),
            ]
        })
        .collect();
    let whole =
        |part: &Option<PartReport>| part.as_ref().map(|p| p.response_ms).unwrap_or_default();
    let (base, moved) = (whole(&report.baseline), whole(&report.migrating));
    let mut all = vec![
        "all".to_owned(),
        (report.migrations_total - report.migrations_failed).to_string(),
    ];
    for (b, m) in [
        (base.p50, moved.p50),
        (base.p95, moved.p95),
        (base.p99, moved.p99),
    ] {
        all.extend([or_dash(b, 0), or_dash(m, 0)]);
    }
    rows.push(all);
    let head = [
        "interval",
        "migrations",
        "median, without",
        "with",
        "95 %, without",
        "with",
        "99 %, without",
        "with (ms)",
    ];
    let mut out = table(&head, &rows);
    let gap = |part: &Option<PartReport>| part.as_ref().and_then(|p| p.longest_gap_s);
    let _ = writeln!(
        out,
        "<p class=\"why\">Worst order: {} ms without, {} ms with migrations. Longest pause between two \
         answers of one VM: {} s without, {} s with migrations.</p>",
        or_dash(base.max, 0),
        or_dash(moved.max, 0),
        or_dash(gap(&report.baseline), 1),
        or_dash(gap(&report.migrating), 1),
    );
    out
}

/// The three measurements of the blackout.
pub fn blackouts(report: &Report) -> String {
    let b = &report.blackout_ms;
    let row = |name: &str, p50, p99, max| {
        vec![
            name.to_owned(),
            or_dash(p50, 0),
            or_dash(p99, 0),
            or_dash(max, 0),
        ]
    };
    let spread = |figure: fn(&MoveReport) -> Option<f64>| {
        let ok = report
            .migrations
            .iter()
            .filter(|m| m.row.outcome == MoveOutcome::Ok);
        crate::stats::percentile::Spread::of(&ok.filter_map(figure).collect::<Vec<_>>())
    };
    let agents = spread(|m| m.row.stop_to_resume_ms);
    let qemu = spread(|m| m.row.qemu_downtime_ms);
    let silences = spread(|m| m.longest_silence_ms);
    let orders = spread(|m| m.slowest_order_ms);
    table(
        &["measured by", "median ms", "99 % ms", "worst ms"],
        &[
            row(
                "echo probe: no answer around the switch-over",
                b.p50,
                b.p99,
                b.max,
            ),
            row(
                "agents: source stopped to destination running",
                agents.p50,
                agents.p99,
                agents.max,
            ),
            row("QEMU's own figure", qemu.p50, qemu.p99, qemu.max),
            row(
                "echo probe: longest silence during the whole move, whatever the reason",
                silences.p50,
                silences.p99,
                silences.max,
            ),
            row(
                "clients: slowest order under way",
                orders.p50,
                orders.p99,
                orders.max,
            ),
        ],
    )
}
