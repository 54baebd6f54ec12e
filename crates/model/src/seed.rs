//! The NoCloud seed: a tiny read-only disk that tells a clone who it is.
//!
//! The volume carries the label `CIDATA` and the files `meta-data`, `network-config`
//! (version 1, which every renderer of cloud-init understands) and `user-data`. The golden
//! image applies them at first boot, and so does a stock cloud image.
//! The image itself is ISO 9660 with Joliet names, see [`crate::iso`]. Equal seeds give equal bytes.

use crate::iso;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The volume label that NoCloud looks for.
pub const LABEL: &str = "CIDATA";

/// Who a clone is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Seed {
    /// Changes whenever the guest shall apply its identity anew; the VM's id, usually.
    pub instance_id: String,
    /// Host name of the guest.
    pub hostname: String,
    /// Static addresses of the first card; none leaves it to DHCP.
    pub addresses: Vec<StaticAddress>,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// MAC address of the card that is meant, `52:54:00:…`; the first card if none is given.
    pub mac: Option<String>,
}

/// An address and the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StaticAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the prefix in bits, 24 for the mask 255.255.255.0.
    pub prefix: u8,
}

impl StaticAddress {
    /// The prefix as a mask; a prefix over 32 counts as 32.
    #[must_use]
    pub fn mask(self) -> Ipv4Addr {
        let host_bits = 32 - u32::from(self.prefix.min(32));
        Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0))
    }
}

impl Seed {
    /// The seed's files: name and content.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, String)> {
        vec![
            ("meta-data", self.meta_data()),
            ("network-config", self.network_config()),
            (
                "user-data",
                "#cloud-config\nmanage_etc_hosts: true\n".to_owned(),
            ),
        ]
    }

    /// The seed as the bytes of a disk, a whole number of 2 KiB sectors.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        let files = self.files();
        let files: Vec<_> = files
            .iter()
            .map(|(name, content)| (*name, content.as_bytes()))
            .collect();
        iso::image(LABEL, &files)
    }

    fn meta_data(&self) -> String {
        format!(
            "instance-id: {}\nlocal-hostname: {}\n",
            quoted(&self.instance_id),
            quoted(&self.hostname)
        )
    }

    fn network_config(&self) -> String {
        let mut text = String::from("version: 1\nconfig:\n  - type: physical\n    name: eth0\n");
        if let Some(mac) = &self.mac {
            line(
                &mut text,
                format_args!("    mac_address: {}", quoted(&mac.to_lowercase())),
            );
        }
        line(&mut text, format_args!("    subnets:"));
        if self.addresses.is_empty() {
            line(&mut text, format_args!("      - type: dhcp"));
        }
        for (index, each) in self.addresses.iter().enumerate() {
            line(&mut text, format_args!("      - type: static"));
            line(&mut text, format_args!("        address: {}", each.address));
            line(&mut text, format_args!("        netmask: {}", each.mask()));
            if index == 0 {
                self.gateway_and_dns(&mut text);
            }
        }
        text
    }

    fn gateway_and_dns(&self, text: &mut String) {
        if let Some(gateway) = self.gateway {
            line(text, format_args!("        gateway: {gateway}"));
        }
        if !self.dns.is_empty() {
            line(text, format_args!("        dns_nameservers:"));
        }
        for server in &self.dns {
            line(text, format_args!("          - {server}"));
        }
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{content}");
}

/// A YAML string in double quotes, whatever it holds: a name can never become structure.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> Seed {
        Seed {
            instance_id: "i-1".into(),
            hostname: "db1".into(),
            addresses: vec![StaticAddress {
                address: Ipv4Addr::new(192, 168, 1, 11),
                prefix: 24,
            }],
            gateway: Some(Ipv4Addr::new(192, 168, 1, 1)),
            dns: vec![Ipv4Addr::new(192, 168, 1, 1), Ipv4Addr::new(9, 9, 9, 9)],
            mac: Some("52:54:00:AB:CD:EF".into()),
        }
    }

    #[test]
    fn the_files_say_who_the_clone_is() {
        let files = seed().files();
        assert_eq!(
            files[0],
            (
                "meta-data",
                "instance-id: \"i-1\"\nlocal-hostname: \"db1\"\n".to_owned()
            )
        );
        let expected = "version: 1\nconfig:\n  - type: physical\n    name: eth0\n    \
                        mac_address: \"52:54:00:ab:cd:ef\"\n    subnets:\n      - type: static\n        \
                        address: 192.168.1.11\n        netmask: 255.255.255.0\n        \
                        gateway: 192.168.1.1\n        dns_nameservers:\n          - 192.168.1.1\n          \
                        - 9.9.9.9\n";
        assert_eq!(files[1], ("network-config", expected.to_owned()));
        assert!(files[2].1.starts_with("#cloud-config\n"));
    }

    #[test]
    fn without_an_address_the_guest_asks_dhcp() {
        let text = Seed {
            addresses: vec![],
            ..seed()
        }
        .network_config();
        assert!(
            text.contains("type: dhcp") && !text.contains("gateway"),
            "{text}"
        );
    }

    #[test]
    fn masks_follow_the_prefix() {
        let mask = |prefix| {
            StaticAddress {
                address: Ipv4Addr::LOCALHOST,
                prefix,
            }
            .mask()
            .to_string()
        };
        assert_eq!(
            [mask(0), mask(8), mask(23), mask(32), mask(99)],
            [
                "0.0.0.0",
                "255.0.0.0",
                "255.255.254.0",
                "255.255.255.255",
                "255.255.255.255"
            ]
        );
    }

    #[test]
    fn a_name_cannot_smuggle_structure() {
        let text = Seed {
            hostname: "a\"\nevil: \\".into(),
            ..seed()
        }
        .meta_data();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains(r#""a\"\x0aevil: \\""#), "{text}");
    }

    #[test]
    fn equal_seeds_give_equal_bytes_and_different_ones_do_not() {
        assert_eq!(seed().image(), seed().image());
        assert_ne!(
            seed().image(),
            Seed {
                hostname: "db2".into(),
                ..seed()
            }
            .image()
        );
    }
}
