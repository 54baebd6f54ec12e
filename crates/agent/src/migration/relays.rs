//! How this host's relays are set up: who they are, where they talk, in which traffic class.

use crate::answer::{Answer, internal};
use crate::host::Host;
use crate::pages;
use crate::processes::Process;
use crate::timings;
use crate::vm::machine::RunFiles;
use godwit_api::agent::{IncomingRequest, OutgoingRequest};
use godwit_model::vm::VmDefinition;
use godwit_net::htb::ClassId;
use godwit_qemu::memory;
use godwit_stream::{ByteCount, Credentials, DestinationConfig, MemoryConfig, SourceConfig};
use std::net::SocketAddr;

/// The sending relay of a migration.
///
/// # Errors
/// If the id does not fit the relays' protocol.
pub fn sender(
    host: &Host,
    request: &OutgoingRequest,
    definition: &VmDefinition,
) -> Answer<SourceConfig> {
    Ok(SourceConfig {
        migration: id(&request.migration)?,
        credentials: credentials(host),
        socket: RunFiles::new(&host.config.run_dir, request.vm).outgoing(),
        destination: request.relay,
        destination_host: request.destination.id.to_string(),
        from: Some(host.config.migration_address),
        priority: priority(host),
        link: host.config.migration_rate().map(|rate| ByteCount(rate.0)),
        idle: idle(host),
        connect_within: SourceConfig::CONNECT_WITHIN,
        pages: pages::config(host, request.page_key.as_ref(), definition),
    })
}

/// The receiving relay of a migration.
///
/// # Errors
/// As [`sender`].
pub fn receiver(
    host: &Host,
    request: &IncomingRequest,
    qemu: &Process,
) -> Answer<DestinationConfig> {
    let memory = memory::shared_file(qemu.pid(), request.definition.memory.0);
    Ok(DestinationConfig {
        migration: id(&request.migration)?,
        credentials: credentials(host),
        listen: SocketAddr::new(host.config.migration_address, 0),
        socket: RunFiles::new(&host.config.run_dir, request.definition.id).incoming(),
        source_host: request.source.id.to_string(),
        priority: priority(host),
        wait: timings::LISTENING,
        pages: pages::config(host, request.page_key.as_ref(), &request.definition),
        memory: memory.map(|file| MemoryConfig {
            file,
            block: memory::BLOCK.to_owned(),
        }),
    })
}

fn id(id: &godwit_model::ids::MigrationId) -> Answer<godwit_stream::MigrationId> {
    id.to_string()
        .parse()
        .map_err(|_| internal("a migration's id does not fit the relays' protocol"))
}

fn credentials(host: &Host) -> Credentials {
    let identity = &host.identity;
    Credentials {
        ca_pem: identity.ca_pem.clone(),
        cert_pem: identity.relay.cert_pem.clone(),
        key_pem: identity.relay.key_pem.clone(),
    }
}

/// The share of the host's CPU that is idle, 0 to 1, by the newest figures.
fn idle(host: &Host) -> Option<f64> {
    let stats = host.stats.borrow();
    stats.as_ref().map(|stats| 1.0 - stats.cpu_percent / 100.0)
}

/// The class that migrations have on a divided card.
fn priority(host: &Host) -> Option<u32> {
    let divided = |card: &crate::config::CardConfig| card.is_shared() && card.mbit.is_some();
    let any = host.config.cards.iter().any(divided);
    any.then(|| ClassId::Migration.priority())
}
