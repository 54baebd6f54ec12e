//! What agent and keeper say to each other: one JSON value a line over a unix socket.
//!
//! ```text
//! agent   {"hello":{"version":1}}                 keeper  {"hello":{"version":1,"keeper":…,"pid":…}}
//!         {"spawn":{"vm":…,"argv":[…],…}}                 {"spawned":{"pid":…}}
//!         {"kill":{"vm":…,"signal":"terminate"}}          "done"
//!         "list"                                          {"running":[…]}
//!         {"watch":{"keeper":…,"seq":7}}                  "done", then {"exited":{…}} as they happen
//!         {"shutdown":{"force":false}}                    "done", when the last child is gone
//! ```
//! One reply to each request, in order; `{"refused":{"code":…,"text":…}}` where it was not
//! done. A line that is no request, or too long, ends the connection and nothing else.

use godwit_model::ids::VmId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use time::OffsetDateTime;
use uuid::Uuid;

/// Spoken by both sides; a keeper outlives agents, so a change must be additive or raise this.
pub const PROTOCOL_VERSION: u32 = 1;

/// In bytes, with the line feed. A QEMU command line takes about five thousand.
pub const LONGEST_LINE: usize = 256 * 1024;

/// What an agent asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Must come first.
    Hello { version: u32 },
    /// Starts a process.
    Spawn(Spawn),
    /// Sends a signal.
    Kill { vm: VmId, signal: KillSignal },
    /// Asks for what runs.
    List,
    /// Asks for all exits after these, from now on. Nothing else can be asked on this
    /// connection afterwards.
    Watch(Seen),
    /// Ends the keeper, once it has no children; with `force` they are killed.
    Shutdown { force: bool },
}

/// What the keeper says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Hello {
        version: u32,
        keeper: Uuid,
        pid: u32,
    },
    Spawned {
        pid: u32,
    },
    Running(Vec<Running>),
    Done,
    Refused(Refused),
    Exited(Exit),
}

/// A process to be started for a VM. There is at most one per VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// The VM.
    pub vm: VmId,
    /// The program (an absolute path) and its arguments.
    pub argv: Vec<String>,
    /// Takes standard output and error, appended; made with mode 0600 if it is not there.
    pub log: PathBuf,
    /// The CPUs it may run on; those of the keeper if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Vec<usize>>,
    /// Kept and given back in [`Running`] and [`Exit`]: the agent's own note, for adopting.
    #[serde(default)]
    pub tag: String,
}

/// The signals an agent may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillSignal {
    /// SIGTERM to the process: QEMU ends in order, the guest is not asked.
    Terminate,
    /// SIGKILL to the process and its whole group.
    Kill,
}

/// A process that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The VM it was started for.
    pub vm: VmId,
    /// Its process id, which is its process group's too.
    pub pid: u32,
    /// The agent's note from [`Spawn`].
    pub tag: String,
    /// Wall clock, for people.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
}

/// A process that ended, and is gone: the kernel has reported it to its parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Counts this keeper's exits from 1.
    pub seq: u64,
    /// The VM it was started for.
    pub vm: VmId,
    /// What its process id was.
    pub pid: u32,
    /// The agent's note from [`Spawn`].
    pub tag: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Wall clock, for people.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Up to where a watcher has seen a keeper's exits. The default has seen none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Which keeper; another one counts from 1 again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper: Option<Uuid>,
    /// The last exit seen.
    #[serde(default)]
    pub seq: u64,
}

/// The keeper did not do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// For programs.
    pub code: RefusalCode,
    /// For people: what is wrong and what to do.
    pub text: String,
}

/// Why the keeper did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The request makes no sense.
    Invalid,
    /// Agent and keeper are of different versions.
    Version,
    /// The VM has a process already.
    AlreadyRunning,
    /// A process of a former keeper still exists for this VM (stuck in the kernel?).
    StillThere,
    /// The VM has no process.
    NotRunning,
    /// The program could not be started.
    CannotStart,
    /// The keeper has children and `force` was not given.
    HasChildren,
    /// The keeper is about to end.
    ShuttingDown,
    /// A code of a newer keeper.
    #[serde(other)]
    Other,
}

impl Refused {
    pub(crate) fn new(code: RefusalCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code, text }
    }
}

/// One line, with its end.
pub(crate) fn line<T: Serialize>(message: &T) -> Vec<u8> {
    // Cannot fail: the messages hold no maps with odd keys and no foreign `Serialize`.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}
