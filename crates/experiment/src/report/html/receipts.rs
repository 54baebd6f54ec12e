//! The table of the migrations in `report.html`.

use std::fmt::Write;

use crate::records::MoveOutcome;
use crate::report::schema::{MoveReport, Report};
use crate::report::svg::escape;
use crate::report::table5::or_dash;

/// One row per migration.
pub fn table(report: &Report) -> String {
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
