//! The tables of `report.html` that say how far it can be trusted: audit, instrument, machine.

use std::fmt::Write;

use super::tables::table;
use crate::profile::LoopKind;
use crate::report::schema::{PartReport, Report};
use crate::report::svg::escape;
use crate::report::table5::or_dash;
use crate::run::probe::RELAXED_MS;

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
                "{}: {} {}, QEMU {} ({})",
                h.info.name,
                h.info.cores,
                if h.info.cores == 1.0 { "core" } else { "cores" },
                h.info.qemu,
                h.info.accelerator
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
            format!(
                "every {} ms into a VM that moves, every {} ms into the others",
                s.probe_ms, RELAXED_MS
            ),
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
