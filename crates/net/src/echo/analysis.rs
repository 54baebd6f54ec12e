//! What a target's probes and replies say: pure bookkeeping, fed with times, asked for silences.
//!
//! Works as it goes and keeps only silences and counts, so that a test of hours needs no more memory than one of
//! seconds. The last [`REMEMBERED`] probes are kept; a reply that comes later than that is ignored.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::{MonoNs, between};

/// Probes remembered per target: 82 s at one each 5 ms.
const REMEMBERED: usize = 16_384;
/// Longer round trips, in microseconds, count as this long in the percentiles.
const LONGEST_TRIP_US: u64 = 100_000_000;

/// A time in which no reply arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Arrival of the last reply before.
    pub from: MonoNs,
    /// Arrival of the first reply after; of a silence that lasts still, the moment of asking.
    pub until: MonoNs,
    /// The silence lasts still.
    pub open: bool,
    /// Probes sent in it.
    pub sent: u32,
    /// Of these, how many were answered after all: they had waited in a queue.
    pub late: u32,
    /// The longest pause between two probes in it: one interval, or more when the prober was held up.
    pub pause: Duration,
}

impl Silence {
    /// How long the target was silent beyond what the probe's own rhythm explains: see the module's documentation.
    #[must_use]
    pub fn length(&self) -> Duration {
        between(self.from, self.until).saturating_sub(self.pause)
    }

    /// Probes that were never answered.
    #[must_use]
    pub fn lost(&self) -> u32 {
        self.sent.saturating_sub(self.late)
    }

    /// Whether it touches the window.
    #[must_use]
    pub fn overlaps(&self, from: MonoNs, until: MonoNs) -> bool {
        self.from < until && self.until > from
    }
}

/// What was seen of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRecord {
    /// Who was probed.
    pub address: Ipv4Addr,
    /// Probes sent.
    pub sent: u64,
    /// Probes that could not be sent (no route, no memory).
    pub unsent: u64,
    /// Probes answered.
    pub answered: u64,
    /// Replies to probes that had been answered already. Two running copies of a VM would answer twice.
    pub doubled: u64,
    /// Arrival of the first reply; before it the target counts as not yet there, not as silent.
    pub first_reply: Option<MonoNs>,
    /// Arrival of the last reply.
    pub last_reply: Option<MonoNs>,
    /// Median round trip.
    pub round_trip_p50: Duration,
    /// The round trip that one probe in a hundred exceeds.
    pub round_trip_p99: Duration,
    /// The longest round trip.
    pub round_trip_max: Duration,
    /// Silences of at least the threshold, in order.
    pub silences: Vec<Silence>,
}

impl TargetRecord {
    /// The longest silence that touches a window: the blackout of a migration that ran in it.
    #[must_use]
    pub fn longest_between(&self, from: MonoNs, until: MonoNs) -> Option<Silence> {
        let touching = self
            .silences
            .iter()
            .filter(|silence| silence.overlaps(from, until));
        touching.max_by_key(|silence| silence.length()).copied()
    }
}

struct Sent {
    at: MonoNs,
    answered: bool,
    /// Index of the silence in which it was sent.
    silence: Option<usize>,
}

/// Keeps the books of one target.
pub(super) struct Tracker {
    record: TargetRecord,
    threshold: Duration,
    probes: VecDeque<Sent>,
    /// Sequence number of the first of `probes`.
    first: u32,
    round_trips: Histogram<u64>,
}

impl Tracker {
    pub(super) fn new(address: Ipv4Addr, threshold: Duration) -> Self {
        let record = TargetRecord {
            address,
            sent: 0,
            unsent: 0,
            answered: 0,
            doubled: 0,
            first_reply: None,
            last_reply: None,
            round_trip_p50: Duration::ZERO,
            round_trip_p99: Duration::ZERO,
            round_trip_max: Duration::ZERO,
            silences: Vec::new(),
        };
        let round_trips = Histogram::new_with_bounds(1, LONGEST_TRIP_US, 3)
            .expect("1 is at most half of the longest trip, and 3 digits are allowed");
        Self {
            record,
            threshold,
            probes: VecDeque::new(),
            first: 0,
            round_trips,
        }
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.record.address
    }

    /// The number that the next probe bears.
    pub(super) fn next_sequence(&self) -> u32 {
        self.first
            .wrapping_add(u32::try_from(self.probes.len()).unwrap_or(u32::MAX))
    }

    /// The next probe has left.
    pub(super) fn sent(&mut self, at: MonoNs) {
        if self.probes.len() == REMEMBERED {
            self.probes.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        self.probes.push_back(Sent {
            at,
            answered: false,
            silence: None,
        });
        self.record.sent += 1;
    }

    /// The next probe could not leave.
    pub(super) fn unsent(&mut self) {
        self.record.unsent += 1;
    }

    /// A reply has arrived.
    pub(super) fn received(&mut self, sequence: u32, at: MonoNs) {
        let index = sequence.wrapping_sub(self.first) as usize;
        let Some(probe) = self.probes.get_mut(index) else {
            return;
        };
        if probe.answered {
            self.record.doubled += 1;
            return;
        }
        probe.answered = true;
        let trip = between(probe.at, at);
        self.round_trips
            .saturating_record(u64::try_from(trip.as_micros()).unwrap_or(u64::MAX));
        self.record.round_trip_max = self.record.round_trip_max.max(trip);
        self.record.answered += 1;
        self.record.first_reply.get_or_insert(at);
        let at = at.max(self.record.last_reply.unwrap_or(at));
        self.end_silence(at);
        self.record.last_reply = Some(at);
        // After `end_silence`: the reply that ends a silence may answer a probe sent in it.
        if let Some(silence) = self.probes.get(index).and_then(|probe| probe.silence) {
            self.record.silences[silence].late += 1;
        }
    }

    /// What is known at that moment.
    pub(super) fn record(&self, now: MonoNs) -> TargetRecord {
        let mut record = self.record.clone();
        let microseconds =
            |quantile| Duration::from_micros(self.round_trips.value_at_quantile(quantile));
        (record.round_trip_p50, record.round_trip_p99) = (microseconds(0.5), microseconds(0.99));
        let open = record.last_reply.map(|last| self.silence(last, now, true));
        record
            .silences
            .extend(open.filter(|silence| silence.length() >= self.threshold));
        record
    }

    fn end_silence(&mut self, at: MonoNs) {
        let Some(last) = self.record.last_reply else {
            return;
        };
        // Most replies follow closely; only a gap is worth a look at the probes.
        if between(last, at) < self.threshold {
            return;
        }
        let silence = self.silence(last, at, false);
        if silence.length() < self.threshold {
            return;
        }
        let number = self.record.silences.len();
        for probe in self
            .probes
            .iter_mut()
            .rev()
            .take_while(|probe| probe.at > last)
        {
            probe.silence = (probe.at < at).then_some(number);
        }
        self.record.silences.push(silence);
    }

    /// The silence between two moments, of which nothing but the probes sent is known yet.
    fn silence(&self, from: MonoNs, until: MonoNs, open: bool) -> Silence {
        let mut silence = Silence {
            from,
            until,
            open,
            sent: 0,
            late: 0,
            pause: Duration::ZERO,
        };
        let mut next = until;
        for probe in self
            .probes
            .iter()
            .rev()
            .skip_while(|probe| probe.at >= until)
        {
            silence.pause = silence.pause.max(between(probe.at, next));
            next = probe.at;
            if probe.at <= from {
                break;
            }
            silence.sent += 1;
        }
        silence
    }
}

#[cfg(test)]
mod tests;
