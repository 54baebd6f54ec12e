//! From a run's raw data to its report. Pure.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::raw::{PartInfo, Run};
use crate::records::{MigrationRow, MoveOutcome, OrderRow, Outcome, Part};
use crate::report::schema::{
    AuditReport, BlackoutReport, CpuReport, GeneratorReport, HostCpu, HostReport, IntervalBaseline,
    IntervalReport, MoveReport, PartReport, Report, SCHEMA,
};
use crate::report::{html, validity};
use crate::stats::percentile::{Spread, mean, percentile};
use crate::stats::{blackout, bootstrap};

/// Makes the report.
#[must_use]
pub fn build(run: &Run) -> Report {
    let parts: Vec<(Part, PartReport)> = [Part::Baseline, Part::Migrating]
        .into_iter()
        .filter_map(|part| Some((part, part_report(run, part)?)))
        .collect();
    let of = |part| {
        parts
            .iter()
            .find(|(p, _)| *p == part)
            .map(|(_, report)| report.clone())
    };
    let invalid_because = validity::reasons(run, &parts);
    let seconds = |part| orders_per_second(run, part);
    let (base, moved) = (seconds(Part::Baseline), seconds(Part::Migrating));
    let block = bootstrap::block_for(base.len().min(moved.len()));
    let kept = bootstrap::kept_percent(&base, &moved, block, run.info.seed);
    let moves = moves(run);
    let cpu = CpuReport {
        baseline: cpu(run, Part::Baseline),
        migrating: cpu(run, Part::Migrating),
    };
    let mut report = Report {
        schema: SCHEMA,
        version: run.info.version.clone(),
        valid: invalid_because.is_empty(),
        invalid_because,
        complete: run.info.parts.len() == 2 && run.info.parts.iter().all(|p| p.finished),
        summary: String::new(),
        profile: run.info.profile.name.to_string(),
        settings: run.info.profile.clone(),
        seed: run.info.seed,
        vms: run.info.profile.vms,
        template: run.info.template.clone(),
        database: run.info.database.clone(),
        orders_per_minute_per_vm: run.info.orders_per_minute_per_vm,
        calibration: run.info.calibration.clone(),
        baseline: of(Part::Baseline),
        migrating: of(Part::Migrating),
        kept_percent: kept.map(|k| k.percent),
        kept_percent_ci95: kept.map(|k| [k.ci95.0, k.ci95.1]),
        bootstrap_block_seconds: block,
        intervals: intervals(run),
        migrations_total: begun(&moves).count() as u32,
        migrations_failed: begun(&moves)
            .filter(|m| m.row.outcome == MoveOutcome::Failed)
            .count() as u32,
        mean_migration_seconds: mean(&collect(&moves, |m| Some(m.row.seconds))),
        blackout_ms: blackouts(run, &moves),
        hosts: hosts(run, &cpu),
        cpu_percent: cpu,
        audit: audit(run),
        migrations: moves,
        machine: run.info.machine.clone(),
        notes: run
            .info
            .parts
            .iter()
            .flat_map(|p| p.notes.clone())
            .collect(),
    };
    report.summary = html::summary(&report);
    report
}

fn info(run: &Run, part: Part) -> Option<&PartInfo> {
    run.info.parts.iter().find(|p| p.part == part)
}

fn orders(run: &Run, part: Part) -> impl Iterator<Item = &OrderRow> {
    run.orders.iter().filter(move |o| o.part == part)
}

/// Answered orders in each whole second that was measured.
fn orders_per_second(run: &Run, part: Part) -> Vec<f64> {
    let reached = info(run, part).map_or(0.0, |p| p.reached_s);
    let mut seconds = vec![0.0; reached.max(0.0) as usize];
    for order in orders(run, part).filter(|o| o.outcome.answered() && o.end_s >= 0.0) {
        if let Some(second) = seconds.get_mut(order.end_s as usize) {
            *second += 1.0;
        }
    }
    seconds
}

