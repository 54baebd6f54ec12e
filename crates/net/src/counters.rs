//! Traffic of interfaces.
//!
//! Read from /proc/thread-self/net/dev, which always speaks of the caller's own namespace; /sys/class/net speaks of
//! the namespace in which that /sys was mounted, which is another one in a blade or a container.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::command::NetError;

const FILE: &str = "/proc/thread-self/net/dev";

/// What one interface has carried since it exists, seen from the host: what a VM sends is received by its tap.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// The interface.
    pub name: String,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Packets received and thrown away.
    pub received_drops: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets that should have been sent and were thrown away.
    pub sent_drops: u64,
}

/// Traffic of all interfaces of the caller's namespace.
///
/// # Errors
/// [`NetError::File`] when /proc is not mounted.
pub fn all() -> Result<Vec<Traffic>, NetError> {
    let text = fs::read_to_string(FILE).map_err(|source| NetError::File {
        path: FILE.into(),
        source,
    })?;
    Ok(text.lines().filter_map(read_line).collect())
}

/// Traffic of one interface of the caller's namespace, if it exists.
///
/// # Errors
/// As [`all`].
pub fn of(name: &str) -> Result<Option<Traffic>, NetError> {
    Ok(all()?.into_iter().find(|traffic| traffic.name == name))
}

/// `name: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop …`; the header has no
/// number after its colon and falls out.
fn read_line(line: &str) -> Option<Traffic> {
    let (name, figures) = line.split_once(':')?;
    let figures: Vec<u64> = figures
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    Some(Traffic {
        name: name.trim().into(),
        received_bytes: *figures.first()?,
        received_packets: *figures.get(1)?,
        received_drops: *figures.get(3)?,
        sent_bytes: *figures.get(8)?,
        sent_packets: *figures.get(9)?,
        sent_drops: *figures.get(11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_column_by_column() {
        let line = "  eth1: 101 102 103 104 105 106 107 108 201 202 203 204 205 206 207 208";
        let wanted = Traffic {
            name: "eth1".into(),
            received_bytes: 101,
            received_packets: 102,
            received_drops: 104,
            sent_bytes: 201,
            sent_packets: 202,
            sent_drops: 204,
        };
        assert_eq!(read_line(line), Some(wanted));
        assert_eq!(read_line(" face |bytes packets errs|bytes packets"), None);
        assert_eq!(read_line("eth1: 1 2 3"), None);
    }

    #[test]
    fn loopback_is_there() {
        assert!(of("lo").unwrap().is_some());
        assert!(of("nosuch").unwrap().is_none());
    }
}
