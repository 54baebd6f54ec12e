//! What a relay and its agent say to each other while it runs: [`Command`]s in, [`Event`]s out, as JSON lines.

use std::{
    net::SocketAddr,
    ops::Add,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::wire::Origin;

/// A number of bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

impl Add for ByteCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

/// What an agent tells a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// QEMU at the source has completed: the withheld tail may go. Source only.
    Release,
    /// Give up. Without effect once the tail is released.
    Cancel,
}

/// What passed through a relay so far, and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Bytes taken in: at the source from QEMU, at the destination from the network (payloads of frames).
    pub bytes_in: ByteCount,
    /// Bytes handed on: at the source to the network (payloads of frames), at the destination to QEMU.
    pub bytes_out: ByteCount,
    /// CPU time that the relay's process has used.
    pub cpu: Duration,
    /// Source: how the VM's pages travelled.
    #[serde(default)]
    pub pages: PageCounts,
}

/// How pages travelled: numbers of pages of 4096 bytes, each counted as often as QEMU sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCounts {
    /// As a mark: nothing but zeros.
    pub zero: u64,
    /// As a reference to the destination's page store.
    pub store: u64,
    /// As a reference to a block of the VM's template.
    pub template: u64,
    /// Compressed.
    pub compressed: u64,
    /// As they are.
    pub raw: u64,
}

impl PageCounts {
    /// The count of pages that the destination had there.
    pub fn of(&mut self, origin: Origin) -> &mut u64 {
        match origin {
            Origin::Store => &mut self.store,
            Origin::Template => &mut self.template,
        }
    }
}

/// What a relay tells its agent. [`Event::Verified`] or [`Event::Failed`] comes last, exactly once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The sockets are made and the root rights dropped. Source: QEMU may connect; destination: the source's relay.
    Listening {
        /// The address: a path at the source, `ip:port` at the destination.
        address: String,
    },
    /// Destination: somebody who is not the expected relay was turned away; the wait goes on.
    Stranger {
        /// Where it came from.
        from: SocketAddr,
        /// What was wrong.
        reason: String,
    },
    /// The two relays have recognized each other. Source: this is the moment to start QEMU's migration.
    Connected {
        /// The other relay's address.
        peer: SocketAddr,
    },
    /// It works without something that would have saved bytes.
    Without {
        /// What, and why.
        what: String,
    },
    /// About four times a second while data moves.
    Progress {
        /// So far.
        totals: Totals,
    },
    /// Destination: the VM stands still at the source, and what comes now prolongs its blackout. Said at most once,
    /// where pages travel by themselves and the last ones are not asked about.
    Blackout,
    /// Source: QEMU's stream has ended and everything but the withheld tail is sent.
    Drained,
    /// Source: the tail is sent.
    Released,
    /// Destination: the digest matched and QEMU has been given everything. Source: the destination says so.
    Verified {
        /// All in all.
        totals: Totals,
    },
    /// It came to nothing.
    Failed {
        /// Why, for people.
        reason: String,
        /// Source: whether the tail may have left the host. If so, only winning the epoch allows the source to go on.
        released: bool,
        /// All in all.
        totals: Totals,
    },
}

/// Counts what passes through, for whoever reports it.
#[derive(Debug, Default)]
pub struct Counters {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    pages: Mutex<PageCounts>,
}

impl Counters {
    pub(crate) fn took(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn gave(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn pages(&self, count: impl FnOnce(&mut PageCounts)) {
        count(&mut self.pages.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was counted so far, with this process's CPU time.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            bytes_in: ByteCount(self.bytes_in.load(Ordering::Relaxed)),
            bytes_out: ByteCount(self.bytes_out.load(Ordering::Relaxed)),
            cpu: own_cpu(),
            pages: *self.pages.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// User and system time of this process.
fn own_cpu() -> Duration {
    use nix::sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike,
    };
    // It fails only for an invalid `who`.
    getrusage(UsageWho::RUSAGE_SELF).map_or(Duration::ZERO, |usage| {
        let micros = (usage.user_time() + usage.system_time()).num_microseconds();
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    })
}

/// Where the parts of a relay report to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reporter(mpsc::UnboundedSender<Event>);

impl Reporter {
    /// A reporter and the end at which its events come out.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Reports. That nobody listens any more is noticed elsewhere: the commands' side closes too.
    pub fn say(&self, event: Event) {
        let _ = self.0.send(event);
    }
}

/// An error with its sources, in one line.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_form_that_is_documented() {
        let line = serde_json::to_string(&Command::Release).unwrap();
        assert_eq!(line, r#"{"command":"release"}"#);
        let line = serde_json::to_string(&Event::Drained).unwrap();
        assert_eq!(line, r#"{"event":"drained"}"#);
        let failed = Event::Failed {
            reason: "x".into(),
            released: true,
            totals: Totals::default(),
        };
        let line = serde_json::to_string(&failed).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), failed);
    }
}
