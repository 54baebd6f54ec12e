//! From a choice to names, addresses and cores: pure, so that `up` and `down` cannot disagree about them.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::spec::Spec;

/// The datastores' names, the same in every lab.
pub const DATASTORES: [&str; 2] = ["SAN1", "SAN2"];
/// Card 0 inside a blade: management.
pub const MANAGEMENT_CARD: &str = "eth0";
/// Card 1 inside a blade: VMs and migration.
pub const SHARED_CARD: &str = "eth1";
/// The virtual switch inside a blade.
pub const SWITCH: &str = "br-prod";
/// The box in which the manager runs.
pub const MANAGER_BOX: &str = "manager";

/// A blade: a host of the farm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blade {
    /// `blade1`, `blade2`, …: host name and host id.
    pub name: String,
    /// Name of its network namespace.
    pub netns: String,
    /// The management switch's end of card 0.
    pub management_port: String,
    /// The production switch's end of card 1.
    pub shared_port: String,
    /// Address of card 0.
    pub management: Ipv4Addr,
    /// Address of its virtual switch, used by migrations.
    pub migration: Ipv4Addr,
    /// The cores that are its own.
    pub cores: Vec<usize>,
}

/// All names and addresses of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The management switch.
    pub management_switch: String,
    /// The production switch.
    pub production_switch: String,
    /// The blades.
    pub blades: Vec<Blade>,
}

impl Plan {
    /// The plan for a choice on a machine with these cores.
    #[must_use]
    pub fn new(spec: &Spec, cores: &[usize]) -> Self {
        Self {
            management_switch: format!("{}-mgmt", spec.prefix),
            production_switch: format!("{}-prod", spec.prefix),
            blades: (1..=spec.blades)
                .map(|number| blade(spec, number, cores))
                .collect(),
        }
    }

    /// The blade of that name.
    #[must_use]
    pub fn blade(&self, name: &str) -> Option<&Blade> {
        self.blades.iter().find(|blade| blade.name == name)
    }
}

fn blade(spec: &Spec, number: u8, cores: &[usize]) -> Blade {
    let prefix = &spec.prefix;
    Blade {
        name: format!("blade{number}"),
        netns: format!("{prefix}-blade{number}"),
        management_port: format!("{prefix}b{number}m"),
        shared_port: format!("{prefix}b{number}p"),
        management: spec.management.host(10 + number),
        migration: spec.production.host(200 + number),
        cores: share(spec, usize::from(number - 1), cores),
    }
}

/// The cores of blade number `index` (from 0). With fewer cores than blades, blades share: better than none.
fn share(spec: &Spec, index: usize, cores: &[usize]) -> Vec<usize> {
    if cores.is_empty() {
        return Vec::new();
    }
    let each = spec
        .cores_per_blade
        .unwrap_or(cores.len() / usize::from(spec.blades))
        .clamp(1, cores.len());
    let mut own: Vec<usize> = (index * each..(index + 1) * each)
        .map(|at| cores[at % cores.len()])
        .collect();
    own.sort_unstable();
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::MOST_BLADES;
    use std::path::Path;

    fn spec(blades: u8) -> Spec {
        Spec {
            blades,
            ..Spec::new(Path::new("/lab"), Path::new("/godwit"))
        }
    }

    fn cores_of(spec: &Spec, cores: &[usize]) -> Vec<Vec<usize>> {
        Plan::new(spec, cores)
            .blades
            .into_iter()
            .map(|blade| blade.cores)
            .collect()
    }

    #[test]
    fn two_blades_on_two_cores_get_one_each() {
        assert_eq!(cores_of(&spec(2), &[0, 1]), [[0], [1]]);
    }

    #[test]
    fn cores_are_shared_out_evenly_and_wrap_when_they_are_too_few() {
        assert_eq!(cores_of(&spec(2), &[2, 3, 5, 7]), [[2, 3], [5, 7]]);
        assert_eq!(cores_of(&spec(2), &[0, 1, 2]), [[0], [1]]);
        assert_eq!(cores_of(&spec(3), &[0, 1]), [[0], [1], [0]]);
        let two_each = Spec {
            cores_per_blade: Some(2),
            ..spec(2)
        };
        assert_eq!(cores_of(&two_each, &[0, 1]), [[0, 1], [0, 1]]);
        let too_many = Spec {
            cores_per_blade: Some(9),
            ..spec(2)
        };
        assert_eq!(cores_of(&too_many, &[0, 1]), [[0, 1], [0, 1]]);
    }

    #[test]
    fn names_fit_and_differ_up_to_the_last_blade() {
        let longest = Spec {
            prefix: "nineletts".into(),
            ..spec(MOST_BLADES)
        };
        longest.check().unwrap();
        let plan = Plan::new(&longest, &[0]);
        let mut names = vec![plan.management_switch, plan.production_switch];
        for blade in &plan.blades {
            names.extend([blade.management_port.clone(), blade.shared_port.clone()]);
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in names {
            godwit_net::link::check_name(&name).unwrap();
        }
    }

    #[test]
    fn addresses_are_those_of_the_design() {
        let plan = Plan::new(&spec(2), &[0, 1]);
        let blade = plan.blade("blade2").unwrap();
        assert_eq!(blade.management, Ipv4Addr::new(10, 77, 0, 12));
        assert_eq!(blade.migration, Ipv4Addr::new(192, 168, 1, 202));
        assert_eq!(
            (blade.management_port.as_str(), blade.shared_port.as_str()),
            ("gwb2m", "gwb2p")
        );
        assert_eq!(plan.blade("blade3"), None);
    }
}
