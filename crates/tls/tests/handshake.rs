//! Who may talk to whom: pins, foreign CAs, missing certificates, garbage. Over real sockets.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use godwit_tls::{
    Ca, ClientAuth, Expect, Fingerprint, Identity, KeyedCert, KeyedRequest, Limits, Peer,
    SubjectNames, config, serve,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

/// A server that answers with who called, and the farm it belongs to.
struct Farm {
    ca: Ca,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

async fn farm(clients: ClientAuth, limits: Limits) -> Farm {
    let ca = Ca::create("farm").unwrap();
    let own = ca
        .issue(&Identity::Manager, &SubjectNames::default())
        .unwrap();
    let tls = config::server(ca.cert_pem(), &own, clients).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let who = |peer: Peer| async move { format!("{:?}", peer.identity.map(|i| i.to_string())) };
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(
        listener,
        tls,
        Router::new().route("/", get(who)),
        limits,
        async {
            let _ = stopped.await;
        },
    ));
    Farm {
        ca,
        address,
        stop: Some(stop),
        served,
    }
}

impl Farm {
    fn agent(&self) -> KeyedCert {
        let request = KeyedRequest::generate().unwrap();
        let cert = self
            .ca
            .sign_csr(&request.csr_pem, &agent(), &SubjectNames::default())
            .unwrap();
        request.with_certificate(cert)
    }

    async fn call(&self, tls: rustls::ClientConfig) -> reqwest::Result<String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .build()
            .unwrap();
        client
            .get(format!("https://{}/", self.address))
            .send()
            .await?
            .text()
            .await
    }

    /// A call that must be answered.
    async fn answers(&self, own: Option<&KeyedCert>) -> String {
        self.call(config::client(self.ca.cert_pem(), own, manager()).unwrap())
            .await
            .unwrap()
    }
}

fn agent() -> Identity {
    Identity::Agent("host-1".into())
}

fn manager() -> Expect {
    Expect::Exactly(Identity::Manager)
}

/// The error with its sources, as a person would see it.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn a_joining_host_accepts_only_the_pinned_ca() {
    let farm = farm(ClientAuth::Optional, Limits::default()).await;
    let right = config::joining_client(farm.ca.fingerprint(), manager()).unwrap();
    assert_eq!(farm.call(right).await.unwrap(), "None");

    let wrong = config::joining_client(Fingerprint::of_der(b"another"), manager()).unwrap();
    let error = farm.call(wrong).await.unwrap_err();
    assert!(whole(&error).contains("fingerprint"), "{}", whole(&error));
}

#[tokio::test]
async fn a_pinned_ca_must_have_signed_the_server() {
    // The right CA certificate presented beside a leaf of another CA proves nothing.
    let farm = farm(ClientAuth::Optional, Limits::default()).await;
    let mut thief = Ca::create("farm")
        .unwrap()
        .issue(&Identity::Manager, &SubjectNames::default())
        .unwrap();
    thief.cert_pem.push_str(farm.ca.cert_pem());
    let tls = config::server(farm.ca.cert_pem(), &thief, ClientAuth::Optional).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(
        listener,
        tls,
        Router::new(),
        Limits::default(),
        std::future::pending(),
    ));

    let tls = config::joining_client(farm.ca.fingerprint(), manager()).unwrap();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap();
    client
        .get(format!("https://{address}/"))
        .send()
        .await
        .unwrap_err();
}

#[tokio::test]
async fn the_server_learns_who_calls() {
    let farm = farm(ClientAuth::Optional, Limits::default()).await;
    assert_eq!(farm.answers(None).await, "None");
    assert_eq!(
        farm.answers(Some(&farm.agent())).await,
        "Some(\"agent:host-1\")"
    );
}

