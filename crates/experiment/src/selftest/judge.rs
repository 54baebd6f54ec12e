//! What the instrument must have measured. Pure.
//!
//! Bounds are tight only where no busy machine can break them: a stopped VM answers nobody, so
//! neither probe nor order can have been answered in between; how much later than its resumption
//! an answer comes depends on the machine.

use crate::records::{OrderRow, SilenceRow};
use crate::report::Report;
use crate::selftest::Check;

/// Points by which chance may move the orders kept beyond their confidence interval: of a hundred
/// orders, one or two may end just beyond the window's end in one part.
const CHANCE_POINTS: f64 = 3.0;
/// Milliseconds that a busy machine may add to a pause.
const BUSY_MS: f64 = 3000.0;

/// A pause as it was asked for, in seconds on the run's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pause {
    /// The VM was asked to stop.
    pub asked_s: f64,
    /// It had stopped.
    pub stopped_s: f64,
    /// It was asked to go on.
    pub resume_asked_s: f64,
    /// It went on.
    pub resumed_s: f64,
}

/// Checks the report of a run in which nothing moved.
#[must_use]
pub fn check_null_run(report: &Report) -> Vec<Check> {
    let mut checks = vec![Check::new(
        "the null run is valid",
        report.valid,
        if report.valid {
            "yes".to_owned()
        } else {
            report.invalid_because.join("; ")
        },
    )];
    let (Some(kept), Some([low, high])) = (report.kept_percent, report.kept_percent_ci95) else {
        checks.push(Check::new(
            "the null run shows no effect",
            false,
            "nothing was measured".into(),
        ));
        return checks;
    };
    let inside = low - CHANCE_POINTS <= 100.0 && 100.0 <= high + CHANCE_POINTS;
    let found = format!("{kept:.1} % kept, 95 % confidence {low:.1} to {high:.1} %");
    checks.push(Check::new("the null run shows no effect", inside, found));
    let moves = report.migrations_total;
    checks.push(Check::new(
        "nothing moved in the null run",
        moves == 0,
        format!("{moves} migrations"),
    ));
    checks
}

/// Checks what probe and clients saw of pauses of one VM.
#[must_use]
pub fn check_pauses(
    pauses: &[Pause],
    silences: &[SilenceRow],
    orders: &[OrderRow],
    probe_ms: f64,
) -> Vec<Check> {
    let mut checks: Vec<Check> = pauses
        .iter()
        .enumerate()
        .map(|(k, p)| check_silence(k + 1, p, silences, probe_ms))
        .collect();
    checks.extend(check_orders(pauses, orders));
    checks
}

fn check_silence(number: usize, pause: &Pause, silences: &[SilenceRow], probe_ms: f64) -> Check {
    let least = (pause.resume_asked_s - pause.stopped_s) * 1000.0;
    let most = (pause.resumed_s - pause.asked_s) * 1000.0;
    let touching = silences
        .iter()
        .filter(|s| s.start_s < pause.resume_asked_s && s.end_s > pause.stopped_s)
        .map(|s| s.silence_ms);
    let seen = touching.fold(0.0, f64::max);
    let right = seen >= least - 2.0 * probe_ms && seen <= most + BUSY_MS;
    let found = format!("{seen:.0} ms seen of a pause of {least:.0} to {most:.0} ms");
    Check::new(&format!("the echo probe sees pause {number}"), right, found)
}

fn check_orders(pauses: &[Pause], orders: &[OrderRow]) -> Vec<Check> {
    let met: Vec<(&OrderRow, &Pause)> = pauses
        .iter()
        .flat_map(|pause| {
            let within = pause.stopped_s..pause.resume_asked_s;
            orders
                .iter()
                .filter(move |o| within.contains(&o.due_s))
                .map(move |o| (o, pause))
        })
        .collect();
    let too_early = met
        .iter()
        .filter(|(o, pause)| o.end_s < pause.resume_asked_s)
        .count();
    let longest = met.iter().map(|(o, _)| o.response_ms).fold(0.0, f64::max);
    let failed = met.iter().filter(|(o, _)| !o.outcome.answered()).count();
    vec![
        Check::new(
            "clients meet the pauses",
            !met.is_empty(),
            format!(
                "{} orders fell due in them, the slowest took {longest:.0} ms",
                met.len()
            ),
        ),
        Check::new(
            "no order is answered by a stopped VM",
            too_early == 0,
            format!("{too_early} of {} ended before the VM went on", met.len()),
        ),
        Check::new(
            "orders that meet a pause are late, not lost",
            failed == 0,
            format!("{failed} of {} failed", met.len()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{MoveOutcome, Outcome, Part};
    use crate::report::{build, sample};

    const PAUSE: Pause = Pause {
        asked_s: 9.95,
        stopped_s: 10.0,
        resume_asked_s: 10.5,
        resumed_s: 10.6,
    };

    fn silence(ms: f64) -> SilenceRow {
        let (start_s, end_s) = (9.98, 9.98 + ms / 1000.0);
        SilenceRow {
            part: Part::Baseline,
            vm: "a".into(),
            start_s,
            end_s,
            silence_ms: ms,
        }
    }

    fn order(due_s: f64, response_ms: f64) -> OrderRow {
        OrderRow {
            part: Part::Baseline,
            vm: "a".into(),
            number: 1,
            due_s,
            start_s: due_s,
            end_s: due_s + response_ms / 1000.0,
            response_ms,
            service_ms: response_ms,
            lag_ms: 0.0,
            outcome: Outcome::Ok,
        }
    }

    fn wrong(silences: &[SilenceRow], orders: &[OrderRow]) -> Vec<String> {
        let checks = check_pauses(&[PAUSE], silences, orders, 5.0);
        checks
            .into_iter()
            .filter(|c| !c.ok)
            .map(|c| c.name)
            .collect()
    }

    #[test]
    fn a_pause_measured_as_it_was_passes() {
        assert_eq!(
            wrong(&[silence(530.0)], &[order(10.2, 450.0)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_pause_unseen_or_too_short_or_far_too_long_is_wrong() {
        let orders = [order(10.2, 450.0)];
        for silences in [&[][..], &[silence(300.0)], &[silence(9000.0)]] {
            assert_eq!(wrong(silences, &orders), ["the echo probe sees pause 1"]);
        }
    }

    #[test]
    fn an_order_answered_in_the_pause_is_wrong() {
        let found = wrong(&[silence(530.0)], &[order(10.2, 60.0)]);
        assert_eq!(found, ["no order is answered by a stopped VM"]);
    }

    #[test]
    fn pauses_that_no_client_met_prove_nothing() {
        assert_eq!(
            wrong(&[silence(530.0)], &[order(11.0, 60.0)]),
            ["clients meet the pauses"]
        );
    }

    #[test]
    fn a_null_run_with_an_effect_is_wrong() {
        let mut run = sample::run(1);
        run.info.profile.migrations_step = 0;
        run.migrations.clear();
        assert!(check_null_run(&build(&run)).iter().all(|c| c.ok));
        run.orders
            .retain(|o| o.part == Part::Baseline || o.number % 10 != 0);
        assert!(check_null_run(&build(&run)).iter().any(|c| !c.ok));
    }

    #[test]
    fn a_null_run_with_moves_is_wrong() {
        let run = sample::run(1);
        assert!(run.migrations.iter().all(|m| m.outcome == MoveOutcome::Ok));
        assert!(
            check_null_run(&build(&run))
                .iter()
                .any(|c| c.name.contains("nothing moved") && !c.ok)
        );
    }
}
