//! Getting ready for a VM: checks first, then record, QEMU, relay; each undone if a later one
//! fails.

use super::super::{Tracker, first_view, relays};
use crate::answer::{Answer, Tell, blocking, conflict, refused};
use crate::host::{Host, datastore};
use crate::record::MigrationRecord;
use crate::vm::Message;
use crate::vm::actor::Actor;
use crate::vm::launch::{self, Qemu, launch};
use crate::vm::machine::RunFiles;
use crate::vm::requirements;
use godwit_api::agent::{IncomingRequest, Phase, Role};
use godwit_api::error::{ApiError, ErrorCode};
use godwit_lease::{Lease, VmHome};
use godwit_model::host::PROTOCOL_VERSION;
use godwit_model::vm::VmState;
use godwit_stream::{DestinationRelay, Events};
use std::sync::Arc;

/// Everything that waits for the source.
pub(super) struct Prepared {
    pub actor: Actor,
    pub tracker: Tracker,
    pub qemu: Qemu,
    pub relay: DestinationRelay,
    pub events: Events,
}

/// Checks and makes.
///
/// # Errors
/// The first thing that is missing or fails; nothing is left then.
pub(super) async fn prepare(host: &Arc<Host>, request: &IncomingRequest) -> Answer<Prepared> {
    check(host, request).await?;
    let definition = request.definition.clone();
    let vm = definition.id;
    let Some(slot) = host.registry.open(vm) else {
        return Err(conflict(format!("VM {vm} is on this host already")));
    };
    let mut actor = Actor::new(host, definition, slot, VmState::Incoming)?;
    match make(&mut actor, request).await {
        Ok((tracker, qemu, relay, events)) => Ok(Prepared {
            actor,
            tracker,
            qemu,
            relay,
            events,
        }),
        Err(error) => {
            actor.leave().await;
            Err(error)
        }
    }
}

async fn check(host: &Arc<Host>, request: &IncomingRequest) -> Answer<()> {
    if request.protocol != PROTOCOL_VERSION {
        return Err(refused(format!(
            "protocol {} was asked for, host {} speaks {PROTOCOL_VERSION}: upgrade the older side",
            request.protocol, host.config.id
        )));
    }
    if request.source.id == host.config.id {
        return Err(conflict("the source is this host itself"));
    }
    requirements::check(host, &request.definition)?;
    forget_if_stopped(host, request).await?;
    let home = host.home(&request.definition)?;
    let (host, request) = (Arc::clone(host), request.clone());
    blocking(move || {
        check_epoch(&*host.lease, &home, &request)?;
        check_files(&host, &request)
    })
    .await
}

/// A VM that was here once and was started elsewhere since is shown here as stopped.
async fn forget_if_stopped(host: &Host, request: &IncomingRequest) -> Answer<()> {
    let vm = request.definition.id;
    match host.board.vm(vm).map(|view| view.state) {
        None => Ok(()),
        Some(VmState::Stopped) => host.registry.ask(vm, Message::Forget).await,
        Some(state) => Err(conflict(format!(
            "VM {} is on host {} already ({state})",
            request.definition.name, host.config.id
        ))),
    }
}

/// The epoch before must be the source's: else the plan is stale, or this is another datastore
/// under the same name.
fn check_epoch(lease: &dyn Lease, home: &VmHome, request: &IncomingRequest) -> Answer<()> {
    let newest = lease.newest(home).told(ErrorCode::Unavailable)?;
    let problem = match newest {
        None => format!(
            "{} has no epochs here: is it the same datastore as at the source?",
            home.dir().display()
        ),
        Some(newest) if newest.epoch().next() != request.epoch => {
            format!(
                "the newest epoch is {}, so {} cannot be next: plan the migration anew",
                newest.epoch(),
                request.epoch
            )
        }
        Some(newest) if newest.record.owner.host != request.source.id => {
            format!(
                "epoch {} belongs to host {}, not to the source",
                newest.epoch(),
                newest.record.owner.host
            )
        }
        Some(newest) if newest.released || !newest.record.purpose.runs() => {
            format!(
                "nobody runs the VM by epoch {}: start it instead",
                newest.epoch()
            )
        }
        Some(_) => return Ok(()),
    };
    Err(refused(problem))
}

fn check_files(host: &Host, request: &IncomingRequest) -> Answer<()> {
    let definition = &request.definition;
    let disks = definition
        .disks
        .iter()
        .map(|disk| (&disk.datastore, &disk.path));
    let media = definition
        .media
        .iter()
        .map(|medium| (&medium.datastore, &medium.path));
    for (name, path) in disks.chain(media) {
        let file = datastore::file(&host.config, name, path)?;
        if !file.is_file() {
            return Err(refused(format!(
                "host {} does not see {}: is its datastore `{name}` the same as at the source?",
                host.config.id,
                file.display()
            )));
        }
    }
    Ok(())
}

async fn make(
    actor: &mut Actor,
    request: &IncomingRequest,
) -> Answer<(Tracker, Qemu, DestinationRelay, Events)> {
    let host = Arc::clone(&actor.host);
    let view = first_view(request.migration, request.definition.id, Role::Destination);
    let tracker = host.migrations.begin(view)?;
    actor.show_migration(request.migration, VmState::Incoming, None);
    match make_all(&host, actor, request).await {
        Ok((qemu, relay, events)) => Ok((tracker, qemu, relay, events)),
        Err(error) => Err(failed(&tracker, error)),
    }
}

fn failed(tracker: &Tracker, error: ApiError) -> ApiError {
    tracker.show(|view| {
        view.phase = Phase::Stayed;
        view.detail.clone_from(&error.message);
    });
    error
}

async fn make_all(
    host: &Arc<Host>,
    actor: &Actor,
    request: &IncomingRequest,
) -> Answer<(Qemu, DestinationRelay, Events)> {
    let record = MigrationRecord::Destination {
        id: request.migration,
        epoch: request.epoch,
        source: request.source.clone(),
    };
    // Durable before anything that a next life would have to understand; undone by `leave`.
    actor.remember(None, Some(record)).await?;
    let qemu = launch(host, &actor.definition, true).await?;
    match listen(host, &qemu, request).await {
        Ok((relay, events)) => Ok((qemu, relay, events)),
        Err(error) => {
            launch::destroy(host, &actor.definition, &qemu.process).await?;
            Err(error)
        }
    }
}

async fn listen(
    host: &Host,
    qemu: &Qemu,
    request: &IncomingRequest,
) -> Answer<(DestinationRelay, Events)> {
    let socket = RunFiles::new(&host.config.run_dir, request.definition.id).incoming();
    qemu.monitor
        .prepare_incoming()
        .await
        .told(ErrorCode::Internal)?;
    qemu.monitor
        .migrate_incoming(&socket)
        .await
        .told(ErrorCode::Internal)?;
    let config = relays::receiver(host, request, &qemu.process)?;
    DestinationRelay::spawn(&host.exe, &config)
        .await
        .told(ErrorCode::Unavailable)
}
