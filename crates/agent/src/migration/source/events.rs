//! What the source learns, from whom, as events for its machine.

use super::super::claiming::Claimed;
use super::super::peer::News;
use super::super::{Control, clock};
use super::{Outgoing, receipt};
use crate::answer::{Tell, conflict};
use crate::timings;
use crate::urgent::Urgent;
use godwit_api::agent::Phase;
use godwit_api::error::ErrorCode;
use godwit_lease::Purpose;
use godwit_model::migration::patience;
use godwit_model::migration::source::{Event, Source};
use godwit_qemu::monitor::MigrationInfo;
use godwit_qemu::qmp::{EventKind, StreamState};
use godwit_stream::{Event as RelayEvent, SourceRelay};
use std::time::Duration;
use tokio::time::Instant;

impl Outgoing<'_> {
    pub(super) fn on_qemu(&mut self, event: &godwit_qemu::qmp::Event) -> Option<Event> {
        match event.kind() {
            EventKind::Stop if !self.course.is_blackout() => {
                self.course.stopped = Some(clock::moment(event));
                let relay = self.relay.as_ref().map(SourceRelay::pid);
                let processes = relay.into_iter().chain([self.qemu.process.pid()]);
                self.urgent = Some(Urgent::with(processes));
                if matches!(self.state, Source::Sending { .. }) {
                    let until = Instant::now() + timings::BLACKOUT;
                    self.deadline = Some((
                        until,
                        "the guest's last memory was not sent in time".to_owned(),
                    ));
                    self.show();
                }
                None
            }
            EventKind::Resume => {
                self.course.resumed_here = Some(clock::moment(event));
                None
            }
            EventKind::Shutdown { guest: true, .. } => {
                self.actor.expected_end = Some("the guest powered off".to_owned());
                None
            }
            EventKind::IoError { reason, .. } => {
                Some(Event::QemuFailed(format!("a disk answered: {reason}")))
            }
            EventKind::Migration(StreamState::Completed) => Some(Event::QemuCompleted),
            EventKind::Migration(StreamState::Failed) => {
                Some(Event::QemuFailed("QEMU could not send the VM".to_owned()))
            }
            _ => None,
        }
    }

    pub(super) fn on_relay(&mut self, event: Option<RelayEvent>) -> Option<Event> {
        let Some(event) = event else {
            self.relay_events = None;
            return None;
        };
        match event {
            RelayEvent::Connected { .. } => Some(Event::RelayConnected),
            RelayEvent::Without { what } => {
                tracing::warn!(migration = %self.request.migration, what, "more is sent than would be needed");
                None
            }
            RelayEvent::Drained => Some(Event::RelayDrained),
            RelayEvent::Failed { reason, .. } => Some(Event::RelayFailed(reason)),
            _ => None,
        }
    }

    pub(super) fn on_claimed(&mut self, claimed: Claimed) -> Event {
        match claimed {
            Claimed::Won(claim) => {
                // Replaces the right that the release ended.
                self.claim = Some(*claim);
                self.claiming = None;
                Event::ClaimWon
            }
            Claimed::Lost(why) => {
                tracing::info!(migration = %self.request.migration, why, "the epoch is lost");
                self.claiming = None;
                Event::ClaimLost
            }
            Claimed::Unknown(why) => {
                self.tracker
                    .show(|view| view.detail = format!("the datastore does not answer: {why}"));
                Event::ClaimUnknown
            }
        }
    }

    pub(super) fn on_news(&mut self, news: Option<News>) -> Option<Event> {
        let Some(news) = news else {
            self.peer = None;
            return None;
        };
        match news {
            News::Offset(offset) => {
                self.course.offset = Some(offset);
                None
            }
            News::Unknown(why) => Some(Event::PeerFailed(why)),
            News::Ended(view) => {
                let reason = view.detail.clone();
                let phase = view.phase;
                self.course.destination = Some(view);
                match phase {
                    Phase::Running => Some(Event::PeerRunning),
                    Phase::GaveBack => Some(Event::PeerGaveBack(reason)),
                    _ => Some(Event::PeerFailed(reason)),
                }
            }
        }
    }

    pub(super) fn on_control(&mut self, control: Control) -> Option<Event> {
        match control {
            Control::Cancel(reply) if self.state.can_cancel() => {
                drop(reply.send(Ok(())));
                Some(Event::Cancel)
            }
            Control::Cancel(reply) => {
                let text =
                    "the migration is past its point of no return: it can no longer be cancelled";
                drop(reply.send(Err(conflict(text))));
                None
            }
            Control::Abort(_, reply) => {
                drop(reply.send(Err(conflict(
                    "this host is the source: cancel the migration here",
                ))));
                None
            }
        }
    }

    pub(super) fn on_progress(&mut self, info: Option<MigrationInfo>) {
        self.progress = None;
        let Some(info) = info else { return };
        self.grow_patient(&info);
        let totals = self
            .relay
            .as_ref()
            .map(SourceRelay::totals)
            .unwrap_or_default();
        self.tracker
            .show(|view| receipt::show_progress(&mut view.progress, &info, totals));
    }

    /// A VM that does not converge gets a longer pause, step by step.
    fn grow_patient(&mut self, info: &MigrationInfo) {
        let Some(ram) = info.ram else { return };
        let options = &self.request.options;
        let [asked, most] = [options.downtime_limit_ms, options.downtime_most_ms]
            .map(|ms| Duration::from_millis(ms.into()));
        let limit = patience::downtime_limit(asked, most, ram.dirty_sync_count);
        if limit <= self.downtime_limit.max(asked) {
            return;
        }
        self.downtime_limit = limit;
        let text = format!(
            "pass {} over the memory: the pause may be {} ms",
            ram.dirty_sync_count,
            limit.as_millis()
        );
        self.tracker.show(|view| view.detail = text);
        let monitor = self.qemu.monitor.clone();
        tokio::spawn(async move {
            if let Err(error) = monitor.set_downtime_limit(limit).await {
                tracing::warn!(%error, "the pause stays as short as it was");
            }
        });
    }

    /// What the epoch files say while the destination does not: this source gave way to it, so
    /// everything that follows its epoch, except a give-back, means that the VM went on without
    /// this copy.
    pub(super) async fn look_at_epochs(&mut self) -> Option<Event> {
        let (home, ours) = (self.actor.home.clone(), self.actor.host.config.id.clone());
        let looked = self
            .actor
            .host
            .lease(move |lease| lease.newest(&home).told(ErrorCode::Unavailable));
        let newest = looked.await.ok().flatten()?;
        let migration = self.request.migration;
        match &newest.record.purpose {
            Purpose::GiveBack {
                to,
                migration: given,
            } if *to == ours && *given == migration => Some(Event::PeerGaveBack(
                "the destination could not run it and gave it back".to_owned(),
            )),
            _ if newest.epoch() > self.request.epoch || newest.released => Some(Event::PeerRunning),
            _ => None,
        }
    }
}
