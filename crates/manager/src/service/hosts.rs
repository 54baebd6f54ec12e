//! Hosts: joining, looking, leaving; and what the farm has because they have it.

use super::{Answer, Caller, Service, internal, invalid, not_found};
use crate::core::host_subject;
use crate::keys::secret;
use crate::link;
use crate::live::LiveHost;
use crate::store::HostRow;
use godwit_api::agent::PageStoreReport;
use godwit_api::error::{ApiError, ErrorCode};
use godwit_api::farm::{
    About, Connection, DatastoreInfo, HostView, JoinReply, JoinRequest, JoinToken, NetworkInfo,
};
use godwit_api::http::CallError;
use godwit_model::host::HostStats;
use godwit_model::ids::HostId;
use godwit_model::task::Severity;
use godwit_tls::{Identity, SubjectNames};
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

/// How long a join token is good.
const TOKEN_LIFE: Duration = Duration::hours(1);

impl Service {
    /// What the manager is: told to anybody.
    #[must_use]
    pub fn about(&self) -> About {
        About {
            name: "godwit".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            farm: self.core.keys.farm.clone(),
        }
    }

    /// A new join token.
    ///
    /// # Errors
    /// No right, or the database fails.
    pub fn join_token(&self, caller: &Caller) -> Answer<JoinToken> {
        self.change(caller, "host.token", "farm", || {
            let secret = secret();
            let expires = OffsetDateTime::now_utc() + TOKEN_LIFE;
            self.core
                .store
                .put_join_token(&hash(&secret), expires.unix_timestamp())
                .map_err(|error| internal(&error))?;
            let token = format!("{secret}.{}", self.core.keys.ca.fingerprint());
            Ok(JoinToken { token, expires })
        })
    }

    /// A host joins: its token is used up, its certificates are signed, and from now on
    /// the manager calls it.
    ///
    /// # Errors
    /// The token is not good, the host is known already, or its requests cannot be signed.
    pub fn join(&self, caller: &Caller, request: &JoinRequest) -> Answer<JoinReply> {
        let result = self.admit(request);
        let by = Caller {
            name: format!("host {}", request.host),
            ..caller.clone()
        };
        self.audit(
            &by,
            "host.join",
            request.host.as_str(),
            result.as_ref().err(),
        )?;
        result
    }

