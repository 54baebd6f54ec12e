//! A relay's sockets, made and tuned while it still has root's rights, before a runtime exists.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpSocket;

/// How long a cut link may go unnoticed.
const LINK_SILENCE: Duration = Duration::from_secs(30);
/// How much may lie unsent in the kernel: it lengthens the blackout.
const UNSENT: u32 = 256 << 10;

/// A socket that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The unix socket for QEMU at the source.
    #[error(
        "cannot create the socket {path} for QEMU; its directory must exist and the name be free"
    )]
    Local {
        /// The socket's path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// QEMU's unix socket at the destination.
    #[error("QEMU does not listen on {path}; send it migrate-incoming first")]
    Incoming {
        /// The socket's path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The migration address.
    #[error(
        "cannot use the migration address {address}; check that the host has it and the port is free"
    )]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The traffic class.
    #[error(
        "cannot set the connection's traffic class; the relay needs root or CAP_NET_ADMIN for it"
    )]
    Priority(#[source] io::Error),
}

/// The socket that QEMU at the source connects to.
pub fn listen_for_qemu(path: &Path) -> Result<UnixListener, SocketError> {
    UnixListener::bind(path)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|source| SocketError::Local {
            path: path.display().to_string(),
            source,
        })
}

/// The connection to QEMU at the destination. It is tried for a while: QEMU may be just starting.
pub fn connect_to_qemu(path: &Path, within: Duration) -> Result<UnixStream, SocketError> {
    let deadline = Instant::now() + within;
    loop {
        let result = UnixStream::connect(path)
            .and_then(|stream| stream.set_nonblocking(true).map(|()| stream));
        match result {
            Ok(stream) => return Ok(stream),
            Err(source) if Instant::now() >= deadline => {
                return Err(SocketError::Incoming {
                    path: path.display().to_string(),
                    source,
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The listener on the migration address.
pub fn listen_for_relay(address: SocketAddr) -> Result<TcpListener, SocketError> {
    TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|source| SocketError::Address { address, source })
}

/// An unconnected socket for the way to the destination, with its traffic class.
pub fn towards_relay(
    destination: SocketAddr,
    from: Option<std::net::IpAddr>,
    priority: Option<u32>,
) -> Result<TcpSocket, SocketError> {
    let socket = if destination.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
    .map_err(|source| SocketError::Address {
        address: destination,
        source,
    })?;
    if let Some(address) = from.map(|address| SocketAddr::new(address, 0)) {
        socket
            .bind(address)
            .map_err(|source| SocketError::Address { address, source })?;
    }
    if let Some(priority) = priority {
        set_priority(&socket, priority)?;
    }
    Ok(socket)
}

/// Puts a socket's packets into a traffic class. An accepted socket does not inherit it from its listener.
pub fn set_priority(socket: &impl AsFd, priority: u32) -> Result<(), SocketError> {
    let priority = priority.cast_signed();
    setsockopt(socket, sockopt::Priority, &priority)
        .map_err(|errno| SocketError::Priority(errno.into()))
}

/// Bounds what a connection holds back, and how long it stays deaf when the link is cut.
pub fn tune(socket: &(impl AsFd + AsRawFd)) -> io::Result<()> {
    let silence = u32::try_from(LINK_SILENCE.as_millis()).unwrap_or(u32::MAX);
    setsockopt(socket, sockopt::TcpUserTimeout, &silence)?;
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &10)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &5)?;
    setsockopt(socket, sockopt::TcpNoDelay, &true)?;
    set_unsent_limit(socket, UNSENT)
}

fn set_unsent_limit(socket: &impl AsRawFd, bytes: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `socket` is borrowed; the pointer and the length describe `bytes`,
    // which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
