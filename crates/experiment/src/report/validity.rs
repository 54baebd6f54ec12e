//! When the figures of a run must not be trusted, and why.

use crate::profile::LoopKind;
use crate::raw::{PartInfo, Run};
use crate::records::{MoveOutcome, Part};
use crate::report::schema::PartReport;
use crate::stats::steady;

/// Generator and probe may use this much of one core.
const GENERATOR_CPU_PERCENT: f64 = 85.0;
/// At most one order in a hundred may be begun later than this by the generator's own fault.
const GENERATOR_LAG_MS: f64 = 250.0;
/// Orders due in both parts may differ by this share, in percent; two are always forgiven.
const REPLAY_PERCENT: f64 = 2.0;

/// Everything that makes the run invalid; empty if nothing does.
pub fn reasons(run: &Run, parts: &[(Part, PartReport)]) -> Vec<String> {
    let mut reasons = Vec::new();
    for part in [Part::Baseline, Part::Migrating] {
        let word = part.word();
        let Some(info) = run.info.parts.iter().find(|p| p.part == part) else {
            reasons.push(missing(part));
            continue;
        };
        reasons.extend(of_part(info));
        if let Some((_, report)) = parts.iter().find(|(p, _)| *p == part) {
            reasons.extend(of_generator(word, report));
        }
    }
    reasons.extend(steady_state(run));
    reasons.extend(replay(run, parts));
    reasons.extend(moves(run));
    reasons
}

/// The reason that a part which has not been run gives.
pub fn missing(part: Part) -> String {
    format!("the {} part has not been run", part.word())
}

fn of_part(info: &PartInfo) -> Vec<String> {
    let word = info.part.word();
    let mut reasons = info.problems.clone();
    if !info.finished {
        reasons.push(format!(
            "the {word} part was interrupted after {:.0} s",
            info.reached_s
        ));
    }
    match &info.audit {
        None => reasons.push(format!("the databases of the {word} part were not audited")),
        Some(audit) if !audit.ok => reasons.push(format!(
            "the audit of the {word} part found differences: {} lost, {} doubled{}",
            audit.orders_lost,
            audit.orders_doubled,
            audit
                .differences
                .first()
                .map_or_else(String::new, |d| format!("; {d}")),
        )),
        Some(_) => {}
    }
    reasons
}

fn of_generator(word: &str, report: &PartReport) -> Vec<String> {
    let mut reasons = Vec::new();
    if report.orders_answered == 0 {
        reasons.push(format!("no order was answered in the {word} part"));
    }
    match report.generator.cpu_percent {
        None => reasons.push(format!("the generator was not watched in the {word} part")),
        Some(cpu) if cpu > GENERATOR_CPU_PERCENT => reasons.push(format!(
            "the generator was saturated in the {word} part: it used {cpu:.0} % of a core"
        )),
        Some(_) => {}
    }
    if let Some(lag) = report
        .generator
        .lag_p99_ms
        .filter(|lag| *lag > GENERATOR_LAG_MS)
    {
        reasons.push(format!(
            "the generator was late in the {word} part: it began one order in a hundred {lag:.0} ms late or more"
        ));
    }
    reasons
}

fn steady_state(run: &Run) -> Vec<String> {
    let part = |p: Part| p == Part::Baseline;
    let finished = run.info.parts.iter().any(|p| part(p.part) && p.finished);
    if !finished {
        return Vec::new();
    }
    let orders: Vec<_> = run.orders.iter().filter(|o| part(o.part)).collect();
    let hosts: Vec<_> = run.hosts.iter().filter(|h| part(h.part)).collect();
    let window = f64::from(run.info.profile.window_s());
    let unsteady = steady::unsteady(&orders, &hosts, window);
    unsteady
        .into_iter()
        .map(|why| format!("no steady state without migration: {why}"))
        .collect()
}

/// In an open loop both parts must have given the same orders.
fn replay(run: &Run, parts: &[(Part, PartReport)]) -> Option<String> {
    let complete = parts.len() == 2 && run.info.parts.iter().all(|p| p.finished);
    if !complete || run.info.profile.loop_kind != LoopKind::Open {
        return None;
    }
    let (a, b) = (parts[0].1.orders_due, parts[1].1.orders_due);
    let allowed = 2.0 + a as f64 * REPLAY_PERCENT / 100.0;
    (a.abs_diff(b) as f64 > allowed).then(|| {
        format!("the parts did not replay the same orders: {a} fell due in one, {b} in the other")
    })
}

fn moves(run: &Run) -> Vec<String> {
    let finished = run
        .info
        .parts
        .iter()
        .any(|p| p.part == Part::Migrating && p.finished);
    if !finished {
        return Vec::new();
    }
    let planned = run.info.profile.migrations_total() as usize;
    let with = |outcome| {
        run.migrations
            .iter()
            .filter(|m| m.outcome == outcome)
            .count()
    };
    let (ok, failed) = (with(MoveOutcome::Ok), with(MoveOutcome::Failed));
    let mut reasons = Vec::new();
    if ok + failed < planned {
        let missing = planned - ok - failed;
        reasons.push(format!(
            "{missing} of {planned} migrations did not begin within the window"
        ));
    }
    if failed > ok {
        reasons.push(format!("{failed} of {planned} migrations failed"));
    }
    reasons
}
