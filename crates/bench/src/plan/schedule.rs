//! From wishes to a plan.
//!
//! **Stock QEMU**: the VMs move in rounds, to and fro, and in each round each VM has another engine (a Latin square), so
//! that no engine always gets the VMs that have worked longest.
//!
//! **Godwit**, one VM more than runs, all on side A:
//! 1. for each VM but one: empty the stores, move to B (first), move back (not counted);
//! 2. empty the stores; the one left moves to B (first) and stays, then the others follow it (sibling);
//! 3. after a minute there each comes back (return-60s), and after ten more goes again (return-10min).
//!
//! Where the stores cannot be emptied, 1 is left out: then only one visit is a first one.

use std::time::Duration;

use super::{Engine, Expected, History, Link, Load, Plan, Side, Stage, Step};

/// Least time between two moves of one VM, and what a VM does between its arrival and its way back.
pub const SETTLE: Duration = Duration::from_secs(5);
/// A return after a minute.
pub const SHORT: Duration = Duration::from_secs(60);
/// A return after ten minutes.
pub const LONG: Duration = Duration::from_secs(600);

/// What a move takes with all that belongs to it, for estimates (1 Gb/s, 512 MB, two cores).
const MOVE_TAKES: Duration = Duration::from_secs(9);
/// What a VM takes from the command to its first answer, for estimates: they boot one after the other.
const BOOT_TAKES: Duration = Duration::from_secs(13);
/// Making the load ready, taking the VMs away.
const STAGE_TAKES: Duration = Duration::from_secs(10);
/// Emptying the stores.
const EMPTYING_TAKES: Duration = Duration::from_secs(1);

/// What the plan shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// The engines.
    pub engines: Vec<Engine>,
    /// The loads, on the shaped link.
    pub loads: Vec<Load>,
    /// The links; the unshaped one is measured without load.
    pub links: Vec<Link>,
    /// Moves of each kind on the shaped link.
    pub runs: usize,
    /// Moves of each kind on the unshaped link.
    pub unshaped_runs: usize,
    /// How long VMs work before the first of them moves.
    pub warm_up: Duration,
    /// Whether VMs return after ten minutes, too.
    pub long_return: bool,
    /// Whether the page stores can be emptied.
    pub can_empty: bool,
}

/// The plan that fulfils the wishes.
#[must_use]
pub fn plan(wishes: &Wishes) -> Plan {
    let mut stages = Vec::new();
    for link in &wishes.links {
        let loads = match link {
            Link::Shaped => wishes.loads.clone(),
            Link::Unshaped => vec![Load::Idle],
        };
        for (index, load) in loads.into_iter().enumerate() {
            let long = wishes.long_return && index == 0 && *link == Link::Shaped;
            stages.extend(bare(wishes, *link, load));
            stages.extend(farm(wishes, *link, load, long));
        }
    }
    Plan { stages }
}

fn runs(wishes: &Wishes, link: Link) -> usize {
    match link {
        Link::Shaped => wishes.runs,
        Link::Unshaped => wishes.unshaped_runs,
    }
}

fn warm_up(wishes: &Wishes, load: Load) -> Duration {
    match load {
        // Nothing has to warm up, but the guest's own start shall be over.
        Load::Idle => wishes.warm_up.min(Duration::from_secs(15)),
        Load::Dvdstore | Load::Writer => wishes.warm_up,
    }
}

fn bare(wishes: &Wishes, link: Link, load: Load) -> Option<Stage> {
    let wanted = |engine: &&Engine| **engine != Engine::Godwit;
    let engines: Vec<Engine> = wishes.engines.iter().filter(wanted).copied().collect();
    let vms = runs(wishes, link);
    if engines.is_empty() || vms == 0 {
        return None;
    }
    let rounds = 0..engines.len();
    let steps = rounds.flat_map(|round| {
        let engines = &engines;
        (0..vms).map(move |vm| Step::Move {
            vm,
            engine: engines[(round + vm) % engines.len()],
            rest: SETTLE,
        })
    });
    Some(Stage {
        farm: false,
        load,
        link,
        vms,
        warm_up: warm_up(wishes, load),
        steps: steps.collect(),
    })
}

fn farm(wishes: &Wishes, link: Link, load: Load, long: bool) -> Option<Stage> {
    let runs = runs(wishes, link);
    if !wishes.engines.contains(&Engine::Godwit) || runs == 0 {
        return None;
    }
    let go = |vm, rest| Step::Move {
        vm,
        engine: Engine::Godwit,
        rest,
    };
    let mut steps = Vec::new();
    if wishes.can_empty {
        for vm in 1..=runs {
            steps.extend([Step::EmptyStores, go(vm, SETTLE), go(vm, SETTLE)]);
        }
        steps.push(Step::EmptyStores);
    }
    steps.extend((0..=runs).map(|vm| go(vm, SETTLE)));
    steps.extend((1..=runs).map(|vm| go(vm, SHORT)));
    if long {
        steps.extend((1..=runs).map(|vm| go(vm, LONG)));
    }
    Some(Stage {
        farm: true,
        load,
        link,
        vms: runs + 1,
        warm_up: warm_up(wishes, load),
        steps,
    })
}

impl Plan {
    /// What the moves are expected to be, in order, and about how long everything takes.
    #[must_use]
    pub fn expected(&self) -> (Vec<Expected>, Duration) {
        let mut history = History::default();
        let mut now = Duration::ZERO;
        let mut moves = Vec::new();
        for (number, stage) in self.stages.iter().enumerate() {
            now += expect(number, stage, now, &mut history, &mut moves);
        }
        (moves, now)
    }
}

