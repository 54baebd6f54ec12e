//! QMP events, and the few of them that a VM's owner acts on.

use godwit_model::units::MonoNs;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// Something that happened in QEMU.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// QEMU's name: `STOP`, `RESUME`, `MIGRATION`, …
    pub name: String,
    /// QEMU's data; null if there is none.
    pub data: Value,
    /// QEMU's own timestamp: wall time since 1970, to the microsecond.
    pub qemu_time: Option<Duration>,
    /// When we read it, on this host's monotonic clock.
    pub received: MonoNs,
}

/// The events that somebody acts on, in a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// The guest is paused, for whatever reason.
    Stop,
    /// The guest runs.
    Resume,
    /// The guest powered off (`guest`) or QEMU was told to end; the process ends by itself.
    Shutdown {
        /// Whether the guest itself did it.
        guest: bool,
        /// QEMU's word for why: `guest-shutdown`, `host-qmp-quit`, `host-signal`, …
        reason: String,
    },
    /// The guest restarted.
    Reset,
    /// The power button was pressed.
    Powerdown,
    /// A disk answered with an error and the guest is paused.
    IoError {
        /// The block node, `disk0`, …
        node: String,
        /// Whether the disk or file system is full.
        no_space: bool,
        /// The system's words.
        reason: String,
    },
    /// The migration entered another state.
    Migration(StreamState),
    /// A pass over the memory began.
    MigrationPass(u64),
    /// Any other.
    Other,
}

/// QEMU's state of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamState {
    /// No migration so far.
    None,
    /// Being set up.
    Setup,
    /// Precopy.
    Active,
    /// The guest is paused, the last part is about to be sent.
    PreSwitchover,
    /// The last part (memory, then devices) is being sent.
    Device,
    /// Everything is sent (source) or loaded (destination). The event comes a moment before the
    /// source's run state becomes `postmigrate`; until then `cont` is refused there.
    Completed,
    /// Failed; the source runs on.
    Failed,
    /// Being cancelled.
    Cancelling,
    /// Cancelled; the source runs on.
    Cancelled,
    /// A state that this program does not use (postcopy, COLO, …).
    #[serde(other)]
    Other,
}

impl StreamState {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl Event {
    /// What it means to us.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self.name.as_str() {
            "STOP" => EventKind::Stop,
            "RESUME" => EventKind::Resume,
            "SHUTDOWN" => EventKind::Shutdown {
                guest: self.data["guest"].as_bool().unwrap_or(false),
                reason: self.text("reason"),
            },
            "RESET" => EventKind::Reset,
            "POWERDOWN" => EventKind::Powerdown,
            "BLOCK_IO_ERROR" if self.data["action"] == "stop" => EventKind::IoError {
                node: self.text("node-name"),
                no_space: self.data["nospace"].as_bool().unwrap_or(false),
                reason: self.text("reason"),
            },
            "MIGRATION" => EventKind::Migration(
                StreamState::deserialize(&self.data["status"]).unwrap_or(StreamState::Other),
            ),
            "MIGRATION_PASS" => {
                EventKind::MigrationPass(self.data["pass"].as_u64().unwrap_or_default())
            }
            _ => EventKind::Other,
        }
    }

    fn text(&self, key: &str) -> String {
        self.data[key].as_str().unwrap_or_default().to_owned()
    }
}

/// QEMU writes -1 where its clock failed.
#[derive(Deserialize)]
pub(super) struct Timestamp {
    seconds: i64,
    microseconds: i64,
}

impl Timestamp {
    pub fn since_epoch(self) -> Option<Duration> {
        let seconds = Duration::from_secs(u64::try_from(self.seconds).ok()?);
        let micros = Duration::from_micros(u64::try_from(self.microseconds).ok()?);
        Some(seconds + micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(name: &str, data: Value) -> EventKind {
        Event {
            name: name.into(),
            data,
            qemu_time: None,
            received: MonoNs(0),
        }
        .kind()
    }

    #[test]
    fn events_have_their_meaning() {
        assert_eq!(kind("STOP", Value::Null), EventKind::Stop);
        let off = json!({"guest": true, "reason": "guest-shutdown"});
        let expected = EventKind::Shutdown {
            guest: true,
            reason: "guest-shutdown".into(),
        };
        assert_eq!(kind("SHUTDOWN", off), expected);
        let full = json!({"device": "", "node-name": "disk0", "operation": "write",
            "action": "stop", "nospace": true, "reason": "No space left on device"});
        assert!(matches!(
            kind("BLOCK_IO_ERROR", full),
            EventKind::IoError { no_space: true, .. }
        ));
        assert_eq!(
            kind("MIGRATION", json!({"status": "pre-switchover"})),
            EventKind::Migration(StreamState::PreSwitchover)
        );
        assert_eq!(
            kind("MIGRATION", json!({"status": "from-the-future"})),
            EventKind::Migration(StreamState::Other)
        );
    }
}
