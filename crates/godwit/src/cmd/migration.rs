//! `godwit migration …`

use crate::context::{CliResult, Context};
use crate::output::{self, or_dash};
use godwit_api::farm::MigrationInfo;
use godwit_model::ids::MigrationId;
use godwit_model::migration::Outcome;
use godwit_model::migration::receipt::{PageBytes, Receipt};

/// Migrations of the farm.
#[derive(Debug, clap::Subcommand)]
pub enum MigrationCommand {
    /// List the newest migrations
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show one migration with its receipt
    Show {
        /// Its id
        migration: MigrationId,
    },
}

impl MigrationCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// The manager says no, or nothing.
    pub async fn run(self, context: &Context) -> CliResult {
        let farm = context.farm()?;
        match self {
            Self::List { limit } => {
                let header = [
                    "id",
                    "vm",
                    "from",
                    "to",
                    "phase",
                    "seconds",
                    "blackout ms",
                    "echo ms",
                    "sent",
                ];
                output::list(context, &farm.migrations(limit).await?, &header, row)
            }
            Self::Show { migration } => {
                let info = farm.migration(migration).await?;
                output::show(context, &info, &lines(&info))
            }
        }
    }
}

/// A receipt in one line.
pub fn summary(receipt: &Receipt) -> String {
    let blackout = receipt.blackout.map_or_else(
        || "not measured".to_owned(),
        |blackout| match blackout.error_ms {
            error if error > 0.0 => format!("{:.1} ms (± {error:.1})", blackout.ms),
            _ => format!("{:.1} ms", blackout.ms),
        },
    );
    format!(
        "{}: {} to {} in {:.2} s, blackout {blackout}, {} sent in {} rounds",
        receipt.vm_name,
        receipt.source,
        receipt.destination,
        receipt.total_ms() / 1e3,
        receipt.wire_bytes,
        receipt.rounds
    )
}

/// How the pages travelled, kind by kind.
fn pages(pages: &PageBytes) -> String {
    let kinds = pages.kinds();
    let kinds = kinds.iter().filter(|(_, bytes)| bytes.0 > 0);
    let texts: Vec<_> = kinds
        .map(|(kind, bytes)| format!("{kind} {bytes}"))
        .collect();
    if texts.is_empty() {
        "sent as they are".to_owned()
    } else {
        texts.join(", ")
    }
}

fn row(info: &MigrationInfo) -> Vec<String> {
    let receipt = info.receipt.as_ref();
    let blackout = receipt.and_then(|receipt| receipt.blackout);
    let echo = receipt.and_then(|receipt| receipt.echo_blackout_ms);
    vec![
        info.id.to_string(),
        info.vm_name.clone(),
        info.source.to_string(),
        info.destination.to_string(),
        info.phase.as_str().to_owned(),
        or_dash(receipt.map(|receipt| format!("{:.2}", receipt.total_ms() / 1e3))),
        or_dash(blackout.map(|blackout| format!("{:.1}", blackout.ms))),
        or_dash(echo.map(|ms| format!("{ms:.0}"))),
        or_dash(receipt.map(|receipt| receipt.wire_bytes)),
    ]
}

fn lines(info: &MigrationInfo) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("id", info.id.to_string()),
        ("vm", info.vm_name.clone()),
        ("from", info.source.to_string()),
        ("to", info.destination.to_string()),
        ("phase", info.phase.as_str().to_owned()),
        (
            "outcome",
            match &info.outcome {
                None => "under way".to_owned(),
                Some(Outcome::Moved) => "moved".to_owned(),
                Some(Outcome::Stayed { reason }) => format!("stayed: {reason}"),
            },
        ),
    ];
    if let Some(receipt) = &info.receipt {
        let phases = &receipt.phases;
        let cpu = |cost: &godwit_model::migration::receipt::CpuCost| {
            format!(
                "relay {:.2} s, qemu {:.2} s",
                cost.relay_seconds, cost.qemu_seconds
            )
        };
        lines.extend([
            ("summary", summary(receipt)),
            ("epoch", receipt.epoch.to_string()),
            ("prepare", format!("{:.0} ms", phases.prepare_ms)),
            ("precopy", format!("{:.0} ms", phases.precopy_ms)),
            ("blackout", format!("{:.1} ms", phases.blackout_ms)),
            ("  commit", format!("{:.1} ms", phases.commit_ms)),
            ("  activate", format!("{:.1} ms", phases.activate_ms)),
            ("clean-up", format!("{:.0} ms", phases.cleanup_ms)),
            (
                "qemu downtime",
                or_dash(receipt.qemu_downtime_ms.map(|ms| format!("{ms} ms"))),
            ),
            (
                "echo blackout",
                or_dash(receipt.echo_blackout_ms.map(|ms| format!("{ms:.0} ms"))),
            ),
            ("stream", receipt.stream_bytes.to_string()),
            ("wire", receipt.wire_bytes.to_string()),
            ("pages", pages(&receipt.pages)),
            ("source cpu", cpu(&receipt.source_cpu)),
            ("destination cpu", cpu(&receipt.destination_cpu)),
        ]);
    }
    lines
}
