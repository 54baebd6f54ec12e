//! `godwit host …`

use super::watch::repeat;
use crate::context::{CliResult, Context};
use crate::output::{self, or_dash};
use godwit_api::agent::{PageStoreReport, PageStoreVm};
use godwit_api::farm::{Connection, HostView, VmInfo};
use godwit_model::ids::{HostId, VmId};
use godwit_model::units::Bytes;
use std::process::ExitCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Hosts of the farm.
#[derive(Debug, clap::Subcommand)]
pub enum HostCommand {
    /// List the hosts with their load
    List {
        /// Print again each second
        #[arg(long, short)]
        watch: bool,
    },
    /// Show one host
    Show {
        /// Its id
        host: HostId,
    },
    /// Show a host's newest figures
    Stats {
        /// Its id
        host: HostId,
        /// Print again each second
        #[arg(long, short)]
        watch: bool,
    },
    /// Show what a host's page store holds: pages that migrations to it need not send
    Pages {
        /// Its id
        host: HostId,
        /// Empty it
        #[arg(long)]
        empty: bool,
    },
    /// Make a token with which one host can join, within an hour
    Token,
    /// Forget a host that has no VMs
    Remove {
        /// Its id
        host: HostId,
    },
}

impl HostCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// The manager says no, or nothing.
    pub async fn run(self, context: &Context) -> CliResult {
        let farm = context.farm()?;
        match self {
            Self::List { watch } => {
                repeat(watch, async || {
                    let header = [
                        "host", "state", "cpu", "cores", "memory", "promised", "vms", "accel",
                        "address",
                    ];
                    output::list(context, &farm.hosts().await?, &header, row)
                })
                .await
            }
            Self::Show { host } => {
                let view = farm.host(&host).await?;
                output::show(context, &view, &lines(&view))
            }
            Self::Stats { host, watch } => {
                repeat(watch, async || {
                    let stats = farm.host_stats(&host).await?;
                    if context.json() {
                        return output::json(&stats);
                    }
                    println!(
                        "cpu {:.1} %, memory {}",
                        stats.cpu_percent, stats.memory_used
                    );
                    let header = [
                        "vm", "vcpu s", "other s", "resident", "disk r", "disk w", "net rx",
                        "net tx",
                    ];
                    output::list(context, &stats.vms, &header, |vm| {
                        vec![
                            vm.vm.to_string(),
                            format!("{:.1}", vm.vcpu_seconds),
                            format!("{:.1}", vm.other_seconds),
                            vm.resident.to_string(),
                            vm.disk_read.to_string(),
                            vm.disk_written.to_string(),
                            vm.net_rx.to_string(),
                            vm.net_tx.to_string(),
                        ]
                    })
                })
                .await
            }
            Self::Pages { host, empty } => {
                if empty {
                    farm.empty_host_pages(&host).await?;
                }
                let report = farm.host_pages(&host).await?;
                if context.json() {
                    return output::json(&report);
                }
                show_pages(context, &report, &farm.vms().await?)
            }
            Self::Token => {
                let token = farm.join_token().await?;
                if context.json() {
                    return output::json(&token);
                }
                println!("{}", token.token);
                Ok(ExitCode::SUCCESS)
            }
            Self::Remove { host } => {
                farm.remove_host(&host).await?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn show_pages(context: &Context, report: &PageStoreReport, known: &[VmInfo]) -> CliResult {
    // A VM that is no more has no name, but may have pages.
    let name = |id: VmId| {
        let vm = known.iter().find(|vm| vm.definition.id == id);
        vm.map_or_else(|| id.to_string(), |vm| vm.definition.name.clone())
    };
    let pages = |count: u64| Bytes(count * 4096);
    let asked = report.hits + report.misses;
    let rate = (asked > 0).then(|| 100.0 * report.hits as f64 / asked as f64);
    let lines = [
        ("file", report.path.display().to_string()),
        ("size", report.size.to_string()),
        (
            "holds",
            format!("{} of {}", pages(report.pages), pages(report.capacity)),
        ),
        ("asked for", asked.to_string()),
        ("found", or_dash(rate.map(|rate| format!("{rate:.1} %")))),
        ("damaged", report.bad.to_string()),
    ];
    output::show(context, report, &lines)?;
    let seen = |vm: &PageStoreVm| {
        let at = i64::try_from(vm.seen).ok()?;
        let at = OffsetDateTime::from_unix_timestamp(at).ok()?;
        at.format(&Rfc3339).ok()
    };
    output::list(context, &report.vms, &["vm", "pages", "seen"], |vm| {
        vec![name(vm.vm), pages(vm.pages).to_string(), or_dash(seen(vm))]
    })
}

fn state(host: &HostView) -> &'static str {
    match host.connection {
        Connection::Up => "up",
        Connection::Lost => "lost",
        Connection::Joining => "joining",
    }
}

fn row(host: &HostView) -> Vec<String> {
    let facts = host.facts.as_ref();
    vec![
        host.id.to_string(),
        state(host).to_owned(),
        or_dash(
            host.stats
                .as_ref()
                .map(|stats| format!("{:.0} %", stats.cpu_percent)),
        ),
        or_dash(facts.map(|facts| facts.cores)),
        or_dash(facts.map(|facts| facts.memory)),
        host.memory_committed.to_string(),
        host.vms.to_string(),
        or_dash(facts.map(|facts| facts.accelerator.clone())),
        host.address.to_string(),
    ]
}

fn lines(host: &HostView) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("id", host.id.to_string()),
        ("state", format!("{} since {}", state(host), host.since)),
        ("address", host.address.to_string()),
        ("vms", host.vms.to_string()),
        ("memory promised", host.memory_committed.to_string()),
    ];
    if let Some(facts) = &host.facts {
        let stores = facts
            .datastores
            .iter()
            .map(|s| format!("{} ({} free)", s.name, s.free));
        let cards = facts
            .cards
            .iter()
            .map(|card| format!("{} {:?}", card.name, card.roles));
        lines.extend([
            ("memory", facts.memory.to_string()),
            ("cores", facts.cores.to_string()),
            ("godwit", facts.godwit_version.clone()),
            (
                "qemu",
                format!("{} ({})", facts.qemu_version, facts.accelerator),
            ),
            ("cpu models", facts.cpu_models.join(", ")),
            ("datastores", stores.collect::<Vec<_>>().join(", ")),
            ("networks", facts.networks.join(", ")),
            ("cards", cards.collect::<Vec<_>>().join(", ")),
            ("migration", facts.migration_address.to_string()),
        ]);
    }
    lines
}
