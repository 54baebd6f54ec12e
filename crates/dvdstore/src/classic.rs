//! The lines of the classic driver, for those who parse them.
//!
//! `opm` is cumulative, ⌊60·n/et⌋, and counts rolled-back orders; failed ones appear nowhere, as there. The response
//! time is the sum of an order's database calls. `lastn` are the last hundred orders.

use std::collections::VecDeque;
use std::time::Duration;

use crate::record::OrderRecord;

/// So many orders are the last ones.
const LAST: usize = 100;

/// Sums up answered, measured orders as the classic driver does.
#[derive(Clone, Debug, Default)]
pub struct Classic {
    orders: u64,
    rollbacks: u64,
    response: Duration,
    last: VecDeque<Duration>,
    login: Step,
    new_customer: Step,
    browse: Step,
    purchase: Step,
}

/// Calls of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    count: u64,
    total: Duration,
}

impl Step {
    fn add(&mut self, count: u64, took: Duration) {
        self.count += count;
        self.total += took;
    }

    fn mean_ms(self) -> u64 {
        mean_ms(self.total, self.count)
    }
}

impl Classic {
    /// Adds an order; one of the warm-up or one that failed does not count.
    pub fn record(&mut self, order: &OrderRecord) {
        if order.warm_up || !order.outcome.is_answered() {
            return;
        }
        let steps = &order.steps;
        self.orders += 1;
        self.rollbacks += u64::from(order.outcome == crate::record::Outcome::RolledBack);
        self.response += steps.response();
        self.last.push_back(steps.response());
        if self.last.len() > LAST {
            self.last.pop_front();
        }
        self.login
            .add(u64::from(!steps.login.is_zero()), steps.login);
        self.new_customer
            .add(u64::from(!steps.register.is_zero()), steps.register);
        self.browse.add(u64::from(steps.browses), steps.browse);
        self.purchase.add(1, steps.purchase);
    }

    /// The line that is printed every ten seconds, `elapsed` after the end of the warm-up.
    #[must_use]
    pub fn line(&self, elapsed: Duration) -> String {
        format!(
            "{} rt_tot_sampled={} {}",
            self.head(elapsed),
            self.orders,
            self.tail()
        )
    }

    /// The last line.
    #[must_use]
    pub fn final_line(&self, elapsed: Duration) -> String {
        format!(
            "Final: {} n_login_overall={} n_newcust_overall={} n_browse_overall={} n_purchase_overall={} \
             rt_login_avg_msec={} rt_newcust_avg_msec={} rt_browse_avg_msec={} rt_purchase_avg_msec={} \
             rt_tot_sampled={} {}",
            self.head(elapsed),
            self.login.count,
            self.new_customer.count,
            self.browse.count,
            self.purchase.count,
            self.login.mean_ms(),
            self.new_customer.mean_ms(),
            self.browse.mean_ms(),
            self.purchase.mean_ms(),
            self.orders,
            self.tail()
        )
    }

    fn head(&self, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let opm = if seconds > 0.0 {
            (60.0 * self.orders as f64 / seconds) as u64
        } else {
            0
        };
        format!(
            "et={seconds:7.1} n_overall={} opm={opm} rt_tot_lastn_max_msec={} rt_tot_avg_msec={}",
            self.orders,
            self.last.iter().max().map_or(0, Duration::as_millis),
            mean_ms(self.response, self.orders),
        )
    }

    fn tail(&self) -> String {
        #[allow(clippy::cast_precision_loss)] // counts below 2^52 are exact
        let percent = if self.orders > 0 {
            100.0 * self.rollbacks as f64 / self.orders as f64
        } else {
            0.0
        };
        format!("rollbacks: n={} %={percent:5.1}", self.rollbacks)
    }
}

fn mean_ms(total: Duration, count: u64) -> u64 {
    u64::try_from(total.as_millis())
        .unwrap_or(u64::MAX)
        .checked_div(count)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orderlog::tests::record;
    use crate::record::{Cents, Failure, OrderId, Outcome};

    #[test]
    fn lines_read_as_the_classic_ones() {
        let mut classic = Classic::default();
        assert_eq!(
            classic.line(Duration::ZERO),
            "et=    0.0 n_overall=0 opm=0 rt_tot_lastn_max_msec=0 rt_tot_avg_msec=0 rt_tot_sampled=0 \
             rollbacks: n=0 %=  0.0"
        );
        let failed = Outcome::Failed {
            reason: Failure::Sql,
            detail: String::new(),
        };
        let committed = Outcome::Committed {
            order_id: OrderId(1),
            net: Cents(1),
        };
        for (n, outcome) in (1..).zip([
            committed.clone(),
            Outcome::RolledBack,
            failed,
            committed.clone(),
            committed,
        ]) {
            let mut order = record(1, outcome);
            order.warm_up = n == 4;
            order.steps.login = Duration::from_millis(10 * n);
            order.steps.purchase = Duration::from_millis(30);
            classic.record(&order);
        }
        // Counted are orders 1, 2 and 5, with 40, 50 and 80 ms.
        assert_eq!(
            classic.line(Duration::from_secs(10)),
            "et=   10.0 n_overall=3 opm=18 rt_tot_lastn_max_msec=80 rt_tot_avg_msec=56 rt_tot_sampled=3 \
             rollbacks: n=1 %= 33.3"
        );
        let last = classic.final_line(Duration::from_secs(10));
        assert!(
            last.contains(
                "n_login_overall=3 n_newcust_overall=0 n_browse_overall=6 n_purchase_overall=3"
            ),
            "{last}"
        );
        assert!(
            last.contains("rt_login_avg_msec=26") && last.ends_with("rollbacks: n=1 %= 33.3"),
            "{last}"
        );
    }
}
