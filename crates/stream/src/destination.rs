//! The receiving relay: from the source's relay into QEMU's incoming socket.
//!
//! Invariant: QEMU gets the tail only if the digest over all that it was given, and would be given with the tail, is
//! the one that the source sent. Every other end leaves it with an incomplete stream, which it cannot run.

mod feed;

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
    local::{Afterwards, LocalPages},
    memory::GuestMemory,
    orders::{Orders, Stop},
    report::{Counters, Reporter, whole},
    transfer::RestoreError,
    wire::{Capabilities, Kind},
};
use feed::Feeder;

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
    /// A Batch makes no sense.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The stream is not the one that left the source.
    #[error(
        "the digest of the whole stream does not match; it was damaged on the way, try the migration again"
    )]
    Digest,
    /// There is no memory to work with.
    #[error("cannot prepare to unpack pages")]
    Unpacker(#[source] io::Error),
    /// A page cannot be written into the guest's memory.
    #[error("cannot write into the guest's memory; is the host out of memory?")]
    Memory(#[source] io::Error),
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

/// Runs the relay to its end: returns at once when QEMU has been given everything, since the VM stands still. `accepted` is called as soon as the right
/// relay was let in: no rights are needed after it.
pub async fn run(
    sockets: DestinationSockets,
    tls: Arc<ServerConfig>,
    config: &DestinationConfig,
    (local, memory): (Option<LocalPages>, Option<GuestMemory>),
    orders: &mut Orders,
    (report, counters): (&Reporter, &Counters),
    accepted: impl FnOnce() -> io::Result<()>,
) -> Result<Afterwards, DestinationError> {
    let waiting = timeout(
        config.wait,
        accept::accept(sockets.network, tls, config, report),
    );
    let (mut connection, peer, offered) = tokio::select! {
        came = waiting => came.map_err(|_| DestinationError::NobodyCame(config.wait))?,
        stop = orders.stop() => return Err(stop.into()),
    };
    accepted().map_err(|error| DestinationError::Frame(error.into()))?;
    let local = local.filter(|_| offered.include(Capabilities::PAGES));
    let agreed = local
        .as_ref()
        .map_or(Capabilities::default(), |_| Capabilities::PAGES);
    accept::welcome(&mut connection, agreed).await?;
    report.say(Event::Connected { peer });

    let (mut qemu_reading, mut qemu) = sockets.qemu.into_split();
    let mut frames = FrameReader::new(connection);
    let mut feeder = Feeder::new(local, memory).map_err(DestinationError::Unpacker)?;
    let result = tokio::select! {
        // First the feeding: QEMU closes its socket after the last byte, and that is no failure.
        biased;
        result = feeder.feed(&mut frames, &mut qemu, report, counters) => result,
        error = hung_up(&mut qemu_reading) => Err(DestinationError::Qemu(error)),
        stop = orders.stop() => Err(stop.into()),
    };
    let connection = frames.get_mut();
    match result {
        Ok(()) => {
            // QEMU has everything: that the source may not learn of it changes nothing about that.
            let _ = write_frame(connection, Kind::Accepted, [&[]; 3]).await;
            let _ = connection.shutdown().await;
            Ok(feeder.afterwards())
        }
        Err(error) => {
            let _ = timeout(LINGER, give_up(connection, &whole(&error))).await;
            Err(error)
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
