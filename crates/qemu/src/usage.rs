//! What a QEMU process uses: processor time, split into its vCPUs and the rest, and memory.
//!
//! From `/proc`. vCPU threads go by the names that `debug-threads=on` gives them. Network bytes
//! come from the tap device, disk bytes from [`crate::monitor::Monitor::block_stats`].

use godwit_model::units::Bytes;
use std::{fs, io, path::Path, time::Duration};

/// One look at a process. Times grow until the process ends; take differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Processor time of the vCPU threads, in steps of 10 ms.
    pub vcpus: Duration,
    /// Processor time of everything else: device emulation, block I/O, migration; also that of
    /// threads that have ended.
    pub other: Duration,
    /// Memory resident, guest memory included.
    pub resident: Bytes,
}

impl ProcessUsage {
    /// All of the process's time.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.vcpus + self.other
    }

    /// Looks at a process.
    ///
    /// # Errors
    /// If there is no such process (any more).
    pub fn of(pid: u32) -> io::Result<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        // The vCPUs first: their time cannot then exceed the total by what runs meanwhile.
        let vcpus = vcpu_ticks(&process.join("task"))?;
        let total = Stat::read(&process)?.ticks;
        Ok(Self {
            vcpus: duration(vcpus),
            other: duration(total.saturating_sub(vcpus)),
            resident: resident(&process)?,
        })
    }
}

/// When a process started, in clock ticks since boot. With the pid it names a process for good:
/// pids are used again.
///
/// # Errors
/// If there is no such process.
pub fn start_ticks(pid: u32) -> io::Result<u64> {
    Stat::read(&Path::new("/proc").join(pid.to_string())).map(|stat| stat.start)
}

/// The thread ids of a QEMU's vCPUs, for pinning.
///
/// # Errors
/// If there is no such process.
pub fn vcpu_threads(pid: u32) -> io::Result<Vec<u32>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))? {
        let entry = entry?;
        let Some(tid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A thread may end between the listing and the look.
        if Stat::read(&entry.path()).is_ok_and(|stat| stat.is_vcpu()) {
            threads.push(tid);
        }
    }
    threads.sort_unstable();
    Ok(threads)
}

fn vcpu_ticks(tasks: &Path) -> io::Result<u64> {
    let mut ticks = 0;
    for entry in fs::read_dir(tasks)? {
        if let Ok(stat) = Stat::read(&entry?.path())
            && stat.is_vcpu()
        {
            ticks += stat.ticks;
        }
    }
    Ok(ticks)
}

/// The fields of `/proc/…/stat` used here.
struct Stat {
    name: String,
    ticks: u64,
    start: u64,
}

impl Stat {
    fn read(folder: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(folder.join("stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// See proc(5). The name may contain anything, so the fields after it count from the last
    /// parenthesis: field 3 is the first, so 14, 15 (user, system) and 22 (start) are 11, 12, 19.
    fn parse(text: &str) -> Option<Self> {
        let (head, tail) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            name: name.to_owned(),
            ticks: number(11)? + number(12)?,
            start: number(19)?,
        })
    }

    /// `CPU 0/TCG`, `CPU 1/KVM`.
    fn is_vcpu(&self) -> bool {
        self.name.starts_with("CPU ") && self.name.contains('/')
    }
}

fn resident(process: &Path) -> io::Result<Bytes> {
    let status = fs::read_to_string(process.join("status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    // A process that is ending has no memory any more.
    Ok(Bytes(kib.unwrap_or(0) * 1024))
}

/// Linux shows user space 100 ticks a second on every architecture that runs this.
fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_no_harm() {
        let text = "42 (CPU 0/TCG) x) S 1 42 42 0 -1 4194624 1 0 0 0 250 50 0 0 20 0 4 0 777 1 2";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.ticks, stat.start, stat.is_vcpu()), (300, 777, true));
        assert_eq!(stat.name, "CPU 0/TCG) x");
        assert!(Stat::parse("42 (x) S 1").is_none());
    }

    #[test]
    fn this_process_uses_something() {
        let pid = std::process::id();
        let usage = ProcessUsage::of(pid).unwrap();
        assert!(usage.resident > Bytes(0) && usage.vcpus == Duration::ZERO);
        assert!(start_ticks(pid).unwrap() > 0);
        assert!(vcpu_threads(pid).unwrap().is_empty());
        assert!(ProcessUsage::of(u32::MAX).is_err());
    }
}
