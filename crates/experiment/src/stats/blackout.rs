//! From silences of the echo probe to the blackout of a migration.
//!
//! A silence is the time between two answers, less the longest pause between two probes in it; so it
//! is exact to about one interval of the probe and errs towards too short. On a busy machine there
//! are silences that have nothing to do with a VM's switch-over too; so only those that touch it
//! count where its moment is known, and the longest of the baseline is reported beside.

use crate::records::{MigrationRow, MoveOutcome, SilenceRow};

/// Seconds after its end in which a silence still belongs to a migration of which no more is known:
/// the network may need a moment to learn the VM's new place.
const AFTERMATH_S: f64 = 2.0;
/// Seconds around STOP and RESUME by which a silence may miss them: the agents' clock readings and
/// the probe's rhythm.
const NEAR_S: f64 = 0.05;

/// The stretch that a migration's blackout touches: from STOP to RESUME where they are known, else
/// the whole migration.
#[must_use]
pub fn window(one: &MigrationRow) -> (f64, f64) {
    let known = one.resume_s.zip(one.stop_to_resume_ms);
    let stretch = known.map(|(resume, ms)| (resume - ms / 1000.0 - NEAR_S, resume + NEAR_S));
    // A clock that is not the run's would put it elsewhere.
    let inside =
        stretch.filter(|(stop, resume)| *stop >= one.start_s - 1.0 && *resume <= one.end_s + 1.0);
    inside.unwrap_or((one.start_s, one.end_s + AFTERMATH_S))
}

/// The longest silence of the migration's VM that touches its blackout, in milliseconds; 0 if the
/// probe lost nothing; `None` if the migration did not happen or its VM was not probed.
#[must_use]
pub fn of_migration(one: &MigrationRow, silences: &[SilenceRow], probed: bool) -> Option<f64> {
    longest(one, silences, probed, window(one))
}

/// The longest silence of the migration's VM from its start to two seconds after its end, whatever
/// the reason.
#[must_use]
pub fn longest_meanwhile(one: &MigrationRow, silences: &[SilenceRow], probed: bool) -> Option<f64> {
    longest(
        one,
        silences,
        probed,
        (one.start_s, one.end_s + AFTERMATH_S),
    )
}

fn longest(
    one: &MigrationRow,
    silences: &[SilenceRow],
    probed: bool,
    (from, to): (f64, f64),
) -> Option<f64> {
    if one.outcome != MoveOutcome::Ok || !probed {
        return None;
    }
    let touching = silences
        .iter()
        .filter(|s| s.vm == one.vm && s.start_s <= to && s.end_s >= from)
        .map(|s| s.silence_ms);
    Some(touching.fold(0.0, f64::max))
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

    #[test]
    fn where_the_switch_over_is_known_only_its_silence_counts() {
        let known = MigrationRow {
            resume_s: Some(12.5),
            stop_to_resume_ms: Some(40.0),
            ..migration()
        };
        let silences = [silence("a", 11.0, 300.0), silence("a", 12.47, 60.0)];
        assert_eq!(of_migration(&known, &silences, true), Some(60.0));
        assert_eq!(longest_meanwhile(&known, &silences, true), Some(300.0));
        // A VM that nobody finds for a while after RESUME is silent from STOP on.
        assert_eq!(
            of_migration(&known, &[silence("a", 12.45, 1500.0)], true),
            Some(1500.0)
        );
        let strange = MigrationRow {
            resume_s: Some(99.0),
            ..known
        };
        assert_eq!(of_migration(&strange, &silences, true), Some(300.0));
    }
}
