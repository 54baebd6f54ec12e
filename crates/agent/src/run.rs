//! The agent's life: look at the host, set it up, adopt what runs, serve.

use crate::answer::whole;
use crate::config::AgentConfig;
use crate::host::facts::{Hardware, HardwareError};
use crate::host::{Host, datastore, network};
use crate::identity::{HostIdentity, IdentityError};
use crate::migration::Migrations;
use crate::processes::Processes;
use crate::record::Records;
use crate::vm::{Registry, adopt};
use crate::{board, http, stats};
use godwit_api::error::ApiError;
use godwit_lease::keeper::ClientError;
use godwit_lease::{DatastoreLease, Owner};
use godwit_net::NetError;
use godwit_tls::{ClientAuth, Limits};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A folder or file of its own.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another one runs.
    #[error("another agent runs in {}: stop it first", .0.display())]
    Running(PathBuf),
    /// The host has not joined.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS.
    #[error("the host's identity cannot be used: join the farm again")]
    Tls(#[from] godwit_tls::ConfigError),
    /// No usable QEMU.
    #[error(transparent)]
    Hardware(#[from] HardwareError),
    /// Cards and bridges.
    #[error("the network cannot be set up")]
    Network(#[from] NetError),
    /// The keeper.
    #[error(transparent)]
    Keeper(#[from] ClientError),
    /// Adoption.
    #[error("what runs cannot be found out: {0}")]
    Adopt(ApiError),
    /// The address.
    #[error("cannot listen on {address}: check that this host has it and that the port is free")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A defect.
    #[error("a part of the start died")]
    Died(#[from] tokio::task::JoinError),
}

/// Runs an agent until `shutdown` completes. VMs are not touched by its end.
///
/// `exe` is the godwit binary: keeper and relays are commands of it.
///
/// # Errors
/// If it cannot start.
pub async fn run(
    config: AgentConfig,
    exe: PathBuf,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    godwit_tls::install_provider();
    let _lock = own_run_dir(&config)?;
    let identity = HostIdentity::load(&config.state_dir)?;
    let tls = godwit_tls::config::server(&identity.ca_pem, &identity.agent, ClientAuth::Required)?;
    let hardware = Hardware::find(&config).await?;
    let setup = config.clone();
    tokio::task::spawn_blocking(move || set_up(&setup)).await??;
    // The socket before the VMs: a second host with this address is noticed before harm is done.
    let listener = listen(&config).await?;
    let host = host(config, exe, identity, hardware).await?;
    adopt::adopt_all(&host).await.map_err(RunError::Adopt)?;
    let text = format!(
        "agent of {} serves on {}",
        host.config.id, host.config.listen
    );
    host.board.event("agent.started", None, text);
    let figures = tokio::spawn(stats::run(Arc::clone(&host)));
    let router = http::router(Arc::clone(&host));
    godwit_tls::serve(listener, tls, router, Limits::default(), shutdown).await;
    figures.abort();
    Ok(())
}

/// Makes the agent's folders and makes sure that it is alone in them.
fn own_run_dir(config: &AgentConfig) -> Result<Flock<File>, RunError> {
    for dir in [&config.run_dir, &config.state_dir] {
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .recursive(true)
            .create(dir)
            .map_err(|source| file("make the folder", dir, source))?;
    }
    let path = config.run_dir.join("agent.lock");
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let opened = opened.map_err(|source| file("open", &path, source))?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock)
        .map_err(|_| RunError::Running(config.run_dir.clone()))
}

/// Bridges, cards, datastore markers. A datastore that is missing is no reason not to start.
fn set_up(config: &AgentConfig) -> Result<(), NetError> {
    network::ensure(config)?;
    for store in &config.datastores {
        if let Err(error) = datastore::ensure_marker(&store.path) {
            tracing::error!(name = store.name, path = %store.path.display(), error = whole(&error), "a datastore cannot be used");
        }
    }
    Ok(())
}

async fn listen(config: &AgentConfig) -> Result<TcpListener, RunError> {
    let address = config.listen;
    TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Listen { address, source })
}

async fn host(
    config: AgentConfig,
    exe: PathBuf,
    identity: HostIdentity,
    hardware: Hardware,
) -> Result<Arc<Host>, RunError> {
    let records = Records::open(&config.state_dir)
        .map_err(|source| file("open the records in", &config.state_dir, source))?;
    let owner = Owner::this(config.id.clone())
        .map_err(|source| file("read the boot id from", Path::new("/proc"), source))?;
    let processes = Processes::start(&exe, &config.run_dir).await?;
    Ok(Arc::new(Host {
        lease: Arc::new(DatastoreLease::new(owner)),
        board: board::Board::new(),
        registry: Registry::default(),
        migrations: Migrations::default(),
        stats: watch::Sender::new(None),
        config,
        identity,
        exe,
        hardware,
        processes,
        records,
    }))
}

fn file(doing: &'static str, path: &Path, source: io::Error) -> RunError {
    RunError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}
