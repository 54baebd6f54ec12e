//! The sending relay: from QEMU's unix socket to the destination's relay.
//!
//! ```text
//! connect, Hello, Welcome ─► accept QEMU ─► pieces ... ─► end of stream: DRAINED
//!                                                         │  the last one or two pieces are withheld
//!                                             Release ────┤  ◄── POINT OF NO RETURN
//!                                                         ▼
//!                                              Final(digest, tail) ─► Accepted
//! ```
//! Memory goes page by page ([`memory`]), the rest as it is and its end not before Release ([`tail`]).

mod memory;
mod tail;

use std::{io, os::fd::AsFd, sync::Arc};

use godwit_tls::SERVER_NAME;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncWriteExt, BufReader, ReadHalf},
    net::{TcpSocket, TcpStream, UnixListener, UnixStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    Event, SourceConfig,
    framed::{FrameError, FrameReader, write_frame},
    link::LinkWatch,
    local::{Afterwards, LocalPages},
    orders::{Orders, Stop},
    report::{Counters, Reporter},
    sockets,
    wire::{Capabilities, Hello, Kind, Welcome, decode_reason},
};

pub use tail::PIECE;

use memory::MemorySender;

/// How much is gathered for one write to the network.
const NETWORK_BUFFER: usize = 2 * PIECE;

/// How long the reason for a broken connection may take to arrive after the break was noticed.
const REASON_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Answers that may wait to be used; more than are ever asked for at once.
const ANSWERS: usize = 64;

type Connection = TlsStream<BufReader<TcpStream>>;

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The agent wants it so.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// No connection, or not with the expected relay.
    #[error(
        "cannot connect to the destination's relay; check the migration network between the hosts"
    )]
    Connect(#[source] io::Error),
    /// Connecting took too long.
    #[error(
        "the destination's relay did not answer in time; check the migration network between the hosts"
    )]
    Silent,
    /// The destination said why.
    #[error("the destination refused: {0}")]
    Refused(String),
    /// What came from the destination makes no sense, or its connection broke.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Sending failed.
    #[error("the connection to the destination's relay broke")]
    Send(#[source] io::Error),
    /// QEMU's side failed.
    #[error("cannot read QEMU's stream")]
    Qemu(#[source] io::Error),
}

/// A failure, and whether the tail may have left before it.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub error: SourceError,
    /// Whether anything of the tail may have left the host.
    pub released: bool,
}

impl<E: Into<SourceError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            released: false,
        }
    }
}

/// The sockets of a sending relay, made by [`crate::sockets`].
#[derive(Debug)]
pub struct SourceSockets {
    /// Where QEMU connects.
    pub qemu: UnixListener,
    /// Not yet connected.
    pub network: TcpSocket,
}

/// Runs the relay to its end: returns when the destination has accepted everything.
pub async fn run(
    sockets: SourceSockets,
    tls: Arc<ClientConfig>,
    config: &SourceConfig,
    local: Option<LocalPages>,
    orders: &mut Orders,
    (report, counters): (&Reporter, &Counters),
) -> Result<Afterwards, Failure> {
    let offered = local
        .as_ref()
        .map_or(Capabilities::default(), |_| Capabilities::PAGES);
    let (connection, agreed) = tokio::select! {
        connection = connect(sockets.network, tls, config, offered) => connection?,
        stop = orders.stop() => return Err(stop.into()),
    };
    report.say(Event::Connected {
        peer: config.destination,
    });
    let local = local.filter(|_| agreed.include(Capabilities::PAGES));
    let socket = connection
        .get_ref()
        .0
        .get_ref()
        .as_fd()
        .try_clone_to_owned();
    let (reading, mut writing) = tokio::io::split(connection);
    let (answers, mut haves) = mpsc::channel(ANSWERS);
    let mut verdict = std::pin::pin!(verdict(FrameReader::new(reading), answers));
    let mut later = None;

    let drained = async {
        let mut qemu = accept_qemu(sockets.qemu, config).await?;
        let (mut digest, mut begun) = Default::default();
        if let Some(local) = local {
            let socket = socket.map_err(SourceError::Qemu)?;
            let mut sender = MemorySender::new(
                &mut writing,
                LinkWatch::new(socket, config.link),
                config.idle,
                local,
            )
            .map_err(SourceError::Qemu)?;
            let rest = sender.drain(&mut qemu, &mut haves, counters).await?;
            if let Some(why) = rest.opaque {
                let what = format!("page awareness, for QEMU's stream is not understood: {why}");
                report.say(Event::Without { what });
            }
            (digest, begun) = (rest.digest, rest.begun);
            later = Some(sender.into_later());
        }
        tail::drain(&mut qemu, &mut writing, digest, begun, counters).await
    };
    let drained = tokio::select! {
        drained = drained => drained,
        // Nothing was released, so there is nothing to accept yet.
        early = &mut verdict => Err(early.err().unwrap_or(FrameError::OutOfTurn(Kind::Accepted).into())),
        stop = orders.stop() => Err(stop.into()),
    };
    let tail = match drained {
        Ok(tail) => tail,
        Err(SourceError::Send(error)) => return Err(reason_of(error, &mut verdict).await.into()),
        Err(error) => return Err(error.into()),
    };
    report.say(Event::Drained);

    let release = tokio::select! {
        release = orders.release() => release?,
        early = &mut verdict => return Err(early.err().unwrap_or(FrameError::OutOfTurn(Kind::Accepted).into()).into()),
    };
    // From here on the destination may have a whole VM, whatever error follows.
    let after = |error| Failure {
        error,
        released: true,
    };
    if let Err(error) = tail.send(release, &mut writing, counters).await {
        return Err(after(reason_of(error, &mut verdict).await));
    }
    report.say(Event::Released);
    tokio::select! {
        verdict = &mut verdict => verdict.map_err(after)?,
        stop = orders.gone() => return Err(after(stop.into())),
    }
    let _ = writing.shutdown().await;
    Ok(Box::new(|| {
        if let Some(later) = later {
            later.remember();
        }
    }))
}

