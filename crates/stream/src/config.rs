//! What an agent tells a relay at its start: one line of JSON, since a relay has no files to read.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use godwit_tls::KeyedCert;
use serde::{Deserialize, Serialize};

use crate::wire::MigrationId;

/// The certificates a relay works with. Its own names it `relay:<host id>`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// The farm's CA certificate.
    pub ca_pem: String,
    /// The relay's certificate.
    pub cert_pem: String,
    /// The relay's private key.
    pub key_pem: String,
}

impl Credentials {
    pub(crate) fn keyed(&self) -> KeyedCert {
        KeyedCert {
            cert_pem: self.cert_pem.clone(),
            key_pem: self.key_pem.clone(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key must not end up in a log.
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// The sending relay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceConfig {
    /// The migration that both relays belong to.
    pub migration: MigrationId,
    /// Who this relay is.
    pub credentials: Credentials,
    /// The unix socket to create; QEMU is told `migrate unix:<socket>`. It must not exist; its directory must, and
    /// should belong to `nobody` alone.
    pub socket: PathBuf,
    /// Where the destination's relay listens.
    pub destination: SocketAddr,
    /// The host id in the destination relay's certificate.
    pub destination_host: String,
    /// The local address to send from: the host's migration address. `None` leaves it to the routing table.
    pub from: Option<IpAddr>,
    /// The traffic class of the connection, as for `SO_PRIORITY` (0x10020 is class 1:20).
    pub priority: Option<u32>,
    /// How long connecting, with handshake and welcome, may take.
    pub connect_within: Duration,
}

/// The receiving relay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DestinationConfig {
    /// The migration that both relays belong to.
    pub migration: MigrationId,
    /// Who this relay is.
    pub credentials: Credentials,
    /// The migration address to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The unix socket on which QEMU listens: `migrate-incoming unix:<socket>` comes first, then the relay.
    pub socket: PathBuf,
    /// The host id in the source relay's certificate.
    pub source_host: String,
    /// The traffic class of the connection, as for `SO_PRIORITY` (0x10020 is class 1:20).
    pub priority: Option<u32>,
    /// How long to wait for the source's relay.
    pub wait: Duration,
}

impl SourceConfig {
    /// What most callers want for [`Self::connect_within`].
    pub const CONNECT_WITHIN: Duration = Duration::from_secs(20);
}

impl DestinationConfig {
    /// What most callers want for [`Self::wait`].
    pub const WAIT: Duration = Duration::from_secs(60);
}
