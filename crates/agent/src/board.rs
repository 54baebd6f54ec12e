//! What the agent shows: the newest view of each VM and what happened, as a numbered feed.
//!
//! Actors publish here, the API reads here, so nobody has to ask an actor what it does.
//!
//! Numbers: each change gets the next one. The first number of an agent's life falls with its
//! start time, so a restarted agent is behind every number that its former life gave out, and
//! callers see from the smaller number that they must start afresh.

use godwit_api::agent::{AgentEvent, Changes, VmView};
use godwit_model::ids::VmId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Events and departures that are remembered.
const REMEMBERED: usize = 1024;
/// Numbers that one second of life has for itself: 52 bits in all, exact in every JSON reader.
const NUMBERS_PER_SECOND_BITS: u32 = 20;

/// See the module's description.
#[derive(Debug)]
pub struct Board {
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    /// The number before this life's first.
    base: u64,
    last: u64,
    vms: BTreeMap<VmId, (u64, VmView)>,
    gone: VecDeque<(u64, VmId)>,
    happened: VecDeque<(u64, AgentEvent)>,
}

impl Board {
    /// An empty board of a life that begins now.
    #[must_use]
    pub fn new() -> Self {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self::begun_at(seconds)
    }

    fn begun_at(seconds: u64) -> Self {
        let base = u64::from(u32::MAX).saturating_sub(seconds) << NUMBERS_PER_SECOND_BITS;
        Self {
            inner: Mutex::new(Inner {
                base,
                last: base,
                vms: BTreeMap::new(),
                gone: VecDeque::new(),
                happened: VecDeque::new(),
            }),
            newest: watch::Sender::new(base),
        }
    }

    /// Shows a VM as it is now. An unchanged view is no change.
    pub fn show(&self, view: VmView) {
        self.change(|inner, number| {
            let id = view.definition.id;
            if inner.vms.get(&id).is_some_and(|(_, old)| *old == view) {
                return false;
            }
            inner.gone.retain(|(_, gone)| *gone != id);
            inner.vms.insert(id, (number, view));
            true
        });
    }

    /// The VM is no longer on this host.
    pub fn forget(&self, vm: VmId) {
        self.change(|inner, number| {
            if inner.vms.remove(&vm).is_none() {
                return false;
            }
            inner.gone.push_back((number, vm));
            bound(&mut inner.gone);
            true
        });
    }

    /// Something happened.
    pub fn event(&self, kind: &str, vm: Option<VmId>, message: impl Into<String>) {
        let event = AgentEvent {
            at: godwit_net::clock::now(),
            kind: kind.to_owned(),
            vm,
            message: message.into(),
        };
        tracing::info!(
            kind,
            vm = vm.map(tracing::field::display),
            "{}",
            event.message
        );
        self.change(|inner, number| {
            inner.happened.push_back((number, event));
            bound(&mut inner.happened);
            true
        });
    }

    /// All VMs.
    #[must_use]
    pub fn vms(&self) -> Vec<VmView> {
        self.lock()
            .vms
            .values()
            .map(|(_, view)| view.clone())
            .collect()
    }

    /// One VM.
    #[must_use]
    pub fn vm(&self, id: VmId) -> Option<VmView> {
        self.lock().vms.get(&id).map(|(_, view)| view.clone())
    }

    /// What changed after `since`; waits up to `wait` for something.
    pub async fn changes(&self, since: u64, wait: Duration) -> Changes {
        let mut newest = self.newest.subscribe();
        // A number from another life is answered at once, with everything.
        let _ = tokio::time::timeout(wait, newest.wait_for(|newest| *newest != since)).await;
        self.since(since)
    }

    fn since(&self, since: u64) -> Changes {
        let inner = self.lock();
        let since = if since > inner.last {
            inner.base
        } else {
            since
        };
        let vms = inner.vms.values().filter(|(n, _)| *n > since);
        let gone = inner.gone.iter().filter(|(n, _)| *n > since);
        let happened = inner.happened.iter().filter(|(n, _)| *n > since);
        Changes {
            next: inner.last,
            vms: vms.map(|(_, view)| view.clone()).collect(),
            gone: gone.map(|(_, vm)| *vm).collect(),
            happened: happened.map(|(_, event)| event.clone()).collect(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Inner, u64) -> bool) {
        let mut inner = self.lock();
        let number = inner.last + 1;
        if change(&mut inner, number) {
            inner.last = number;
            drop(inner);
            self.newest.send_replace(number);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that can panic half-way happens under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

fn bound<T>(ring: &mut VecDeque<T>) {
    while ring.len() > REMEMBERED {
        ring.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::a_view;

    #[tokio::test]
    async fn changes_are_given_once_and_waited_for() {
        let board = Board::new();
        let view = a_view();
        board.show(view.clone());
        let first = board.changes(0, Duration::ZERO).await;
        assert_eq!(first.vms, std::slice::from_ref(&view));
        board.show(view.clone());
        let none = board.changes(first.next, Duration::ZERO).await;
        assert_eq!(
            (none.vms.len(), none.next),
            (0, first.next),
            "unchanged is no change"
        );
        let (later, ()) = tokio::join!(board.changes(first.next, Duration::from_secs(60)), async {
            board.event("vm.started", None, "x");
            board.forget(view.definition.id);
        });
        assert_eq!(later.happened.len(), 1);
        let last = board
            .changes(later.next.min(later.next), Duration::ZERO)
            .await;
        assert!(later.gone.len() + last.gone.len() == 1);
    }

    #[test]
    fn a_new_life_begins_before_every_number_of_the_former() {
        let (former, new) = (
            Board::begun_at(1_700_000_000),
            Board::begun_at(1_700_000_001),
        );
        former.event("a", None, "");
        for _ in 0..50 {
            new.event("b", None, "");
        }
        let asked = former.since(0).next;
        let answer = new.since(asked);
        assert!(answer.next < asked);
        assert_eq!(answer.happened.len(), 50, "everything is given");
    }
}