/// Connects, checks who it is, and introduces itself.
async fn connect(
    socket: TcpSocket,
    tls: Arc<ClientConfig>,
    config: &SourceConfig,
    capabilities: Capabilities,
) -> Result<(Connection, Capabilities), SourceError> {
    let connecting = async {
        let tcp = socket
            .connect(config.destination)
            .await
            .map_err(SourceError::Connect)?;
        sockets::tune(&tcp).map_err(SourceError::Connect)?;
        let name = ServerName::try_from(SERVER_NAME)
            .map_err(|error| SourceError::Connect(io::Error::other(error)))?;
        let tcp = BufReader::with_capacity(4096, tcp);
        let mut connection = TlsConnector::from(tls)
            .connect(name, tcp)
            .await
            .map_err(SourceError::Connect)?;
        connection
            .get_mut()
            .1
            .set_buffer_limit(Some(NETWORK_BUFFER));
        let hello = Hello {
            capabilities,
            migration: config.migration.clone(),
        };
        write_frame(&mut connection, Kind::Hello, [&hello.encode(), &[], &[]])
            .await
            .map_err(SourceError::Connect)?;
        connection.flush().await.map_err(SourceError::Connect)?;
        let welcome = match FrameReader::new(&mut connection).next().await? {
            (Kind::Welcome, payload) => Welcome::decode(payload).map_err(FrameError::from)?,
            (Kind::Refused, reason) => return Err(SourceError::Refused(decode_reason(reason))),
            (other, _) => return Err(FrameError::OutOfTurn(other).into()),
        };
        Ok((connection, welcome.capabilities & capabilities))
    };
    timeout(config.connect_within, connecting)
        .await
        .map_err(|_| SourceError::Silent)?
}

/// The one connection of QEMU.
async fn accept_qemu(
    listener: UnixListener,
    config: &SourceConfig,
) -> Result<UnixStream, SourceError> {
    let (qemu, _) = listener.accept().await.map_err(SourceError::Qemu)?;
    // Its directory may not be ours; the agent cleans up anyway.
    let _ = std::fs::remove_file(&config.socket);
    Ok(qemu)
}

/// Passes the destination's answers on until its last word: `Ok` if it accepted.
async fn verdict(
    mut frames: FrameReader<ReadHalf<Connection>>,
    answers: mpsc::Sender<Vec<u8>>,
) -> Result<(), SourceError> {
    loop {
        match frames.next().await? {
            // More answers than can have been asked for: not a relay that can be relied on.
            (Kind::Have, have) => answers
                .try_send(have.to_vec())
                .map_err(|_| FrameError::OutOfTurn(Kind::Have))?,
            (Kind::Accepted, _) => return Ok(()),
            (Kind::Refused, reason) => return Err(SourceError::Refused(decode_reason(reason))),
            (other, _) => return Err(FrameError::OutOfTurn(other).into()),
        }
    }
}

/// A destination that gives up says why before it closes: that is worth more than the error of a write.
async fn reason_of(
    error: io::Error,
    verdict: &mut (impl Future<Output = Result<(), SourceError>> + Unpin),
) -> SourceError {
    match timeout(REASON_WITHIN, verdict).await {
        Ok(Err(refused @ SourceError::Refused(_))) => refused,
        _ => SourceError::Send(error),
    }
}
