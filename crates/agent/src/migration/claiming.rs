//! One attempt at an epoch after another, until its outcome is known.
//!
//! An attempt whose outcome is unknown is settled by itself, never by a second one: only so
//! "unknown" becomes "won" or "lost" and not a number that nobody knows to be his.

use crate::answer::whole;
use crate::host::Host;
use crate::timings;
use godwit_lease::{Claim, ClaimError, Lease, Pending, Purpose, VmHome};
use godwit_model::epoch::Epoch;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What came of an attempt.
pub enum Claimed {
    /// The epoch is ours.
    Won(Box<Claim>),
    /// It is somebody else's, and will be for ever.
    Lost(String),
    /// The storage gave no answer.
    Unknown(String),
}

/// Attempts at one epoch for one purpose.
pub struct Claiming {
    host: Arc<Host>,
    home: VmHome,
    epoch: Epoch,
    purpose: Purpose,
    pending: Option<Pending>,
    attempts: u32,
    running: Option<JoinHandle<Result<Claim, ClaimError>>>,
}

impl Claiming {
    /// For this epoch and purpose; nothing is tried yet.
    #[must_use]
    pub fn new(host: &Arc<Host>, home: &VmHome, epoch: Epoch, purpose: Purpose) -> Self {
        Self {
            host: Arc::clone(host),
            home: home.clone(),
            epoch,
            purpose,
            pending: None,
            attempts: 0,
            running: None,
        }
    }

    /// The same, with what was done for it beforehand.
    #[must_use]
    pub fn prepared(mut self, pending: Option<Pending>) -> Self {
        self.pending = pending;
        self
    }

    /// The number that is tried for.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Tries, or goes on trying. May be dropped and called again: an attempt is never lost.
    pub async fn outcome(&mut self) -> Claimed {
        if self.running.is_none() {
            if self.attempts > 0 {
                tokio::time::sleep(timings::STORAGE_AGAIN).await;
            }
            self.attempts += 1;
            self.running = Some(self.attempt());
        }
        // Set just above, or by a call that was dropped.
        let Some(running) = &mut self.running else {
            return Claimed::Unknown("no attempt is under way".to_owned());
        };
        let outcome = running.await;
        self.running = None;
        match outcome {
            Ok(Ok(claim)) => Claimed::Won(Box::new(claim)),
            Ok(Err(ClaimError::Unknown { pending, source })) => {
                self.pending = Some(*pending);
                Claimed::Unknown(whole(&source))
            }
            Ok(Err(error @ (ClaimError::Lost { .. } | ClaimError::Refused(_)))) => {
                Claimed::Lost(whole(&error))
            }
            Ok(Err(error)) => Claimed::Unknown(whole(&error)),
            Err(error) => Claimed::Unknown(error.to_string()),
        }
    }

    fn attempt(&mut self) -> JoinHandle<Result<Claim, ClaimError>> {
        let lease = Arc::clone(&self.host.lease);
        let (home, epoch, purpose) = (self.home.clone(), self.epoch, self.purpose.clone());
        let pending = self.pending.take();
        tokio::task::spawn_blocking(move || match pending {
            Some(pending) => lease.settle(&home, pending),
            None => lease.claim(&home, epoch, purpose),
        })
    }
}
