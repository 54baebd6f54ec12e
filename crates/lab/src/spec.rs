//! What is asked of a lab: how many blades, which networks, which programs run in it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use godwit_net::htb::Bandwidth;
use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// More would not fit beside each other in the last byte of their addresses.
pub const MOST_BLADES: u8 = 50;
/// Names of interfaces hold 15 characters, of which the longest of the lab's needs 5 after the prefix.
const LONGEST_PREFIX: usize = 9;

/// A network of 254 addresses, by its first three bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet([u8; 3]);

impl Subnet {
    /// Prefix bits.
    pub const PREFIX: u8 = 24;

    /// The network whose addresses begin with these bytes.
    #[must_use]
    pub const fn new(first: [u8; 3]) -> Self {
        Self(first)
    }

    /// The address that ends with this byte.
    #[must_use]
    pub const fn host(self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.0;
        Ipv4Addr::new(a, b, c, last)
    }

    /// The lab's own address in it; VMs' gateway in the production network.
    #[must_use]
    pub const fn gateway(self) -> Ipv4Addr {
        self.host(1)
    }

    /// Whether it shares an address with a network of that many prefix bits.
    #[must_use]
    pub fn overlaps(self, address: Ipv4Addr, prefix: u8) -> bool {
        let bits = u32::from(prefix.min(Self::PREFIX));
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        (u32::from(self.host(0)) ^ u32::from(address)) & mask == 0
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.host(0), Self::PREFIX)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a network of the lab's kind: write it as 192.168.1.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let [a, b, c, last] = address.octets();
        if last != 0 || prefix != "24" {
            return Err(wrong());
        }
        Ok(Self([a, b, c]))
    }
}

/// The programs that a lab runs. On a real host systemd starts the same ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    /// The first process of a box; gets `--dir DIR --box NAME` and must call [`crate::init::run`].
    pub init: Vec<String>,
    /// What runs in each blade.
    pub agent: Vec<String>,
    /// Run in each blade before its agent's first start, with `--manager ADDRESS` and the token in
    /// the environment, GODWIT_JOIN_TOKEN, where other users of the machine cannot see it.
    pub join: Option<Vec<String>>,
    /// What runs as the manager; none leaves the farm without one.
    pub manager: Option<Vec<String>>,
}

impl Programs {
    /// All parts of the one binary at `exe`.
    #[must_use]
    pub fn of(exe: &Path, dir: &Path) -> Self {
        let call = |words: &[&str]| {
            let mut argv = vec![exe.display().to_string()];
            argv.extend(words.iter().map(|word| (*word).to_owned()));
            argv
        };
        let config = dir.join("manager.toml").display().to_string();
        Self {
            init: call(&["lab", "box-init"]),
            agent: call(&["agent", "run"]),
            join: Some(call(&["agent", "join"])),
            manager: Some(call(&["manager", "run", "--config", &config])),
        }
    }
}

/// Everything that can be chosen about a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The lab's folder.
    pub dir: PathBuf,
    /// First letters of all its names.
    pub prefix: String,
    /// How many blades.
    pub blades: u8,
    /// Cores each blade gets; by default all cores are shared out.
    pub cores_per_blade: Option<usize>,
    /// Rate of card 1, both ways; none leaves it unshaped.
    pub bandwidth: Option<Bandwidth>,
    /// Card 0's network: manager and agents.
    pub management: Subnet,
    /// Card 1's network: VMs and migration.
    pub production: Subnet,
    /// Where SAN1 and SAN2 are, when not in the lab's folder.
    pub datastores: Option<PathBuf>,
    /// Whether each blade sees its datastores through a layer that can be made to fail.
    pub faulty_storage: bool,
    /// What runs in it.
    pub programs: Programs,
}

impl Spec {
    /// The lab of the paper, in a folder, run by the binary at `exe`: two blades with 1 Gb/s cards.
    #[must_use]
    pub fn new(dir: &Path, exe: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            prefix: "gw".into(),
            blades: 2,
            cores_per_blade: None,
            bandwidth: Some(Bandwidth::GIGABIT),
            management: Subnet::new([10, 77, 0]),
            production: Subnet::new([192, 168, 1]),
            datastores: None,
            faulty_storage: false,
            programs: Programs::of(exe, dir),
        }
    }

    /// Refuses what makes no lab, before anything is made.
    ///
    /// # Errors
    /// [`LabError::Choice`].
    pub fn check(&self) -> Result<(), LabError> {
        let choice = |text: String| Err(LabError::Choice(text));
        if self.blades == 0 || self.blades > MOST_BLADES {
            return choice(format!(
                "a lab has 1 to {MOST_BLADES} blades, not {}",
                self.blades
            ));
        }
        if self.cores_per_blade == Some(0) {
            return choice("a blade needs at least one core".into());
        }
        let plain = self
            .prefix
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if self.prefix.is_empty() || self.prefix.len() > LONGEST_PREFIX || !plain {
            return choice(format!(
                "a prefix has 1 to {LONGEST_PREFIX} letters or digits, not {:?}",
                self.prefix
            ));
        }
        if !self.dir.is_absolute() {
            return choice(format!(
                "{} must be an absolute path: processes of the lab use it",
                self.dir.display()
            ));
        }
        if self.management == self.production {
            return choice("the management and the production network must differ".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_as_usual() {
        let subnet: Subnet = "192.168.7.0/24".parse().unwrap();
        assert_eq!(subnet.to_string(), "192.168.7.0/24");
        assert_eq!(subnet.gateway(), Ipv4Addr::new(192, 168, 7, 1));
        for wrong in ["192.168.7.1/24", "192.168.7.0/16", "192.168.7.0", "lab/24"] {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        let subnet = Subnet::new([192, 168, 1]);
        assert!(subnet.overlaps(Ipv4Addr::new(192, 168, 1, 77), 32));
        assert!(subnet.overlaps(Ipv4Addr::new(192, 168, 200, 1), 16));
        assert!(subnet.overlaps(Ipv4Addr::new(8, 8, 8, 8), 0));
        assert!(!subnet.overlaps(Ipv4Addr::new(192, 168, 2, 1), 24));
        assert!(!subnet.overlaps(Ipv4Addr::new(10, 0, 0, 1), 8));
    }

    #[test]
    fn what_makes_no_lab_is_refused() {
        let good = Spec::new(Path::new("/lab"), Path::new("/godwit"));
        good.check().unwrap();
        let refused = |change: fn(&mut Spec)| {
            let mut spec = good.clone();
            change(&mut spec);
            spec.check().unwrap_err();
        };
        refused(|spec| spec.blades = 0);
        refused(|spec| spec.blades = MOST_BLADES + 1);
        refused(|spec| spec.cores_per_blade = Some(0));
        refused(|spec| spec.prefix = "Upper-Case".into());
        refused(|spec| spec.dir = "relative".into());
        refused(|spec| spec.production = spec.management);
    }
}
