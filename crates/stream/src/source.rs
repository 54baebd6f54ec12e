//! The sending relay: from QEMU's unix socket to the destination's relay.
//!
//! ```text
//! connect, Hello, Welcome ─► accept QEMU ─► pieces ... ─► end of stream: DRAINED
//!                                                         │  the last one or two pieces are withheld
//!                                             Release ────┤  ◄── POINT OF NO RETURN
//!                                                         ▼
//!                                              Final(digest, tail) ─► Accepted
//! ```
//! Two buffers take turns: one is filled while the other waits, and is sent only when the first is full. So between
//! one and two pieces are always withheld. A tail of a few bytes would not do: a stream ends with a JSON description
//! of the machine (140 KB for four vCPUs and eight devices), whose loss QEMU forgives. That a still longer one might
//! reach over the tail is why the destination's agent goes by this relay's word and never by QEMU's alone.

use std::{io, sync::Arc};

use godwit_tls::SERVER_NAME;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf},
    net::{TcpSocket, TcpStream, UnixListener, UnixStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    Event, SourceConfig,
    framed::{FrameError, FrameReader, write_frame},
    orders::{Orders, Release, Stop},
    report::{Counters, Reporter},
    sockets,
    transfer::Reducer,
    wire::{Capabilities, Hello, Kind, MAX_DATA, Welcome, decode_reason},
};

/// The size of a piece in bytes.
pub const PIECE: usize = 256 << 10;
const _: () = assert!(2 * PIECE <= MAX_DATA, "the tail must fit into one frame");

/// How much is gathered for one write to the network.
const NETWORK_BUFFER: usize = 2 * PIECE;

/// How long the reason for a broken connection may take to arrive after the break was noticed.
const REASON_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

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
    mut reducer: impl Reducer,
    orders: &mut Orders,
    (report, counters): (&Reporter, &Counters),
) -> Result<(), Failure> {
    let connection = tokio::select! {
        connection = connect(sockets.network, tls, config) => connection?,
        stop = orders.stop() => return Err(stop.into()),
    };
    report.say(Event::Connected {
        peer: config.destination,
    });
    let (reading, mut writing) = tokio::io::split(connection);
    let mut verdict = std::pin::pin!(verdict(FrameReader::new(reading)));

    let drained = async {
        let mut qemu = accept_qemu(sockets.qemu, config).await?;
        drain(&mut qemu, &mut writing, &mut reducer, counters).await
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
    Ok(())
}

/// Connects, checks who it is, and introduces itself.
async fn connect(
    socket: TcpSocket,
    tls: Arc<ClientConfig>,
    config: &SourceConfig,
) -> Result<Connection, SourceError> {
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
            capabilities: Capabilities::default(),
            migration: config.migration.clone(),
        };
        write_frame(&mut connection, Kind::Hello, [&hello.encode(), &[], &[]])
            .await
            .map_err(SourceError::Connect)?;
        connection.flush().await.map_err(SourceError::Connect)?;
        match FrameReader::new(&mut connection).next().await? {
            (Kind::Welcome, payload) => Welcome::decode(payload).map_err(FrameError::from)?,
            (Kind::Refused, reason) => return Err(SourceError::Refused(decode_reason(reason))),
            (other, _) => return Err(FrameError::OutOfTurn(other).into()),
        };
        Ok(connection)
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

/// The withheld end of the stream. What it needs to be sent is a [`Release`].
struct Tail {
    digest: blake3::Hash,
    older: Vec<u8>,
    newer: Vec<u8>,
}

impl Tail {
    /// POINT OF NO RETURN: sends the tail.
    async fn send(
        self,
        _authority: Release,
        network: &mut WriteHalf<Connection>,
        counters: &Counters,
    ) -> io::Result<()> {
        write_frame(
            network,
            Kind::Final,
            [self.digest.as_bytes(), &self.older, &self.newer],
        )
        .await?;
        network.flush().await?;
        counters.gave(self.older.len() + self.newer.len());
        Ok(())
    }
}

/// Sends QEMU's stream up to its end, except the tail.
async fn drain(
    qemu: &mut UnixStream,
    network: &mut (impl AsyncWrite + Unpin),
    reducer: &mut impl Reducer,
    counters: &Counters,
) -> Result<Tail, SourceError> {
    let mut hasher = blake3::Hasher::new();
    let mut older = Vec::with_capacity(PIECE);
    let mut newer = Vec::with_capacity(PIECE);
    loop {
        fill(qemu, &mut newer, counters)
            .await
            .map_err(SourceError::Qemu)?;
        hasher.update(&newer);
        if newer.len() < PIECE {
            network.flush().await.map_err(SourceError::Send)?;
            return Ok(Tail {
                digest: hasher.finalize(),
                older,
                newer,
            });
        }
        if !older.is_empty() {
            let payload = reducer.reduce(&older);
            write_frame(network, Kind::Data, [payload, &[], &[]])
                .await
                .map_err(SourceError::Send)?;
            counters.gave(payload.len());
            older.clear();
        }
        std::mem::swap(&mut older, &mut newer);
    }
}

/// Fills a piece; it stays short only at the end of the stream.
async fn fill(qemu: &mut UnixStream, piece: &mut Vec<u8>, counters: &Counters) -> io::Result<()> {
    while piece.len() < PIECE {
        let room = PIECE - piece.len();
        match qemu.take(room as u64).read_buf(piece).await? {
            0 => break,
            bytes => counters.took(bytes),
        }
    }
    Ok(())
}

/// Waits for the destination's last word: `Ok` if it accepted.
async fn verdict(mut frames: FrameReader<ReadHalf<Connection>>) -> Result<(), SourceError> {
    match frames.next().await? {
        (Kind::Accepted, _) => Ok(()),
        (Kind::Refused, reason) => Err(SourceError::Refused(decode_reason(reason))),
        (other, _) => Err(FrameError::OutOfTurn(other).into()),
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
