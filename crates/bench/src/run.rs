//! Carries a plan out: stage by stage, one move at a time.
//!
//! A move that fails is a problem in the results, and its VM moves no more; whatever ends the bench early, what was
//! measured up to there is kept.

use std::time::{Duration, Instant};

use godwit_dvdstore::Size;

use crate::bare::{self, BareVm, Host};
use crate::error::BenchError;
use crate::farm::{self, FarmVm};
use crate::lab::Lab;
use crate::load::{self, Busy};
use crate::measure::{Facts, Intent, Meter, Sample};
use crate::options::{Identity, Options};
use crate::plan::{self, Engine, Expected, History, Plan, Side, Stage, Step, Wishes};
use crate::result::{Machine, Results};
use crate::say::Say;
use crate::stop::Stop;

/// VMs of the bench are called this, a dash and a number.
const PREFIX: &str = "bench";
/// How much more punctual than the VMs the instrument shall be.
const NICE: i32 = -10;
/// A machine that is busier than this before a move is told of.
const BUSY_PERCENT: f64 = 60.0;

/// Runs the bench. `seen` is given the results after each stage.
///
/// # Errors
/// Nothing more can be measured; what was is in what `seen` got last.
pub async fn run(
    options: &Options,
    say: Say,
    stop: &Stop,
    mut seen: impl FnMut(&Results),
) -> Result<Results, BenchError> {
    let lab = Lab::find(&options.lab, options.template.as_deref()).await?;
    let _lock = lab.lock()?;
    let host = Host::find()?;
    bare::sweep(&lab)?;
    let plan = plan(&lab, options).await;
    let (expected, takes) = plan.expected();
    say.line(format!(
        "{} moves in {} stages, about {} min",
        expected.len(),
        plan.stages.len(),
        takes.as_secs().div_ceil(60)
    ));
    let mut results = Results {
        machine: machine(&lab, &host, options),
        ..Results::default()
    };
    let mut history = History::default();
    for (number, stage) in plan.stages.iter().enumerate() {
        let mut bench = Bench {
            lab: &lab,
            host: &host,
            options,
            say,
            stop,
            number,
            stage,
            history: &mut history,
            results: &mut results,
        };
        let done = bench.run().await;
        seen(&results);
        done?;
    }
    Ok(results)
}

/// What would be done on this lab.
///
/// # Errors
/// The lab is not up.
pub async fn expected(options: &Options) -> Result<(Plan, Vec<Expected>, Duration), BenchError> {
    let lab = Lab::find(&options.lab, options.template.as_deref()).await?;
    let plan = plan(&lab, options).await;
    let (moves, takes) = plan.expected();
    Ok((plan, moves, takes))
}

async fn plan(lab: &Lab, options: &Options) -> Plan {
    plan::plan(&Wishes {
        engines: options.engines.clone(),
        loads: options.loads.clone(),
        links: vec![lab.link()],
        runs: options.runs,
        unshaped_runs: options.unshaped_runs,
        warm_up: options.warm_up,
        long_return: options.long_return,
        can_empty: farm::has_stores(lab).await,
    })
}

/// A stage under way.
struct Bench<'a> {
    lab: &'a Lab,
    host: &'a Host,
    options: &'a Options,
    say: Say,
    stop: &'a Stop,
    number: usize,
    stage: &'a Stage,
    history: &'a mut History,
    results: &'a mut Results,
}

