//! Getting ready to send a VM: checks first, then QEMU's settings, record, relay; each undone if a
//! later one fails.

use super::super::{Tracker, first_view, relays};
use crate::answer::{Answer, Tell, conflict};
use crate::host::Host;
use crate::record::MigrationRecord;
use crate::vm::actor::{Activity, Actor, Machine};
use godwit_api::agent::{OutgoingRequest, Phase, Role};
use godwit_api::error::ErrorCode;
use godwit_model::units::Bytes;
use godwit_model::vm::VmState;
use godwit_qemu::monitor::MigrationSettings;
use godwit_stream::{Events, SourceRelay};
use std::time::Duration;

/// Record, QEMU's settings, relay: undone when a later one fails.
pub(super) async fn prepare(
    actor: &mut Actor,
    machine: &Machine,
    activity: &Activity,
    request: &OutgoingRequest,
) -> Answer<(Tracker, SourceRelay, Events)> {
    check(actor, machine, activity, request)?;
    let view = first_view(request.migration, request.vm, Role::Source);
    let tracker = actor.host.migrations.begin(view)?;
    let settings = settings(&actor.host, request);
    machine
        .monitor
        .prepare_outgoing(&settings)
        .await
        .told(ErrorCode::Internal)?;
    let record = MigrationRecord::Source {
        id: request.migration,
        epoch: request.epoch,
        destination: request.destination.clone(),
    };
    actor.remember(Some(&machine.claim), Some(record)).await?;
    match start_relay(actor, request).await {
        Ok((relay, events)) => {
            actor.event(
                "vm.migrating",
                format!("migrates to {}", request.destination.id),
            );
            actor.show_migration(request.migration, VmState::Migrating, None);
            Ok((tracker, relay, events))
        }
        Err(error) => {
            tracker.show(|view| {
                view.phase = Phase::Stayed;
                view.detail.clone_from(&error.message);
            });
            actor.remember(Some(&machine.claim), None).await?;
            Err(error)
        }
    }
}

fn check(
    actor: &Actor,
    machine: &Machine,
    activity: &Activity,
    request: &OutgoingRequest,
) -> Answer<()> {
    let name = &actor.definition.name;
    if !matches!(activity, Activity::Running) {
        return Err(conflict(format!(
            "VM {name} does not run: resume or start it before it is migrated"
        )));
    }
    if request.destination.id == actor.host.config.id {
        return Err(conflict(format!(
            "VM {name} is on {} already",
            request.destination.id
        )));
    }
    let epoch = machine.claim.epoch();
    if request.epoch != epoch.next() {
        return Err(conflict(format!(
            "VM {name} runs by epoch {epoch}, so a migration is decided by epoch {}, not {}: plan it anew",
            epoch.next(),
            request.epoch
        )));
    }
    Ok(())
}

fn settings(host: &Host, request: &OutgoingRequest) -> MigrationSettings {
    let options = &request.options;
    MigrationSettings {
        max_bandwidth: options.max_bandwidth.unwrap_or(Bytes(0)),
        downtime_limit: Duration::from_millis(options.downtime_limit_ms.into()),
        switchover_bandwidth: host.config.migration_rate(),
        auto_converge: options.auto_converge,
    }
}

async fn start_relay(actor: &Actor, request: &OutgoingRequest) -> Answer<(SourceRelay, Events)> {
    let config = relays::sender(&actor.host, request, &actor.definition)?;
    // A relay that was killed leaves its socket.
    let _ = std::fs::remove_file(&config.socket);
    SourceRelay::spawn(&actor.host.exe, &config)
        .await
        .told(ErrorCode::Unavailable)
}
