//! A place for one connection, and running one order in it whatever happens to the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::state::{Run, TargetState};
use crate::clock::MonotonicNs;
use crate::connect::chain;
use crate::order::{Execution, OpenError, Session};
use crate::record::{Failure, OrderRecord, Outcome, StepTimes, Token};

/// An order that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) user: u32,
    pub(super) script: u64,
    /// When it should have started.
    pub(super) intended: MonotonicNs,
    /// When nothing but the generator kept it from starting: later than `intended` if it had to wait for a connection.
    pub(super) ready: MonotonicNs,
}

/// What the lane needs before its next order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Go,
    /// Time: connecting failed, and trying at once would only add to the trouble.
    Pause(Duration),
}

/// One connection, or the place of one.
pub(super) struct Lane {
    run: Arc<Run>,
    target: Arc<TargetState>,
    connection: Option<(Session, Count)>,
    connected_before: bool,
    backoff: Duration,
}

/// Adds one to a counter for as long as it lives.
struct Count(Arc<TargetState>, fn(&TargetState) -> &AtomicU32);

impl Count {
    fn new(target: &Arc<TargetState>, counter: fn(&TargetState) -> &AtomicU32) -> Count {
        counter(target).fetch_add(1, Ordering::Relaxed);
        Count(target.clone(), counter)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    pub(super) fn new(run: Arc<Run>, target: Arc<TargetState>) -> Lane {
        let backoff = run.config.timeouts.backoff_first;
        Lane {
            run,
            target,
            connection: None,
            connected_before: false,
            backoff,
        }
    }

    /// Runs an order to its end and records it. If the run is stopped while the lane still connects, the order counts
    /// as not started.
    pub(super) async fn order(&mut self, due: Due) -> Next {
        let started = MonotonicNs::now();
        let connecting = Instant::now();
        let run = self.run.clone();
        let connected = tokio::select! {
            biased;
            connected = self.connect() => connected,
            () = run.until_stopped() => {
                self.target.meter().not_started += 1;
                return Next::Go;
            }
        };
        let connect = connecting.elapsed();
        let sequence = self.target.next_sequence();
        let token = Token::new(self.run.config.run, self.target.target.number, sequence);
        let script = self.target.scripts.script(due.user, due.script);
        let (mut execution, next) = match (&self.connection, connected) {
            (Some((session, _)), Ok(())) => {
                let _in_flight = Count::new(&self.target, |t| &t.in_flight);
                (session.run(&script, token).await, Next::Go)
            }
            (_, Err(error)) => (no_connection(&error), self.back_off()),
            (None, Ok(())) => unreachable!("connecting succeeded, so there is a connection"),
        };
        execution.steps.connect = connect;
        self.drop_if_broken(&execution.outcome);
        self.run.record(
            &self.target,
            OrderRecord {
                target: self.target.target.name.clone(),
                sequence,
                user: due.user,
                script: due.script,
                warm_up: due.intended < self.run.measured_from,
                intended: due.intended,
                started,
                ended: MonotonicNs::now(),
                generator_lag: started.since(due.ready),
                steps: execution.steps,
                token,
                outcome: execution.outcome,
                customer_id: execution.customer_id,
                registration: execution.registration,
                cart: script.cart,
            },
        );
        next
    }

    /// Says goodbye to the server.
    pub(super) async fn close(mut self) {
        if let Some((session, _count)) = self.connection.take() {
            session.close().await;
        }
    }

    /// Makes sure that there is a connection which is not known to be gone.
    async fn connect(&mut self) -> Result<(), OpenError> {
        if self
            .connection
            .as_ref()
            .is_some_and(|(session, _)| !session.is_closed())
        {
            return Ok(());
        }
        self.connection = None;
        let timeouts = &self.run.config.timeouts;
        let session = Session::open(
            &self.target.target.config,
            timeouts.connect,
            timeouts.statement,
        )
        .await?;
        if std::mem::replace(&mut self.connected_before, true) {
            self.target.meter().reconnects += 1;
        }
        self.backoff = timeouts.backoff_first;
        self.connection = Some((session, Count::new(&self.target, |t| &t.connections)));
        Ok(())
    }

    fn back_off(&mut self) -> Next {
        let pause = self.backoff;
        self.backoff = (pause * 2).min(self.run.config.timeouts.backoff_most);
        Next::Pause(pause)
    }

    fn drop_if_broken(&mut self, outcome: &Outcome) {
        if let Outcome::Failed { reason, .. } | Outcome::Unknown { reason, .. } = outcome
            && matches!(reason, Failure::ConnectionLost | Failure::Timeout)
        {
            self.connection = None;
        }
    }
}

fn no_connection(error: &OpenError) -> Execution {
    Execution {
        outcome: Outcome::Failed {
            reason: Failure::Connect,
            detail: chain(error),
        },
        steps: StepTimes::default(),
        customer_id: None,
        registration: None,
    }
}