/// A VM of a stage. Gone: it failed to move.
enum Vm<'a> {
    Bare(Box<BareVm<'a>>),
    Farm(FarmVm<'a>),
    Gone,
}

impl Bench<'_> {
    async fn run(&mut self) -> Result<(), BenchError> {
        let vms: Vec<Identity> = (0..self.stage.vms).map(|vm| self.identity(vm)).collect();
        let whose = if self.stage.farm {
            "the farm's"
        } else {
            "bare"
        };
        let load = self.stage.load.name();
        self.say.line(format!(
            "stage {}: {} VMs, {whose}, load {load}",
            self.number + 1,
            vms.len()
        ));
        if !self.stage.farm {
            return self.with(&vms).await;
        }
        farm::remove(self.lab, &vms).await?;
        let done = self.with(&vms).await;
        let removed = farm::remove(self.lab, &vms).await;
        (0..vms.len()).for_each(|vm| self.history.removed((self.number, vm)));
        done.and(removed)
    }

    async fn with(&mut self, identities: &[Identity]) -> Result<(), BenchError> {
        let mut vms = Vec::new();
        let mut size = Size::S;
        for (index, identity) in identities.iter().enumerate() {
            let (lab, identity) = (self.lab, identity.clone());
            vms.push(if self.stage.farm {
                let vm = FarmVm::boot(lab, identity.clone()).await?;
                self.history.made((self.number, index), Side::A);
                Vm::Farm(vm)
            } else {
                Vm::Bare(Box::new(
                    BareVm::boot(lab, self.host, identity.clone()).await?,
                ))
            });
            let began = Instant::now();
            size = load::ready(&identity, self.options.ready_within, self.stop)
                .await?
                .size;
            let took = began.elapsed().as_secs();
            self.say
                .line(format!("{} answers after {took} s", identity.name));
            let began = Instant::now();
            load::read_through(&identity, self.stop).await?;
            let took = began.elapsed().as_secs();
            self.say.line(format!(
                "{} has read its database in {took} s",
                identity.name
            ));
        }
        let meter = Meter::start(self.lab, identities)?;
        be_punctual();
        let busy = Busy::start(self.stage.load, identities, size, self.options).await?;
        self.say
            .line(format!("warming up for {} s", self.stage.warm_up.as_secs()));
        self.stop.sleep(self.stage.warm_up).await?;
        let first = self.results.samples.len();
        let done = self.steps(&mut vms, &meter).await;
        let orders = busy.end().await;
        for sample in &mut self.results.samples[first..] {
            load::count(sample, &orders);
        }
        done
    }

    async fn steps(&mut self, vms: &mut [Vm<'_>], meter: &Meter<'_>) -> Result<(), BenchError> {
        let mut since = vec![Instant::now(); vms.len()];
        let all = self.stage.steps.len();
        for (done, step) in self.stage.steps.iter().enumerate() {
            let Step::Move { vm, engine, rest } = *step else {
                farm::empty_stores(self.lab).await?;
                self.history.emptied();
                continue;
            };
            let Some(from) = vms[vm].side() else {
                continue;
            };
            self.stop
                .sleep(rest.saturating_sub(since[vm].elapsed()))
                .await?;
            let progress = format!("{}/{all}", done + 1);
            match self.step(&mut vms[vm], vm, engine, from, meter).await {
                Ok(sample) => {
                    self.say.line(format!("{progress} {}", told(&sample)));
                    self.results.samples.push(sample);
                }
                Err(BenchError::Interrupted) => return Err(BenchError::Interrupted),
                Err(error) => {
                    let name = self.identity(vm).name;
                    let problem = format!("{name}, {}: {}", engine.name(), error.whole());
                    self.say.line(format!("{progress} FAILED {problem}"));
                    self.results.problems.push(problem);
                    vms[vm] = Vm::Gone;
                }
            }
            since[vm] = Instant::now();
        }
        Ok(())
    }

    async fn step(
        &mut self,
        vm: &mut Vm<'_>,
        index: usize,
        engine: Engine,
        from: Side,
        meter: &Meter<'_>,
    ) -> Result<Sample, BenchError> {
        let (identity, key, to) = (self.identity(index), (self.number, index), from.other());
        let begun = meter.begin(&identity, from, self.stop).await?;
        let intent = Intent {
            engine,
            visit: self.history.visit(engine, key, to, self.say.elapsed()),
            load: self.stage.load,
            from,
        };
        let facts = self.stop.or(vm.migrate(engine)).await??;
        self.history.moved(engine, key, to, self.say.elapsed());
        meter.end(&identity, begun, intent, facts, self.stop).await
    }

    fn identity(&self, vm: usize) -> Identity {
        // Each VM of the whole bench has an address of its own: neighbours remember those of earlier stages.
        let before: usize = self.number * (self.options.runs + 1);
        let number = u8::try_from((before + vm) % 90).unwrap_or(0);
        Identity {
            name: format!("{PREFIX}-{}-{}", self.number + 1, vm + 1),
            address: self
                .lab
                .address(self.options.first_address.saturating_add(number)),
            number: u32::try_from(vm).unwrap_or(0),
        }
    }
}

impl Vm<'_> {
    fn side(&self) -> Option<Side> {
        match self {
            Self::Bare(vm) => Some(vm.side),
            Self::Farm(vm) => Some(vm.side),
            Self::Gone => None,
        }
    }

    async fn migrate(&mut self, engine: Engine) -> Result<Facts, BenchError> {
        match self {
            Self::Bare(vm) => vm.migrate(engine).await,
            Self::Farm(vm) => vm.migrate().await,
            Self::Gone => Err(BenchError::failed("the move", "the VM is gone")),
        }
    }
}

/// A move in one line.
fn told(one: &Sample) -> String {
    let visit = one.visit.map_or("not counted", |visit| visit.name());
    let disturbed = if one.busy_before_percent > BUSY_PERCENT {
        format!(
            " (the machine was {:.0} % busy before)",
            one.busy_before_percent
        )
    } else {
        String::new()
    };
    format!(
        "{} {} ({visit}): {:.1} MB, {:.2} s, STOP to RESUME {:.0} ms, echo {:.0} ms, CPU {:.2} s{disturbed}",
        one.vm,
        one.engine.name(),
        one.bytes / 1e6,
        one.seconds,
        one.stop_resume_ms,
        one.client_blackout_ms.unwrap_or(f64::NAN),
        one.cpu_seconds
    )
}

fn machine(lab: &Lab, host: &Host, options: &Options) -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Machine {
        cpu: model.map_or_else(String::new, |(_, name)| name.trim().to_owned()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        cores_per_blade: lab.blade(Side::A).cores.len(),
        qemu: host.version(),
        accelerator: host.accelerator(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        bits_per_second: lab.bits_per_second(),
        vm_memory: lab.template.memory.0,
        orders_per_minute: options.orders_per_minute,
        dirty_pages_per_second: options.dirty_pages_per_second,
    }
}

/// Puts all threads of this process before the VMs' where cores are shared: a late probe measures itself. Not being
/// allowed to is no reason to stop.
fn be_punctual() {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    for id in threads.filter_map(|thread| thread.file_name().to_str()?.parse::<libc::id_t>().ok()) {
        // SAFETY: setpriority takes three numbers and touches no memory of ours.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, id, NICE) };
    }
}