#[tokio::test]
async fn a_foreign_ca_is_refused_on_both_sides() {
    let farm = farm(ClientAuth::Optional, Limits::default()).await;
    let foreign = Ca::create("farm").unwrap();
    farm.call(config::client(foreign.cert_pem(), None, manager()).unwrap())
        .await
        .unwrap_err();

    let stranger = foreign.issue(&agent(), &SubjectNames::default()).unwrap();
    let tls = config::client(farm.ca.cert_pem(), Some(&stranger), manager()).unwrap();
    farm.call(tls).await.unwrap_err();
}

#[tokio::test]
async fn a_server_of_the_farm_cannot_pose_as_another() {
    let farm = farm(ClientAuth::Optional, Limits::default()).await;
    let tls = config::client(farm.ca.cert_pem(), None, Expect::Exactly(agent())).unwrap();
    let error = farm.call(tls).await.unwrap_err();
    assert!(
        whole(&error).contains("expected agent:host-1"),
        "{}",
        whole(&error)
    );
    farm.call(config::client(farm.ca.cert_pem(), None, Expect::AnyInFarm).unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_certificate_does_not_serve() {
    let ca = Ca::create("farm").unwrap();
    let person = ca
        .issue(&Identity::Client("ann".into()), &SubjectNames::default())
        .unwrap();
    let tls = config::server(ca.cert_pem(), &person, ClientAuth::Optional).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(
        listener,
        tls,
        Router::new(),
        Limits::default(),
        std::future::pending(),
    ));
    let tls = config::client(ca.cert_pem(), None, Expect::AnyInFarm).unwrap();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap();
    client
        .get(format!("https://{address}/"))
        .send()
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_client_without_certificate_is_refused_where_one_is_required() {
    let farm = farm(ClientAuth::Required, Limits::default()).await;
    farm.call(config::client(farm.ca.cert_pem(), None, manager()).unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        farm.answers(Some(&farm.agent())).await,
        "Some(\"agent:host-1\")"
    );
}

#[tokio::test]
async fn relays_speak_only_the_newest_tls() {
    let ca = Ca::create("farm").unwrap();
    let own = ca
        .issue(&Identity::Relay("a".into()), &SubjectNames::default())
        .unwrap();
    let server = config::relay_server(ca.cert_pem(), &own).unwrap();
    let roots = {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).unwrap())
            .unwrap();
        roots
    };
    godwit_tls::install_provider();
    godwit_tls::install_provider();
    let old = rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (near, far) = tokio::io::duplex(16 << 10);
    let connect =
        tokio_rustls::TlsConnector::from(Arc::new(old)).connect("godwit".try_into().unwrap(), near);
    let accept = tokio_rustls::TlsAcceptor::from(server).accept(far);
    let (client, server) = tokio::join!(connect, accept);
    assert!(client.is_err() && server.is_err());
}

#[tokio::test]
async fn garbage_leaves_the_server_serving() {
    let limits = Limits {
        handshake: Duration::from_millis(200),
        connections: 4,
        ..Limits::default()
    };
    let farm = farm(ClientAuth::Required, limits).await;
    let mut silent = Vec::new();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff],
        &[0; 4096],
        b"",
    ] {
        let mut stream = TcpStream::connect(farm.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        silent.push(stream);
    }
    // All slots are taken by strangers that never finish a handshake; they must be thrown out for this to answer.
    assert_eq!(
        farm.answers(Some(&farm.agent())).await,
        "Some(\"agent:host-1\")"
    );
    for mut stream in silent {
        // An end or a reset, but no answer that leaks anything but a TLS alert.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < 16, "{answer:?}");
    }
}

#[tokio::test]
async fn shutdown_ends_the_server_although_connections_are_open() {
    let mut farm = farm(
        ClientAuth::Optional,
        Limits {
            grace: Duration::from_millis(50),
            ..Limits::default()
        },
    )
    .await;
    let _idle = TcpStream::connect(farm.address).await.unwrap();
    farm.answers(None).await;
    farm.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(60), &mut farm.served)
        .await
        .unwrap()
        .unwrap();
    TcpStream::connect(farm.address).await.unwrap_err();
}
