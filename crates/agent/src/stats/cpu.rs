//! CPU seconds of everything on this host.
//!
//! On a real host that is the machine's own count. Where several hosts share a kernel, it is
//! the sum over the processes of this host's PID namespace: what those that live have used, what
//! those that lived parents have reaped, and what was last seen of those that are gone without
//! having been counted by a parent. A process that both begins and ends between two looks, below
//! a parent that ends too, is missed.

use crate::config::{AgentConfig, CpuAccounting};
use std::fs;

/// Linux shows user space 100 ticks a second on every architecture that runs this.
const TICKS: f64 = 100.0;

/// Counts CPU seconds; never counts backwards.
pub(super) struct CpuCounter {
    accounting: CpuAccounting,
    cores: Vec<usize>,
    /// The last look.
    seen: u64,
    /// What was counted so far.
    counted: u64,
}

impl CpuCounter {
    pub fn new(config: &AgentConfig, cores: u32) -> Self {
        let all = || (0..cores as usize).collect();
        Self {
            accounting: config.cpu_accounting,
            cores: config.cores.clone().unwrap_or_else(all),
            seen: 0,
            counted: 0,
        }
    }

    /// Seconds so far.
    pub fn seconds(&mut self) -> f64 {
        let ticks = match self.accounting {
            CpuAccounting::Host => {
                let text = fs::read_to_string("/proc/stat").unwrap_or_default();
                busy_ticks(&text, &self.cores)
            }
            CpuAccounting::Processes => processes(),
        };
        self.count(ticks);
        #[allow(clippy::cast_precision_loss)] // ticks of years fit well
        let ticks = self.counted as f64;
        ticks / TICKS
    }

    /// A process that ends without being reaped by one that is looked at takes its time out of
    /// the sum; the count then stands still for one look and goes on from there.
    fn count(&mut self, ticks: u64) {
        self.counted += ticks.saturating_sub(self.seen);
        self.seen = ticks;
    }
}

/// Busy time of some cores: all columns of `cpuN` but idle (4th) and I/O wait (5th); guests'
/// (9th, 10th) are in user time already (proc_stat(5)).
fn busy_ticks(stat: &str, cores: &[usize]) -> u64 {
    let of_core = |line: &str| {
        let mut fields = line.strip_prefix("cpu")?.split_ascii_whitespace();
        let core: usize = fields.next()?.parse().ok()?;
        if !cores.contains(&core) {
            return None;
        }
        let ticks: Vec<u64> = fields
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        Some(
            ticks
                .iter()
                .enumerate()
                .filter(|(column, _)| !matches!(column, 3 | 4))
                .map(|(_, t)| t)
                .sum::<u64>(),
        )
    };
    stat.lines().filter_map(of_core).sum()
}

fn processes() -> u64 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter(|entry| {
        entry
            .file_name()
            .as_encoded_bytes()
            .first()
            .is_some_and(u8::is_ascii_digit)
    });
    pids.filter_map(|entry| process_ticks(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .sum()
}

/// User and system time of a process and of its reaped children: fields 14 to 17 of
/// proc_pid_stat(5), counted from after the name, which may hold anything.
fn process_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(4);
    ticks.map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_own_cores_and_only_busy_columns_count() {
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 4 1000 1000 8 16 32 500 500\ncpu1 100 0 0 5 5 0 0 0 0 0\nintr 1";
        assert_eq!(busy_ticks(stat, &[0]), 63);
        assert_eq!(busy_ticks(stat, &[0, 1]), 163);
        assert_eq!(busy_ticks("", &[0]), 0);
    }

    #[test]
    fn a_process_counts_with_its_reaped_children() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194624 1 0 0 0 1 20 300 4000 20 0 4 0 777 1 2";
        assert_eq!(process_ticks(stat), Some(4321));
        assert_eq!(process_ticks("42 (a"), None);
    }

    #[test]
    fn the_count_never_falls_and_never_stalls() {
        let mut counter = CpuCounter {
            accounting: CpuAccounting::Processes,
            cores: vec![],
            seen: 0,
            counted: 0,
        };
        for (ticks, counted) in [(1000, 1000), (1010, 1010), (400, 1010), (410, 1020)] {
            counter.count(ticks);
            assert_eq!(counter.counted, counted);
        }
        let before = counter.seconds();
        assert!(counter.seconds() >= before);
    }
}
