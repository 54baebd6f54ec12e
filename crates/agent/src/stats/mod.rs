//! The host's figures, taken every second. Ten VMs on one slow core: whatever is read here is
//! paid for by guests, so only `/proc` is read each time, and QEMU's monitors seldom.

mod cpu;
pub mod metrics;

use crate::config::AgentConfig;
use crate::host::{Host, network};
use crate::timings;
use cpu::CpuCounter;
use godwit_api::agent::VmView;
use godwit_model::host::{CardStats, HostStats, VmStats};
use godwit_model::ids::VmId;
use godwit_model::units::{Bytes, MonoNs};
use godwit_model::vm::VmState;
use godwit_net::clock::now;
use godwit_net::counters::{self, Traffic};
use godwit_qemu::usage::ProcessUsage;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::MissedTickBehavior;

/// Bytes that a VM's disks have read and written.
type DiskBytes = HashMap<VmId, (Bytes, Bytes)>;

/// Takes figures until the agent ends.
pub async fn run(host: Arc<Host>) {
    let mut ticks = tokio::time::interval(timings::STATS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cpu = CpuCounter::new(&host.config, host.hardware.cores);
    let mut disks = DiskBytes::new();
    let mut former: Option<(MonoNs, f64)> = None;
    for round in 0_u64.. {
        ticks.tick().await;
        let views: Vec<VmView> = host
            .board
            .vms()
            .into_iter()
            .filter(|view| view.pid.is_some())
            .collect();
        if round.is_multiple_of(timings::DISK_STATS_ROUNDS) {
            disks = disk_bytes(&host, &views).await;
        }
        let seconds = cpu.seconds();
        let stats = one(&host.config, &views, &disks, seconds);
        let percent = percent(former, (stats.at, seconds), host.hardware.cores);
        former = Some((stats.at, seconds));
        host.stats.send_replace(Some(Arc::new(HostStats {
            cpu_percent: percent,
            ..stats
        })));
    }
}

fn one(config: &AgentConfig, views: &[VmView], disks: &DiskBytes, cpu_seconds: f64) -> HostStats {
    let traffic = counters::all().unwrap_or_default();
    let traffic: HashMap<&str, &Traffic> = traffic
        .iter()
        .map(|each| (each.name.as_str(), each))
        .collect();
    let vms: Vec<VmStats> = views
        .iter()
        .filter_map(|view| vm(view, &traffic, disks))
        .collect();
    let own: u64 = vms.iter().map(|vm| vm.resident.0).sum();
    HostStats {
        at: now(),
        cpu_seconds,
        cpu_percent: 0.0,
        memory_used: match config.cpu_accounting {
            crate::config::CpuAccounting::Host => used_memory(),
            // The machine's figure would count the other hosts on it too.
            crate::config::CpuAccounting::Processes => Bytes(own),
        },
        cards: config
            .cards
            .iter()
            .filter_map(|card| Some(*traffic.get(card.name.as_str())?))
            .map(card)
            .collect(),
        vms,
    }
}

fn used_memory() -> Bytes {
    let (total, available) = (
        crate::host::facts::memory("MemTotal:"),
        crate::host::facts::memory("MemAvailable:"),
    );
    Bytes(total.0.saturating_sub(available.0))
}

fn card(traffic: &Traffic) -> CardStats {
    CardStats {
        name: traffic.name.clone(),
        rx: Bytes(traffic.received_bytes),
        tx: Bytes(traffic.sent_bytes),
    }
}

fn vm(view: &VmView, traffic: &HashMap<&str, &Traffic>, disks: &DiskBytes) -> Option<VmStats> {
    let id = view.definition.id;
    let usage = ProcessUsage::of(view.pid?).ok()?;
    let taps = network::tap_names(&view.definition);
    let taps = || taps.iter().filter_map(|name| traffic.get(name.as_str()));
    let (disk_read, disk_written) = disks.get(&id).copied().unwrap_or_default();
    Some(VmStats {
        vm: id,
        vcpu_seconds: usage.vcpus.as_secs_f64(),
        other_seconds: usage.other.as_secs_f64(),
        resident: usage.resident,
        disk_read,
        disk_written,
        // What the tap has sent, the guest has received.
        net_rx: Bytes(taps().map(|tap| tap.sent_bytes).sum()),
        net_tx: Bytes(taps().map(|tap| tap.received_bytes).sum()),
    })
}

/// Asks the monitors; a VM on the move is left in peace.
async fn disk_bytes(host: &Host, views: &[VmView]) -> DiskBytes {
    let steady = views
        .iter()
        .filter(|view| view.state == VmState::Running && view.migration.is_none());
    let mut all = DiskBytes::new();
    for id in steady.map(|view| view.definition.id) {
        let Some(monitor) = host.registry.monitor(id) else {
            continue;
        };
        if let Ok(disks) = monitor.block_stats().await {
            let sum = |pick: fn(&godwit_qemu::monitor::BlockStats) -> Bytes| {
                Bytes(disks.iter().map(|disk| pick(disk).0).sum())
            };
            all.insert(id, (sum(|disk| disk.read), sum(|disk| disk.written)));
        }
    }
    all
}

/// Use of the host's cores between two figures, in percent of all of them.
fn percent(former: Option<(MonoNs, f64)>, latter: (MonoNs, f64), cores: u32) -> f64 {
    let Some((at, seconds)) = former else {
        return 0.0;
    };
    let passed = latter.0.millis_since(at) / 1000.0 * f64::from(cores);
    if passed <= 0.0 {
        return 0.0;
    }
    ((latter.1 - seconds) / passed * 100.0).clamp(0.0, 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_of_all_cores() {
        let at = |ms: u64| MonoNs(ms * 1_000_000);
        assert!((percent(Some((at(0), 10.0)), (at(1000), 11.0), 2) - 50.0).abs() < 1e-9);
        assert_eq!(percent(None, (at(1000), 11.0), 2), 0.0);
        assert_eq!(percent(Some((at(0), 10.0)), (at(0), 11.0), 2), 0.0);
    }
}
