//! `report.html`: the report as one page a person enjoys reading. Self-contained: pictures and
//! style are inside it, there is no script and no outside address.

mod receipts;
mod tables;
mod trust;

use std::fmt::Write;

use crate::report::charts::Figures;
use crate::report::schema::Report;
use crate::report::svg::{COLOURS, STYLE, escape};
use crate::report::table5::or_dash;

/// The result in plain words: the sentence that matters, and what else there is to say.
pub fn summary(report: &Report) -> String {
    let details = details(report);
    headline(report) + if details.is_empty() { "" } else { " " } + &details
}

fn headline(report: &Report) -> String {
    let (Some(kept), Some(moved)) = (report.kept_percent, &report.migrating) else {
        return one_part(report);
    };
    let ok = report.migrations_total - report.migrations_failed;
    let word = if ok == 1 { "migration" } else { "migrations" };
    format!(
        "With {ok} live {word} in {}, the shop kept {kept:.1}\u{a0}% of its orders.",
        spoken(moved.seconds)
    )
}

fn details(report: &Report) -> String {
    let (Some(base), Some(moved)) = (&report.baseline, &report.migrating) else {
        return String::new();
    };
    let mut sentences = vec![format!(
        "{:.1} orders per minute with migrations, {:.1} without{}.",
        moved.orders_per_minute,
        base.orders_per_minute,
        report
            .kept_percent_ci95
            .map_or_else(String::new, |[low, high]| format!(
                " (orders kept, 95\u{a0}% confidence: {low:.1} to {high:.1}\u{a0}%)"
            )),
    )];
    if let Some(mean) = report.mean_migration_seconds {
        sentences.push(format!("A migration took {mean:.1} s on average."));
    }
    if let (Some(p50), Some(max)) = (report.blackout_ms.p50, report.blackout_ms.max) {
        sentences.push(format!(
            "Its VM gave no answer for {p50:.0} ms in the median case, {max:.0} ms in the worst."
        ));
    }
    if report.migrations_failed > 0 {
        sentences.push(format!("{} migrations failed.", report.migrations_failed));
    }
    sentences.push(audit_sentence(report));
    sentences.join(" ")
}

fn one_part(report: &Report) -> String {
    let part = report.baseline.as_ref().map(|p| (p, "without migration"));
    let part = part.or(report.migrating.as_ref().map(|p| (p, "with migrations")));
    part.map_or_else(
        || "Nothing has been measured yet.".to_owned(),
        |(p, which)| {
            format!(
                "Only the part {which} has been run: {:.1} orders per minute over {}.",
                p.orders_per_minute,
                spoken(p.seconds)
            )
        },
    )
}

fn audit_sentence(report: &Report) -> String {
    let audit = &report.audit;
    if audit.ok {
        "No order was lost or doubled.".to_owned()
    } else if audit.orders_lost + audit.orders_doubled > 0 {
        format!(
            "{} orders were lost, {} doubled.",
            audit.orders_lost, audit.orders_doubled
        )
    } else {
        "The databases were not fully audited.".to_owned()
    }
}

/// A duration as one says it.
pub fn spoken(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 60, whole % 60) {
        (0, s) => format!("{s} seconds"),
        (m, 0) => format!("{m} minutes"),
        (m, s) => format!("{m} min {s} s"),
    }
}

/// The whole page.
pub fn page(report: &Report, figures: &Figures) -> String {
    let mut out = String::new();
    let began = report
        .baseline
        .as_ref()
        .or(report.migrating.as_ref())
        .map_or("", |p| &p.began);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>What live migration costs: {profile}, seed {seed}</title>\n\
         <style>{COLOURS}{STYLE}{PAGE}</style>\n</head>\n<body>\n<main>\n\
         <p class=\"kicker\">Godwit · what live migration costs · profile {profile} · seed {seed} · {began}</p>\n",
        profile = escape(&report.profile),
        seed = report.seed,
        began = escape(began),
    );
    out.push_str(&verdict(report));
    out.push_str(&key_figures(report));
    section(
        &mut out,
        "Orders over time",
        ORDERS_TEXT,
        &figures.orders.inline(),
    );
    section(
        &mut out,
        "The paper's table beside this run",
        TABLE_TEXT,
        &tables::table5(report),
    );
    section(
        &mut out,
        "CPU of the blades",
        CPU_TEXT,
        &(figures.cpu.inline() + &tables::cpu(report)),
    );
    section(
        &mut out,
        "How long a customer waits",
        RESPONSES_TEXT,
        &(figures.responses.inline() + &tables::responses(report)),
    );
    if !report.migrations.is_empty() {
        let resolution = BLACKOUT_TEXT.replace("{ms}", &report.blackout_ms.resolution.to_string());
        section(
            &mut out,
            "How long a VM is silent",
            &resolution,
            &(figures.blackouts.inline() + &tables::blackouts(report)),
        );
        section(
            &mut out,
            "Receipts",
            RECEIPTS_TEXT,
            &receipts::table(report),
        );
    }
    section(&mut out, "Audit", AUDIT_TEXT, &trust::audit(report));
    section(
        &mut out,
        "Can it be trusted?",
        TRUST_TEXT,
        &trust::trust(report),
    );
    section(
        &mut out,
        "Machine and settings",
        "",
        &trust::machine(report),
    );
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn section(out: &mut String, heading: &str, text: &str, body: &str) {
    let text = if text.is_empty() {
        String::new()
    } else {
        format!("<p class=\"why\">{text}</p>\n")
    };
    let _ = write!(
        out,
        "<section>\n<h2>{heading}</h2>\n{text}{body}</section>\n"
    );
}

