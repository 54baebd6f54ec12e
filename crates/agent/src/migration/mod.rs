//! Migrations on this host: their views for those who wait, and the way to cancel or abort them.
//!
//! The two halves, [`source`] and [`destination`], run the pure state machines of
//! `godwit_model::migration` exactly: what happens becomes an event, and the effects are
//! carried out in their order. They own their VM while they run.

mod claiming;
pub mod clock;
pub mod destination;
mod peer;
mod relays;
pub mod source;

use crate::answer::{Answer, conflict, not_found};
use crate::timings;
use crate::vm::Reply;
use godwit_api::agent::{MigrationView, Phase, Progress, Role};
use godwit_model::ids::{MigrationId, VmId};
use godwit_model::migration::receipt::CpuCost;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// What can be asked of a migration that runs.
pub enum Control {
    /// An operator wants it to end; to the source.
    Cancel(Reply<()>),
    /// The source gives up; to the destination.
    Abort(String, Reply<()>),
}

/// All migrations of this host, under way and lately ended.
#[derive(Default)]
pub struct Migrations {
    entries: Mutex<HashMap<MigrationId, Entry>>,
}

struct Entry {
    view: watch::Receiver<MigrationView>,
    control: mpsc::Sender<Control>,
    ended: Arc<Mutex<Option<Instant>>>,
}

/// A running migration's own end.
pub struct Tracker {
    view: watch::Sender<MigrationView>,
    /// What is asked of it.
    pub control: mpsc::Receiver<Control>,
    ended: Arc<Mutex<Option<Instant>>>,
}

impl Tracker {
    /// Shows something else; those who wait see it at once.
    pub fn show(&self, change: impl FnOnce(&mut MigrationView)) {
        self.view.send_modify(change);
    }

    /// What is shown.
    #[must_use]
    pub fn view(&self) -> MigrationView {
        self.view.borrow().clone()
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Migrations {
    /// Begins one. A migration's id is used once: a repeated command changes nothing.
    ///
    /// # Errors
    /// Conflict if it is known already.
    pub fn begin(&self, view: MigrationView) -> Answer<Tracker> {
        let mut entries = self.lock();
        entries.retain(|_, entry| !entry.is_old());
        let id = view.id;
        if entries.contains_key(&id) {
            return Err(conflict(format!(
                "migration {id} is known here already: begin a new one"
            )));
        }
        let (sender, receiver) = watch::channel(view);
        let (control_sender, control) = mpsc::channel(4);
        let ended = Arc::new(Mutex::new(None));
        let entry = Entry {
            view: receiver,
            control: control_sender,
            ended: Arc::clone(&ended),
        };
        entries.insert(id, entry);
        Ok(Tracker {
            view: sender,
            control,
            ended,
        })
    }

    /// Where a migration stands; with `known`, waits for another phase.
    ///
    /// # Errors
    /// If it is not known here.
    pub async fn view(
        &self,
        id: MigrationId,
        known: Option<Phase>,
        wait: Duration,
    ) -> Answer<MigrationView> {
        let mut view = self.receiver(id)?;
        if let Some(known) = known {
            let changed = view.wait_for(|view| view.phase != known || view.phase.is_final());
            // Time is up, or the migration's task has ended: what is shown then is given.
            let _ = tokio::time::timeout(wait, changed).await;
        }
        let view = view.borrow().clone();
        Ok(view)
    }

    /// Asks a running migration something.
    ///
    /// # Errors
    /// If it is not known, has ended, or says no.
    pub async fn ask(
        &self,
        id: MigrationId,
        control: impl FnOnce(Reply<()>) -> Control,
    ) -> Answer<()> {
        let over = || conflict(format!("migration {id} has ended"));
        let sender = {
            let entries = self.lock();
            entries.get(&id).map(|entry| entry.control.clone())
        };
        let sender = sender.ok_or_else(|| unknown(id))?;
        let (reply, answer) = oneshot::channel();
        sender.send(control(reply)).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())?
    }

    fn receiver(&self, id: MigrationId) -> Answer<watch::Receiver<MigrationView>> {
        self.lock()
            .get(&id)
            .map(|entry| entry.view.clone())
            .ok_or_else(|| unknown(id))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MigrationId, Entry>> {
        // Nothing that can panic half-way happens under the lock.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_old(&self) -> bool {
        let ended = *self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.is_some_and(|ended| ended.elapsed() > timings::REMEMBERED)
    }
}

fn unknown(id: MigrationId) -> godwit_api::error::ApiError {
    not_found(format!("migration {id} is not known on this host"))
}

/// The view of a migration that begins.
#[must_use]
pub fn first_view(id: MigrationId, vm: VmId, role: Role) -> MigrationView {
    MigrationView {
        id,
        vm,
        role,
        phase: Phase::Prepare,
        detail: String::new(),
        progress: Progress::default(),
        resumed: None,
        loaded: None,
        claimed: None,
        cpu: CpuCost::default(),
        outcome: None,
        receipt: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_sees_the_next_phase_and_a_repeated_command_is_refused() {
        let migrations = Migrations::default();
        let id = MigrationId::random();
        let view = first_view(id, VmId::random(), Role::Source);
        let tracker = migrations.begin(view.clone()).unwrap();
        assert!(migrations.begin(view).is_err());
        let wait = Duration::from_secs(60);
        let (seen, ()) = tokio::join!(migrations.view(id, Some(Phase::Prepare), wait), async {
            tracker.show(|view| view.phase = Phase::Precopy);
        });
        assert_eq!(seen.unwrap().phase, Phase::Precopy);
        drop(tracker);
        let seen = migrations.view(id, Some(Phase::Precopy), wait).await;
        assert_eq!(
            seen.unwrap().phase,
            Phase::Precopy,
            "an ended task does not let anybody wait"
        );
        assert!(migrations.ask(id, Control::Cancel).await.is_err());
        assert!(
            migrations
                .view(MigrationId::random(), None, wait)
                .await
                .is_err()
        );
    }
}
