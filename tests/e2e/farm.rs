//! The farm as scenarios use it: by its manager, by the command line, and where it must be by the agents themselves.

use std::process::Output;
use std::time::Duration;

use godwit_api::agent::client::AgentClient;
use godwit_api::agent::{MigrationOptions, Phase};
use godwit_api::farm::client::FarmClient;
use godwit_api::farm::{Connection, Migrate, MigrationInfo, VmInfo};
use godwit_lab::config::AGENT_PORT;
use godwit_manager::keys::FarmKeys;
use godwit_manager::store::{FILE, Store};
use godwit_model::ids::HostId;
use godwit_model::task::{Task, TaskState};
use godwit_model::units::Bytes;
use godwit_model::vm::VmState;
use godwit_tls::KeyedCert;
use tokio::sync::OnceCell;

use crate::lab::Lab;
use crate::shop::Shops;
use crate::wait::{until, until_so};

/// A manager that is being restarted is waited for this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Everything that scenarios share.
pub struct Farm {
    /// The farm's machines.
    pub lab: Lab,
    /// Its manager.
    pub client: FarmClient,
    /// What proves one to be the manager.
    pub keys: FarmKeys,
    /// The VMs, once a scenario has asked for them.
    pub shops: OnceCell<Result<Shops, String>>,
}

impl Farm {
    /// On a lab that is up.
    pub fn new(lab: Lab) -> Result<Self, String> {
        let made = Self::connect(&lab);
        match made {
            Ok((client, keys)) => Ok(Self {
                lab,
                client,
                keys,
                shops: OnceCell::new(),
            }),
            Err(problem) => {
                let _ = lab.down();
                Err(problem)
            }
        }
    }

    fn connect(lab: &Lab) -> Result<(FarmClient, FarmKeys), String> {
        let client = lab.access.client().map_err(|error| error.to_string())?;
        let store = Store::open(&lab.manager_state().join(FILE)).map_err(|e| e.to_string())?;
        let copies = tempfile::tempdir().map_err(|error| error.to_string())?;
        let keys = FarmKeys::load(&store, copies.path(), &[]).map_err(|error| error.to_string())?;
        Ok((client, keys))
    }

    /// The farm CA's certificate.
    pub fn ca(&self) -> &str {
        self.keys.ca.cert_pem()
    }

    /// A blade's agent, called with a certificate of one's choice.
    pub fn agent_as(&self, blade: &str, own: &KeyedCert) -> AgentClient {
        let plan = self.lab.description.plan.blade(blade).unwrap();
        let address = (plan.management, AGENT_PORT).into();
        AgentClient::new(address, &host(blade), own, self.ca()).unwrap()
    }

    /// A blade's agent, called as the manager.
    pub fn agent(&self, blade: &str) -> AgentClient {
        self.agent_as(blade, &self.keys.manager)
    }

    /// The blade that is not this one.
    pub fn other(&self, blade: &str) -> String {
        let blades = &self.lab.description.plan.blades;
        let other = blades.iter().find(|one| one.name != blade).unwrap();
        other.name.clone()
    }

    /// Runs the command line as an administrator of this farm.
    pub async fn godwit(&self, words: &[&str]) -> Output {
        let access = &self.lab.access;
        let mut command = tokio::process::Command::new(&self.lab.godwit);
        command.args(words).kill_on_drop(true);
        command
            .env("GODWIT_MANAGER", access.address.to_string())
            .env("GODWIT_CA", &access.ca)
            .env("GODWIT_TOKEN_FILE", &access.token);
        command.output().await.unwrap()
    }

    /// The same, for a command that must succeed; gives what it printed.
    pub async fn done(&self, words: &[&str]) -> String {
        let output = self.godwit(words).await;
        let said = text(&output);
        assert!(
            output.status.success(),
            "godwit {}: {said}",
            words.join(" ")
        );
        said
    }

    /// Waits for the end of a task.
    pub async fn ended(&self, task: Task) -> Task {
        self.client.wait_task(task, PATIENCE, |_| ()).await.unwrap()
    }

    /// Waits for a task that must succeed.
    pub async fn succeeded(&self, task: Task) -> Task {
        let task = self.ended(task).await;
        assert_eq!(task.state, TaskState::Succeeded, "{task:?}");
        task
    }

    /// A VM, as the manager sees it.
    pub async fn vm(&self, name: &str) -> VmInfo {
        until(name, async || self.client.vm(name).await.ok()).await
    }

    /// Waits until a VM is on a host in a state.
    pub async fn is(&self, name: &str, blade: &str, state: VmState) {
        until_so(&format!("{name} {state} on {blade}"), async || {
            let vm = self.vm(name).await;
            vm.host.as_str() == blade && vm.state == Some(state)
        })
        .await;
    }

    /// Waits until the manager has all blades again.
    pub async fn all_up(&self) {
        until_so("all hosts up", async || {
            let hosts = self.client.hosts().await.unwrap_or_default();
            let up = hosts.iter().filter(|one| one.connection == Connection::Up);
            up.count() >= self.lab.description.plan.blades.len()
        })
        .await;
    }

    /// Begins to move a VM.
    pub async fn move_to(&self, vm: &str, blade: &str, bytes_per_second: Option<u64>) -> Task {
        let request = Migrate {
            to: host(blade),
            options: options(bytes_per_second),
        };
        self.client.migrate(vm, &request).await.unwrap()
    }

    /// Waits until a move sends memory.
    pub async fn sends_memory(&self, task: &Task) -> MigrationInfo {
        until("memory is sent", async || {
            let now = self.client.task(task.id, None, Duration::ZERO).await.ok()?;
            assert!(!now.state.is_final(), "ended too early: {now:?}");
            let moves = self.client.migrations(20).await.ok()?;
            let mine = moves.into_iter().find(|one| one.task == task.id)?;
            let sending = mine.phase == Phase::Precopy && mine.progress.wire_bytes > Bytes(0);
            sending.then_some(mine)
        })
        .await
    }

    /// Waits until nothing of a VM is left on a host where it is not: no record, no QEMU.
    pub async fn nothing_of(&self, vm: &VmInfo, blade: &str, qemus: usize) {
        let agent = self.agent(blade);
        let name = &vm.definition.name;
        until_so(&format!("nothing of {name} on {blade}"), async || {
            let known = agent.vms().await;
            let gone =
                known.is_ok_and(|all| all.iter().all(|one| one.definition.id != vm.definition.id));
            gone && self.lab.qemus(blade) == qemus
        })
        .await;
    }
}

/// How to move: as fast as may be, or so slowly that it can be looked at.
pub fn options(bytes_per_second: Option<u64>) -> MigrationOptions {
    MigrationOptions {
        max_bandwidth: bytes_per_second.map(Bytes),
        ..MigrationOptions::default()
    }
}

/// A blade's id.
pub fn host(blade: &str) -> HostId {
    blade.parse().unwrap()
}

/// Everything that a command said.
pub fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}
