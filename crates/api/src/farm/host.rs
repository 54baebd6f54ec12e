//! Hosts, datastores and networks of the farm, and how hosts join it.

use godwit_model::host::{HostFacts, HostStats};
use godwit_model::ids::HostId;
use godwit_model::units::Bytes;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A host as the manager knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostView {
    /// Its id.
    pub id: HostId,
    /// Where its agent answers.
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// Whether it answers now.
    pub connection: Connection,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// What it last said of itself.
    pub facts: Option<HostFacts>,
    /// Its newest figures.
    pub stats: Option<HostStats>,
    /// VMs on it.
    pub vms: usize,
    /// Memory promised to VMs on it.
    pub memory_committed: Bytes,
}

/// Whether a host answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// It answers.
    Up,
    /// It does not; its VMs go on running if it lives.
    Lost,
    /// It has joined and was not reached yet.
    Joining,
}

/// A token with which one host can join, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinToken {
    /// `<secret>.<fingerprint of the farm CA>`.
    pub token: String,
    /// It is worth nothing after this.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
}

/// A host asks to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinRequest {
    /// The secret part of the token, or the whole token.
    pub token: String,
    /// The id that the host wants (its name).
    pub host: HostId,
    /// Addresses that its certificate must be good for.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Where its agent will answer.
    #[schema(value_type = String)]
    pub agent: SocketAddr,
    /// Its certificate signing request, PEM.
    pub csr: String,
    /// A second request, for the host's relays.
    pub relay_csr: String,
}

/// The host has joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinReply {
    /// Its id.
    pub host: HostId,
    /// Certificate of its agent, PEM.
    pub certificate: String,
    /// Certificate of its relays, PEM.
    pub relay_certificate: String,
    /// Certificate of the farm CA, PEM.
    pub ca: String,
}

/// A datastore of the farm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatastoreInfo {
    /// Its name.
    pub name: String,
    /// The id written into it; hosts whose datastore of this name has another id are
    /// listed under `mismatched`.
    pub uuid: String,
    /// Size.
    pub total: Bytes,
    /// Room left.
    pub free: Bytes,
    /// Hosts that see it.
    pub hosts: Vec<HostId>,
    /// Hosts that have something else under this name.
    pub mismatched: Vec<HostId>,
    /// VMs that live on it.
    pub vms: usize,
}

/// A network of the farm: virtual switches of one name on the hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkInfo {
    /// Its name.
    pub name: String,
    /// Hosts that have it.
    pub hosts: Vec<HostId>,
    /// VMs plugged into it.
    pub vms: usize,
}
