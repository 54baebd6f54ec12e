//! What a migration was like, gathered on the way and written down at its end.

use super::super::clock::{self, Offset};
use super::Outgoing;
use godwit_api::agent::{MigrationView, Progress};
use godwit_model::migration::Outcome;
use godwit_model::migration::receipt::{Blackout, CpuCost, PageBytes, Phases, Receipt};
use godwit_model::units::{Bytes, MonoNs};
use godwit_net::clock::now;
use godwit_qemu::monitor::MigrationInfo;
use godwit_qemu::qmp::{Event, EventKind};
use godwit_qemu::usage::ProcessUsage;
use godwit_stream::codec::PAGE;
use godwit_stream::{PageCounts, SourceRelay, Totals};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// Moments and figures; all moments are on this host's monotonic clock.
pub(super) struct Course {
    began: OffsetDateTime,
    began_mono: MonoNs,
    qemu_before: Option<Duration>,
    qemu_spent: Duration,
    sending_since: Option<Instant>,
    pub sending: Option<MonoNs>,
    pub stopped: Option<MonoNs>,
    pub released: Option<MonoNs>,
    pub resumed_here: Option<MonoNs>,
    pub cleanup: Option<MonoNs>,
    pub ended_cleanup: Option<MonoNs>,
    pub offset: Option<Offset>,
    pub destination: Option<Box<MigrationView>>,
    pub relay: Totals,
    pub info: Option<MigrationInfo>,
}

impl Course {
    pub fn begin(pid: u32) -> Self {
        Self {
            began: OffsetDateTime::now_utc(),
            began_mono: now(),
            qemu_before: ProcessUsage::of(pid).ok().map(|usage| usage.other),
            qemu_spent: Duration::ZERO,
            sending_since: None,
            sending: None,
            stopped: None,
            released: None,
            resumed_here: None,
            cleanup: None,
            ended_cleanup: None,
            offset: None,
            destination: None,
            relay: Totals::default(),
            info: None,
        }
    }

    pub fn is_blackout(&self) -> bool {
        self.stopped.is_some()
    }

    /// The moment from which the precopy limit counts: the first time that this was asked.
    pub fn sending_since(&mut self, now: Instant) -> Instant {
        *self.sending_since.get_or_insert(now)
    }

    /// The last look at what QEMU has used, before it ends.
    pub fn last_look(&mut self, pid: u32) {
        if let (Ok(usage), Some(before)) = (ProcessUsage::of(pid), self.qemu_before) {
            self.qemu_spent = usage.other.saturating_sub(before);
        }
    }

    /// RESUME comes before the answer to `cont`, so it lies there already.
    pub fn take_resume(&mut self, events: &mut broadcast::Receiver<Event>) {
        while let Ok(event) = events.try_recv() {
            if event.kind() == EventKind::Resume {
                self.resumed_here = Some(clock::moment(&event));
            }
        }
    }

    /// When the VM ran again, wherever that was.
    fn resumed(&self, outcome: &Outcome) -> Option<MonoNs> {
        match outcome {
            Outcome::Moved => self.theirs(|view| view.resumed),
            Outcome::Stayed { .. } => self.resumed_here,
        }
    }

    fn theirs(&self, pick: impl Fn(&MigrationView) -> Option<MonoNs>) -> Option<MonoNs> {
        let moment = pick(self.destination.as_deref()?)?;
        Some(self.offset?.ours(moment))
    }

    fn blackout(&self, outcome: &Outcome) -> Option<Blackout> {
        let ms = self.resumed(outcome)?.millis_since(self.stopped?);
        let error_ms = match outcome {
            Outcome::Moved => self.offset?.error_ms(),
            Outcome::Stayed { .. } => 0.0,
        };
        Some(Blackout {
            ms: ms.max(0.0),
            error_ms,
        })
    }

    fn phases(&self, prepare_ms: f64, outcome: &Outcome) -> Phases {
        let span = |from: Option<MonoNs>, to: Option<MonoNs>| match (from, to) {
            (Some(from), Some(to)) => to.millis_since(from).max(0.0),
            _ => 0.0,
        };
        let resumed = self.resumed(outcome);
        let claimed = self.theirs(|view| view.claimed);
        Phases {
            prepare_ms: prepare_ms + span(Some(self.began_mono), self.sending),
            precopy_ms: span(self.sending, self.stopped),
            blackout_ms: span(self.stopped, resumed),
            commit_ms: span(self.released, claimed),
            activate_ms: span(claimed, resumed),
            cleanup_ms: span(self.cleanup, self.ended_cleanup),
        }
    }
}

/// The receipt of a migration that has come to its end.
pub(super) fn write(outgoing: &mut Outgoing<'_>, outcome: Outcome) -> Receipt {
    let pid = outgoing.qemu.process.pid();
    let course = &mut outgoing.course;
    if let Some(relay) = &outgoing.relay {
        course.relay = SourceRelay::totals(relay);
    }
    if course.cleanup.is_none() {
        course.last_look(pid);
    }
    let progress = outgoing.tracker.view().progress;
    let info = course.info.as_ref();
    let rounds = info
        .and_then(|info| info.ram)
        .map_or(progress.rounds, |ram| ram.dirty_sync_count);
    let request = &outgoing.request;
    Receipt {
        migration: request.migration,
        vm: request.vm,
        vm_name: outgoing.actor.definition.name.clone(),
        source: outgoing.actor.host.config.id.clone(),
        destination: request.destination.id.clone(),
        epoch: request.epoch,
        began: course.began,
        began_mono: course.began_mono,
        ended_mono: course.resumed(&outcome).unwrap_or_else(now),
        phases: course.phases(request.prepare_ms, &outcome),
        stream_bytes: Bytes(course.relay.bytes_in.0),
        wire_bytes: Bytes(course.relay.bytes_out.0),
        pages: page_bytes(course.relay.pages),
        rounds,
        qemu_downtime_ms: info.and_then(|info| info.downtime_ms),
        blackout: course.blackout(&outcome),
        echo_blackout_ms: None,
        source_cpu: CpuCost {
            relay_seconds: course.relay.cpu.as_secs_f64(),
            qemu_seconds: course.qemu_spent.as_secs_f64(),
        },
        destination_cpu: course
            .destination
            .as_ref()
            .map(|view| view.cpu)
            .unwrap_or_default(),
        outcome,
    }
}

/// QEMU's and the relay's figures as progress.
pub(super) fn show_progress(progress: &mut Progress, info: &MigrationInfo, totals: Totals) {
    if let Some(ram) = info.ram {
        progress.total = ram.total;
        progress.remaining = ram.remaining;
        progress.rounds = ram.dirty_sync_count;
        progress.mbit_per_second = ram.mbps;
    }
    progress.stream_bytes = Bytes(totals.bytes_in.0);
    progress.wire_bytes = Bytes(totals.bytes_out.0);
    progress.pages = page_bytes(totals.pages);
}

fn page_bytes(counts: PageCounts) -> PageBytes {
    let bytes = |pages: u64| Bytes(pages * PAGE as u64);
    PageBytes {
        zero: bytes(counts.zero),
        store: bytes(counts.store),
        template: bytes(counts.template),
        compressed: bytes(counts.compressed),
        raw: bytes(counts.raw),
    }
}
