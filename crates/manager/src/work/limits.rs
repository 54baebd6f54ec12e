//! How much may happen at once: boots by a host's cores, migrations by host.

use crate::config::ManagerConfig;
use crate::core::Core;
use godwit_model::ids::{HostId, VmId};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A guest that used less than this share of one core between two figures is not booting.
const BOOTED_BELOW: f64 = 0.6;
/// So many figures in a row must say so.
const QUIET_FIGURES: u32 = 2;
/// A guest boots for at least so long …
const BOOT_AT_LEAST: Duration = Duration::from_secs(4);
/// … and holds its place for at most so long.
const BOOT_AT_MOST: Duration = Duration::from_secs(90);

/// Semaphores by host, made when first asked for.
pub struct Limits {
    migrations_per_host: usize,
    starts_per_core: usize,
    migrations: Places<HostId>,
    applications: Places<String>,
    starts: Places<HostId>,
}

/// Places by what they are at.
type Places<K> = Mutex<HashMap<K, Arc<Semaphore>>>;

impl Limits {
    /// Limits as configured.
    #[must_use]
    pub fn new(config: &ManagerConfig) -> Self {
        Self {
            migrations_per_host: config.migrations_per_host,
            starts_per_core: config.starts_per_core,
            migrations: Mutex::default(),
            applications: Mutex::default(),
            starts: Mutex::default(),
        }
    }

    /// A place for a migration at both hosts. Places are taken in the hosts' order, so
    /// that two migrations never wait for each other.
    pub async fn migration(&self, one: &HostId, other: &HostId) -> [OwnedSemaphorePermit; 2] {
        let (first, second) = if one < other {
            (one, other)
        } else {
            (other, one)
        };
        let place = |host| take(&self.migrations, host, self.migrations_per_host);
        [place(first).await, place(second).await]
    }

    /// The one place that the migrations of an application's VMs have, so that no two of them black out together.
    pub async fn application(&self, name: &str) -> OwnedSemaphorePermit {
        take(&self.applications, &name.to_owned(), 1).await
    }

    /// A place for a guest that boots on a host of `cores` cores.
    pub async fn start(&self, host: &HostId, cores: u32) -> OwnedSemaphorePermit {
        let places = self.starts_per_core * cores.max(1) as usize;
        take(&self.starts, host, places).await
    }
}

async fn take<K: Clone + Eq + Hash>(
    all: &Places<K>,
    at: &K,
    places: usize,
) -> OwnedSemaphorePermit {
    let semaphore = all
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(at.clone())
        .or_insert_with(|| Arc::new(Semaphore::new(places)))
        .clone();
    semaphore
        .acquire_owned()
        .await
        .expect("these semaphores are never closed")
}

/// Holds a boot's place until the guest has settled: twenty guests that boot at once take
/// three times as long as one after another.
pub fn hold_until_booted(core: &Arc<Core>, vm: VmId, place: OwnedSemaphorePermit) {
    let core = core.clone();
    tokio::spawn(async move {
        let settled = settled(&core, vm);
        let _ = tokio::time::timeout(BOOT_AT_MOST, settled).await;
        drop(place);
    });
}

async fn settled(core: &Core, vm: VmId) {
    let began = std::time::Instant::now();
    let (mut before, mut quiet) = (None, 0);
    while quiet < QUIET_FIGURES {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(info) = core.live.vm_info(vm) else {
            return;
        };
        let Some(host) = core.live.host(&info.host) else {
            return;
        };
        let (Some(stats), Some(figures)) = (info.stats, host.stats) else {
            continue;
        };
        let now = (figures.at, stats.vcpu_seconds);
        if let Some((at, seconds)) = before.replace(now)
            && now.0 > at
        {
            let load = (now.1 - seconds) / (now.0.millis_since(at) / 1e3);
            let low = load < BOOTED_BELOW && began.elapsed() > BOOT_AT_LEAST;
            quiet = if low { quiet + 1 } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_moves_of_one_application_wait_for_each_other() {
        let limits = Limits::new(&ManagerConfig::default());
        let first = limits.application("shop").await;
        let _other = limits.application("mail").await;
        let second = tokio::time::timeout(Duration::from_millis(50), limits.application("shop"));
        assert!(second.await.is_err());
        drop(first);
        let _second = limits.application("shop").await;
    }
}
