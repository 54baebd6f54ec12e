//! Random lives of one VM on three hosts, with crashes, reboots, lost replies and stale
//! commands: at most one host ever runs it, and whoever runs it holds the newest epoch.
//!
//! The hosts keep to the rules of a migration as DESIGN.md has them, and to nothing else: what
//! keeps them apart is the lease alone.

use super::{
    DatastoreLease,
    memory::{Fault, Memory, View, home, host, owner},
};
use crate::{Claim, ClaimError, Lease, Pending, Purpose, VmHome};
use godwit_model::{epoch::Epoch, ids::MigrationId};
use proptest::prelude::*;
use std::sync::Arc;

const HOSTS: usize = 3;
const NAMES: [&str; HOSTS] = ["a", "b", "c"];

/// The number and the parties of one migration, fixed when it is prepared.
#[derive(Debug, Clone, Copy)]
struct Plan {
    id: MigrationId,
    epoch: Epoch,
    source: usize,
    destination: usize,
}

/// What a host's QEMU is doing.
#[derive(Debug, Clone, Copy)]
enum Qemu {
    None,
    Running,
    /// Runs, and is being copied.
    Sending(Plan),
    /// Paused; the last frame was released.
    Left(Plan),
    /// Paused; `whole` once the last frame arrived.
    Incoming {
        plan: Plan,
        whole: bool,
    },
}

struct Host {
    lease: DatastoreLease,
    view: Arc<View>,
    boot: u32,
    qemu: Qemu,
    claim: Option<Claim>,
    pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Start {
        epoch_off: i8,
    },
    Prepare {
        to: usize,
    },
    Release {
        arrives: bool,
    },
    AbortEarly,
    Activate,
    GiveBack,
    Void,
    TakeBack,
    Settle,
    /// QEMU ends, whatever it was doing, and its owner says so.
    Stop,
    /// The source ends its QEMU because the VM runs at the destination.
    Quit,
    RestartAgent,
    Reboot,
}

struct World {
    storage: Arc<Memory>,
    vm: VmHome,
    hosts: Vec<Host>,
}

impl World {
    fn new() -> Self {
        let storage = Arc::new(Memory::default());
        let hosts = NAMES.iter().map(|name| {
            let (lease, view) = host(&storage, name);
            Host {
                lease,
                view,
                boot: 1,
                qemu: Qemu::None,
                claim: None,
                pending: None,
            }
        });
        Self {
            hosts: hosts.collect(),
            vm: home(),
            storage,
        }
    }

    fn newest(&self) -> Epoch {
        let (healthy, _) = host(&self.storage, "observer");
        // The folder is there as soon as the first file is; before it there is no epoch.
        healthy
            .newest(&self.vm)
            .expect("reads")
            .map_or(Epoch(0), |newest| newest.epoch())
    }

    fn step(&mut self, h: usize, step: Step) {
        let newest = self.newest();
        if self.hosts[h].pending.is_some()
            && !matches!(
                step,
                Step::Settle | Step::RestartAgent | Step::Reboot | Step::Stop
            )
        {
            return; // An unknown outcome holds everything up.
        }
        match (step, self.hosts[h].qemu) {
            (Step::Start { epoch_off }, Qemu::None) => {
                let epoch = Epoch(newest.0.saturating_add_signed(i64::from(epoch_off)));
                self.claim(h, epoch, Purpose::Start);
            }
            (Step::Prepare { to }, Qemu::Running) if to != h => {
                if matches!(self.hosts[to].qemu, Qemu::None) {
                    let plan = Plan {
                        id: MigrationId::random(),
                        epoch: self.hosts[h]
                            .claim
                            .as_ref()
                            .expect("it runs")
                            .epoch()
                            .next(),
                        source: h,
                        destination: to,
                    };
                    self.hosts[h].qemu = Qemu::Sending(plan);
                    self.hosts[to].qemu = Qemu::Incoming { plan, whole: false };
                }
            }
            (Step::Release { arrives }, Qemu::Sending(plan)) => {
                self.hosts[h].qemu = Qemu::Left(plan);
                if let Qemu::Incoming {
                    plan: theirs,
                    whole,
                } = &mut self.hosts[plan.destination].qemu
                {
                    *whole |= arrives && theirs.id == plan.id;
                }
            }
            // Before release nobody else can have a whole VM: no claim is needed.
            (Step::AbortEarly, Qemu::Sending(_)) => self.hosts[h].qemu = Qemu::Running,
            (Step::Activate, Qemu::Incoming { plan, whole: true }) => {
                self.claim(h, plan.epoch, Purpose::Activate { migration: plan.id });
            }
            (Step::GiveBack, Qemu::Incoming { plan, whole: true }) => {
                let purpose = Purpose::Activate { migration: plan.id };
                if let Ok(claim) = self.hosts[h].lease.claim(&self.vm, plan.epoch, purpose) {
                    self.hosts[h].qemu = Qemu::None;
                    let to = self.hosts[plan.source].lease.owner().host.clone();
                    drop(self.hosts[h].lease.give_back(&self.vm, claim, to, plan.id));
                }
            }
            (Step::Void, Qemu::Left(plan)) => {
                self.claim(h, plan.epoch, Purpose::Void { migration: plan.id });
            }
            (Step::TakeBack, Qemu::Left(plan)) => {
                let epoch = plan.epoch.next().next();
                self.claim(h, epoch, Purpose::TakeBack { migration: plan.id });
            }
            (Step::Quit, Qemu::Left(plan)) if plan.destination != h => {
                if matches!(
                    self.hosts[plan.destination].qemu,
                    Qemu::Running | Qemu::Sending(_)
                ) {
                    self.hosts[h].qemu = Qemu::None;
                    self.hosts[h].claim = None;
                }
            }
            (Step::Settle, _) => {
                if let Some(pending) = self.hosts[h].pending.take() {
                    let result = self.hosts[h].lease.settle(&self.vm, pending);
                    self.conclude(h, result);
                }
            }
            (Step::Stop, _) => {
                self.hosts[h].qemu = Qemu::None;
                self.hosts[h].pending = None;
                if let Some(claim) = self.hosts[h].claim.take() {
                    drop(self.hosts[h].lease.release(&self.vm, claim));
                }
            }
            (Step::RestartAgent, _) => self.restart(h),
            (Step::Reboot, _) => {
                let host = &mut self.hosts[h];
                host.boot += 1;
                let owner = owner(NAMES[h], &format!("boot{}", host.boot));
                host.lease = DatastoreLease::with_files(owner, host.view.clone());
                host.qemu = Qemu::None;
                host.claim = None;
                host.pending = None;
                drop(host.lease.release_former_boot(&self.vm));
            }
            _ => {}
        }
    }

