//! The manager's line to each host: asks for what changed (long poll) and for figures
//! (each second), and notices when the host no longer answers. A host that does not answer
//! is never acted against from here: its VMs go on running.

use crate::core::{Core, host_subject, vm_subject};
use crate::live::LiveHost;
use godwit_api::agent::AgentEvent;
use godwit_api::farm::Connection;
use godwit_api::http::CallError;
use godwit_model::ids::HostId;
use godwit_model::task::{Severity, Subject};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a poll for changes waits.
const POLL: Duration = Duration::from_secs(10);
/// How often figures are asked for.
const STATS: Duration = Duration::from_secs(1);
/// How often a host's facts (room on datastores, …) are asked for.
const FACTS: Duration = Duration::from_secs(10);
/// How long to wait before a host that does not answer is called again.
const RETRY: Duration = Duration::from_millis(500);

/// Keeps the line to one host until the host is removed.
pub fn start(core: &Arc<Core>, id: HostId) {
    tokio::spawn(figures(core.clone(), id.clone()));
    tokio::spawn(changes(core.clone(), id));
}

async fn figures(core: Arc<Core>, id: HostId) {
    let mut tick = tokio::time::interval(STATS);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(host) = core.live.host(&id) else {
            return;
        };
        if host.connection == Connection::Up
            && let Ok(stats) = host.client.stats().await
        {
            core.live.set_stats(&id, stats);
        }
    }
}

async fn changes(core: Arc<Core>, id: HostId) {
    let mut since = 0;
    let mut facts_at: Option<Instant> = None;
    while let Some(host) = core.live.host(&id) {
        let fresh = facts_at.is_some_and(|at| at.elapsed() < FACTS);
        let result = async {
            if !fresh {
                facts(&core, &host).await?;
                facts_at = Some(Instant::now());
            }
            let wait = if host.connection == Connection::Up {
                POLL
            } else {
                Duration::ZERO
            };
            poll(&core, &host, since, wait).await
        }
        .await;
        match result {
            Ok(next) => {
                since = next;
                connected(&core, &id);
            }
            Err(error) => {
                since = 0; // whatever comes next, everything is read anew
                facts_at = None;
                lost(&core, &id, &error);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn facts(core: &Core, host: &LiveHost) -> Result<(), CallError> {
    let facts = host.client.host().await?;
    if let Err(error) = core.live.set_facts(&host.row.id, facts) {
        tracing::error!(%error, host = %host.row.id, "facts were not written down");
    }
    Ok(())
}

async fn poll(core: &Core, host: &LiveHost, since: u64, wait: Duration) -> Result<u64, CallError> {
    let changes = host.client.changes(since, wait).await?;
    let id = &host.row.id;
    for view in changes.vms {
        if let Err(error) = core.live.report_vm(id, view) {
            tracing::error!(%error, host = %id, "a VM's change was not written down");
        }
    }
    for vm in changes.gone {
        core.live.report_gone(id, vm);
    }
    // A first read gives everything that the agent remembers: that is no news.
    if since != 0 {
        for event in changes.happened {
            happened(core, id, &event);
        }
    }
    Ok(changes.next)
}

fn happened(core: &Core, host: &HostId, event: &AgentEvent) {
    let vm = event.vm.and_then(|id| core.live.vm(id));
    let subject: Subject =
        vm.map_or_else(|| host_subject(host), |vm| vm_subject(&vm.row.definition));
    let severity = match event.kind.as_str() {
        "vm.crashed" | "vm.io_error" | "vm.held" => Severity::Error,
        _ => Severity::Info,
    };
    core.event(
        &event.kind,
        severity,
        subject,
        format!("{host}: {}", event.message),
        None,
    );
}

fn connected(core: &Core, id: &HostId) {
    if core.live.set_connection(id, Connection::Up) {
        core.event(
            "host.up",
            Severity::Info,
            host_subject(id),
            format!("{id} answers"),
            None,
        );
    }
}

fn lost(core: &Core, id: &HostId, error: &CallError) {
    if core.live.set_connection(id, Connection::Lost) {
        core.live.forget_views(id);
        let message = format!("{id} does not answer; its VMs go on if it lives ({error})");
        core.event(
            "host.lost",
            Severity::Warning,
            host_subject(id),
            message,
            None,
        );
    }
}
