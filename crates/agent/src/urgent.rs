//! Threads that a paused VM waits for run before all others, while its blackout lasts.
//!
//! In a blackout a few short steps follow each other: QEMU, the relay, the agent, the other host's relay, its QEMU, its
//! agent. On a busy host each would wait for its turn among the VMs; a profile showed up to 4 ms at one step. So for these
//! tens of milliseconds they have a real-time priority (sched(7)). Guests' processors never have: a VM that runs must not
//! keep others from running.

use std::fs;

/// The lowest real-time priority is before every ordinary thread.
const PRIORITY: i32 = 1;
/// Threads that these start meanwhile are ordinary ones.
const FIRST: i32 = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;

/// While it lives, the threads go first. Where the system does not allow it they go as before, and the agent's own when
/// another migration's blackout ends meanwhile: that costs time, nothing else.
#[derive(Debug)]
pub struct Urgent {
    threads: Vec<libc::pid_t>,
}

impl Urgent {
    /// This process's threads and those of `processes`, QEMU's processors left out.
    #[must_use]
    pub fn with(processes: impl IntoIterator<Item = u32>) -> Self {
        let threads: Vec<_> = processes
            .into_iter()
            .chain([std::process::id()])
            .flat_map(threads)
            .filter(|thread| set(*thread, FIRST, PRIORITY))
            .collect();
        Self { threads }
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        for thread in &self.threads {
            set(*thread, libc::SCHED_OTHER, 0);
        }
    }
}

fn threads(process: u32) -> Vec<libc::pid_t> {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            // With `debug-threads=on` QEMU calls its processors "CPU 0/KVM" or "ALL CPUs/TCG". A name that cannot be
            // read is not known to be harmless.
            let name = fs::read_to_string(entry.path().join("comm"));
            name.is_ok_and(|name| !name.contains("CPU"))
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn set(thread: libc::pid_t, policy: i32, priority: i32) -> bool {
    let parameter = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: reads `parameter` and touches no memory of ours.
    unsafe { libc::sched_setscheduler(thread, policy, &raw const parameter) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(thread: libc::pid_t) -> i32 {
        // SAFETY: takes a number and touches no memory of ours.
        unsafe { libc::sched_getscheduler(thread) }
    }

    #[test]
    fn threads_go_first_until_it_is_dropped() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let id = child.id().cast_signed();
        let urgent = Urgent::with([child.id()]);
        let allowed = !urgent.threads.is_empty();
        let during = policy(id);
        drop(urgent);
        let after = policy(id);
        child.kill().unwrap();
        child.wait().unwrap();
        if allowed {
            assert_eq!(during, FIRST);
        } else {
            eprintln!("NOT TESTED: real-time priorities are not allowed here");
        }
        assert_eq!(after, libc::SCHED_OTHER);
    }

    #[test]
    fn guests_processors_never_go_first() {
        for (name, goes_first) in [
            ("CPU 0/KVM", false),
            ("ALL CPUs/TCG", false),
            ("mig/src/main", true),
        ] {
            let thread = std::thread::Builder::new().name(name.into());
            let found = thread.spawn(|| {
                // SAFETY: takes nothing and touches no memory of ours.
                let own = unsafe { libc::gettid() };
                threads(std::process::id()).contains(&own)
            });
            assert_eq!(found.unwrap().join().unwrap(), goes_first, "{name}");
        }
    }

    #[test]
    fn a_process_that_is_gone_has_no_threads() {
        assert!(threads(u32::MAX).is_empty());
    }
}
