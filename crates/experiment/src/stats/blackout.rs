//! From silences of the echo probe to the blackout of a migration.
//!
//! A silence is the time between two answers, less the longest pause between two probes in it; so it
//! is exact to about one interval of the probe and errs towards too short. On a busy machine there
//! are silences that have nothing to do with migration too; the longest of the baseline is reported
//! beside.

use crate::records::{MigrationRow, MoveOutcome, SilenceRow};

/// Seconds after its end in which a silence still belongs to a migration: the network may need a
/// moment to learn the VM's new place.
const AFTERMATH_S: f64 = 2.0;

/// The longest silence of the migration's VM while it moved, in milliseconds; 0 if the probe lost
/// nothing; `None` if the migration did not happen or its VM was not probed.
#[must_use]
pub fn of_migration(one: &MigrationRow, silences: &[SilenceRow], probed: bool) -> Option<f64> {
    if one.outcome != MoveOutcome::Ok || !probed {
        return None;
    }
    let (from, to) = (one.start_s, one.end_s + AFTERMATH_S);
    let overlapping = silences
        .iter()
        .filter(|s| s.vm == one.vm && s.start_s <= to && s.end_s >= from)
        .map(|s| s.silence_ms);
    Some(overlapping.fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Profile, ProfileName};
    use crate::records::Part;
    use crate::schedule;

    fn migration() -> MigrationRow {
        let plan = schedule::plan(&Profile::named(ProfileName::Demo), 1);
        MigrationRow {
            start_s: 10.0,
            end_s: 13.0,
            outcome: MoveOutcome::Ok,
            ..MigrationRow::planned(&plan[0], "a", "blade1", "blade2")
        }
    }

    fn silence(vm: &str, start_s: f64, ms: f64) -> SilenceRow {
        let end_s = start_s + ms / 1000.0;
        SilenceRow {
            part: Part::Migrating,
            vm: vm.into(),
            start_s,
            end_s,
            silence_ms: ms,
        }
    }

    #[test]
    fn the_longest_of_the_own_vm_while_it_moved() {
        let silences = [
            silence("a", 5.0, 900.0),
            silence("a", 11.0, 40.0),
            silence("a", 12.6, 230.0),
            silence("b", 12.0, 800.0),
            silence("a", 16.0, 700.0),
        ];
        assert_eq!(of_migration(&migration(), &silences, true), Some(230.0));
    }

    #[test]
    fn a_late_announcement_belongs_to_it() {
        assert_eq!(
            of_migration(&migration(), &[silence("a", 13.5, 400.0)], true),
            Some(400.0)
        );
    }

    #[test]
    fn nothing_lost_is_zero_and_unknown_is_unknown() {
        assert_eq!(of_migration(&migration(), &[], true), Some(0.0));
        assert_eq!(of_migration(&migration(), &[], false), None);
        let failed = MigrationRow {
            outcome: MoveOutcome::Failed,
            ..migration()
        };
        assert_eq!(
            of_migration(&failed, &[silence("a", 11.0, 40.0)], true),
            None
        );
    }
}
