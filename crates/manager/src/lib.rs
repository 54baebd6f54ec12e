//! The central daemon: the farm's inventory, its tasks and events, and the REST API.
//!
//! It plans and watches; it is never in the path of safety. It may die at any time:
//! nothing on the hosts notices, and what was under way is found again by its ids.
//!
//! - [`store`] what survives, [`live`] what is known right now, [`link`] the line to hosts
//! - [`work`] tasks, [`service`] every rule of who may do what, [`rest`] its translation

pub mod config;
pub mod core;
pub mod keys;
pub mod link;
pub mod live;
pub mod rest;
pub mod service;
pub mod store;
#[cfg(test)]
mod testing;
pub mod work;

use config::ManagerConfig;
use godwit_tls::{ClientAuth, Limits};
use keys::FarmKeys;
use service::Service;
use std::net::IpAddr;
use std::path::PathBuf;
use tokio::net::TcpListener;

/// Why the manager cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folder.
    #[error("cannot use the state folder {}: make it, or name another as `state_dir`", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another manager has the folder.
    #[error("another manager runs on {}: stop it first", .0.display())]
    Running(PathBuf),
    /// Its database.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// Its keys.
    #[error(transparent)]
    Keys(#[from] keys::KeysError),
    /// TLS.
    #[error("TLS cannot be set up")]
    Tls(#[from] godwit_tls::ConfigError),
    /// Its address.
    #[error(
        "cannot listen on {address}: is another program there, or is the address not this machine's?"
    )]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs the manager until `shutdown`.
///
/// # Errors
/// It cannot start; once it serves, nothing ends it but `shutdown`.
pub async fn run(
    config: ManagerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    godwit_tls::install_provider();
    let folder = config.state_dir.clone();
    let _lock = lock(&folder)?;
    let store = store::Store::open(&folder.join(store::FILE))?;
    let keys = FarmKeys::load(&store, &folder, &addresses(&config))?;
    let tls = godwit_tls::config::server(keys.ca.cert_pem(), &keys.manager, ClientAuth::Optional)?;
    let address = config.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })?;
    let core = core::Core::load(config, store, keys)?;
    for host in core.live.hosts() {
        link::start(&core, host.row.id);
    }
    work::resume(&core)?;
    tracing::info!(%address, farm = core.keys.farm, "the manager serves");
    let router = rest::router(Service::new(core));
    godwit_tls::serve(listener, tls, router, Limits::default(), shutdown).await;
    Ok(())
}

/// Puts a backup in place as the state of a manager that does not run.
///
/// # Errors
/// The manager runs, `file` is no backup, or the folder cannot be written.
pub fn restore(file: &std::path::Path, state_dir: &std::path::Path) -> Result<(), StartError> {
    let _lock = lock(state_dir)?;
    Ok(store::restore(file, state_dir)?)
}

fn addresses(config: &ManagerConfig) -> Vec<IpAddr> {
    let mut all = config.addresses.clone();
    all.push(config.listen.ip());
    all.push(IpAddr::from([127, 0, 0, 1]));
    all
}

/// Two managers on one folder would overwrite each other: the second does not start. The
/// lock is the kernel's and ends with the process.
fn lock(folder: &std::path::Path) -> Result<std::fs::File, StartError> {
    let failed = |source| StartError::Folder {
        path: folder.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::Running(folder.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}
