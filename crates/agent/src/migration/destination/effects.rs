//! What the destination's machine wants done, done.

use super::super::claiming::Claiming;
use super::super::clock;
use super::Incoming;
use crate::answer::{Tell, blocking, whole};
use crate::timings;
use crate::vm::actor::Actor;
use crate::vm::launch;
use futures::FutureExt;
use godwit_api::agent::Phase;
use godwit_api::error::ErrorCode;
use godwit_lease::{Claim, Lease, Pending, Purpose, write_definition};
use godwit_model::epoch::Epoch;
use godwit_model::migration::Outcome;
use godwit_model::migration::destination::{Effect, Event};
use godwit_model::migration::receipt::CpuCost;
use godwit_model::units::MonoNs;
use godwit_model::vm::VmState;
use godwit_qemu::monitor::Announce;
use godwit_qemu::qmp::EventKind;
use godwit_qemu::usage::ProcessUsage;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

impl Incoming<'_> {
    /// Carries out one effect; what it brings about at once is given as an event.
    pub(super) async fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Claim(epoch) => {
                // The same number again: the attempts that are under way go on.
                if self.claiming.is_none() {
                    let migration = self.request.migration;
                    let purpose = Purpose::Activate { migration };
                    let actor = &self.actor;
                    let claiming = Claiming::new(&actor.host, &actor.home, epoch, purpose);
                    self.claiming = Some(claiming.prepared(self.prepared_claim(epoch)));
                }
                None
            }
            // The machine gives this only after the claim was won.
            Effect::ContinueVm => Some(self.continue_vm().await),
            Effect::Announce => {
                self.announce().await;
                None
            }
            Effect::StopRelay => {
                self.stop_relay();
                None
            }
            Effect::DestroyVm => {
                self.destroy_vm().await;
                None
            }
            Effect::WriteGiveBack(epoch) => {
                self.give_back(epoch).await;
                Some(Event::GivenBack)
            }
        }
    }

    /// What was done ahead for the claim of this migration's epoch, if it is done: nothing waits for it.
    fn prepared_claim(&mut self, epoch: Epoch) -> Option<Pending> {
        let prepared = self.prepared.take().filter(JoinHandle::is_finished)?;
        let pending = prepared.now_or_never()?.ok()?.ok()?;
        Some(pending).filter(|pending| pending.epoch() == epoch)
    }

    /// The source's QEMU has let go of the images when it completed; a lock that is refused all
    /// the same is asked for again for a moment.
    async fn continue_vm(&mut self) -> Event {
        let until = Instant::now() + timings::IMAGE_LOCK;
        loop {
            match self.qemu.monitor.cont().await {
                Ok(()) => return Event::Continued,
                Err(error) if error.is_closed() || Instant::now() > until => {
                    return Event::ContinueFailed(whole(&error));
                }
                Err(error) => {
                    tracing::warn!(vm = %self.actor.definition.id, %error, "will be tried again");
                    tokio::time::sleep(timings::IMAGE_LOCK_AGAIN).await;
                }
            }
        }
    }

    /// Announces the MAC addresses and tells the source at once: until then it holds its copy.
    async fn announce(&mut self) {
        let resumed = self.resumed();
        if let Err(error) = self.qemu.monitor.announce_self(Announce::default()).await {
            tracing::warn!(vm = %self.actor.definition.id, %error, "not announced");
        }
        let (cpu, pid) = (self.cpu(), self.qemu.process.pid());
        let epoch = self.request.epoch;
        self.actor.show(|view| {
            view.state = VmState::Running;
            view.epoch = Some(epoch);
            view.newest_epoch = Some(epoch);
            view.pid = Some(pid);
            view.migration = None;
        });
        self.tracker.show(|view| {
            view.resumed = Some(resumed);
            view.cpu = cpu;
            view.outcome = Some(Outcome::Moved);
            view.detail.clear();
            view.phase = Phase::Running;
        });
    }

    /// RESUME comes before the answer to `cont`, so it lies there already.
    fn resumed(&mut self) -> MonoNs {
        let mut resumed = None;
        while let Ok(event) = self.qemu.events.try_recv() {
            if event.kind() == EventKind::Resume {
                resumed = Some(clock::moment(&event));
            }
        }
        resumed.unwrap_or_else(godwit_net::clock::now)
    }

    fn cpu(&self) -> CpuCost {
        let relay = self
            .relay
            .as_ref()
            .map_or(self.relay_totals, godwit_stream::DestinationRelay::totals);
        let qemu = ProcessUsage::of(self.qemu.process.pid()).map(|usage| usage.other);
        CpuCost {
            relay_seconds: relay.cpu.as_secs_f64(),
            qemu_seconds: qemu.unwrap_or_default().as_secs_f64(),
        }
    }

    fn stop_relay(&mut self) {
        if let Some(relay) = &self.relay {
            relay.cancel();
        }
        // Its process ends with its handle.
        self.relay = None;
        self.relay_events = None;
    }

    /// Returns only when the process is gone: what comes after relies on it.
    async fn destroy_vm(&mut self) {
        while let Err(error) =
            launch::destroy(&self.actor.host, &self.actor.definition, &self.qemu.process).await
        {
            self.actor.event("vm.stuck", &error.message);
            self.tracker.show(|view| {
                view.phase = Phase::Held;
                view.detail = error.message;
            });
            tokio::time::sleep(timings::STORAGE_AGAIN).await;
        }
        self.dead = true;
    }

    /// Returns only when it is written: until then the source must wait.
    async fn give_back(&mut self, epoch: Epoch) {
        let source = &self.request.source.id;
        let migration = self.request.migration;
        while let Some(claim) = self.claim.take() {
            let (lease, home) = (Arc::clone(&self.actor.host.lease), self.actor.home.clone());
            let to = source.clone();
            let written =
                tokio::task::spawn_blocking(move || lease.give_back(&home, claim, to, migration))
                    .await;
            match written {
                Ok(Ok(given)) if given != epoch => {
                    tracing::error!(%given, %epoch, "given back by another number than planned");
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = whole(&error), "not given back yet");
                    self.claim = Some(*error.claim);
                    tokio::time::sleep(timings::STORAGE_AGAIN).await;
                }
                // The claim is lost with the panic: the source finds out by the epoch files.
                Err(error) => tracing::error!(%error, "a defect while giving back"),
            }
        }
    }
}

/// What can be written once the VM runs: its definition as of this epoch, and its record.
pub(super) async fn write_down(actor: &Actor, claim: &Claim) {
    if let Err(error) = actor.remember(Some(claim), None).await {
        tracing::error!(error = error.message, "the VM's record is out of date");
    }
    let (home, epoch, definition) = (actor.home.clone(), claim.epoch(), actor.definition.clone());
    let written =
        blocking(move || write_definition(&home, epoch, &definition).told(ErrorCode::Unavailable));
    if let Err(error) = written.await {
        tracing::error!(
            error = error.message,
            "the definition of the new epoch is missing"
        );
    }
}
