//! What the source's machine wants done, done.

use super::super::Tracker;
use super::super::claiming::Claiming;
use super::{Outgoing, receipt};
use crate::answer::{Answer, Tell, unavailable};
use crate::timings;
use godwit_api::agent::Phase;
use godwit_api::error::ErrorCode;
use godwit_lease::{Purpose, write_definition};
use godwit_model::migration::Outcome;
use godwit_model::migration::receipt::Receipt;
use godwit_model::migration::source::{Effect, Event};
use godwit_net::clock::now;
use godwit_qemu::monitor::Monitor;
use godwit_qemu::qmp::StreamState;
use std::time::Duration;
use tokio::time::Instant;

impl Outgoing<'_> {
    /// Carries out one effect; what it brings about at once is given as an event.
    pub(super) async fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::StartSending => self.start_sending().await,
            Effect::Release => {
                // The point of no return: once this was called, the destination may have it all.
                if let Some(relay) = &self.relay {
                    relay.release();
                }
                self.course.released = Some(now());
                None
            }
            Effect::ContinueVm => {
                self.continue_vm().await;
                None
            }
            Effect::StopRelay => {
                self.stop_relay();
                None
            }
            Effect::AbortPeer(reason) => {
                self.abort_peer(reason);
                None
            }
            Effect::Claim(epoch) => {
                // The same number again: the attempts that are under way go on.
                if self
                    .claiming
                    .as_ref()
                    .is_none_or(|claiming| claiming.epoch() != epoch)
                {
                    let migration = self.request.migration;
                    let purpose = if epoch == self.request.epoch {
                        Purpose::Void { migration }
                    } else {
                        Purpose::TakeBack { migration }
                    };
                    let actor = &self.actor;
                    self.claiming = Some(Claiming::new(&actor.host, &actor.home, epoch, purpose));
                }
                None
            }
            Effect::QuitVm => {
                self.quit_vm().await;
                None
            }
        }
    }

    async fn start_sending(&mut self) -> Option<Event> {
        let socket = crate::vm::machine::RunFiles::new(
            &self.actor.host.config.run_dir,
            self.actor.definition.id,
        )
        .outgoing();
        self.course.sending = Some(now());
        match self.qemu.monitor.migrate(&socket).await {
            Ok(()) => None,
            Err(error) => Some(Event::QemuFailed(error.to_string())),
        }
    }

    /// Allowed by the machine only: before the release, or with the claim just won.
    async fn continue_vm(&mut self) {
        if self.dead.is_some() {
            return;
        }
        if let Err(error) = make_run(&self.qemu.monitor).await {
            let text = format!(
                "the VM could not be continued ({}): resume it",
                error.message
            );
            self.actor.event("vm.problem", &text);
            self.problem = Some(text);
        }
        self.course.take_resume(&mut self.qemu.events);
    }

    fn stop_relay(&mut self) {
        if let Some(relay) = &self.relay {
            self.course.relay = relay.totals();
            relay.cancel();
        }
        // Its process ends with its handle.
        self.relay = None;
        self.relay_events = None;
    }

    /// The destination may not hear it: its own deadlines, and the epoch, do without.
    fn abort_peer(&self, reason: String) {
        let Ok(client) = self.actor.host.peer(&self.request.destination) else {
            return;
        };
        let id = self.request.migration;
        tokio::spawn(async move {
            for _ in 0..5 {
                match client.abort(id, &reason).await {
                    Err(error) if error.code().is_none() => {
                        tokio::time::sleep(timings::PEER_AGAIN).await;
                    }
                    _ => return,
                }
            }
        });
    }

    /// The VM runs at the destination: this copy ends.
    async fn quit_vm(&mut self) {
        self.course.cleanup = Some(now());
        if self.dead.is_some() {
            return;
        }
        self.course.last_look(self.qemu.process.pid());
        self.course.info = self.qemu.monitor.query_migrate().await.ok();
        if let Err(error) = self.qemu.monitor.quit().await {
            tracing::warn!(%error, "QEMU does not quit and will be killed");
        }
        if let Err(error) = self.qemu.process.gone_within(timings::QEMU_QUITS).await {
            self.actor.event("vm.stuck", error.to_string());
        }
    }

    /// Clears up and writes the receipt.
    pub(super) async fn finish(&mut self, outcome: Outcome) -> Finished {
        if outcome == Outcome::Moved {
            crate::vm::launch::clear(&self.actor.host, &self.actor.definition).await;
            self.course.ended_cleanup = Some(now());
            self.ask_for_last_view().await;
        } else {
            self.stay().await;
        }
        let receipt = receipt::write(self, outcome);
        let (kind, text) = match &receipt.outcome {
            Outcome::Moved => {
                let seconds = receipt.total_ms() / 1000.0;
                let to = &receipt.destination;
                ("vm.migrated", format!("moved to {to} in {seconds:.1} s"))
            }
            Outcome::Stayed { reason } => ("vm.migration_failed", format!("stays here: {reason}")),
        };
        self.actor.event(kind, text);
        Finished(receipt)
    }

    /// The VM stays: what was written down of the migration is taken back.
    async fn stay(&mut self) {
        let Some(claim) = &self.claim else { return };
        let (home, epoch) = (self.actor.home.clone(), claim.epoch());
        let definition = self.actor.definition.clone();
        if epoch >= self.request.epoch {
            let written = crate::answer::blocking(move || {
                write_definition(&home, epoch, &definition).told(ErrorCode::Unavailable)
            });
            if let Err(error) = written.await {
                tracing::warn!(
                    error = error.message,
                    "the definition of the new epoch is missing"
                );
            }
        }
        if let Err(error) = self.actor.remember(Some(claim), None).await {
            tracing::warn!(error = error.message, "the VM's record is out of date");
        }
    }

    /// The destination's figures are complete a moment after its first word.
    async fn ask_for_last_view(&mut self) {
        let Ok(client) = self.actor.host.peer(&self.request.destination) else {
            return;
        };
        if let Ok(view) = client
            .migration(self.request.migration, None, Duration::ZERO)
            .await
        {
            self.course.destination = Some(Box::new(view));
        }
    }
}

