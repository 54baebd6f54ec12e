//! Waiting for the one right relay on a port that anybody can reach.
//!
//! Strangers (scanners, garbage, hosts of the farm that have no business here, the right host with another migration)
//! are turned away one by one and cost a slot for a few seconds at most; the wait goes on until its limit. After the
//! right one has come the port is closed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use godwit_tls::{Identity, IdentityError, identity_of};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    DestinationConfig, Event,
    framed::{FrameError, FrameReader, write_frame},
    report::{Reporter, whole},
    sockets::{self, SocketError},
    wire::{Capabilities, Hello, Kind, MigrationId, Welcome, encode_reason},
};

/// Strangers at once; more wait in the kernel's queue.
const AT_ONCE: usize = 32;
/// How long one may take to say who it is.
const INTRODUCTION_WITHIN: Duration = Duration::from_secs(5);
/// How many strangers are reported, lest a flood of them becomes one of events.
const REPORTED: usize = 20;
/// How much is read from the network at once.
const NETWORK_BUFFER: usize = 256 << 10;

/// A connection from a relay.
pub type Connection = TlsStream<BufReader<TcpStream>>;

/// Why somebody is turned away.
#[derive(Debug, thiserror::Error)]
enum Turned {
    #[error("the TLS handshake failed; only relays of this farm are let in")]
    Handshake(#[source] std::io::Error),
    #[error("it did not introduce itself in time")]
    Slow,
    #[error(transparent)]
    Nobody(#[from] IdentityError),
    #[error("it is {found}, expected {expected}")]
    Identity { found: Identity, expected: Identity },
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it belongs to migration {found}, expected {expected}")]
    Migration {
        found: MigrationId,
        expected: MigrationId,
    },
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// Whom to let in.
struct Doorkeeper {
    acceptor: TlsAcceptor,
    identity: Identity,
    migration: MigrationId,
    priority: Option<u32>,
}

/// Waits for the right relay, without limit, and closes the port behind it. Gives what the relay can do, too.
pub async fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    config: &DestinationConfig,
    report: &Reporter,
) -> (Connection, SocketAddr, Capabilities) {
    let doorkeeper = Arc::new(Doorkeeper {
        acceptor: TlsAcceptor::from(tls),
        identity: Identity::Relay(config.source_host.clone()),
        migration: config.migration.clone(),
        priority: config.priority,
    });
    let mut callers = JoinSet::new();
    let mut reported = 0;
    loop {
        tokio::select! {
            accepted = listener.accept(), if callers.len() < AT_ONCE => match accepted {
                Ok((stream, from)) => {
                    let doorkeeper = doorkeeper.clone();
                    callers.spawn(async move { (doorkeeper.introduce(stream).await, from) });
                }
                // Out of descriptors: it passes.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            // Everybody else who is in the middle of an introduction is dropped with the set.
            Some(Ok((result, from))) = callers.join_next() => match result {
                Ok((connection, offered)) => return (connection, from, offered),
                Err(turned) if reported < REPORTED => {
                    reported += 1;
                    report.say(Event::Stranger { from, reason: whole(&turned) });
                }
                Err(_) => {}
            },
        }
    }
}

impl Doorkeeper {
    async fn introduce(&self, stream: TcpStream) -> Result<(Connection, Capabilities), Turned> {
        // First of all, so that not even a handshake's packets leave in the wrong class.
        if let Some(priority) = self.priority {
            sockets::set_priority(&stream, priority)?;
        }
        sockets::tune(&stream).map_err(FrameError::from)?;
        timeout(INTRODUCTION_WITHIN, self.examine(stream))
            .await
            .map_err(|_| Turned::Slow)?
    }

    async fn examine(&self, stream: TcpStream) -> Result<(Connection, Capabilities), Turned> {
        let stream = BufReader::with_capacity(NETWORK_BUFFER, stream);
        let mut connection = self
            .acceptor
            .accept(stream)
            .await
            .map_err(Turned::Handshake)?;
        match self.check(&mut connection).await {
            Ok(offered) => Ok((connection, offered)),
            Err(turned) => {
                refuse(&mut connection, &whole(&turned)).await;
                Err(turned)
            }
        }
    }

    async fn check(&self, connection: &mut Connection) -> Result<Capabilities, Turned> {
        // Read even if it will not matter: closing over unread bytes could lose the reason on its way.
        let hello = hello(connection).await;
        let certificate = connection
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first);
        let found = identity_of(certificate.ok_or(IdentityError::BadCertificate)?)?;
        if found != self.identity {
            return Err(Turned::Identity {
                found,
                expected: self.identity.clone(),
            });
        }
        let hello = hello?;
        let found = hello.migration;
        if found != self.migration {
            return Err(Turned::Migration {
                found,
                expected: self.migration.clone(),
            });
        }
        Ok(hello.capabilities)
    }
}

async fn hello(connection: &mut Connection) -> Result<Hello, FrameError> {
    match FrameReader::new(connection).next().await? {
        (Kind::Hello, payload) => Ok(Hello::decode(payload)?),
        (other, _) => Err(FrameError::OutOfTurn(other)),
    }
}

/// Lets the source begin, with what both can do.
pub async fn welcome(
    connection: &mut Connection,
    capabilities: Capabilities,
) -> Result<(), FrameError> {
    let welcome = Welcome { capabilities };
    write_frame(connection, Kind::Welcome, [&welcome.encode(), &[], &[]]).await?;
    Ok(connection.flush().await?)
}

/// Says why this is the end, if the other side still listens.
pub async fn refuse(connection: &mut Connection, reason: &str) {
    let _ = write_frame(connection, Kind::Refused, [encode_reason(reason), &[], &[]]).await;
    let _ = connection.shutdown().await;
}
