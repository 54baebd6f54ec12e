//! What an agent tells a relay at its start: one line of JSON, since a relay has no files to read.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use godwit_tls::KeyedCert;
use serde::{Deserialize, Serialize};

use crate::{ByteCount, pages::PageKey, wire::MigrationId};

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

/// What a relay may know of pages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PagesConfig {
    /// The farm's key for hashes of pages; both relays need the same.
    pub key: PageKey,
    /// The id of the VM that moves: its pages are kept and evicted together.
    pub vm: [u8; 16],
    /// This host's page store, if it has one.
    pub store: Option<StoreConfig>,
    /// The template that the VM was cloned from, if it was and its index exists.
    pub template: Option<TemplateConfig>,
}

/// A page store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoreConfig {
    /// Its file; it is created if it is not there.
    pub path: PathBuf,
    /// Its size, index included.
    pub size: ByteCount,
}

/// A template and the index of its blocks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TemplateConfig {
    /// The image.
    pub image: PathBuf,
    /// The index.
    pub index: PathBuf,
}

/// The memory of a guest that is being received.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemoryConfig {
    /// QEMU's shared memory file, such as `/proc/<pid>/fd/<number>`.
    pub file: PathBuf,
    /// What QEMU calls it in the stream, such as `pc.ram`.
    pub block: String,
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
    /// What the link carries, in bytes per second, where it is known; else it is measured.
    pub link: Option<ByteCount>,
    /// The share of this host's CPU that nobody uses, 0 to 1, where it is known: it decides how hard pages are packed.
    pub idle: Option<f64>,
    /// How long connecting, with handshake and welcome, may take.
    pub connect_within: Duration,
    /// What is needed to send references in place of pages; `None` sends everything as it is.
    pub pages: Option<PagesConfig>,
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
    /// The guest's memory, if the relay shall write pages there itself; else it gives them to QEMU. Only with `pages`.
    pub memory: Option<MemoryConfig>,
    /// How long to wait for the source's relay.
    pub wait: Duration,
    /// What is needed to take references in place of pages; `None` takes everything as it is.
    pub pages: Option<PagesConfig>,
}

impl SourceConfig {
    /// What most callers want for [`Self::connect_within`].
    pub const CONNECT_WITHIN: Duration = Duration::from_secs(20);
}

impl DestinationConfig {
    /// What most callers want for [`Self::wait`].
    pub const WAIT: Duration = Duration::from_secs(60);
}
