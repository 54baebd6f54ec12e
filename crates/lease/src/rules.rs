//! What may follow what. Pure: refuses a claim that could only be a stale or mistaken command.
//!
//! This is a second fence behind the agents' own state machines. It only ever refuses, so a
//! stale read of the epoch before cannot authorize anything; and what it reads never changes
//! again (records are written once, release markers are never taken back).

use crate::{
    error::Refusal,
    owner::Owner,
    record::{Ownership, Purpose},
};
use godwit_model::epoch::Epoch;

/// Checks whether `me` may try to win `epoch` for `purpose`, given the epoch before it
/// (none exactly if `epoch` is the first).
pub(crate) fn check(
    me: &Owner,
    epoch: Epoch,
    purpose: &Purpose,
    before: Option<&Ownership>,
) -> Result<(), Refusal> {
    let Some(before) = before else {
        return match purpose {
            Purpose::Start | Purpose::Delete => Ok(()),
            _ => Err(out_of_turn(purpose, Epoch(0), "the VM was never started")),
        };
    };
    debug_assert_eq!(before.epoch().next(), epoch);
    let record = &before.record;
    if before.deleted() {
        return Err(Refusal::Deleted { vm: record.vm });
    }
    let refuse = |reason| Err(out_of_turn(purpose, record.epoch, reason));
    match purpose {
        Purpose::Start | Purpose::Delete if before.released => Ok(()),
        Purpose::Start | Purpose::Delete => Err(Refusal::NotReleased {
            epoch: record.epoch,
            owner: record.owner.host.clone(),
        }),
        Purpose::Activate { .. } if !record.purpose.runs() => refuse("nobody ran under it"),
        Purpose::Activate { .. } if record.owner == *me => refuse("this host owns it"),
        Purpose::Activate { .. } => Ok(()),
        Purpose::Void { .. } if record.owner != *me => refuse("another host owns it"),
        Purpose::Void { .. } if !record.purpose.runs() => refuse("nobody ran under it"),
        Purpose::Void { .. } if before.released => refuse("its QEMU is gone"),
        Purpose::Void { .. } => Ok(()),
        Purpose::GiveBack { .. } if record.owner != *me => refuse("another host owns it"),
        Purpose::GiveBack { migration, .. } => match record.purpose {
            Purpose::Activate { migration: won } if won == *migration => Ok(()),
            _ => refuse("it was not won by this migration"),
        },
        Purpose::TakeBack { migration } => match &record.purpose {
            Purpose::GiveBack {
                to,
                migration: given,
            } if *to == me.host && given == migration => Ok(()),
            _ => refuse("it does not give the VM to this host"),
        },
    }
}

fn out_of_turn(purpose: &Purpose, epoch: Epoch, reason: &'static str) -> Refusal {
    let purpose = match purpose {
        Purpose::Start => "a cold start",
        Purpose::Activate { .. } => "an activation",
        Purpose::Void { .. } => "an abort",
        Purpose::GiveBack { .. } => "a give-back",
        Purpose::TakeBack { .. } => "a take-back",
        Purpose::Delete => "a deletion",
    };
    Refusal::OutOfTurn {
        purpose,
        epoch,
        reason,
    }
}