    fn admit(&self, request: &JoinRequest) -> Answer<JoinReply> {
        let core = &self.core;
        let host = &request.host;
        // Certificates are signed before the token is used up, so that a bad request
        // costs no token; they are given out only after it.
        let names = SubjectNames::addresses(request.addresses.iter().copied());
        let sign = |csr: &str, identity: Identity| {
            core.keys
                .ca
                .sign_csr(csr, &identity, &names)
                .map_err(|error| invalid(error.to_string()))
        };
        let certificate = sign(&request.csr, Identity::Agent(host.to_string()))?;
        let relay_certificate = sign(&request.relay_csr, Identity::Relay(host.to_string()))?;
        let token = request.token.split('.').next().unwrap_or_default();
        core.store
            .use_join_token(
                &hash(token),
                host.as_str(),
                OffsetDateTime::now_utc().unix_timestamp(),
            )
            .map_err(|error| internal(&error))?
            .map_err(|refusal| ApiError::new(ErrorCode::Forbidden, refusal.to_string()))?;
        let known = core.live.host(host);
        if let Some(known) = &known
            && known.connection == Connection::Up
        {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                format!(
                    "host {host} is in the farm and answers: choose another id, or remove it first"
                ),
            ));
        }
        let row = HostRow {
            id: host.clone(),
            address: request.agent,
            facts: None,
        };
        let client = core
            .client(&row)
            .map_err(|error| invalid(error.to_string()))?;
        core.live
            .put_host(row, client)
            .map_err(|error| internal(&error))?;
        if known.is_none() {
            link::start(core, host.clone());
        }
        let message = format!("{host} joined the farm");
        core.event(
            "host.joined",
            Severity::Info,
            host_subject(host),
            message,
            None,
        );
        Ok(JoinReply {
            host: host.clone(),
            certificate,
            relay_certificate,
            ca: core.keys.ca.cert_pem().to_owned(),
        })
    }

    /// Every host.
    ///
    /// # Errors
    /// No right.
    pub fn hosts(&self, caller: &Caller) -> Answer<Vec<HostView>> {
        self.may_read(caller)?;
        let live = &self.core.live;
        Ok(live
            .hosts()
            .iter()
            .filter_map(|host| live.host_view(&host.row.id))
            .collect())
    }

    /// One host.
    ///
    /// # Errors
    /// No right, or there is none.
    pub fn host(&self, caller: &Caller, id: &HostId) -> Answer<HostView> {
        self.may_read(caller)?;
        self.core
            .live
            .host_view(id)
            .ok_or_else(|| not_found("host", id.as_str()))
    }

    /// A host's newest figures.
    ///
    /// # Errors
    /// No right, there is none, or it has sent none.
    pub fn host_stats(&self, caller: &Caller, id: &HostId) -> Answer<HostStats> {
        let host = self.host(caller, id)?;
        let missing = || ApiError::new(ErrorCode::Unavailable, format!("{id} has sent no figures"));
        host.stats.ok_or_else(missing)
    }

    /// What a host's page store holds.
    ///
    /// # Errors
    /// No right, no such host, or it does not answer.
    pub async fn host_pages(&self, caller: &Caller, id: &HostId) -> Answer<PageStoreReport> {
        self.may_read(caller)?;
        self.live_host(id)?.client.pages().await.map_err(unanswered)
    }

    /// Empties a host's page store: migrations to it send more until it has filled again.
    ///
    /// # Errors
    /// No right, no such host, or it does not answer.
    pub async fn empty_host_pages(&self, caller: &Caller, id: &HostId) -> Answer<()> {
        let host = self.change(caller, "host.pages.empty", id.as_str(), || {
            self.live_host(id)
        })?;
        host.client.empty_pages().await.map_err(unanswered)
    }

    fn live_host(&self, id: &HostId) -> Answer<LiveHost> {
        let missing = || not_found("host", id.as_str());
        self.core.live.host(id).ok_or_else(missing)
    }

    /// Forgets a host that has no VMs.
    ///
    /// # Errors
    /// No right, there is none, or it has VMs.
    pub fn remove_host(&self, caller: &Caller, id: &HostId) -> Answer<()> {
        self.change(caller, "host.remove", id.as_str(), || {
            let host = self
                .core
                .live
                .host_view(id)
                .ok_or_else(|| not_found("host", id.as_str()))?;
            if host.vms > 0 {
                return Err(ApiError::new(
                    ErrorCode::Conflict,
                    format!("{id} has {} VMs: migrate or delete them first", host.vms),
                ));
            }
            self.core
                .live
                .remove_host(id)
                .map_err(|error| internal(&error))?;
            let message = format!("{id} was removed from the farm");
            self.core.event(
                "host.removed",
                Severity::Info,
                host_subject(id),
                message,
                None,
            );
            Ok(())
        })
    }

    /// Every datastore that a host has.
    ///
    /// # Errors
    /// No right.
    pub fn datastores(&self, caller: &Caller) -> Answer<Vec<DatastoreInfo>> {
        self.may_read(caller)?;
        let mut all: BTreeMap<String, DatastoreInfo> = BTreeMap::new();
        for host in self.core.live.hosts() {
            for store in host.row.facts.iter().flat_map(|facts| &facts.datastores) {
                let known = all
                    .entry(store.name.clone())
                    .or_insert_with(|| DatastoreInfo {
                        name: store.name.clone(),
                        uuid: store.uuid.clone(),
                        total: store.total,
                        free: store.free,
                        hosts: Vec::new(),
                        mismatched: Vec::new(),
                        vms: 0,
                    });
                if known.uuid == store.uuid {
                    known.hosts.push(host.row.id.clone());
                    known.free = store.free;
                } else {
                    known.mismatched.push(host.row.id.clone());
                }
            }
        }
        for vm in self.core.live.vms() {
            if let Some(store) = all.get_mut(&vm.row.definition.datastore) {
                store.vms += 1;
            }
        }
        Ok(all.into_values().collect())
    }

    /// Every network that a host has.
    ///
    /// # Errors
    /// No right.
    pub fn networks(&self, caller: &Caller) -> Answer<Vec<NetworkInfo>> {
        self.may_read(caller)?;
        let mut all: BTreeMap<String, NetworkInfo> = BTreeMap::new();
        for host in self.core.live.hosts() {
            for name in host.row.facts.iter().flat_map(|facts| &facts.networks) {
                let empty = || NetworkInfo {
                    name: name.clone(),
                    hosts: Vec::new(),
                    vms: 0,
                };
                all.entry(name.clone())
                    .or_insert_with(empty)
                    .hosts
                    .push(host.row.id.clone());
            }
        }
        for vm in self.core.live.vms() {
            for nic in &vm.row.definition.nics {
                if let Some(network) = all.get_mut(&nic.network) {
                    network.vms += 1;
                }
            }
        }
        Ok(all.into_values().collect())
    }
}

/// Only a secret's hash is kept: whoever reads the database cannot join by it.
fn hash(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// What a host answered, or that it did not.
fn unanswered(error: CallError) -> ApiError {
    match error {
        CallError::Refused(error) => error,
        other => ApiError::new(ErrorCode::Unavailable, other.to_string()),
    }
}
