//! The tables of `report.html`.

use std::fmt::Write;

use crate::profile::LoopKind;
use crate::records::MoveOutcome;
use crate::report::schema::{MoveReport, PartReport, Report};
use crate::report::svg::escape;
use crate::report::table5::{self, or_dash};

/// A table with one head row; cells are HTML already.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
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
    let orders = spread(|m| m.slowest_order_ms);
    table(
        &["measured by", "median ms", "99 % ms", "worst ms"],
        &[
            row("echo probe: no answer from the VM", b.p50, b.p99, b.max),
            row(
                "agents: source stopped to destination running",
                agents.p50,
                agents.p99,
                agents.max,
            ),
            row("QEMU's own figure", qemu.p50, qemu.p99, qemu.max),
            row(
                "clients: slowest order under way",
                orders.p50,
                orders.p99,
                orders.max,
            ),
        ],
    )
}

/// One row per migration.
pub fn receipts(report: &Report) -> String {
    let mut out = String::from("<div class=\"scroll\"><table class=\"dense\"><thead><tr>");
    for head in [
        "#",
        "VM",
        "from",
        "to",
        "total s",
        "late s",
        "blackout ms",
        "stop to resume ms",
        "QEMU ms",
        "slowest order ms",
        "stream MB",
        "wire MB",
        "rounds",
        "CPU s source",
        "CPU s dest.",
    ] {
        let _ = write!(out, "<th>{head}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for one in &report.migrations {
        let row = &one.row;
        let name = format!(
            "<td>{}</td><td class=\"left\">{}</td>",
            row.number,
            escape(&row.vm)
        );
        let places = format!("<td>{}</td><td>{}</td>", escape(&row.from), escape(&row.to));
        if row.outcome != MoveOutcome::Ok {
            let why = if row.outcome == MoveOutcome::Failed {
                escape(&row.error)
            } else {
                "not begun within the window".to_owned()
            };
            let _ = writeln!(
                out,
                "<tr class=\"bad\">{name}{places}<td class=\"wide left\" colspan=\"11\">{why}</td></tr>"
            );
            continue;
        }
        let megabytes = |bytes: Option<u64>| or_dash(bytes.map(|b| b as f64 / 1e6), 1);
        let cells = [
            format!("{:.2}", row.seconds),
            format!("{:.1}", one.late_s),
            or_dash(one.blackout_ms, 0),
            stop_to_resume(one),
            or_dash(row.qemu_downtime_ms, 0),
            or_dash(one.slowest_order_ms, 0),
            megabytes(row.stream_bytes),
            megabytes(row.wire_bytes),
            or_dash(row.rounds.map(f64::from), 0),
            or_dash(row.cpu_source_s, 2),
            or_dash(row.cpu_destination_s, 2),
        ];
        let cells: String = cells.iter().map(|c| format!("<td>{c}</td>")).collect();
        let _ = writeln!(out, "<tr>{name}{places}{cells}</tr>");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

fn stop_to_resume(one: &MoveReport) -> String {
    let bound = one.row.clock_error_ms.filter(|e| *e >= 0.05);
    let bound = bound.map_or_else(String::new, |e| format!(" ± {e:.1}"));
    or_dash(one.row.stop_to_resume_ms, 0) + &bound
}

/// What the audit found.
pub fn audit(report: &Report) -> String {
    let parts = [
        ("without migration", &report.audit.baseline),
        ("with migrations", &report.audit.migrating),
    ];
    let rows: Vec<Vec<String>> = parts
        .into_iter()
        .map(|(name, audit)| match audit {
            None => vec![
                name.to_owned(),
                "–".into(),
                "–".into(),
                "–".into(),
                "not audited".into(),
            ],
            Some(a) => vec![
                name.to_owned(),
                a.orders_confirmed.to_string(),
                a.orders_lost.to_string(),
                a.orders_doubled.to_string(),
                if a.ok {
                    "clean".to_owned()
                } else {
                    "differences".to_owned()
                },
            ],
        })
        .collect();
    let mut out = table(
        &["part", "orders confirmed", "lost", "doubled", "result"],
        &rows,
    );
    let differences: Vec<String> = parts
        .into_iter()
        .filter_map(|(_, audit)| audit.as_ref())
        .flat_map(|a| a.differences.iter())
        .map(|d| format!("<li>{}</li>", escape(d)))
        .collect();
    if !differences.is_empty() {
        let _ = writeln!(out, "<ul>{}</ul>", differences.concat());
    }
    out
}

/// The instrument's own figures.
pub fn trust(report: &Report) -> String {
    let figures = |part: &Option<PartReport>| -> Vec<String> {
        let Some(p) = part else {
            return vec!["–".to_owned(); 8];
        };
        vec![
            p.orders_due.to_string(),
            p.orders_answered.to_string(),
            p.orders_failed.to_string(),
            p.orders_rolled_back.to_string(),
            or_dash(p.generator.cpu_percent, 0),
            or_dash(p.generator.lag_p99_ms, 1),
            or_dash(p.generator.lag_max_ms, 1),
            or_dash(p.longest_silence_ms, 0),
        ]
    };
    let names = [
        "orders that fell due",
        "orders answered",
        "orders that ended with an error",
        "orders rolled back for want of stock",
        "generator and probe: CPU, percent of one core",
        "generator's lag, 99 % of the orders, ms",
        "generator's lag, worst, ms",
        "longest silence in any VM, ms",
    ];
    let (base, moved) = (figures(&report.baseline), figures(&report.migrating));
    let rows: Vec<Vec<String>> = names
        .iter()
        .zip(base.into_iter().zip(moved))
        .map(|(name, (b, m))| vec![(*name).to_owned(), b, m])
        .collect();
    let mut out = table(&["", "without migration", "with migrations"], &rows);
    let _ = writeln!(
        out,
        "<p class=\"why\">The confidence interval of the orders kept is a paired block bootstrap: both \
         parts replay the same orders, so each second of one is compared with the same second of the \
         other, in blocks of {} s, drawn {} times.</p>",
        report.bootstrap_block_seconds,
        crate::stats::bootstrap::RESAMPLES,
    );
    if !report.notes.is_empty() {
        let notes: String = report
            .notes
            .iter()
            .map(|n| format!("<li>{}</li>", escape(n)))
            .collect();
        let _ = writeln!(out, "<ul>{notes}</ul>");
    }
    out
}

/// The machine, the hosts and the settings.
pub fn machine(report: &Report) -> String {
    let (m, s) = (&report.machine, &report.settings);
    let hosts: Vec<String> = report
        .hosts
        .iter()
        .map(|h| {
            format!(
                "{}: {} cores, QEMU {} ({})",
                h.info.name, h.info.cores, h.info.qemu, h.info.accelerator
            )
        })
        .collect();
    let calibration: Vec<String> = report
        .calibration
        .iter()
        .map(|c| {
            format!(
                "{:.1} opm → {:.0} %",
                c.orders_per_minute_per_vm, c.cpu_percent
            )
        })
        .collect();
    let loop_kind = match s.loop_kind {
        LoopKind::Open => "open loop: orders fall due at random times fixed by the seed",
        LoopKind::Closed => "closed loop: each client waits for its order, then thinks",
    };
    let mut rows = vec![
        (
            "machine",
            format!(
                "{}, {} cores, {:.1} GB, {}, kernel {}",
                m.cpu,
                m.cores,
                m.memory_bytes as f64 / 1e9,
                m.system,
                m.kernel
            ),
        ),
        ("hosts", hosts.join("; ")),
        (
            "VMs",
            format!(
                "{} clones of template {}, database {}",
                report.vms, report.template, report.database
            ),
        ),
        (
            "load",
            format!(
                "{} asked for, {:.1} orders per minute and VM given; {loop_kind}",
                s.load, report.orders_per_minute_per_vm
            ),
        ),
        (
            "time",
            format!(
                "warm-up {} s, then {} intervals of {} s, in each part",
                s.warmup_s, s.intervals, s.interval_s
            ),
        ),
        (
            "echo probe",
            format!("every {} ms into each VM", s.probe_ms),
        ),
        (
            "run",
            format!(
                "profile {}, seed {}, Godwit {}",
                report.profile, report.seed, report.version
            ),
        ),
    ];
    if !calibration.is_empty() {
        rows.insert(4, ("calibration", calibration.join(", ")));
    }
    let mut out = String::from("<div class=\"scroll\"><table><tbody>\n");
    for (name, value) in rows {
        let _ = writeln!(
            out,
            "<tr><td class=\"muted\">{name}</td><td class=\"left wide\">{}</td></tr>",
            escape(&value)
        );
    }
    out.push_str("</tbody></table></div>\n");
    out
}
