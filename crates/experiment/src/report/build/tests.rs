//! What a report says of made-up runs, good ones and spoiled ones.

use super::*;
use crate::report::sample;

#[test]
fn a_good_run_is_valid_and_adds_up() {
    let run = sample::run(1);
    let report = build(&run);
    assert_eq!(report.invalid_because, Vec::<String>::new());
    assert!(report.valid && report.complete && report.audit.ok);
    assert_eq!(report.migrations_total, 12);
    assert_eq!(report.migrations_failed, 0);
    let kept = report.kept_percent.unwrap();
    assert!((97.0..103.0).contains(&kept), "{kept}");
    let [low, high] = report.kept_percent_ci95.unwrap();
    assert!(low <= kept && kept <= high);
    let migrating = report.migrating.unwrap();
    let mean: f64 = report
        .intervals
        .iter()
        .map(|i| i.orders_per_minute)
        .sum::<f64>()
        / 3.0;
    assert!((mean - migrating.orders_per_minute).abs() < 1e-6);
    assert_eq!(
        report
            .intervals
            .iter()
            .map(|i| i.migrations)
            .collect::<Vec<_>>(),
        [2, 4, 6]
    );
    assert_eq!(report.blackout_ms.count, 12);
    assert_eq!(report.cpu_percent.baseline.len(), 2);
}

#[test]
fn every_field_of_the_schema_is_there() {
    let json = serde_json::to_value(build(&sample::run(1))).unwrap();
    for pointer in [
        "/valid",
        "/invalid_because",
        "/profile",
        "/seed",
        "/vms",
        "/baseline/orders_per_minute",
        "/migrating/orders_per_minute",
        "/kept_percent",
        "/kept_percent_ci95/1",
        "/intervals/0/migrations",
        "/intervals/0/mean_seconds",
        "/intervals/0/orders_per_minute",
        "/intervals/0/p50_ms",
        "/intervals/0/p95_ms",
        "/intervals/0/p99_ms",
        "/migrations_total",
        "/migrations_failed",
        "/mean_migration_seconds",
        "/blackout_ms/p50",
        "/blackout_ms/p99",
        "/blackout_ms/max",
        "/cpu_percent/baseline/blade1",
        "/cpu_percent/migrating/blade2",
        "/hosts/0/cpu_percent/baseline",
        "/audit/ok",
        "/audit/orders_lost",
        "/audit/orders_doubled",
    ] {
        assert!(
            json.pointer(pointer).is_some_and(|v| !v.is_null()),
            "{pointer}"
        );
    }
}

#[test]
fn a_blackout_shows_in_its_migration() {
    let mut run = sample::run(1);
    let first = run.migrations[0].clone();
    run.silences.push(crate::records::SilenceRow {
        part: Part::Migrating,
        vm: first.vm.clone(),
        start_s: first.end_s - 1.0,
        end_s: first.end_s - 0.1,
        silence_ms: 900.0,
    });
    let report = build(&run);
    assert_eq!(report.migrations[0].blackout_ms, Some(900.0));
    assert_eq!(report.blackout_ms.max, Some(900.0));
}

#[test]
fn a_wrong_audit_makes_it_invalid() {
    let mut run = sample::run(1);
    let audit = run.info.parts[1].audit.as_mut().unwrap();
    (audit.ok, audit.orders_lost) = (false, 1);
    let report = build(&run);
    assert!(!report.valid && !report.audit.ok);
    assert_eq!(report.audit.orders_lost, 1);
    assert!(report.invalid_because[0].contains("audit"));
}

#[test]
fn a_saturated_generator_makes_it_invalid() {
    let mut run = sample::run(1);
    run.generator.iter_mut().for_each(|g| g.cpu_percent = 99.0);
    assert!(build(&run).invalid_because[0].contains("saturated"));
    let mut run = sample::run(1);
    for order in &mut run.orders {
        (order.lag_ms, order.start_s) = (400.0, order.due_s + 0.4);
    }
    assert!(build(&run).invalid_because[0].contains("late"));
}

#[test]
fn lost_load_makes_it_invalid() {
    let mut run = sample::run(1);
    run.orders
        .retain(|o| o.part == Part::Baseline || o.number % 4 != 0);
    let report = build(&run);
    assert!(
        report
            .invalid_because
            .iter()
            .any(|r| r.contains("same orders"))
    );
    assert!(report.kept_percent.unwrap() < 85.0);
}

#[test]
fn moves_that_never_began_make_it_invalid() {
    let mut run = sample::run(1);
    run.migrations[3].outcome = MoveOutcome::NotStarted;
    let report = build(&run);
    assert_eq!(report.migrations_total, 11);
    assert!(report.invalid_because[0].contains("1 of 12"));
}

#[test]
fn an_interrupted_run_is_reported_as_far_as_it_got() {
    let mut run = sample::run(1);
    let part = &mut run.info.parts[1];
    (part.reached_s, part.finished, part.audit) = (50.0, false, None);
    run.orders
        .retain(|o| o.part == Part::Baseline || o.end_s < 50.0);
    run.migrations.retain(|m| m.end_s < 50.0);
    let report = build(&run);
    assert!(!report.valid && !report.complete);
    assert!(
        report
            .invalid_because
            .iter()
            .any(|r| r.contains("interrupted after 50 s"))
    );
    assert!((90.0..110.0).contains(&report.kept_percent.unwrap()));
    assert_eq!(report.intervals.len(), 2);
}

#[test]
fn one_part_alone_is_reported_as_such() {
    let (baseline, _) = sample::apart(&sample::run(1));
    let report = build(&baseline);
    assert!(!report.valid && report.migrating.is_none() && report.kept_percent.is_none());
    assert_eq!(
        report.invalid_because,
        ["the migrating part has not been run"]
    );
    assert!(report.is_good_half());
    assert!(!build(&sample::run(1)).is_good_half());
}

#[test]
fn every_field_is_documented() {
    fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (key, value) in fields {
                    found.push(key.clone());
                    keys(value, found);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
            _ => {}
        }
    }
    let manual = std::fs::read_to_string("../../docs/report.md").unwrap();
    let mut found = Vec::new();
    keys(
        &serde_json::to_value(build(&sample::run(1))).unwrap(),
        &mut found,
    );
    found.sort();
    found.dedup();
    let missing: Vec<_> = found
        .iter()
        .filter(|key| !key.starts_with("blade") && !manual.contains(&format!("`{key}`")))
        .collect();
    assert!(missing.is_empty(), "not in docs/report.md: {missing:?}");
}

#[test]
fn a_queue_at_the_shop_is_not_the_generators_fault() {
    let mut run = sample::run(1);
    // One order waits a long time for a connection; those due meanwhile begin when it does.
    let begins = 50.0;
    for order in run.orders.iter_mut().filter(|o| o.vm == "ds2-01") {
        if (40.0..begins).contains(&order.due_s) {
            order.lag_ms = (begins - order.due_s) * 1000.0;
            (order.start_s, order.end_s) = (begins, order.end_s.max(begins + 0.1));
        }
    }
    let report = build(&run);
    let lag = report.baseline.unwrap().generator.lag_p99_ms.unwrap();
    assert!(lag < 10.0, "{lag}");
}