/// A migration that has come to its end and is not shown so yet.
pub(super) struct Finished(Receipt);

impl Finished {
    /// Whether the VM is gone from here.
    pub fn has_moved(&self) -> bool {
        self.0.outcome == Outcome::Moved
    }

    /// Shows the end.
    pub fn show(self, tracker: &Tracker) {
        tracker.show(|view| {
            (view.phase, view.detail) = match &self.0.outcome {
                Outcome::Moved => (Phase::Running, String::new()),
                Outcome::Stayed { reason } => (Phase::Stayed, reason.clone()),
            };
            view.cpu = self.0.source_cpu;
            view.outcome = Some(self.0.outcome.clone());
            view.receipt = Some(self.0);
        });
    }
}

/// Ends QEMU's migration if it still runs, and lets the guest run.
///
/// # Errors
/// If QEMU refuses or is gone.
pub async fn make_run(monitor: &Monitor) -> Answer<()> {
    let until = Instant::now() + timings::CANCELLING;
    let mut cancelled = false;
    loop {
        let status = monitor
            .query_migrate()
            .await
            .told(ErrorCode::Internal)?
            .status;
        if status.is_final() || status == StreamState::None {
            break;
        }
        if !cancelled {
            monitor.migrate_cancel().await.told(ErrorCode::Internal)?;
            cancelled = true;
        }
        if Instant::now() > until {
            return Err(unavailable("QEMU does not end its migration"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let until = Instant::now() + timings::IMAGE_LOCK;
    while !monitor.status().await.told(ErrorCode::Internal)?.running {
        match monitor.cont().await {
            // The destination's QEMU may not have let go of the images yet.
            Err(error) if error.is_closed() || Instant::now() > until => {
                return Err(error).told(ErrorCode::Internal);
            }
            Err(_) => tokio::time::sleep(timings::IMAGE_LOCK_AGAIN).await,
            Ok(()) => {}
        }
    }
    Ok(())
}