fn verdict(report: &Report) -> String {
    let mut out = format!("<h1>{}</h1>\n", escape(&headline(report)));
    // Writing to a String cannot fail.
    let _ = writeln!(out, "<p class=\"lead\">{}</p>", escape(&details(report)));
    if report.valid {
        out.push_str("<p class=\"verdict good\"><strong>Valid.</strong> Steady load, generator at ease, audit clean.</p>\n");
        return out;
    }
    let word = if report.complete {
        "Not valid"
    } else {
        "Not complete"
    };
    let _ = writeln!(
        out,
        "<div class=\"verdict bad\"><strong>{word}.</strong><ul>"
    );
    for why in &report.invalid_because {
        let _ = writeln!(out, "<li>{}</li>", escape(why));
    }
    out.push_str("</ul></div>\n");
    out
}

fn key_figures(report: &Report) -> String {
    let ci = report
        .kept_percent_ci95
        .map_or_else(String::new, |[low, high]| {
            format!("95\u{a0}% confidence: {low:.1} to\u{a0}{high:.1}\u{a0}%")
        });
    let blackout = &report.blackout_ms;
    let ok = report.migrations_total - report.migrations_failed;
    let lost = if report.baseline.is_none() && report.migrating.is_none() {
        "–".to_owned()
    } else {
        (report.audit.orders_lost + report.audit.orders_doubled).to_string()
    };
    let cards = [
        ("Orders kept", with_unit(report.kept_percent, 1, "%"), ci),
        (
            "Migrations",
            format!("{ok} <small>of {}</small>", report.migrations_total),
            format!(
                "{} s each, on average",
                or_dash(report.mean_migration_seconds, 1)
            ),
        ),
        (
            "Blackout, median",
            with_unit(blackout.p50, 0, "ms"),
            format!(
                "99th percentile {} ms, worst {} ms",
                or_dash(blackout.p99, 0),
                or_dash(blackout.max, 0)
            ),
        ),
        ("Orders lost or doubled", lost, audit_word(report)),
    ];
    let mut out = String::from("<div class=\"cards\">\n");
    for (name, figure, small) in cards {
        let _ = writeln!(
            out,
            "<div class=\"card\"><div class=\"name\">{name}</div><div class=\"figure\">{figure}</div><div class=\"small\">{small}</div></div>"
        );
    }
    out.push_str("</div>\n");
    out
}

fn audit_word(report: &Report) -> String {
    let audits = [&report.audit.baseline, &report.audit.migrating];
    let confirmed: u64 = audits
        .into_iter()
        .flatten()
        .map(|a| a.orders_confirmed)
        .sum();
    format!("{confirmed} confirmed orders checked")
}

fn with_unit(value: Option<f64>, digits: usize, unit: &str) -> String {
    value.map_or_else(
        || "–".to_owned(),
        |v| format!("{v:.digits$} <small>{unit}</small>"),
    )
}