/// Goes through a stage that begins at `from`; returns how long it takes.
fn expect(
    number: usize,
    stage: &Stage,
    from: Duration,
    history: &mut History,
    moves: &mut Vec<Expected>,
) -> Duration {
    let boots = BOOT_TAKES * u32::try_from(stage.vms).unwrap_or(u32::MAX);
    let mut now = from + boots + stage.warm_up;
    let mut places = vec![(Side::A, now); stage.vms];
    if stage.farm {
        (0..stage.vms).for_each(|vm| history.made((number, vm), Side::A));
    }
    for step in &stage.steps {
        let Step::Move { vm, engine, rest } = *step else {
            history.emptied();
            now += EMPTYING_TAKES;
            continue;
        };
        let (place, since) = places[vm];
        now = now.max(since + rest);
        let (key, to) = ((number, vm), place.other());
        moves.push(Expected {
            stage: number,
            vm,
            engine,
            visit: history.visit(engine, key, to, now),
        });
        now += MOVE_TAKES;
        history.moved(engine, key, to, now);
        places[vm] = (to, now);
    }
    (0..stage.vms).for_each(|vm| history.removed((number, vm)));
    now + STAGE_TAKES - from
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::plan::Visit;
    use std::path::PathBuf;

    fn wishes(options: &Options, can_empty: bool) -> Wishes {
        Wishes {
            engines: options.engines.clone(),
            loads: options.loads.clone(),
            links: vec![Link::Shaped, Link::Unshaped],
            runs: options.runs,
            unshaped_runs: options.unshaped_runs,
            warm_up: options.warm_up,
            long_return: options.long_return,
            can_empty,
        }
    }

    fn full(can_empty: bool) -> Plan {
        plan(&wishes(&Options::new(PathBuf::new()), can_empty))
    }

    fn count(plan: &Plan, load: Load, link: Link, engine: Engine, visit: Option<Visit>) -> usize {
        let here = |one: &&Expected| {
            let stage = &plan.stages[one.stage];
            (stage.load, stage.link, one.engine, one.visit) == (load, link, engine, visit)
        };
        plan.expected().0.iter().filter(here).count()
    }

    #[test]
    fn the_whole_bench_has_five_of_everything_and_takes_less_than_45_minutes() {
        let plan = full(true);
        let shaped =
            |engine, visit| count(&plan, Load::Dvdstore, Link::Shaped, engine, Some(visit));
        for engine in &Engine::ALL[..4] {
            assert_eq!(shaped(*engine, Visit::First), 5, "{engine:?}");
        }
        assert_eq!(shaped(Engine::Godwit, Visit::First), 6);
        for visit in [Visit::Sibling, Visit::Return60s, Visit::Return10min] {
            assert_eq!(shaped(Engine::Godwit, visit), 5, "{visit:?}");
        }
        let writer = |visit| {
            count(
                &plan,
                Load::Writer,
                Link::Shaped,
                Engine::Godwit,
                Some(visit),
            )
        };
        assert_eq!(
            (writer(Visit::First), writer(Visit::Sibling)),
            (6, 5),
            "stores that other stages filled are emptied"
        );
        assert_eq!(writer(Visit::Return10min), 0);
        let took = plan.expected().1;
        assert!(took < Duration::from_secs(45 * 60), "{took:?}");
    }

    #[test]
    fn the_quick_form_takes_about_five_minutes() {
        let wishes = Wishes {
            links: vec![Link::Shaped],
            ..wishes(&Options::quick(PathBuf::new()), true)
        };
        let plan = plan(&wishes);
        let took = plan.expected().1;
        assert!(took < Duration::from_secs(6 * 60), "{took:?}");
        let firsts = |engine| {
            count(
                &plan,
                Load::Dvdstore,
                Link::Shaped,
                engine,
                Some(Visit::First),
            )
        };
        assert_eq!((firsts(Engine::Plain), firsts(Engine::Godwit)), (2, 3));
    }

    #[test]
    fn without_emptying_only_one_visit_is_called_first() {
        let plan = full(false);
        let all = plan.expected().0;
        let of = |visit| {
            let godwit = |one: &&Expected| one.engine == Engine::Godwit && one.visit == Some(visit);
            all.iter().filter(godwit).count()
        };
        assert_eq!(of(Visit::First), 1);
        assert!(of(Visit::Sibling) >= 5);
        assert!(
            !plan
                .stages
                .iter()
                .any(|stage| stage.steps.contains(&Step::EmptyStores))
        );
    }

    #[test]
    fn in_each_round_each_engine_gets_another_vm() {
        let plan = full(true);
        let stage = &plan.stages[0];
        assert!(!stage.farm);
        let engines = |vm| -> Vec<Engine> {
            let of = |step: &Step| match step {
                Step::Move { vm: it, engine, .. } if *it == vm => Some(*engine),
                _ => None,
            };
            stage.steps.iter().filter_map(of).collect()
        };
        for vm in 0..stage.vms {
            let mut sorted = engines(vm);
            assert_eq!(sorted[0], Engine::ALL[vm % 4]);
            sorted.sort();
            assert_eq!(sorted, Engine::ALL[..4]);
        }
    }

    #[test]
    fn who_wants_one_engine_gets_no_other() {
        let options = Options {
            engines: vec![Engine::Plain],
            ..Options::quick(PathBuf::new())
        };
        let wishes = Wishes {
            links: vec![Link::Shaped],
            ..wishes(&options, true)
        };
        let plan = plan(&wishes);
        assert_eq!(plan.stages.len(), 1);
        assert_eq!(plan.stages[0].steps.len(), 2);
    }
}
