//! The receiving relay: from the source's relay into QEMU's incoming socket.
//!
//! Invariant: QEMU gets the tail only if the digest over all that it was given, and would be given with the tail, is
//! the one that the source sent. Every other end leaves it with an incomplete stream, which it cannot run.

use std::{io, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream, unix},
    time::timeout,
};

use crate::{
    DestinationConfig, Event,
    accept::{self, Connection},
    framed::{FrameError, FrameReader, write_frame},
    orders::{Orders, Stop},
    report::{Counters, Reporter, whole},
    transfer::{RestoreError, Restorer},
    wire::{Kind, decode_final},
};

/// How long the source may go on sending after it was refused, before the connection is cut under it. Closing at once
/// would lose the reason on the way.
const LINGER: Duration = Duration::from_secs(2);

/// Why QEMU did not get everything.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// The agent wants it so.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// The source's relay did not come.
    #[error("the source's relay did not come within {} s; check the migration network between the hosts", .0.as_secs())]
    NobodyCame(Duration),
    /// What came from the source makes no sense, or its connection broke.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame has a payload that gives no piece.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The stream is not the one that left the source.
    #[error(
        "the digest of the whole stream does not match; it was damaged on the way, try the migration again"
    )]
    Digest,
    /// QEMU takes no more.
    #[error("QEMU stopped reading its incoming stream; its log says why")]
    Qemu(#[source] io::Error),
}

/// The sockets of a receiving relay, made by [`crate::sockets`].
#[derive(Debug)]
pub struct DestinationSockets {
    /// Connected to QEMU's incoming socket.
    pub qemu: UnixStream,
    /// The migration address.
    pub network: TcpListener,
}

/// Runs the relay to its end: returns when QEMU has been given everything. `accepted` is called as soon as the right
/// relay was let in: no rights are needed after it.
pub async fn run(
    sockets: DestinationSockets,
    tls: Arc<ServerConfig>,
    config: &DestinationConfig,
    mut restorer: impl Restorer,
    orders: &mut Orders,
    (report, counters): (&Reporter, &Counters),
    accepted: impl FnOnce() -> io::Result<()>,
) -> Result<(), DestinationError> {
    let waiting = timeout(
        config.wait,
        accept::accept(sockets.network, tls, config, report),
    );
    let (mut connection, peer) = tokio::select! {
        came = waiting => came.map_err(|_| DestinationError::NobodyCame(config.wait))?,
        stop = orders.stop() => return Err(stop.into()),
    };
    accepted().map_err(|error| DestinationError::Frame(error.into()))?;
    accept::welcome(&mut connection).await?;
    report.say(Event::Connected { peer });

    let (mut qemu_reading, mut qemu) = sockets.qemu.into_split();
    let mut frames = FrameReader::new(connection);
    let result = tokio::select! {
        // First the feeding: QEMU closes its socket after the last byte, and that is no failure.
        biased;
        result = feed(&mut frames, &mut qemu, &mut restorer, counters) => result,
        error = hung_up(&mut qemu_reading) => Err(DestinationError::Qemu(error)),
        stop = orders.stop() => Err(stop.into()),
    };
    let connection = frames.get_mut();
    match result {
        Ok(()) => {
            // QEMU has everything: that the source may not learn of it changes nothing about that.
            let _ = write_frame(connection, Kind::Accepted, [&[]; 3]).await;
            let _ = connection.shutdown().await;
            Ok(())
        }
        Err(error) => {
            let _ = timeout(LINGER, give_up(connection, &whole(&error))).await;
            Err(error)
        }
    }
}

/// Passes pieces to QEMU until the tail has come and is verified and handed over.
async fn feed(
    frames: &mut FrameReader<Connection>,
    qemu: &mut unix::OwnedWriteHalf,
    restorer: &mut impl Restorer,
    counters: &Counters,
) -> Result<(), DestinationError> {
    let mut hasher = blake3::Hasher::new();
    loop {
        let (kind, payload) = frames.next().await?;
        counters.took(payload.len());
        match kind {
            Kind::Data => {
                let piece = restorer.restore(payload)?;
                hasher.update(piece);
                qemu.write_all(piece)
                    .await
                    .map_err(DestinationError::Qemu)?;
                counters.gave(piece.len());
            }
            Kind::Final => {
                let (digest, tail) = decode_final(payload).map_err(FrameError::from)?;
                if hasher.update(tail).finalize() != digest {
                    return Err(DestinationError::Digest);
                }
                qemu.write_all(tail).await.map_err(DestinationError::Qemu)?;
                counters.gave(tail.len());
                return Ok(());
            }
            other => return Err(FrameError::OutOfTurn(other).into()),
        }
    }
}

/// Waits until QEMU closes its socket; it never says anything there.
async fn hung_up(qemu: &mut unix::OwnedReadHalf) -> io::Error {
    let mut ignored = [0; 256];
    loop {
        match qemu.read(&mut ignored).await {
            Ok(0) => return io::ErrorKind::BrokenPipe.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

/// Refuses, and listens on until the source has understood.
async fn give_up(connection: &mut Connection, reason: &str) {
    accept::refuse(connection, reason).await;
    let mut ignored = vec![0; 64 << 10];
    while matches!(connection.read(&mut ignored).await, Ok(1..)) {}
}
