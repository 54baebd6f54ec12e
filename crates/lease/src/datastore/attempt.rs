//! One attempt to win one number: the only code that creates an epoch file.
//!
//! ```text
//! write and sync  .claim-N-<nonce>-<attempt>   failed: nothing can have been won   (may be done ahead)
//! link it to      N                            failed: what N holds decides, if it can be read
//! sync the folder                              failed: won perhaps, but not durably
//! remove the temporary name                    failed: litter
//! ```

use super::DatastoreLease;
use crate::{
    claim::{Claim, Pending},
    error::{ClaimError, StorageError},
    home::VmHome,
};
use godwit_model::epoch::Epoch;
use nix::errno::Errno;
use std::{io, path::PathBuf};

impl DatastoreLease {
    pub(super) fn attempt(&self, vm: &VmHome, pending: Pending) -> Result<Claim, ClaimError> {
        // What a former attempt left unknown may be plain to see by now.
        if pending.attempts > 0
            && let Some(outcome) = self.outcome(vm, &pending)
        {
            return self.conclude(vm, pending, outcome);
        }
        let temp = temporary(vm, &pending);
        if !pending.written
            && let Err(source) = self.write(&temp, &pending)
        {
            let _ = self.files.remove(&temp);
            // A former attempt's link may still be on its way: then this failure settles nothing.
            return Err(if pending.attempts == 0 {
                ClaimError::Unreachable(source)
            } else {
                unknown(pending, source)
            });
        }
        let path = vm.epoch(pending.epoch());
        let outcome = match self.files.link(&temp, &path) {
            Ok(()) => Outcome::Won,
            Err(error) => match self.outcome(vm, &pending) {
                Some(outcome) => outcome,
                None => {
                    let doing = "link";
                    let never = pending.attempts == 0 && cannot_have_happened(&error);
                    let source = StorageError {
                        doing,
                        path,
                        source: error,
                    };
                    if never {
                        let _ = self.files.remove(&temp);
                        return Err(ClaimError::Unreachable(source));
                    }
                    // The temporary file stays: a link that is still on its way needs it.
                    return Err(unknown(pending, source));
                }
            },
        };
        self.conclude(vm, pending, outcome)
    }

    /// The first step, ahead of the others: a temporary file is no claim, and is swept when its number is taken.
    pub(super) fn write_ahead(
        &self,
        vm: &VmHome,
        mut pending: Pending,
    ) -> Result<Pending, ClaimError> {
        let temp = temporary(vm, &pending);
        if let Err(source) = self.write(&temp, &pending) {
            let _ = self.files.remove(&temp);
            return Err(ClaimError::Unreachable(source));
        }
        pending.written = true;
        Ok(pending)
    }

    fn write(&self, temp: &std::path::Path, pending: &Pending) -> Result<(), StorageError> {
        let written = serde_json::to_vec(&pending.record)
            .map_err(io::Error::other)
            .and_then(|content| self.files.create(temp, &content));
        written.map_err(|source| StorageError {
            doing: "write",
            path: temp.to_path_buf(),
            source,
        })
    }

    /// Who has the number, as far as can be seen. Not seeing it proves nothing.
    fn outcome(&self, vm: &VmHome, pending: &Pending) -> Option<Outcome> {
        let winner = self.record(vm, pending.epoch()).ok()??;
        Some(if winner.nonce == pending.record.nonce {
            Outcome::Won
        } else {
            Outcome::Lost(ClaimError::Lost {
                winner: Box::new(winner),
            })
        })
    }

    fn conclude(
        &self,
        vm: &VmHome,
        pending: Pending,
        outcome: Outcome,
    ) -> Result<Claim, ClaimError> {
        if let Outcome::Lost(lost) = outcome {
            self.sweep(vm, pending.epoch());
            return Err(lost);
        }
        // Until this has passed, a power cut at the storage could free the number again.
        let path = vm.epochs();
        if let Err(source) = self.files.sync_dir(&path) {
            let doing = "sync";
            return Err(unknown(
                pending,
                StorageError {
                    doing,
                    path,
                    source,
                },
            ));
        }
        // The point of no return: from here on this host, and no other, has epoch N.
        self.sweep(vm, pending.epoch());
        Ok(Claim::won(pending.record))
    }

    /// Removes temporary files of attempts at numbers that are taken: they can only lose, and
    /// a `link` whose source is gone loses too. Best effort.
    fn sweep(&self, vm: &VmHome, taken: Epoch) {
        let dir = vm.epochs();
        for name in self.files.names(&dir).unwrap_or_default() {
            let number = name
                .strip_prefix(".claim-")
                .and_then(|rest| rest.split('-').next());
            let number = number.and_then(|number| number.parse().ok()).map(Epoch);
            if number.is_some_and(|number| number <= taken) {
                let _ = self.files.remove(&dir.join(name));
            }
        }
    }
}

enum Outcome {
    Won,
    Lost(ClaimError),
}

/// Each attempt has a name of its own, although the nonce inside stays the same: a file whose
/// link may still be on its way must never be written again.
fn temporary(vm: &VmHome, pending: &Pending) -> PathBuf {
    let (epoch, nonce) = (pending.epoch(), pending.record.nonce.simple());
    vm.epochs()
        .join(format!(".claim-{epoch}-{nonce}-{}", pending.attempts))
}

fn unknown(mut pending: Pending, source: StorageError) -> ClaimError {
    pending.attempts += 1;
    pending.written = false;
    let pending = Box::new(pending);
    ClaimError::Unknown { pending, source }
}

/// Errors by which the system says that it did not even try: there is no reply to lose.
fn cannot_have_happened(error: &io::Error) -> bool {
    let never = [
        Errno::EPERM,
        Errno::EOPNOTSUPP,
        Errno::ENOSYS,
        Errno::EXDEV,
        Errno::EROFS,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| never.contains(&Errno::from_raw(code)))
}