    fn claim(&mut self, h: usize, epoch: Epoch, purpose: Purpose) {
        let result = self.hosts[h].lease.claim(&self.vm, epoch, purpose);
        self.conclude(h, result);
    }

    fn conclude(&mut self, h: usize, result: Result<Claim, ClaimError>) {
        let host = &mut self.hosts[h];
        match result {
            Ok(claim) => {
                host.qemu = Qemu::Running;
                host.claim = Some(claim);
            }
            Err(ClaimError::Unknown { pending, .. }) => host.pending = Some(*pending),
            // A destination that lost destroys what it has; a source waits for its word.
            Err(ClaimError::Lost { .. }) if matches!(host.qemu, Qemu::Incoming { .. }) => {
                host.qemu = Qemu::None;
            }
            Err(_) => {}
        }
    }

    fn restart(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        host.pending = None;
        host.claim = None;
        host.view.heal();
        host.claim = host.lease.held(&self.vm).expect("the storage works");
        match (host.qemu, &host.claim) {
            // It runs, so it must find its claim, whatever happened.
            (Qemu::Running | Qemu::Sending(_), None) => panic!("{} lost its claim", NAMES[h]),
            // An incoming QEMU that never ran may run if its number turns out to be won.
            (Qemu::Incoming { plan, whole: true }, Some(claim))
                if *claim.purpose() == (Purpose::Activate { migration: plan.id }) =>
            {
                host.qemu = Qemu::Running;
            }
            // A QEMU that has left never continues by what is found again.
            _ => {}
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let running: Vec<usize> = (0..HOSTS)
            .filter(|&h| matches!(self.hosts[h].qemu, Qemu::Running | Qemu::Sending(_)))
            .collect();
        prop_assert!(running.len() <= 1, "it runs on {running:?}");
        if let [h] = running[..] {
            let epoch = self.hosts[h].claim.as_ref().map(Claim::epoch);
            prop_assert_eq!(
                epoch,
                Some(self.newest()),
                "{} runs without the newest epoch",
                h
            );
        }
        Ok(())
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Start { epoch_off: 1 }),
        1 => (-1..3_i8).prop_map(|epoch_off| Step::Start { epoch_off }),
        4 => (0..HOSTS).prop_map(|to| Step::Prepare { to }),
        4 => any::<bool>().prop_map(|arrives| Step::Release { arrives }),
        1 => Just(Step::AbortEarly),
        4 => Just(Step::Activate),
        2 => Just(Step::GiveBack),
        3 => Just(Step::Void),
        3 => Just(Step::TakeBack),
        2 => Just(Step::Settle),
        1 => Just(Step::Stop),
        2 => Just(Step::Quit),
        1 => Just(Step::RestartAgent),
        1 => Just(Step::Reboot),
    ]
}

fn any_fault() -> impl Strategy<Value = Option<(usize, Fault)>> {
    prop_oneof![
        4 => Just(None),
        1 => (0..8_usize, prop::sample::select(vec![Fault::Failed, Fault::ReplyLost])).prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn at_most_one_host_runs_the_vm(
        steps in prop::collection::vec((0..HOSTS, any_step(), any_fault()), 1..80)
    ) {
        let mut world = World::new();
        // A VM that runs, so that short lives are about migrations too.
        world.step(0, Step::Start { epoch_off: 1 });
        for (h, step, fault) in steps {
            match fault {
                Some((at, fault)) => world.hosts[h].view.plan_fault(at, fault),
                None => world.hosts[h].view.heal(),
            }
            world.step(h, step);
            world.hosts[h].view.heal();
            world.check()?;
        }
    }
}

/// The random lives are worth little if hardly any gets past its first steps.
#[test]
fn the_random_lives_reach_what_they_are_about() {
    let mut world = World::new();
    let life = [
        (0, Step::Start { epoch_off: 1 }),
        (0, Step::Prepare { to: 1 }),
        (0, Step::Release { arrives: true }),
        (1, Step::GiveBack),
        (0, Step::TakeBack),
        (0, Step::Prepare { to: 2 }),
        (0, Step::Release { arrives: true }),
        (2, Step::Activate),
        (0, Step::Void),
        (0, Step::Quit),
    ];
    for (h, step) in life {
        world.step(h, step);
    }
    assert_eq!(world.newest(), Epoch(5));
    assert!(matches!(world.hosts[2].qemu, Qemu::Running));
    assert!(matches!(world.hosts[0].qemu, Qemu::None));
}
