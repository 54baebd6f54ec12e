//! Both relays in one process, with fake ends in QEMU's place: what the tests have in common.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

pub mod stream;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use godwit_stream::{
    ByteCount, Command, Credentials, DestinationConfig, Event, SourceConfig, Totals,
    destination::{self, DestinationError, DestinationSockets},
    local::{Afterwards, LocalPages},
    memory::GuestMemory,
    orders::Orders,
    report::{Counters, Reporter},
    sockets,
    source::{self, Failure, SourceSockets},
};
use godwit_tls::{Ca, Expect, Identity, SubjectNames, config as tls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixListener, UnixStream},
    sync::mpsc,
    task::JoinHandle,
};

/// A limit for what must not last for ever; far above what a busy machine needs.
pub const LONG: Duration = Duration::from_secs(120);

/// A farm with two hosts, `source` and `destination`, and a migration `m-1`.
pub struct Rig {
    pub ca: Ca,
    pub dir: tempfile::TempDir,
}

/// A relay that runs in this process.
pub struct Running<E> {
    pub orders: mpsc::Sender<Command>,
    pub events: mpsc::UnboundedReceiver<Event>,
    pub counters: Arc<Counters>,
    pub end: JoinHandle<Result<Afterwards, E>>,
}

impl<E> Running<E> {
    /// Waits for an event like this one; the others are thrown away.
    pub async fn wait_for(&mut self, wanted: fn(&Event) -> bool) -> Event {
        let found = async {
            loop {
                let event = self
                    .events
                    .recv()
                    .await
                    .expect("the relay ended before the event");
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(LONG, found)
            .await
            .expect("the event never came")
    }

    /// How it ended; what is left to do afterwards is done.
    pub async fn end(&mut self) -> Result<(), E> {
        self.verdict().await.map(|afterwards| afterwards())
    }

    /// How it ended, and what is left to do.
    pub async fn verdict(&mut self) -> Result<Afterwards, E> {
        tokio::time::timeout(LONG, &mut self.end)
            .await
            .expect("the relay never ended")
            .unwrap()
    }
}

pub fn connected(event: &Event) -> bool {
    matches!(event, Event::Connected { .. })
}

pub fn stranger(event: &Event) -> bool {
    matches!(event, Event::Stranger { .. })
}

impl Rig {
    pub fn new() -> Self {
        Self {
            ca: Ca::create("test farm").unwrap(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn credentials(&self, identity: &Identity) -> Credentials {
        let own = self.ca.issue(identity, &SubjectNames::default()).unwrap();
        Credentials {
            ca_pem: self.ca.cert_pem().into(),
            cert_pem: own.cert_pem,
            key_pem: own.key_pem,
        }
    }

    pub fn relay(&self, host: &str) -> Credentials {
        self.credentials(&Identity::Relay(host.into()))
    }

    pub fn source_config(&self, destination: SocketAddr) -> SourceConfig {
        SourceConfig {
            migration: "m-1".parse().unwrap(),
            credentials: self.relay("source"),
            socket: self.dir.path().join("out.sock"),
            destination,
            destination_host: "destination".into(),
            from: None,
            priority: None,
            link: Some(ByteCount(125_000_000)),
            idle: None,
            connect_within: LONG,
            pages: None,
        }
    }

    pub fn destination_config(&self) -> DestinationConfig {
        DestinationConfig {
            migration: "m-1".parse().unwrap(),
            credentials: self.relay("destination"),
            listen: "127.0.0.1:0".parse().unwrap(),
            socket: self.dir.path().join("in.sock"),
            source_host: "source".into(),
            priority: None,
            memory: None,
            wait: LONG,
            pages: None,
        }
    }

    /// Starts a receiving relay; gives its address and the connection it made to "QEMU".
    pub async fn start_destination(
        &self,
        config: DestinationConfig,
        local: Option<LocalPages>,
    ) -> (Running<DestinationError>, SocketAddr, UnixStream) {
        let qemu = UnixListener::bind(&config.socket).unwrap();
        let connection = sockets::connect_to_qemu(&config.socket, LONG).unwrap();
        let network = sockets::listen_for_relay(config.listen).unwrap();
        let address = network.local_addr().unwrap();
        let sockets = DestinationSockets {
            qemu: connection.try_into().unwrap(),
            network: network.try_into().unwrap(),
        };
        let own = keyed(&config.credentials);
        let tls = tls::relay_server(&config.credentials.ca_pem, &own).unwrap();
        let memory = config.memory.as_ref();
        let memory = memory.map(|memory| GuestMemory::open(memory).unwrap());
        let (orders, commands) = mpsc::channel(4);
        let (report, events) = Reporter::new();
        let counters = Arc::new(Counters::default());
        let counted = counters.clone();
        let end = tokio::spawn(async move {
            let mut orders = Orders::new(commands);
            let reports = (&report, &*counted);
            destination::run(
                sockets,
                tls,
                &config,
                (local, memory),
                &mut orders,
                reports,
                || Ok(()),
            )
            .await
        });
        let (qemu, _) = qemu.accept().await.unwrap();
        (
            Running {
                orders,
                events,
                counters,
                end,
            },
            address,
            qemu,
        )
    }

    pub fn start_source(
        &self,
        config: SourceConfig,
        local: Option<LocalPages>,
    ) -> Running<Failure> {
        let sockets = SourceSockets {
            qemu: sockets::listen_for_qemu(&config.socket)
                .unwrap()
                .try_into()
                .unwrap(),
            network: sockets::towards_relay(config.destination, config.from, config.priority)
                .unwrap(),
        };
        let expect = Expect::Exactly(Identity::Relay(config.destination_host.clone()));
        let own = keyed(&config.credentials);
        let tls = tls::relay_client(&config.credentials.ca_pem, &own, expect).unwrap();
        let (orders, commands) = mpsc::channel(4);
        let (report, events) = Reporter::new();
        let counters = Arc::new(Counters::default());
        let counted = counters.clone();
        let end = tokio::spawn(async move {
            let mut orders = Orders::new(commands);
            source::run(
                sockets,
                tls,
                &config,
                local,
                &mut orders,
                (&report, &counted),
            )
            .await
        });
        Running {
            orders,
            events,
            counters,
            end,
        }
    }

    /// "QEMU" at the source.
    pub async fn source_qemu(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("out.sock"))
            .await
            .unwrap()
    }
}

fn keyed(credentials: &Credentials) -> godwit_tls::KeyedCert {
    godwit_tls::KeyedCert {
        cert_pem: credentials.cert_pem.clone(),
        key_pem: credentials.key_pem.clone(),
    }
}

/// Bytes that cannot be compressed and differ everywhere.
pub fn random(bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    blake3::Hasher::new()
        .update(&bytes.to_be_bytes())
        .finalize_xof()
        .fill(&mut data);
    data
}

/// Writes all of it and closes, as QEMU does.
pub fn write_all(mut qemu: UnixStream, data: Vec<u8>) -> JoinHandle<std::io::Result<()>> {
    tokio::spawn(async move { qemu.write_all(&data).await })
}

/// Reads to the end.
pub fn read_all(mut qemu: UnixStream) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let mut data = Vec::new();
        let _ = qemu.read_to_end(&mut data).await;
        data
    })
}

pub fn bytes(totals: &Totals) -> (ByteCount, ByteCount) {
    (totals.bytes_in, totals.bytes_out)
}

/// A connection of the right relay, which has said these bytes.
pub async fn said(
    rig: &Rig,
    address: SocketAddr,
    first: &[u8],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let own = keyed(&rig.relay("source"));
    let config = tls::relay_client(rig.ca.cert_pem(), &own, Expect::AnyInFarm).unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(config);
    let name = "godwit".try_into().unwrap();
    let mut connection = connector.connect(name, tcp).await.unwrap();
    connection.write_all(first).await.unwrap();
    connection
}

/// A connection that was let in, to misbehave on.
pub async fn let_in(rig: &Rig, address: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let hello = b"\x01\0\0\0\x11GODWITRL\0\x02\0\0\0\0m-1";
    let mut connection = said(rig, address, hello).await;
    let mut welcome = [0; 11];
    connection.read_exact(&mut welcome).await.unwrap();
    assert_eq!(welcome, *b"\x02\0\0\0\x06\0\x02\0\0\0\0");
    connection
}
