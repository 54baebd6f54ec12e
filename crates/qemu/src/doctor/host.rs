//! Memory, disk space and clocks of the host.

use godwit_model::{doctor::Check, units::Bytes};
use nix::{
    sys::statvfs::statvfs,
    time::{ClockId, clock_gettime},
};
use std::{fs, path::Path};

/// Less free memory than this holds no VM beside the agent.
const LEAST_MEMORY: Bytes = Bytes::mib(256);
/// Less than this is a farm of toys.
const SCARCE_MEMORY: Bytes = Bytes::gib(2);
/// Guests stop when their datastore is full.
const LEAST_DISK: Bytes = Bytes::mib(64);
const SCARCE_DISK: Bytes = Bytes::gib(2);

pub(super) fn memory() -> Check {
    const ID: &str = "memory";
    const TITLE: &str = "Memory";
    let text = match fs::read_to_string("/proc/meminfo") {
        Ok(text) => text,
        Err(error) => {
            return Check::failed(ID, TITLE, format!("/proc/meminfo: {error}"), "mount /proc");
        }
    };
    let value = |name| meminfo(&text, name).unwrap_or(Bytes(0));
    let (available, total) = (value("MemAvailable:"), value("MemTotal:"));
    let found = format!("{available} of {total} available");
    let remedy = "end what is not needed or add memory: each VM takes its size and some 100 MiB";
    if available < LEAST_MEMORY {
        Check::failed(ID, TITLE, found, remedy)
    } else if available < SCARCE_MEMORY {
        Check::warning(ID, TITLE, found, remedy)
    } else {
        Check::ok(ID, TITLE, found)
    }
}

fn meminfo(text: &str, name: &str) -> Option<Bytes> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = rest.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(Bytes(kib * 1024))
}

pub(super) fn disk_space(path: &Path) -> Check {
    let id = format!("disk:{}", path.display());
    let title = format!("Disk space in {}", path.display());
    let stat = match statvfs(path) {
        Ok(stat) => stat,
        Err(error) => {
            return Check::failed(
                &id,
                &title,
                error.to_string(),
                "create the folder or mount it",
            );
        }
    };
    let size = |blocks: u64| Bytes(blocks.saturating_mul(stat.fragment_size()));
    let (free, total) = (size(stat.blocks_available()), size(stat.blocks()));
    let found = format!("{free} of {total} free");
    let remedy = "remove what is not needed or give it more space: guests pause when it is full";
    if free < LEAST_DISK {
        Check::failed(&id, &title, found, remedy)
    } else if free < SCARCE_DISK {
        Check::warning(&id, &title, found, remedy)
    } else {
        Check::ok(&id, &title, found)
    }
}

/// Lease periods run on this clock: it goes on while the host is suspended.
pub(super) fn boot_clock() -> Check {
    const ID: &str = "clock.boottime";
    const TITLE: &str = "Lease clock (CLOCK_BOOTTIME)";
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(time) => Check::ok(ID, TITLE, format!("{} s since the boot", time.tv_sec())),
        Err(error) => Check::failed(ID, TITLE, error.to_string(), "use Linux 2.6.39 or later"),
    }
}

pub(super) fn clock_source() -> Check {
    const FILE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    judge_clock_source(fs::read_to_string(FILE).unwrap_or_default().trim())
}

fn judge_clock_source(name: &str) -> Check {
    const ID: &str = "clock.source";
    const TITLE: &str = "Clock source";
    match name {
        "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "xen" | "arch_sys_counter" => {
            Check::ok(ID, TITLE, name)
        }
        "" => Check::warning(
            ID,
            TITLE,
            "unknown: /sys does not tell",
            "mount /sys to have it checked",
        ),
        slow => Check::warning(
            ID,
            TITLE,
            format!("{slow}: each look at the clock costs microseconds"),
            "find out from the kernel's log why tsc was not chosen",
        ),
    }
}

pub(super) fn time_sync() -> Check {
    const ID: &str = "time.sync";
    const TITLE: &str = "Time synchronization";
    // SAFETY: all-zero is a valid timex, and `modes` zero only asks.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives through the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    let remedy = "install and start chrony (or systemd-timesyncd, or ntpd); in a container or lab \
         the host does it";
    if state < 0 {
        let error = std::io::Error::last_os_error();
        return Check::warning(
            ID,
            TITLE,
            format!("the kernel does not tell: {error}"),
            remedy,
        );
    }
    if timex.status & libc::STA_UNSYNC != 0 {
        return Check::warning(
            ID,
            TITLE,
            "the clock is not synchronized: times of two hosts in logs and receipts will differ",
            remedy,
        );
    }
    let error_ms = timex.maxerror / 1000;
    Check::ok(
        ID,
        TITLE,
        format!("synchronized, to {error_ms} ms at worst"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_model::doctor::CheckState;

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:       24 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(meminfo(text, "MemAvailable:"), Some(Bytes::mib(1)));
        assert_eq!(meminfo(text, "Nothing:"), None);
    }

    #[test]
    fn a_missing_folder_fails() {
        let check = disk_space(Path::new("/no/such/folder"));
        assert_eq!(check.state, CheckState::Failed);
        assert!(check.remedy.is_some() && check.id.ends_with("/no/such/folder"));
    }

    #[test]
    fn slow_clocks_are_told() {
        assert_eq!(judge_clock_source("tsc").state, CheckState::Ok);
        assert_eq!(judge_clock_source("acpi_pm").state, CheckState::Warning);
        assert_eq!(judge_clock_source("").state, CheckState::Warning);
    }
}
