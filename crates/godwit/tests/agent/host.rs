//! One host of a test's farm: its agent is a process that can be killed and started again.

use godwit_api::agent::client::AgentClient;
use godwit_api::agent::{Changes, MigrationView, PeerRef, Phase, VmView};
use godwit_model::ids::{HostId, MigrationId, VmId};
use godwit_model::vm::VmState;
use godwit_tls::{Ca, Identity, KeyedCert, SubjectNames};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes so long, unless it never comes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One host: its agent may be killed and started again.
pub struct TestHost {
    pub id: HostId,
    pub address: SocketAddr,
    pub client: AgentClient,
    dir: PathBuf,
    agent: Option<Child>,
}

impl TestHost {
    pub fn new(ca: &Ca, folder: &Path, name: &str, more: &str) -> Self {
        let dir = folder.join(name);
        fs::create_dir_all(dir.join("state")).expect("a folder");
        let id: HostId = name.parse().expect("a name");
        let address = free_address();
        let agent = keyed(ca, &Identity::Agent(name.into()));
        let relay = keyed(ca, &Identity::Relay(name.into()));
        for (file, content) in [
            ("agent.pem", &agent.cert_pem),
            ("agent.key", &agent.key_pem),
            ("relay.pem", &relay.cert_pem),
            ("relay.key", &relay.key_pem),
            ("ca.pem", &ca.cert_pem().to_owned()),
        ] {
            fs::write(dir.join("state").join(file), content).expect("an identity");
        }
        let config = format!(
            "id = \"{name}\"\nlisten = \"{address}\"\nmigration_address = \"127.0.0.1\"\n\
             run_dir = \"{dir}/run\"\nstate_dir = \"{dir}/state\"\naccelerator = \"tcg\"\n\
             memory_reserve = \"0\"\n[[datastores]]\nname = \"SAN1\"\npath = \"{san}\"\n{more}",
            dir = dir.display(),
            san = folder.join("SAN1").display()
        );
        fs::write(dir.join("agent.toml"), config).expect("a configuration");
        let manager = keyed(ca, &Identity::Manager);
        let client = AgentClient::new(address, &id, &manager, ca.cert_pem()).expect("a client");
        Self {
            id,
            address,
            client,
            dir,
            agent: None,
        }
    }

    /// Starts the agent.
    pub fn start(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("agent.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_godwit"))
            .args(["agent", "run", "--config"])
            .arg(self.dir.join("agent.toml"))
            .env("GODWIT_LOG", "info,godwit_agent=debug")
            .stdin(Stdio::null())
            .stderr(log.expect("a log"))
            .spawn();
        self.agent = Some(child.expect("an agent"));
    }

    /// Kills the agent as kill -9 does; keeper and VMs live on.
    pub fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().expect("kills");
            agent.wait().expect("is gone");
        }
    }

    /// CPU seconds that the agent's process has used.
    pub fn agent_cpu(&self) -> f64 {
        let pid = self.agent.as_ref().map_or(0, Child::id);
        let usage = godwit_qemu::usage::ProcessUsage::of(pid).expect("it runs");
        usage.total().as_secs_f64()
    }

    pub async fn answers(&self) {
        let began = Instant::now();
        while self.client.vms().await.is_err() {
            assert!(
                began.elapsed() < PATIENCE,
                "the agent does not answer: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default()
    }

    pub fn peer(&self) -> PeerRef {
        PeerRef {
            id: self.id.clone(),
            address: self.address,
        }
    }

    pub async fn state(&self, vm: VmId) -> Option<VmState> {
        self.view(vm).await.map(|view| view.state)
    }

    pub async fn view(&self, vm: VmId) -> Option<VmView> {
        let views = self.client.vms().await.expect("answers");
        views.into_iter().find(|view| view.definition.id == vm)
    }

    pub async fn reaches(&self, vm: VmId, wanted: Option<VmState>) {
        let began = Instant::now();
        loop {
            let state = self.state(vm).await;
            if state == wanted {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{state:?}, not {wanted:?}: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the guest writes to its serial console: it runs.
    pub async fn ticks(&self, vm: VmId) {
        let length = || fs::metadata(self.serial_log(vm)).map_or(0, |file| file.len());
        let (began, before) = (Instant::now(), length());
        while length() <= before {
            assert!(
                began.elapsed() < PATIENCE,
                "the guest does not tick: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn serial_log(&self, vm: VmId) -> PathBuf {
        self.dir
            .join("run/vm")
            .join(vm.to_string())
            .join("serial.log")
    }

    /// The last view of a migration.
    pub async fn end_of(&self, id: MigrationId) -> MigrationView {
        let began = Instant::now();
        let mut known = None;
        loop {
            let view = self
                .client
                .migration(id, known, Duration::from_secs(5))
                .await;
            let view = view.unwrap_or_else(|error| panic!("{error}: {}", self.log()));
            if view.phase.is_final() {
                return view;
            }
            known = Some(view.phase);
            assert!(began.elapsed() < PATIENCE, "{view:?}: {}", self.log());
        }
    }

    pub async fn reaches_phase(&self, id: MigrationId, phase: Phase) {
        let began = Instant::now();
        loop {
            let view = self
                .client
                .migration(id, None, Duration::ZERO)
                .await
                .expect("known");
            if view.phase == phase {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE && !view.phase.is_final(),
                "{view:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn changes(&self, since: u64) -> Changes {
        self.client
            .changes(since, Duration::ZERO)
            .await
            .expect("answers")
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.kill();
        // The keeper takes its VMs with it.
        let pid = fs::read_to_string(self.dir.join("run/keeper.pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse() {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
}

/// A certificate of the farm.
pub fn keyed(ca: &Ca, who: &Identity) -> KeyedCert {
    let names = SubjectNames::addresses([IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    ca.issue(who, &names).expect("a certificate")
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address")
}
