//! Every limit of time in one place. None of them guards safety: that is the lease's alone.

use std::time::Duration;

/// QEMU's monitor must answer within this after the process was started.
pub const QEMU_STARTS: Duration = Duration::from_secs(60);
/// QEMU must be gone within this after it was told to end; then it is killed.
pub const QEMU_QUITS: Duration = Duration::from_secs(5);
/// A killed process is waited for so long before the agent says that it is stuck.
pub const KILLED: Duration = Duration::from_secs(30);

/// The source's relay must have reached the destination's.
pub const CONNECTING: Duration = Duration::from_secs(30);
/// After the guest was paused, everything must be sent within this, or the source goes on.
pub const BLACKOUT: Duration = Duration::from_secs(30);
/// After the release, the destination must run the VM within this, or the source asks for
/// the epoch.
pub const RELEASED: Duration = Duration::from_secs(10);
/// The destination waits so long for the source's relay.
pub const LISTENING: Duration = Duration::from_secs(60);
/// At the destination, a stream that takes longer than the source's own limit by this much
/// is given up.
pub const RECEIVING_SLACK: Duration = Duration::from_secs(120);
/// QEMU's cancelled migration must have ended within this.
pub const CANCELLING: Duration = Duration::from_secs(30);
/// How long a refused image lock is asked for again.
pub const IMAGE_LOCK: Duration = Duration::from_secs(3);
/// Between two tries for it.
pub const IMAGE_LOCK_AGAIN: Duration = Duration::from_millis(20);
/// Between two tries at storage that does not answer.
pub const STORAGE_AGAIN: Duration = Duration::from_secs(1);
/// How often progress is asked from QEMU.
pub const PROGRESS: Duration = Duration::from_millis(500);
/// One long poll at the other agent.
pub const PEER_POLL: Duration = Duration::from_secs(20);
/// Between two tries to reach it.
pub const PEER_AGAIN: Duration = Duration::from_millis(300);
/// How often a yielded source looks at the epoch files.
pub const YIELDED_LOOK: Duration = Duration::from_secs(2);
/// Ended migrations are remembered at least this long.
pub const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// How often figures are taken.
pub const STATS: Duration = Duration::from_secs(1);
/// Disk counters cost a monitor command: they are taken every so many rounds.
pub const DISK_STATS_ROUNDS: u64 = 5;
/// The longest a long poll waits, whatever is asked for.
pub const LONGEST_POLL: Duration = Duration::from_secs(60);
