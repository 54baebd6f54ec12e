//! A made-up run, for the tests and for looking at the report without a farm. Nothing in it was
//! measured.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use time::OffsetDateTime;

use crate::profile::{Profile, ProfileName};
use crate::raw::{AuditInfo, HostInfo, Machine, PartInfo, ProbeInfo, Run, RunInfo};
use crate::records::{
    GeneratorRow, HostRow, MigrationRow, MoveOutcome, OrderRow, Outcome, Part, SilenceRow,
};
use crate::schedule;

const HOSTS: [&str; 2] = ["blade1", "blade2"];

/// A run of the profile `demo`.
#[must_use]
pub fn run(seed: u64) -> Run {
    of(Profile::named(ProfileName::Demo), seed)
}

/// A run of any profile.
#[must_use]
pub fn of(profile: Profile, seed: u64) -> Run {
    let mut chance = ChaCha12Rng::seed_from_u64(seed);
    let vms: Vec<String> = (1..=profile.vms).map(|n| format!("ds2-{n:02}")).collect();
    let (migrations, silences) = migrations(&profile, &vms, seed, &mut chance);
    let window = f64::from(profile.window_s());
    let mut run = Run {
        orders: orders(&profile, &vms, &silences, &mut chance),
        hosts: Vec::new(),
        generator: Vec::new(),
        info: info(profile, vms, seed),
        migrations,
        silences,
    };
    for part in [Part::Baseline, Part::Migrating] {
        for t_s in 0..window as u32 {
            samples(&mut run, part, f64::from(t_s) + 0.3, &mut chance);
        }
    }
    run.orders.sort_by_key(|o| o.part);
    run
}

/// Splits a run into its two parts, as if they had been run apart.
#[must_use]
pub fn apart(whole: &Run) -> (Run, Run) {
    let only = |part: Part| {
        let mut one = whole.clone();
        one.info.parts.retain(|p| p.part == part);
        one.orders.retain(|r| r.part == part);
        one.hosts.retain(|r| r.part == part);
        one.silences.retain(|r| r.part == part);
        one.generator.retain(|r| r.part == part);
        one.migrations.retain(|_| part == Part::Migrating);
        one
    };
    (only(Part::Baseline), only(Part::Migrating))
}

fn info(profile: Profile, vms: Vec<String>, seed: u64) -> RunInfo {
    let part = |part| PartInfo {
        part,
        began: OffsetDateTime::UNIX_EPOCH,
        reached_s: f64::from(profile.window_s()),
        finished: true,
        ready_s: 41.0,
        audit: Some(AuditInfo {
            ok: true,
            orders_confirmed: 350,
            ..AuditInfo::default()
        }),
        probes: vms
            .iter()
            .map(|vm| ProbeInfo {
                vm: vm.clone(),
                sent: 21_000,
                answered: 20_900,
                rtt_p50_ms: Some(0.9),
            })
            .collect(),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    let host = |name: &str| HostInfo {
        name: name.to_owned(),
        cores: 1.0,
        qemu: "10.0.8".to_owned(),
        accelerator: "tcg".to_owned(),
    };
    RunInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed,
        orders_per_minute_per_vm: 50.0,
        template: "ds2-10mb".to_owned(),
        database: "10MB".to_owned(),
        calibration: Vec::new(),
        machine: Machine {
            cpu: "a made-up CPU".to_owned(),
            cores: 2,
            memory_bytes: 24 << 30,
            system: "none".to_owned(),
            kernel: "none".to_owned(),
        },
        hosts: HOSTS.map(host).to_vec(),
        parts: vec![part(Part::Baseline), part(Part::Migrating)],
        vms,
        profile,
    }
}

