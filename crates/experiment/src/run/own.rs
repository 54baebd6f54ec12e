//! The instrument itself: what CPU it takes, how it stays punctual beside busy VMs, and the machine
//! it runs on.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

use crate::raw::Machine;

/// CPU time this process has taken so far, all threads, user and system.
#[must_use]
pub fn cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return Duration::ZERO;
    };
    let part = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs())
            + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    part(usage.user_time()) + part(usage.system_time())
}

/// How much more punctual than the VMs generator and probe shall be.
const NICE: i32 = -10;

/// Puts all threads of this process before the VMs' where cores are shared: the instrument takes a
/// few percent of a core, but a late one measures itself. Returns whether that was allowed.
#[must_use]
pub fn be_punctual() -> bool {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return false;
    };
    let ids = threads
        .flatten()
        .filter_map(|t| t.file_name().to_str()?.parse::<libc::id_t>().ok());
    let mut allowed = true;
    for thread in ids {
        // SAFETY: setpriority takes three numbers and touches no memory of ours; on Linux the id
        // of a thread is a valid "process" here, and one that has ended meanwhile gives an error.
        let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, thread, NICE) };
        allowed &= result == 0;
    }
    allowed
}

/// The machine this process runs on, as it says of itself.
#[must_use]
pub fn machine() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str, separator: char| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|l| l.split_once(separator))
            .map(|(_, v)| v.trim().trim_matches('"').to_owned())
    };
    let kilobytes = value(&read("/proc/meminfo"), "MemTotal", ':').and_then(|v| {
        v.split_whitespace()
            .next()
            .and_then(|n| n.parse::<u64>().ok())
    });
    Machine {
        cpu: value(&read("/proc/cpuinfo"), "model name", ':')
            .unwrap_or_else(|| "unknown CPU".into()),
        cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        memory_bytes: kilobytes.unwrap_or(0) * 1024,
        system: value(&read("/etc/os-release"), "PRETTY_NAME", '=')
            .unwrap_or_else(|| "Linux".into()),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}

/// The id of this boot: a host that has the same shares this process' clock.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_cpu() {
        let before = cpu();
        let mut sum = 0u64;
        while cpu() - before < Duration::from_millis(20) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }

    #[test]
    fn the_machine_is_known() {
        let machine = machine();
        assert!(machine.cores >= 1 && machine.memory_bytes > 0 && !machine.kernel.is_empty());
        assert!(!boot_id().is_empty());
    }
}