const ORDERS_TEXT: &str = "The same orders are given twice, once while nothing moves and once while VMs \
move between the blades. Where the two lines lie on each other, migration cost nothing. (The paper's figure 3.)";
const TABLE_TEXT: &str = "Orders per minute of all VMs together. The paper used 20 VMs, intervals of ten \
minutes and VMware's migration on hardware of 2005, so compare the column “kept”, not the absolute figures.";
const CPU_TEXT: &str = "Share of each blade's own cores that was busy. The load generator and the echo \
probe are not in it. Marks on the time axis are migrations. (The paper's figure 4.)";
const RESPONSES_TEXT: &str = "Measured from the moment an order falls due, so an order that has to wait \
for a silent VM counts in full. The grey line is the same interval without migration.";
const BLACKOUT_TEXT: &str = "An echo probe asks a VM that moves every {ms} ms. The blackout of a migration is the \
longest time without an answer that touches the VM's switch-over from one blade to the other, and so the \
pause that a client can feel; it is exact to about {ms} ms. The agents' own measurement (source stopped to \
destination running) and QEMU's stand beside it, and so do silences with other reasons: on a busy machine \
a VM must wait for its CPU now and then.";
const RECEIPTS_TEXT: &str = "What each migration cost. “Stream” is what QEMU wrote, “wire” what went over \
the network.";
const AUDIT_TEXT: &str = "After each part every database is compared with what the clients were told: \
each confirmed order must be there once, with its lines, stock and history.";
const TRUST_TEXT: &str = "The instrument watches itself: a generator that runs late or short of CPU, a \
load that is not steady, orders that are not the same in both parts, a failed clone or a wrong audit make \
a run invalid.";

const PAGE: &str = "
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif}
main{max-width:1040px;margin:0 auto;padding:40px 24px 72px}
.kicker{color:var(--soft);font-size:13px;margin:0 0 10px}
h1{font-size:29px;line-height:1.3;font-weight:650;margin:0 0 12px;max-width:54em;text-wrap:pretty}
p.lead{font-size:17px;margin:0 0 20px;max-width:62em}
h2{font-size:19px;margin:52px 0 6px}
.why{color:var(--soft);margin:0 0 16px;max-width:74ch}
.verdict{margin:0 0 22px;padding:10px 14px;border-left:4px solid;background:var(--panel);border-radius:0 6px 6px 0}
.verdict.good{border-color:var(--good)}.verdict.good strong{color:var(--good)}
.verdict.bad{border-color:var(--bad)}.verdict.bad strong{color:var(--bad)}
.verdict ul{margin:6px 0 0;padding-left:20px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(200px,44%),1fr));gap:14px}
.card{background:var(--panel);border:1px solid var(--rule);border-radius:10px;padding:14px 16px}
.card .name{font-size:13px;color:var(--soft)}
.card .figure{font-size:31px;font-weight:600;line-height:1.25;font-variant-numeric:tabular-nums}
.card .figure small{font-size:16px;font-weight:400;color:var(--soft)}
.card .small{font-size:13px;color:var(--soft)}
svg.chart{display:block;width:100%;min-width:680px;height:auto;margin:6px 0 10px}
.scroll{overflow-x:auto;margin:10px 0}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th{font-weight:500;color:var(--soft);vertical-align:bottom;white-space:normal;line-height:1.25}
table.dense{font-size:13px}
table.dense th,table.dense td{padding:5px 7px}
th:first-child,td:first-child,.left{text-align:left}
thead tr:first-child th[colspan]{text-align:center;border-bottom:2px solid var(--rule)}
td.sep,th.sep{border-left:2px solid var(--rule)}
tr.total td{font-weight:600;border-top:2px solid var(--axis)}
tr.bad td{color:var(--bad)}
td.wide{white-space:normal;min-width:16em}
td.muted{color:var(--soft)}
details summary{cursor:pointer;color:var(--soft);font-size:14px}
@media print{main{padding:0}.card,.verdict{break-inside:avoid}section{break-inside:avoid-page}}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{build, sample};

    #[test]
    fn the_page_needs_nothing_from_outside() {
        let run = sample::run(1);
        let report = build(&run);
        let page = page(&report, &Figures::draw(&run, &report));
        let addresses = page.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "<script", "src=", "@import", "url("] {
            assert!(!addresses.contains(outside), "{outside}");
        }
        assert!(page.contains("<strong>Valid.</strong>"));
        assert_eq!(
            page.matches("<section>").count(),
            page.matches("</section>").count()
        );
    }

    #[test]
    fn the_sentence_says_the_result() {
        let text = build(&sample::run(1)).summary;
        assert!(
            text.starts_with("With 12 live migrations in 1 min 45 s, the shop kept "),
            "{text}"
        );
        assert!(text.ends_with("No order was lost or doubled."), "{text}");
    }

    #[test]
    fn reasons_are_shown_and_escaped() {
        let mut run = sample::run(1);
        run.info.parts[0]
            .problems
            .push("VM <b>x</b> did not answer".to_owned());
        let report = build(&run);
        let page = page(&report, &Figures::draw(&run, &report));
        assert!(
            page.contains("Not valid") && page.contains("VM &lt;b&gt;x&lt;/b&gt; did not answer")
        );
    }
}