fn migrations(
    profile: &Profile,
    vms: &[String],
    seed: u64,
    chance: &mut ChaCha12Rng,
) -> (Vec<MigrationRow>, Vec<SilenceRow>) {
    let mut silences = Vec::new();
    let mut rows = Vec::new();
    for one in schedule::plan(profile, seed) {
        let seconds = chance.random_range(2.2..3.6);
        let silence_ms: f64 = chance.random_range(150.0..320.0);
        let start_s = one.at_s + 0.01;
        let end_s = start_s + seconds;
        silences.push(SilenceRow {
            part: Part::Migrating,
            vm: vms[one.vm].clone(),
            start_s: end_s - 0.4,
            end_s: end_s - 0.4 + silence_ms / 1000.0,
            silence_ms,
        });
        rows.push(MigrationRow {
            start_s,
            end_s,
            seconds,
            outcome: MoveOutcome::Ok,
            stop_to_resume_ms: Some(silence_ms - 4.0),
            clock_error_ms: Some(0.0),
            qemu_downtime_ms: Some((silence_ms * 0.6).round()),
            stream_bytes: Some(chance.random_range(190_000_000..260_000_000)),
            wire_bytes: Some(chance.random_range(190_000_000..260_000_000)),
            rounds: Some(chance.random_range(2..4)),
            cpu_source_s: Some(0.9),
            cpu_destination_s: Some(0.7),
            prepare_ms: Some(420.0),
            precopy_ms: Some(seconds * 1000.0 - 900.0),
            cleanup_ms: Some(120.0),
            ..MigrationRow::planned(
                &one,
                &vms[one.vm],
                HOSTS[one.from.index()],
                HOSTS[one.to.index()],
            )
        });
    }
    (rows, silences)
}

/// The same orders in both parts; those that meet a silence wait for its end.
fn orders(
    profile: &Profile,
    vms: &[String],
    silences: &[SilenceRow],
    chance: &mut ChaCha12Rng,
) -> Vec<OrderRow> {
    let mut of_vm: BTreeMap<&str, Vec<&SilenceRow>> = BTreeMap::new();
    for silence in silences {
        of_vm.entry(&silence.vm).or_default().push(silence);
    }
    let mut rows = Vec::new();
    for vm in vms {
        let (mut due_s, mut number) = (-f64::from(profile.warmup_s), 0);
        while due_s < f64::from(profile.window_s()) {
            due_s += -1.2 * f64::ln(1.0 - chance.random::<f64>());
            number += 1;
            let work_ms = 45.0 + 40.0 * -f64::ln(1.0 - chance.random::<f64>());
            for part in [Part::Baseline, Part::Migrating] {
                let met = of_vm.get(vm.as_str()).into_iter().flatten().find(|s| {
                    part == Part::Migrating
                        && due_s < s.end_s
                        && due_s + work_ms / 1000.0 > s.start_s
                });
                let response_ms = work_ms + met.map_or(0.0, |s| s.silence_ms);
                let outcome = if number % 50 == 0 {
                    Outcome::RolledBack
                } else {
                    Outcome::Ok
                };
                rows.push(OrderRow {
                    part,
                    vm: vm.clone(),
                    number,
                    due_s,
                    start_s: due_s,
                    end_s: due_s + response_ms / 1000.0,
                    response_ms,
                    service_ms: response_ms - 1.0,
                    lag_ms: 0.4,
                    outcome,
                });
            }
        }
    }
    rows
}

fn samples(run: &mut Run, part: Part, t_s: f64, chance: &mut ChaCha12Rng) {
    let near = |m: &&MigrationRow| m.start_s <= t_s && t_s <= m.end_s + 1.0;
    let moving = part == Part::Migrating && run.migrations.iter().any(|m| near(&m));
    for host in HOSTS {
        let extra = if moving { 30.0 } else { 0.0 };
        run.hosts.push(HostRow {
            part,
            t_s,
            host: host.to_owned(),
            cpu_percent: (16.0 + extra + chance.random_range(-6.0..6.0f64)).clamp(0.0, 100.0),
            memory_bytes: 1_200_000_000,
            rx_bytes_per_s: if moving { 9.0e7 } else { 4.0e4 },
            tx_bytes_per_s: if moving { 9.0e7 } else { 6.0e4 },
        });
    }
    run.generator.push(GeneratorRow {
        part,
        t_s,
        cpu_percent: chance.random_range(6.0..10.0),
        probe_percent: 2.0,
        probe_missed: 0,
    });
}
