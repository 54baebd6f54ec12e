//! An axum router behind TLS, for strangers: everything that a client can make the server wait for or hold has a
//! limit, and whatever is not a proper request ends quietly.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::{Peer, identity_of};

/// What a server bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the TCP connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the moment a request may come until its header is complete; so also how long a connection may lie idle.
    pub header: Duration,
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// How long requests under way may go on after the shutdown began.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(100),
            connections: 1024,
            grace: Duration::from_secs(5),
        }
    }
}

/// Serves `router` until `shutdown` completes, then lets requests under way end within [`Limits::grace`].
/// Handlers find the caller in [`Peer`].
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        // Finished connections are collected, or the set grows for ever.
        while connections.try_join_next().is_some() {}
        let (stream, slot) = tokio::select! {
            () = &mut shutdown => break,
            next = next_connection(&listener, &slots) => next,
        };
        connections.spawn(connection(
            stream,
            slot,
            acceptor.clone(),
            router.clone(),
            limits,
            stopped.clone(),
        ));
    }
    drop(listener);
    drop(stop);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.grace, drained).await.is_err() {
        debug!("connections still open after the time of grace are cut");
    }
}

/// The next connection, once there is a slot for it.
async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let slot = slots
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                // Out of file descriptors, mostly: it passes when connections end.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection from handshake to end. Errors are the client's affair: logged at debug only.
async fn connection(
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
    acceptor: TlsAcceptor,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<()>,
) {
    let Ok(address) = stream.peer_addr() else {
        return;
    };
    let _ = stream.set_nodelay(true);
    let tls = match tokio::time::timeout(limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return debug!(%address, %error, "TLS handshake failed"),
        Err(_) => return debug!(%address, "TLS handshake took too long"),
    };
    let Some(peer) = peer(&tls, address) else {
        return debug!(%address, "the client's certificate names nobody");
    };
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (router, peer) = (router.clone(), peer.clone());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            let Ok(response) = router.oneshot(request).await;
            Ok::<_, Infallible>(response)
        }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades();
    tokio::pin!(http);
    let result = tokio::select! {
        result = &mut http => result,
        _ = stopped.changed() => {
            http.as_mut().graceful_shutdown();
            http.await
        }
    };
    if let Err(error) = result {
        debug!(%address, %error, "connection ended");
    }
}

/// Who is at the other end; `None` if it has a certificate of the farm that names nobody we know.
fn peer(tls: &TlsStream<TcpStream>, address: std::net::SocketAddr) -> Option<Peer> {
    let identity = match tls.get_ref().1.peer_certificates().and_then(<[_]>::first) {
        None => None,
        Some(certificate) => Some(identity_of(certificate).ok()?),
    };
    Some(Peer { identity, address })
}
