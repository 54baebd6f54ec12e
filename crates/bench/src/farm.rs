//! VMs of the farm, made and moved through its manager like by any other client.

use std::time::Duration;

use godwit_api::farm::{CloneVm, Customization, Migrate, Power};
use godwit_lab::processes;
use godwit_lab::spec::Subnet;
use godwit_model::ids::{HostId, MigrationId};
use godwit_model::migration::receipt::{CpuCost, Receipt};
use godwit_model::task::{Task, TaskState};
use godwit_model::units::MonoNs;
use godwit_net::clock::now;
use godwit_qemu::usage::ProcessUsage;

use crate::error::BenchError;
use crate::lab::Lab;
use crate::measure::Facts;
use crate::options::Identity;
use crate::plan::Side;

/// A manager that is being restarted is waited for this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A VM of the farm.
#[derive(Debug)]
pub struct FarmVm<'a> {
    lab: &'a Lab,
    /// Who it is.
    pub identity: Identity,
    /// Where it is.
    pub side: Side,
}

impl<'a> FarmVm<'a> {
    /// Clones it on side A and lets it boot.
    ///
    /// # Errors
    /// The farm refuses.
    pub async fn boot(lab: &'a Lab, identity: Identity) -> Result<Self, BenchError> {
        let request = CloneVm {
            template: lab.template.name.clone(),
            name: identity.name.clone(),
            host: Some(host(lab, Side::A)?),
            datastore: None,
            memory: None,
            vcpus: None,
            full: false,
            network: None,
            customization: Some(Customization {
                address: identity.address,
                prefix: Subnet::PREFIX,
                gateway: Some(lab.gateway()),
                dns: vec![lab.gateway()],
            }),
            power_on: true,
        };
        let what = format!("cloning {}", identity.name);
        let task = lab.client.clone_vm(&request).await;
        done(lab, task.map_err(BenchError::call(&what))?, &what).await?;
        Ok(Self {
            lab,
            identity,
            side: Side::A,
        })
    }

    /// Moves to the other side.
    ///
    /// # Errors
    /// The farm refuses, or the migration fails.
    pub async fn migrate(&mut self) -> Result<Facts, BenchError> {
        let to = self.side.other();
        let request = Migrate {
            to: host(self.lab, to)?,
            options: Default::default(),
        };
        let daemons = Daemons::of(self.lab);
        let what = format!("moving {}", self.identity.name);
        let began = now();
        let task = self.lab.client.migrate(&self.identity.name, &request).await;
        let task = done(self.lab, task.map_err(BenchError::call(&what))?, &what).await?;
        let agents = daemons.spent_since();
        self.side = to;
        let id: Option<MigrationId> = task.result.as_deref().and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| BenchError::failed(&what, "its task names no migration"))?;
        let found = self.lab.client.migration(id).await;
        let receipt = found
            .map_err(BenchError::call("asking for the receipt"))?
            .receipt;
        let receipt = receipt.ok_or_else(|| BenchError::failed(&what, "there is no receipt"))?;
        Ok(facts(began, &receipt, agents))
    }
}

/// Empties the page stores of both hosts.
///
/// # Errors
/// A host refuses.
pub async fn empty_stores(lab: &Lab) -> Result<(), BenchError> {
    for side in [Side::A, Side::B] {
        let emptied = lab.client.empty_host_pages(&host(lab, side)?).await;
        emptied.map_err(BenchError::call("emptying a page store"))?;
    }
    Ok(())
}

/// Whether both hosts have a page store that can be emptied.
pub async fn has_stores(lab: &Lab) -> bool {
    for side in [Side::A, Side::B] {
        let Ok(host) = host(lab, side) else {
            return false;
        };
        if lab.client.host_pages(&host).await.is_err() {
            return false;
        }
    }
    true
}

/// Takes VMs of these names away, also those that an earlier bench left.
///
/// # Errors
/// One of them cannot be removed.
pub async fn remove(lab: &Lab, identities: &[Identity]) -> Result<(), BenchError> {
    let there = lab.client.vms().await;
    let there = there.map_err(BenchError::call("listing the VMs"))?;
    for identity in identities {
        let name = identity.name.as_str();
        if !there.iter().any(|vm| vm.definition.name == name) {
            continue;
        }
        if let Ok(task) = lab.client.power(name, &Power::Kill).await {
            // One that is off already cannot be killed; whether it is gone, deleting tells.
            let _ = done(lab, task, "killing").await;
        }
        let what = format!("deleting {name}");
        let task = lab.client.delete_vm(name).await;
        done(lab, task.map_err(BenchError::call(&what))?, &what).await?;
    }
    Ok(())
}

async fn done(lab: &Lab, task: Task, what: &str) -> Result<Task, BenchError> {
    let task = lab.client.wait_task(task, PATIENCE, |_| {}).await;
    let task = task.map_err(BenchError::call(what))?;
    if task.state == TaskState::Succeeded {
        return Ok(task);
    }
    let reason = task
        .error
        .unwrap_or_else(|| format!("its task was {}", task.state));
    Err(BenchError::failed(what, reason))
}

fn host(lab: &Lab, side: Side) -> Result<HostId, BenchError> {
    let name = &lab.blade(side).name;
    name.parse()
        .map_err(|_| BenchError::Setup(format!("{name} is no host's name")))
}

/// Both ends and the bench run on one machine, so all moments are of one clock.
fn facts(began: MonoNs, receipt: &Receipt, agents: Duration) -> Facts {
    let blackout = receipt.blackout.map_or(0.0, |blackout| blackout.ms);
    let resumed = receipt.ended_mono;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // milliseconds, never negative
    let ago = |ms: f64| MonoNs(resumed.0.saturating_sub((ms * 1e6) as u64));
    let cpu = |cost: CpuCost| cost.relay_seconds + cost.qemu_seconds;
    let kinds = receipt.pages.kinds();
    let kinds = kinds.map(|(name, bytes)| (name.to_owned(), bytes.0));
    Facts {
        began,
        sending: Some(ago(receipt.phases.precopy_ms + blackout)),
        stopped: ago(blackout),
        resumed,
        stop_resume_ms: blackout,
        downtime_ms: receipt.qemu_downtime_ms.map(|ms| ms as f64),
        cpu_seconds: cpu(receipt.source_cpu) + cpu(receipt.destination_cpu),
        agents_cpu_seconds: Some(agents.as_secs_f64()),
        stream_bytes: Some(receipt.stream_bytes.0),
        datastore_bytes: Some(receipt.pages.template.0),
        rounds: Some(receipt.rounds),
        kinds: Some(kinds.into_iter().collect()),
    }
}

/// The processes of the farm in both blades that are no QEMU, and the CPU time they had.
struct Daemons(Vec<(u32, Duration)>);

impl Daemons {
    fn of(lab: &Lab) -> Self {
        let inits =
            [Side::A, Side::B].map(|side| processes::find(lab.dir(), &lab.blade(side).name));
        let members = inits.iter().flatten().flat_map(processes::members);
        let ours = members.filter(|member| member.command.starts_with("godwit"));
        let looked = ours.filter_map(|member| {
            let pid = u32::try_from(member.pid).ok()?;
            Some((pid, ProcessUsage::of(pid).ok()?.total()))
        });
        Self(looked.collect())
    }

    /// What those that still run have used since.
    fn spent_since(&self) -> Duration {
        let spent = |(pid, before): &(u32, Duration)| {
            let usage = ProcessUsage::of(*pid).ok()?;
            Some(usage.total().saturating_sub(*before))
        };
        self.0.iter().filter_map(spent).sum()
    }
}
