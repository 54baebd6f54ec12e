//! A move by stock QEMU: two QEMUs, one TCP connection (or multifd's few) over the blades' migration addresses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use godwit_model::units::MonoNs;
use godwit_net::clock::now;
use godwit_net::tap;
use godwit_qemu::monitor::Monitor;
use godwit_qemu::qmp::{Event, EventKind, StreamState};
use godwit_qemu::usage::ProcessUsage;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{BareVm, Qemu, engine, nic};
use crate::error::BenchError;
use crate::measure::Facts;
use crate::plan::Engine;

/// The first port that a destination listens on; each move takes the next.
const FIRST_PORT: u16 = 47_000;
/// A move may take this long.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes of a guest's page.
const PAGE: u64 = 4096;

impl BareVm<'_> {
    /// Moves to the other side.
    ///
    /// # Errors
    /// QEMU refused or gave up. The VM may be anywhere then, and is good for nothing more.
    pub async fn migrate(&mut self, engine: Engine) -> Result<Facts, BenchError> {
        let began = now();
        let to = self.side.other();
        self.moves += 1;
        let mut there = self.start().start(to, self.moves, true).await?;
        let (mut here_events, mut there_events) =
            (self.qemu.monitor.events(), there.monitor.events());
        let uri = self.uri(to);
        listen(&there.monitor, engine, self.lab.template.memory.0, &uri).await?;
        let here = &self.qemu.monitor;
        set_up(here, engine, self.lab.template.memory.0, false).await?;
        let spent_before = other_cpu(&self.qemu);
        let sending = now();
        command(here, "migrate", json!({"uri": uri})).await?;
        let arrive = arrival(here, &mut here_events, &mut there_events);
        let stopped = tokio::time::timeout(PATIENCE, arrive)
            .await
            .map_err(|_| BenchError::failed("the migration", "it did not end in five minutes"))??;
        // The source has sent everything and stays paused: from here on only the destination may run.
        let cont = there.monitor.cont().await;
        cont.map_err(BenchError::qmp("letting the guest run at the destination"))?;
        let announced = there.monitor.announce_self(Default::default()).await;
        announced.map_err(BenchError::qmp("announcing the guest"))?;
        let resumed = find(&mut there_events, &EventKind::Resume)
            .ok_or_else(|| BenchError::failed("the migration", "no RESUME was seen"))?;
        let spent = other_cpu(&self.qemu).saturating_sub(spent_before) + other_cpu(&there);
        let info = here.query_migrate().await;
        let info = info.map_err(BenchError::qmp("asking how the migration was"))?;
        std::mem::swap(&mut self.qemu, &mut there);
        let from = std::mem::replace(&mut self.side, to);
        retire(there).await;
        tap::remove(&self.lab.netns(from), &nic(self.id))?;
        Ok(Facts {
            began,
            sending: Some(sending),
            stopped: moment(&stopped),
            resumed: moment(&resumed),
            stop_resume_ms: between_ms(&stopped, &resumed),
            downtime_ms: info.downtime_ms.map(|ms| ms as f64),
            cpu_seconds: spent.as_secs_f64(),
            agents_cpu_seconds: None,
            stream_bytes: info.ram.map(|ram| ram.normal * PAGE),
            datastore_bytes: None,
            rounds: info.ram.map(|ram| ram.dirty_sync_count),
            kinds: None,
        })
    }

    fn uri(&self, to: crate::plan::Side) -> String {
        let port = FIRST_PORT + (self.identity.number as u16 % 100) * 100 + self.moves % 100;
        format!("tcp:{}:{port}", self.lab.blade(to).migration)
    }
}

async fn listen(
    monitor: &Monitor,
    engine: Engine,
    memory: u64,
    uri: &str,
) -> Result<(), BenchError> {
    set_up(monitor, engine, memory, true).await?;
    command(monitor, "migrate-incoming", json!({"uri": uri})).await
}

async fn set_up(
    monitor: &Monitor,
    engine: Engine,
    memory: u64,
    incoming: bool,
) -> Result<(), BenchError> {
    let capabilities = engine::capabilities(engine, incoming);
    command(monitor, "migrate-set-capabilities", capabilities).await?;
    let parameters = engine::parameters(engine, memory);
    command(monitor, "migrate-set-parameters", parameters).await
}

async fn command(monitor: &Monitor, name: &str, arguments: Value) -> Result<(), BenchError> {
    let done = monitor.qmp().execute(name, arguments).await;
    done.map(drop).map_err(BenchError::qmp(name))
}

/// Waits until the source has sent and the destination has loaded everything; returns the source's STOP.
async fn arrival(
    source: &Monitor,
    here: &mut Receiver<Event>,
    there: &mut Receiver<Event>,
) -> Result<Event, BenchError> {
    let (mut stopped, mut sent, mut loaded) = (None, false, false);
    while !(sent && loaded) {
        let (event, at_source) = tokio::select! {
            event = here.recv(), if !sent => (event, true),
            event = there.recv(), if !loaded => (event, false),
        };
        let event = match event {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => {
                return Err(BenchError::failed("the migration", "a QEMU ended"));
            }
        };
        match event.kind() {
            EventKind::Stop if at_source => stopped = Some(event),
            EventKind::Migration(StreamState::Completed) if at_source => sent = true,
            EventKind::Migration(StreamState::Completed) => loaded = true,
            EventKind::Migration(StreamState::Failed | StreamState::Cancelled) => {
                let info = source.query_migrate().await.ok();
                let reason = info.and_then(|info| info.error).unwrap_or_default();
                return Err(BenchError::failed("the migration", reason));
            }
            _ => {}
        }
    }
    stopped.ok_or_else(|| BenchError::failed("the migration", "no STOP was seen"))
}

/// The first event of a kind among those that have come.
fn find(events: &mut Receiver<Event>, kind: &EventKind) -> Option<Event> {
    loop {
        match events.try_recv() {
            Ok(event) if event.kind() == *kind => return Some(event),
            Ok(_) | Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_)) => {}
            Err(_) => return None,
        }
    }
}

async fn retire(mut qemu: Qemu) {
    // Asked, so that it closes its files in good order; whoever does not listen is killed when dropped.
    if qemu.monitor.quit().await.is_ok() {
        let _ = tokio::time::timeout(Duration::from_secs(10), qemu.process.ended()).await;
    }
}

/// CPU time outside the vCPUs so far.
fn other_cpu(qemu: &Qemu) -> Duration {
    ProcessUsage::of(qemu.process.pid()).map_or(Duration::ZERO, |usage| usage.other)
}

/// From one event to another by QEMU's own clock, which is the same for both: one machine.
fn between_ms(earlier: &Event, later: &Event) -> f64 {
    match (earlier.qemu_time, later.qemu_time) {
        (Some(from), Some(until)) => until.saturating_sub(from).as_secs_f64() * 1e3,
        _ => later.received.millis_since(earlier.received),
    }
}

/// When an event happened, on the monotonic clock.
fn moment(event: &Event) -> MonoNs {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let age = wall
        .zip(event.qemu_time)
        .map(|(wall, made)| wall.saturating_sub(made));
    let age = age.and_then(|age| u64::try_from(age.as_nanos()).ok());
    let made = age.map(|age| MonoNs(now().0.saturating_sub(age)));
    // A clock that was set meanwhile would put it elsewhere.
    let plausible = |moment: &MonoNs| event.received.0.abs_diff(moment.0) < 5_000_000_000;
    made.filter(plausible).unwrap_or(event.received)
}