fn part_report(run: &Run, part: Part) -> Option<PartReport> {
    let info = info(run, part)?;
    let reached = info.reached_s;
    let inside = |t: f64| (0.0..reached).contains(&t);
    let ended: Vec<&OrderRow> = orders(run, part).filter(|o| inside(o.end_s)).collect();
    let answered: Vec<&OrderRow> = ended
        .iter()
        .copied()
        .filter(|o| o.outcome.answered())
        .collect();
    let count = |outcome| ended.iter().filter(|o| o.outcome == outcome).count();
    let generator: Vec<_> = run
        .generator
        .iter()
        .filter(|g| g.part == part && inside(g.t_s))
        .collect();
    let lags = generator_lags(&ended);
    let silences = run
        .silences
        .iter()
        .filter(|s| s.part == part && inside(s.start_s));
    Some(PartReport {
        began: whole_second(info.began)
            .format(&Rfc3339)
            .unwrap_or_default(),
        seconds: reached,
        orders_per_minute: per_minute(answered.len(), reached),
        orders_due: orders(run, part).filter(|o| inside(o.due_s)).count(),
        orders_answered: answered.len(),
        orders_rolled_back: count(Outcome::RolledBack),
        orders_failed: count(Outcome::Failed) + count(Outcome::Unknown),
        response_ms: responses(run, part, 0.0, reached),
        longest_gap_s: longest_gap(&answered),
        longest_silence_ms: silences.map(|s| s.silence_ms).max_by(f64::total_cmp),
        ready_seconds: info.ready_s,
        generator: GeneratorReport {
            cpu_percent: mean(&generator.iter().map(|g| g.cpu_percent).collect::<Vec<_>>()),
            lag_p99_ms: percentile(&lags, 99.0),
            lag_max_ms: lags.iter().copied().max_by(f64::total_cmp),
        },
    })
}

fn whole_second(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}

/// By how much the generator itself began each order late. A VM's orders begin one after the other,
/// so what one waited for a free connection is not the fault of the generator for the next ones
/// either: their lag counts from the beginning of the order before.
fn generator_lags(orders: &[&OrderRow]) -> Vec<f64> {
    let mut in_order: Vec<&OrderRow> = orders.to_vec();
    in_order.sort_by(|a, b| (&a.vm, a.number).cmp(&(&b.vm, b.number)));
    let mut lags: Vec<f64> = in_order.first().map(|o| o.lag_ms).into_iter().collect();
    lags.extend(in_order.windows(2).map(|pair| {
        let [before, one] = [pair[0], pair[1]];
        let follows = before.vm == one.vm && before.number + 1 == one.number;
        let free_s = if follows {
            one.due_s.max(before.start_s)
        } else {
            one.due_s
        };
        one.lag_ms.min(((one.start_s - free_s) * 1000.0).max(0.0))
    }));
    lags
}

fn per_minute(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 * 60.0 / seconds
    } else {
        0.0
    }
}

/// Response times of the answered orders that fell due in a stretch of time. By due time, so that
/// the orders that waited longest are not left out for ending late.
fn responses(run: &Run, part: Part, from: f64, to: f64) -> Spread {
    let due = orders(run, part).filter(|o| o.outcome.answered() && (from..to).contains(&o.due_s));
    Spread::of(&due.map(|o| o.response_ms).collect::<Vec<_>>())
}

fn longest_gap(answered: &[&OrderRow]) -> Option<f64> {
    let mut ends: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for order in answered {
        ends.entry(&order.vm).or_default().push(order.end_s);
    }
    let gaps = ends.into_values().flat_map(|mut ends| {
        ends.sort_by(f64::total_cmp);
        ends.windows(2).map(|w| w[1] - w[0]).collect::<Vec<_>>()
    });
    gaps.max_by(f64::total_cmp)
}

fn intervals(run: &Run) -> Vec<IntervalReport> {
    let length = f64::from(run.info.profile.interval_s);
    let reached = |part| info(run, part).map_or(0.0, |p| p.reached_s);
    let of = |part: Part, number: u32| -> Option<IntervalBaseline> {
        let from = f64::from(number - 1) * length;
        let to = (from + length).min(reached(part));
        let answered = orders(run, part)
            .filter(|o| o.outcome.answered() && (from..to).contains(&o.end_s))
            .count();
        let spread = responses(run, part, from, to);
        (to > from).then(|| IntervalBaseline {
            orders_per_minute: per_minute(answered, to - from),
            p50_ms: spread.p50,
            p95_ms: spread.p95,
            p99_ms: spread.p99,
        })
    };
    let numbers = 1..=run.info.profile.intervals;
    numbers
        .filter_map(|number| {
            let now = of(Part::Migrating, number)?;
            let baseline = of(Part::Baseline, number);
            let moves = || run.migrations.iter().filter(|m| m.interval == number);
            let ok: Vec<f64> = moves()
                .filter(|m| m.outcome == MoveOutcome::Ok)
                .map(|m| m.seconds)
                .collect();
            Some(IntervalReport {
                interval: number,
                migrations: ok.len() as u32,
                migrations_failed: moves().filter(|m| m.outcome == MoveOutcome::Failed).count()
                    as u32,
                mean_seconds: mean(&ok),
                orders_per_minute: now.orders_per_minute,
                p50_ms: now.p50_ms,
                p95_ms: now.p95_ms,
                p99_ms: now.p99_ms,
                kept_percent: baseline
                    .filter(|b| b.orders_per_minute > 0.0)
                    .map(|b| 100.0 * now.orders_per_minute / b.orders_per_minute),
                baseline,
            })
        })
        .collect()
}

