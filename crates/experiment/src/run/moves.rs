//! Carries out the schedule of part 2: one migration after the other, each at its time or as soon
//! as the one before is done. Who really moves VMs is behind [`Mover`], so that this can be tested.

use std::future::Future;

use godwit_dvdstore::clock::MonotonicNs;
use godwit_model::migration::receipt::Receipt;

use crate::records::{MigrationRow, MoveOutcome};
use crate::run::stop::Stop;
use crate::run::time::Origin;
use crate::schedule::{Move, Side};

/// Moves VMs.
pub trait Mover: Sync {
    /// Where the VM with this number is now.
    fn place(&self, vm: usize) -> impl Future<Output = Result<Side, String>> + Send;
    /// Moves it there and waits for the end.
    fn migrate(
        &self,
        vm: usize,
        to: Side,
    ) -> impl Future<Output = Result<Option<Receipt>, String>> + Send;
}

/// Names for what the schedule has as numbers.
#[derive(Debug, Clone)]
pub struct Names {
    /// The VMs.
    pub vms: Vec<String>,
    /// The two hosts.
    pub hosts: [String; 2],
    /// Whether the hosts' clock is the run's.
    pub one_clock: bool,
}

/// Makes all moves of the schedule. `seen` is told of each before it starts and after it ended.
/// A move whose turn has not come by the end of the window is told as not started.
pub async fn make<M: Mover>(
    mover: &M,
    plan: &[Move],
    names: &Names,
    origin: Origin,
    window_s: f64,
    stop: &Stop,
    mut seen: impl FnMut(Seen<'_>),
) {
    for one in plan {
        let waited = stop.or(origin.wait_until(one.at_s)).await;
        if waited.is_none() || origin.seconds(MonotonicNs::now()) >= window_s {
            seen(Seen::Ended(&row(one, one.from, names)));
            continue;
        }
        seen(Seen::Starts(&names.vms[one.vm]));
        // After a failed move the VM is not where the schedule has it; then it goes the other way.
        let from = mover.place(one.vm).await.unwrap_or(one.from);
        let start = MonotonicNs::now();
        let result = mover.migrate(one.vm, from.other()).await;
        let end = MonotonicNs::now();
        let mut row = row(one, from, names);
        (row.start_s, row.end_s) = (origin.seconds(start), origin.seconds(end));
        row.seconds = row.end_s - row.start_s;
        match result {
            Ok(receipt) => {
                row.outcome = MoveOutcome::Ok;
                if let Some(receipt) = receipt {
                    note(&mut row, &receipt);
                    let resume_s = origin.seconds_of(receipt.ended_mono.0);
                    row.resume_s = names.one_clock.then_some(resume_s);
                }
            }
            Err(error) => (row.outcome, row.error) = (MoveOutcome::Failed, error),
        }
        seen(Seen::Ended(&row));
    }
}

/// What [`make`] tells of.
#[derive(Debug)]
pub enum Seen<'a> {
    /// The VM of this name is about to move.
    Starts(&'a str),
    /// A move ended, or its turn never came.
    Ended(&'a MigrationRow),
}

fn row(one: &Move, from: Side, names: &Names) -> MigrationRow {
    let host = |side: Side| names.hosts[side.index()].as_str();
    MigrationRow::planned(one, &names.vms[one.vm], host(from), host(from.other()))
}

/// Writes the receipt's figures into the row.
fn note(row: &mut MigrationRow, receipt: &Receipt) {
    row.id = receipt.migration.to_string();
    row.stop_to_resume_ms = receipt.blackout.map(|b| b.ms);
    row.clock_error_ms = receipt.blackout.map(|b| b.error_ms);
    row.qemu_downtime_ms = receipt.qemu_downtime_ms.map(|ms| ms as f64);
    row.stream_bytes = Some(receipt.stream_bytes.0);
    row.wire_bytes = Some(receipt.wire_bytes.0);
    row.rounds = u32::try_from(receipt.rounds).ok();
    let cpu = |c: godwit_model::migration::receipt::CpuCost| c.relay_seconds + c.qemu_seconds;
    row.cpu_source_s = Some(cpu(receipt.source_cpu));
    row.cpu_destination_s = Some(cpu(receipt.destination_cpu));
    row.prepare_ms = Some(receipt.phases.prepare_ms);
    row.precopy_ms = Some(receipt.phases.precopy_ms);
    row.cleanup_ms = Some(receipt.phases.cleanup_ms);
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::run::stop;

    /// A farm of two hosts in which one VM refuses to move.
    struct Fake {
        places: Mutex<Vec<Side>>,
        refuses: Option<usize>,
        takes: Duration,
    }

    impl Mover for Fake {
        async fn place(&self, vm: usize) -> Result<Side, String> {
            Ok(self.places.lock().unwrap()[vm])
        }

        async fn migrate(&self, vm: usize, to: Side) -> Result<Option<Receipt>, String> {
            tokio::time::sleep(self.takes).await;
            if self.refuses == Some(vm) {
                return Err("it does not want to".to_owned());
            }
            self.places.lock().unwrap()[vm] = to;
            Ok(None)
        }
    }

    fn plan(times: &[f64]) -> Vec<Move> {
        let one = |(k, at_s): (usize, &f64)| {
            let from = if k % 2 == 0 {
                Side::First
            } else {
                Side::Second
            };
            Move {
                number: k as u32 + 1,
                interval: 0,
                at_s: *at_s,
                vm: k % 2,
                from,
                to: from.other(),
            }
        };
        times.iter().enumerate().map(one).collect()
    }

    async fn carry_out(
        fake: &Fake,
        plan: &[Move],
        window_s: f64,
        stop: &Stop,
    ) -> Vec<MigrationRow> {
        let names = Names {
            vms: vec!["a".into(), "b".into()],
            hosts: ["blade1".into(), "blade2".into()],
            one_clock: true,
        };
        let mut rows = Vec::new();
        make(fake, plan, &names, Origin::now(), window_s, stop, |seen| {
            if let Seen::Ended(row) = seen {
                rows.push(row.clone());
            }
        })
        .await;
        rows
    }

    fn fake(refuses: Option<usize>, millis: u64) -> Fake {
        Fake {
            places: Mutex::new(vec![Side::First, Side::Second]),
            refuses,
            takes: Duration::from_millis(millis),
        }
    }

    #[tokio::test]
    async fn moves_begin_at_their_time_and_never_overlap() {
        let (_stopper, stop) = stop::flag();
        let rows = carry_out(&fake(None, 50), &plan(&[0.05, 0.06, 0.2]), 60.0, &stop).await;
        assert!(
            rows.iter()
                .all(|r| r.outcome == MoveOutcome::Ok && r.start_s >= r.planned_s)
        );
        assert!(rows.windows(2).all(|w| w[1].start_s >= w[0].end_s));
        assert!(rows.iter().all(|r| r.seconds >= 0.05));
        assert_eq!(
            (rows[0].from.as_str(), rows[0].to.as_str()),
            ("blade1", "blade2")
        );
    }

    #[tokio::test]
    async fn a_failed_move_is_told_and_the_next_one_goes_from_where_the_vm_is() {
        let (_stopper, stop) = stop::flag();
        let fake = fake(Some(0), 1);
        let rows = carry_out(&fake, &plan(&[0.0, 0.0, 0.0, 0.0]), 60.0, &stop).await;
        assert_eq!(rows[0].outcome, MoveOutcome::Failed);
        assert_eq!(rows[0].error, "it does not want to");
        assert_eq!(rows[2].from, "blade1");
        // The schedule has VM b on blade2 again, but it went away and back.
        assert_eq!(
            (rows[1].from.as_str(), rows[3].from.as_str()),
            ("blade2", "blade1")
        );
    }

    #[tokio::test]
    async fn what_comes_after_the_window_is_not_started() {
        let (_stopper, stop) = stop::flag();
        // A window that is over before it began.
        let rows = carry_out(&fake(None, 1), &plan(&[0.0, 0.1]), -1.0, &stop).await;
        assert!(rows.iter().all(|r| r.outcome == MoveOutcome::NotStarted));
        assert_eq!(rows.len(), 2);
    }

    #[tokio::test]
    async fn a_stopped_run_makes_no_more_moves() {
        let (stopper, stop) = stop::flag();
        stopper.stop();
        let rows = carry_out(&fake(None, 1), &plan(&[0.0, 3600.0]), 7200.0, &stop).await;
        assert!(rows.iter().all(|r| r.outcome == MoveOutcome::NotStarted));
    }
}
