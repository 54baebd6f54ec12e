//! The same figures as Prometheus reads them: text format 0.0.4.

use crate::host::Host;
use godwit_model::host::{HostStats, VmStats};
use std::fmt::Write;

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All figures of this host.
#[must_use]
pub fn text(host: &Host) -> String {
    let mut out = Text::default();
    let views = host.board.vms();
    out.family("godwit_host_info", "gauge", "The host, by its labels.");
    out.sample(
        &[
            ("host", host.config.id.as_str()),
            ("version", env!("CARGO_PKG_VERSION")),
        ],
        1.0,
    );
    out.family("godwit_vms", "gauge", "VMs on this host, by state.");
    for state in states(views.iter().map(|view| view.state.to_string())) {
        out.sample(&[("state", &state.0)], state.1);
    }
    let stats = host.stats.borrow().clone();
    if let Some(stats) = stats {
        let name = |vm| {
            let view = views.iter().find(|view| view.definition.id == vm);
            view.map(|view| view.definition.name.clone())
                .unwrap_or_default()
        };
        of_host(&mut out, &stats);
        of_vms(&mut out, &stats, name);
    }
    out.0
}

fn states(all: impl Iterator<Item = String>) -> Vec<(String, f64)> {
    let mut counts = std::collections::BTreeMap::new();
    for state in all {
        *counts.entry(state).or_insert(0.0) += 1.0;
    }
    counts.into_iter().collect()
}

#[allow(clippy::cast_precision_loss)] // Prometheus' own numbers are floats
fn of_host(out: &mut Text, stats: &HostStats) {
    out.family(
        "godwit_host_cpu_seconds_total",
        "counter",
        "CPU seconds used on this host's cores.",
    );
    out.sample(&[], stats.cpu_seconds);
    out.family(
        "godwit_host_cpu_percent",
        "gauge",
        "Use of this host's cores in the last second, in percent of all of them.",
    );
    out.sample(&[], stats.cpu_percent);
    out.family("godwit_host_memory_used_bytes", "gauge", "Memory in use.");
    out.sample(&[], stats.memory_used.0 as f64);
    out.family(
        "godwit_card_receive_bytes_total",
        "counter",
        "Bytes received by a network card.",
    );
    for card in &stats.cards {
        out.sample(&[("card", &card.name)], card.rx.0 as f64);
    }
    out.family(
        "godwit_card_transmit_bytes_total",
        "counter",
        "Bytes sent by a network card.",
    );
    for card in &stats.cards {
        out.sample(&[("card", &card.name)], card.tx.0 as f64);
    }
}

type Pick = fn(&VmStats) -> f64;

#[allow(clippy::cast_precision_loss)] // Prometheus' own numbers are floats
fn of_vms(out: &mut Text, stats: &HostStats, name: impl Fn(godwit_model::ids::VmId) -> String) {
    let families: [(&str, &str, &str, Pick); 8] = [
        (
            "godwit_vm_vcpu_seconds_total",
            "counter",
            "CPU seconds of a VM's vCPUs.",
            |vm| vm.vcpu_seconds,
        ),
        (
            "godwit_vm_other_seconds_total",
            "counter",
            "CPU seconds of a VM's QEMU outside its vCPUs.",
            |vm| vm.other_seconds,
        ),
        (
            "godwit_vm_resident_bytes",
            "gauge",
            "Resident memory of a VM's QEMU.",
            |vm| vm.resident.0 as f64,
        ),
        (
            "godwit_vm_disk_read_bytes_total",
            "counter",
            "Bytes that a VM read from its disks.",
            |vm| vm.disk_read.0 as f64,
        ),
        (
            "godwit_vm_disk_written_bytes_total",
            "counter",
            "Bytes that a VM wrote to its disks.",
            |vm| vm.disk_written.0 as f64,
        ),
        (
            "godwit_vm_receive_bytes_total",
            "counter",
            "Bytes that a VM received.",
            |vm| vm.net_rx.0 as f64,
        ),
        (
            "godwit_vm_transmit_bytes_total",
            "counter",
            "Bytes that a VM sent.",
            |vm| vm.net_tx.0 as f64,
        ),
        (
            "godwit_vm_up",
            "gauge",
            "1 for each VM that has a QEMU here.",
            |_| 1.0,
        ),
    ];
    for (family, kind, help, pick) in families {
        out.family(family, kind, help);
        for vm in &stats.vms {
            out.sample(
                &[("vm", &vm.vm.to_string()), ("name", &name(vm.vm))],
                pick(vm),
            );
        }
    }
}

/// The text being written.
#[derive(Default)]
struct Text(String, &'static str);

impl Text {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.1 = name;
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(self.1);
        let pairs: Vec<String> = labels
            .iter()
            .map(|(key, text)| format!("{key}=\"{}\"", escaped(text)))
            .collect();
        if !pairs.is_empty() {
            let _ = write!(self.0, "{{{}}}", pairs.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_model::host::CardStats;
    use godwit_model::units::{Bytes, MonoNs};

    #[test]
    fn each_family_is_described_once_and_before_its_samples() {
        let mut out = Text::default();
        let card = |name: &str| CardStats {
            name: name.into(),
            rx: Bytes(1),
            tx: Bytes(2),
        };
        let stats = HostStats {
            at: MonoNs(0),
            cpu_seconds: 1.5,
            cpu_percent: 3.0,
            memory_used: Bytes(9),
            cards: vec![card("eth0"), card("e\"1")],
            vms: vec![],
        };
        of_host(&mut out, &stats);
        let text = out.0;
        assert!(
            text.contains(
                "# TYPE godwit_host_cpu_seconds_total counter\ngodwit_host_cpu_seconds_total 1.5\n"
            ),
            "{text}"
        );
        assert_eq!(
            text.matches("# TYPE godwit_card_receive_bytes_total")
                .count(),
            1
        );
        assert!(
            text.contains("godwit_card_receive_bytes_total{card=\"e\\\"1\"} 1\n"),
            "{text}"
        );
    }
}
