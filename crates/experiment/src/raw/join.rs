//! Two parts run apart, made one run.

use super::{RawError, Run};
use crate::profile::Profile;
use crate::records::Part;

/// Makes one run of two that were run apart.
///
/// # Errors
/// They differ in seed, profile or load, or are not one baseline and one migrating part.
pub fn join(a: Run, b: Run) -> Result<Run, RawError> {
    let holds = |run: &Run, part| run.info.parts.iter().any(|p| p.part == part);
    let (mut first, second) = if holds(&a, Part::Baseline) {
        (a, b)
    } else {
        (b, a)
    };
    let refuse = |why: &str| Err(RawError::Join(why.to_owned()));
    if !holds(&first, Part::Baseline) || !holds(&second, Part::Migrating) {
        return refuse("one must hold the baseline, the other the migrations");
    }
    if holds(&first, Part::Migrating) || holds(&second, Part::Baseline) {
        return refuse("one of them holds both parts already");
    }
    if first.info.seed != second.info.seed {
        return refuse("their seeds differ");
    }
    // A load found by calibration in one may be given as a rate in the other.
    let load = first.info.profile.load;
    if first.info.profile
        != (Profile {
            load,
            ..second.info.profile.clone()
        })
    {
        return refuse("their profiles differ");
    }
    let (rate_a, rate_b) = (
        first.info.orders_per_minute_per_vm,
        second.info.orders_per_minute_per_vm,
    );
    if (rate_a - rate_b).abs() > 1e-6 * rate_a.abs() {
        return refuse(&format!(
            "one gave {rate_a} orders per minute and VM, the other {rate_b}"
        ));
    }
    if first.info.machine != second.info.machine || first.info.hosts != second.info.hosts {
        let note = "the two parts ran on different machines".to_owned();
        first
            .info
            .parts
            .iter_mut()
            .for_each(|p| p.notes.push(note.clone()));
    }
    first.info.parts.extend(second.info.parts);
    first.orders.extend(second.orders);
    first.migrations.extend(second.migrations);
    first.hosts.extend(second.hosts);
    first.silences.extend(second.silences);
    first.generator.extend(second.generator);
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn parts_run_apart_are_joined_in_either_order() {
        let whole = sample::run(1);
        let (a, b) = sample::apart(&whole);
        // Without the debug output of thousands of rows.
        assert!(join(a.clone(), b.clone()).unwrap() == whole);
        assert!(join(b, a).unwrap() == whole);
    }

    #[test]
    fn strangers_are_not_joined() {
        let (a, b) = sample::apart(&sample::run(1));
        let (_, other) = sample::apart(&sample::run(2));
        assert!(
            join(a.clone(), other)
                .unwrap_err()
                .to_string()
                .contains("seeds differ")
        );
        assert!(join(a.clone(), a).is_err());
        assert!(join(b.clone(), b).is_err());
    }
}