fn moves(run: &Run) -> Vec<MoveReport> {
    let probes = info(run, Part::Migrating).map_or(&[][..], |p| &p.probes);
    let silences: Vec<_> = run
        .silences
        .iter()
        .filter(|s| s.part == Part::Migrating)
        .cloned()
        .collect();
    let report = |row: &MigrationRow| {
        let probed = probes.iter().any(|p| p.vm == row.vm && p.answered > 0);
        let meanwhile: Vec<&OrderRow> = orders(run, Part::Migrating)
            .filter(|o| o.vm == row.vm && o.due_s <= row.end_s && o.end_s >= row.start_s)
            .collect();
        MoveReport {
            late_s: (row.start_s - row.planned_s).max(0.0),
            blackout_ms: blackout::of_migration(row, &silences, probed),
            longest_silence_ms: blackout::longest_meanwhile(row, &silences, probed),
            slowest_order_ms: meanwhile
                .iter()
                .map(|o| o.response_ms)
                .max_by(f64::total_cmp),
            orders_failed: meanwhile.iter().filter(|o| !o.outcome.answered()).count(),
            row: row.clone(),
        }
    };
    let mut moves: Vec<MoveReport> = run.migrations.iter().map(report).collect();
    moves.sort_by_key(|m| m.row.number);
    moves
}

fn begun(moves: &[MoveReport]) -> impl Iterator<Item = &MoveReport> {
    moves
        .iter()
        .filter(|m| m.row.outcome != MoveOutcome::NotStarted)
}

/// A figure of all successful migrations that have it.
fn collect(moves: &[MoveReport], figure: impl Fn(&MoveReport) -> Option<f64>) -> Vec<f64> {
    moves
        .iter()
        .filter(|m| m.row.outcome == MoveOutcome::Ok)
        .filter_map(figure)
        .collect()
}

fn blackouts(run: &Run, moves: &[MoveReport]) -> BlackoutReport {
    let seen = Spread::of(&collect(moves, |m| m.blackout_ms));
    BlackoutReport {
        p50: seen.p50,
        p99: seen.p99,
        max: seen.max,
        count: seen.count,
        resolution: run.info.profile.probe_ms,
        stop_to_resume_p50: percentile(&collect(moves, |m| m.row.stop_to_resume_ms), 50.0),
        qemu_p50: percentile(&collect(moves, |m| m.row.qemu_downtime_ms), 50.0),
    }
}

fn cpu(run: &Run, part: Part) -> BTreeMap<String, f64> {
    let reached = info(run, part).map_or(0.0, |p| p.reached_s);
    let mut samples: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for row in run
        .hosts
        .iter()
        .filter(|h| h.part == part && (0.0..reached).contains(&h.t_s))
    {
        samples
            .entry(row.host.clone())
            .or_default()
            .push(row.cpu_percent);
    }
    samples
        .into_iter()
        .filter_map(|(host, values)| Some((host, mean(&values)?)))
        .collect()
}

fn hosts(run: &Run, cpu: &CpuReport) -> Vec<HostReport> {
    let report = |info: &crate::raw::HostInfo| HostReport {
        cpu_percent: HostCpu {
            baseline: cpu.baseline.get(&info.name).copied(),
            migrating: cpu.migrating.get(&info.name).copied(),
        },
        info: info.clone(),
    };
    run.info.hosts.iter().map(report).collect()
}

fn audit(run: &Run) -> AuditReport {
    let of = |part| info(run, part).and_then(|p| p.audit.clone());
    let (baseline, migrating) = (of(Part::Baseline), of(Part::Migrating));
    let found: Vec<_> = baseline.iter().chain(&migrating).collect();
    AuditReport {
        ok: !run.info.parts.is_empty()
            && found.len() == run.info.parts.len()
            && found.iter().all(|a| a.ok),
        orders_lost: found.iter().map(|a| a.orders_lost).sum(),
        orders_doubled: found.iter().map(|a| a.orders_doubled).sum(),
        baseline,
        migrating,
    }
}

#[cfg(test)]
mod tests;
