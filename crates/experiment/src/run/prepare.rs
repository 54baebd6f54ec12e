//! Fresh VMs for a part: clone, boot (a few at a time), wait until the database answers; and take
//! them away again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use godwit_api::farm::{CloneVm, Customization, Power};
use godwit_dvdstore::load::{LoadError, StoreInfo, inspect};
use tokio::sync::Semaphore;

use crate::run::error::{Asked, RunError};
use crate::run::farm::{Bench, Guest, Options};
use crate::run::status::Status;
use crate::run::stop::Stop;

/// One attempt to reach a database may take this long.
const ATTEMPT: Duration = Duration::from_secs(5);
/// What hinders a VM is shown when it has not answered for this long.
const SLOW: Duration = Duration::from_secs(90);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// A VM that another task holds is waited for this long before deleting it fails.
const HELD: Duration = Duration::from_secs(60);
/// VMs taken away at a time.
const REMOVALS: usize = 4;

/// Makes the VMs and waits until all answer queries. Returns what their databases hold (it is the
/// same in all) and how long it took.
///
/// # Errors
/// A clone failed, a VM did not answer in time, or the run was stopped; what was made stays, for
/// [`remove`].
pub async fn make(
    bench: &Bench,
    options: &Options,
    guests: &[Guest],
    status: &Status,
    stop: &Stop,
) -> Result<(StoreInfo, Duration), RunError> {
    remove(bench, guests).await?;
    let began = Instant::now();
    // Booting is all CPU: more at once than cores makes each of them slower, and all of them late.
    let permits = bench.hosts.clone().map(|host| {
        let each = options.profile.boots_at_once.div_ceil(2);
        Arc::new(Semaphore::new(
            if each == 0 { host.cores } else { each } as usize
        ))
    });
    let (ready, all) = (AtomicUsize::new(0), guests.len());
    let hindrance = Mutex::new(String::new());
    let mut making: FuturesUnordered<_> = guests
        .iter()
        .map(|guest| async {
            let permit = permits[guest.side.index()].acquire().await;
            let store = make_one(bench, options, guest, &hindrance).await;
            drop(permit);
            ready.fetch_add(1, Ordering::Relaxed);
            store
        })
        .collect();
    let mut store = None;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = stop.raised() => return Err(RunError::Interrupted),
            _ = tick.tick() => {
                let (ready, seconds) = (ready.load(Ordering::Relaxed), began.elapsed().as_secs());
                let why = hindrance.lock().unwrap_or_else(PoisonError::into_inner).clone();
                status.live(&format!("{ready} of {all} VMs answer queries, {seconds} s{why}"));
            }
            made = making.next() => match made {
                None => break,
                Some(made) => store = Some(made?),
            },
        }
    }
    let store = store.ok_or_else(|| RunError::Farm("no VM was asked for".into()))?;
    Ok((store, began.elapsed()))
}

async fn make_one(
    bench: &Bench,
    options: &Options,
    guest: &Guest,
    hindrance: &Mutex<String>,
) -> Result<StoreInfo, RunError> {
    let datastores = &options.datastores;
    let datastore = (!datastores.is_empty())
        .then(|| datastores[guest.number as usize % datastores.len()].clone());
    let request = CloneVm {
        template: bench.template.clone(),
        name: guest.name.clone(),
        host: Some(bench.hosts[guest.side.index()].id.clone()),
        datastore,
        memory: None,
        vcpus: None,
        full: false,
        network: None,
        customization: Some(Customization {
            address: guest.address,
            prefix: options.prefix_length,
            gateway: options.gateway,
            dns: options.gateway.into_iter().collect(),
        }),
        power_on: true,
    };
    let what = || format!("cloning {}", guest.name);
    let task = bench.client.clone_vm(&request).await.asked(what)?;
    bench.done(task, what).await?;
    let show = |last: &str| {
        let mut hindrance = hindrance.lock().unwrap_or_else(PoisonError::into_inner);
        *hindrance = format!(" ({}: {last})", guest.name);
    };
    answers(guest, options.ready_within, show).await
}

/// Waits until a VM's database answers. A slow one's last failure is told to `slow`.
///
/// # Errors
/// It did not in time, or it is not the workload's.
pub async fn answers(
    guest: &Guest,
    within: Duration,
    slow: impl Fn(&str),
) -> Result<StoreInfo, RunError> {
    let began = Instant::now();
    loop {
        let last = match tokio::time::timeout(ATTEMPT, inspect(&guest.database)).await {
            Ok(Ok(store)) => return Ok(store),
            Ok(Err(error @ (LoadError::NoStore | LoadError::Format { .. }))) => {
                return Err(error.into());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("{} is silent", guest.address),
        };
        if began.elapsed() > SLOW {
            slow(&last);
        }
        if began.elapsed() > within {
            let (vm, seconds) = (guest.name.clone(), within.as_secs());
            return Err(RunError::NotReady { vm, seconds, last });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes the VMs away, also those that an earlier run left.
///
/// # Errors
/// One of them cannot be removed.
pub async fn remove(bench: &Bench, guests: &[Guest]) -> Result<(), RunError> {
    let there = bench
        .client
        .vms()
        .await
        .asked(|| "listing the VMs".into())?;
    let names: Vec<String> = there
        .into_iter()
        .map(|vm| vm.definition.name.to_string())
        .collect();
    let ours = guests.iter().filter(|guest| names.contains(&guest.name));
    let removals: Vec<Result<(), RunError>> = futures::stream::iter(ours)
        .map(|guest| remove_one(bench, &guest.name))
        .buffer_unordered(REMOVALS)
        .collect()
        .await;
    removals.into_iter().collect()
}

async fn remove_one(bench: &Bench, name: &str) -> Result<(), RunError> {
    let kill = bench.client.power(name, &Power::Kill).await;
    if let Ok(task) = kill {
        // One that is off already cannot be killed; whether it is gone, deleting tells.
        let _ = bench.done(task, || format!("killing {name}")).await;
    }
    let what = || format!("deleting {name}");
    let began = Instant::now();
    loop {
        let deleted = match bench.client.delete_vm(name).await.asked(what) {
            Ok(task) => bench.done(task, what).await.map(|_| ()),
            Err(error) => Err(error),
        };
        // A task of an interrupted run may hold the VM for a moment still.
        if deleted.is_ok() || began.elapsed() > HELD {
            return deleted;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
