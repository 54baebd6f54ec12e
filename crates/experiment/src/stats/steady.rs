//! Was the shop in a steady state, or was it still warming up or slowly drowning?
//!
//! Judged on the baseline by three signs, each compared between the first and the last third of
//! the window: orders answered of those that fell due, the median response time, and the hosts'
//! CPU. The bounds are wide on purpose: a busy machine is not an unsteady one.

use crate::records::{HostRow, OrderRow};
use crate::stats::percentile::{mean, percentile};

/// The median may grow by this factor …
const MEDIAN_FACTOR: f64 = 2.5;
/// … plus this many milliseconds.
const MEDIAN_SLACK_MS: f64 = 150.0;
/// Points of CPU by which a host may drift.
const CPU_DRIFT: f64 = 20.0;
/// Share of due orders that must be answered, in percent; two orders are always forgiven.
const ANSWERED_PERCENT: f64 = 95.0;

/// Why the window was not steady; empty if it was. All rows are of one part.
#[must_use]
pub fn unsteady(orders: &[&OrderRow], hosts: &[&HostRow], window_s: f64) -> Vec<String> {
    let third = window_s / 3.0;
    let thirds = [(0.0, third), (window_s - third, window_s)];
    let mut reasons = Vec::new();
    reasons.extend(answered(orders, window_s));
    reasons.extend(response(orders, thirds));
    reasons.extend(cpu(hosts, thirds));
    reasons
}

fn answered(orders: &[&OrderRow], window_s: f64) -> Option<String> {
    let due = orders
        .iter()
        .filter(|o| (0.0..window_s).contains(&o.due_s))
        .count();
    let done = orders
        .iter()
        .filter(|o| (0.0..window_s).contains(&o.end_s) && o.outcome.answered())
        .count();
    let enough = done as f64 + 2.0 >= due as f64 * ANSWERED_PERCENT / 100.0;
    (!enough).then(|| format!("{due} orders fell due, but only {done} were answered in time"))
}

fn response(orders: &[&OrderRow], thirds: [(f64, f64); 2]) -> Option<String> {
    let [first, last] = thirds.map(|(from, to)| {
        let inside = orders.iter().filter(|o| (from..to).contains(&o.due_s));
        percentile(&inside.map(|o| o.response_ms).collect::<Vec<_>>(), 50.0)
    });
    let (first, last) = (first?, last?);
    (last > first * MEDIAN_FACTOR + MEDIAN_SLACK_MS)
        .then(|| format!("the median response time rose from {first:.0} ms to {last:.0} ms"))
}

fn cpu(hosts: &[&HostRow], thirds: [(f64, f64); 2]) -> Vec<String> {
    let mut names: Vec<&str> = hosts.iter().map(|h| h.host.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let drift = |name: &&str| {
        let [first, last] = thirds.map(|(from, to)| {
            let inside = hosts
                .iter()
                .filter(|h| h.host == *name && (from..to).contains(&h.t_s));
            mean(&inside.map(|h| h.cpu_percent).collect::<Vec<_>>())
        });
        let (first, last) = (first?, last?);
        ((last - first).abs() > CPU_DRIFT)
            .then(|| format!("the CPU of {name} drifted from {first:.0} % to {last:.0} %"))
    };
    names.iter().filter_map(drift).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Outcome, Part};

    fn order(due_s: f64, response_ms: f64) -> OrderRow {
        OrderRow {
            part: Part::Baseline,
            vm: "a".into(),
            number: 0,
            due_s,
            start_s: due_s,
            end_s: due_s + response_ms / 1000.0,
            response_ms,
            service_ms: response_ms,
            lag_ms: 0.0,
            outcome: Outcome::Ok,
        }
    }

    fn host(t_s: f64, cpu_percent: f64) -> HostRow {
        HostRow {
            part: Part::Baseline,
            t_s,
            host: "blade1".into(),
            cpu_percent,
            memory_bytes: 0,
            rx_bytes_per_s: 0.0,
            tx_bytes_per_s: 0.0,
        }
    }

    fn judge(orders: &[OrderRow], hosts: &[HostRow]) -> Vec<String> {
        unsteady(
            &orders.iter().collect::<Vec<_>>(),
            &hosts.iter().collect::<Vec<_>>(),
            90.0,
        )
    }

    #[test]
    fn an_even_run_is_steady() {
        let orders: Vec<_> = (0..90).map(|t| order(f64::from(t), 60.0)).collect();
        let hosts: Vec<_> = (0..90).map(|t| host(f64::from(t), 40.0)).collect();
        assert!(judge(&orders, &hosts).is_empty());
    }

    #[test]
    fn a_drowning_shop_is_not() {
        let orders: Vec<_> = (0..90)
            .map(|t| order(f64::from(t), 60.0 * f64::from(t)))
            .collect();
        let reasons = judge(&orders, &[]);
        assert!(reasons.iter().any(|r| r.contains("median")), "{reasons:?}");
    }

    #[test]
    fn unanswered_orders_are_not() {
        let mut orders: Vec<_> = (0..90).map(|t| order(f64::from(t), 60.0)).collect();
        for one in orders.iter_mut().step_by(5) {
            one.outcome = Outcome::Failed;
        }
        assert!(judge(&orders, &[]).iter().any(|r| r.contains("answered")));
    }

    #[test]
    fn a_drifting_host_is_not() {
        let hosts: Vec<_> = (0..90).map(|t| host(f64::from(t), f64::from(t))).collect();
        assert!(judge(&[], &hosts).iter().any(|r| r.contains("blade1")));
    }
}
