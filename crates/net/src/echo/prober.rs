//! The thread that sends and receives.
//!
//! One raw socket serves all targets. The schedule is absolute: round n is due at start + n intervals, so that delays
//! do not add up; rounds that were missed are left out, not made up for in a burst. Between rounds the thread sleeps
//! and lets replies gather in the socket: the kernel stamps them, so it need not be awake when they come.

use std::collections::BTreeSet;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn,
    recvmsg, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use serde::{Deserialize, Serialize};

use super::analysis::{TargetRecord, Tracker};
use super::packet::{self, Probe};
use crate::clock::{self, MonoNs};

/// Room for what arrives while the thread is held up: replies of seconds.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Why the probe cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EchoError {
    /// No raw socket.
    #[error("cannot open a raw ICMP socket: run as root, or with CAP_NET_RAW")]
    Socket(#[source] std::io::Error),
    /// No thread.
    #[error("cannot start the echo probe's thread: raise the limit of processes (ulimit -u)")]
    Thread(#[source] std::io::Error),
    /// Too many targets.
    #[error("the echo probe watches at most 65536 addresses: start a second one")]
    TooMany,
}

/// How to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Time between two probes of a target that is watched closely.
    pub interval: Duration,
    /// Intervals between two probes of any other target; 1 watches all closely. Each probe wakes a guest: under
    /// emulation, 200 a second take about 8 % of a core from it, so they are sent where something is expected.
    pub relaxed: u32,
    /// Silences shorter than this are not kept.
    pub threshold: Duration,
}

impl Default for Options {
    /// A probe each 5 ms into every target; silences from 10 ms on.
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(5),
            relaxed: 1,
            threshold: Duration::from_millis(10),
        }
    }
}

/// What was seen so far, and how well the probe kept its own time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Time between two probes of a target that is watched closely.
    pub interval: Duration,
    /// When probing began.
    pub from: MonoNs,
    /// The moment of this recording.
    pub until: MonoNs,
    /// Rounds: in each, the targets whose turn it is were probed.
    pub rounds: u64,
    /// Rounds left out since the thread was held up for an interval or more.
    pub missed_rounds: u64,
    /// The longest that a round was late.
    pub worst_lag: Duration,
    /// CPU time the probe's thread took.
    pub cpu: Duration,
    /// What was seen of each target, in the order in which they were named.
    pub targets: Vec<TargetRecord>,
}

impl Recording {
    /// What was seen of one target.
    #[must_use]
    pub fn target(&self, address: Ipv4Addr) -> Option<&TargetRecord> {
        self.targets.iter().find(|target| target.address == address)
    }
}

/// A running echo probe; it ends when dropped.
pub struct Prober {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    options: Options,
    session: u64,
    stop: AtomicBool,
    state: Mutex<State>,
}

struct State {
    from: MonoNs,
    rounds: u64,
    missed_rounds: u64,
    worst_lag: Duration,
    cpu: Duration,
    trackers: Vec<Tracker>,
    closely: BTreeSet<Ipv4Addr>,
}

impl Prober {
    /// Starts probing. The socket belongs to the network namespace of the caller's thread.
    ///
    /// # Errors
    /// [`EchoError`].
    pub fn start(targets: &[Ipv4Addr], options: Options) -> Result<Self, EchoError> {
        let socket = open().map_err(|error| EchoError::Socket(error.into()))?;
        let from = clock::now();
        let state = State {
            from,
            rounds: 0,
            missed_rounds: 0,
            worst_lag: Duration::ZERO,
            cpu: Duration::ZERO,
            trackers: Vec::new(),
            closely: BTreeSet::new(),
        };
        let shared = Arc::new(Shared {
            options,
            // Unlike any other prober of this host: nobody else starts in this nanosecond with this process id.
            session: from.0 ^ (u64::from(std::process::id()) << 40),
            stop: AtomicBool::new(false),
            state: Mutex::new(state),
        });
        let mut prober = Self {
            shared: Arc::clone(&shared),
            thread: None,
        };
        for target in targets {
            prober.watch(*target)?;
        }
        let thread = thread::Builder::new()
            .name("echo".into())
            .spawn(move || shared.work(&socket));
        prober.thread = Some(thread.map_err(EchoError::Thread)?);
        Ok(prober)
    }

    /// Adds a target; one that is watched already stays as it is.
    ///
    /// # Errors
    /// [`EchoError::TooMany`].
    pub fn watch(&self, target: Ipv4Addr) -> Result<(), EchoError> {
        let trackers = &mut self.shared.lock().trackers;
        if trackers.iter().any(|tracker| tracker.address() == target) {
            return Ok(());
        }
        u16::try_from(trackers.len()).map_err(|_| EchoError::TooMany)?;
        trackers.push(Tracker::new(target, self.shared.options.threshold));
        Ok(())
    }

    /// From now on probes a target each interval, or with `false` at the relaxed pace again.
    pub fn watch_closely(&self, target: Ipv4Addr, closely: bool) {
        let targets = &mut self.shared.lock().closely;
        if closely {
            targets.insert(target);
        } else {
            targets.remove(&target);
        }
    }

    /// What was seen so far.
    #[must_use]
    pub fn recording(&self) -> Recording {
        self.shared.recording()
    }

    /// Ends probing and returns what was seen.
    #[must_use]
    pub fn stop(mut self) -> Recording {
        self.end();
        self.shared.recording()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic; if it did, the recording up to there is what there is.
            drop(thread.join());
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recording(&self) -> Recording {
        let state = self.lock();
        let until = clock::now();
        Recording {
            interval: self.options.interval,
            from: state.from,
            until,
            rounds: state.rounds,
            missed_rounds: state.missed_rounds,
            worst_lag: state.worst_lag,
            cpu: state.cpu,
            targets: state
                .trackers
                .iter()
                .map(|tracker| tracker.record(until))
                .collect(),
        }
    }

    fn work(&self, socket: &OwnedFd) {
        let start = self.lock().from;
        let interval = self.options.interval.max(Duration::from_micros(100));
        let mut inbox = Inbox::new();
        let mut round = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            let due = MonoNs(
                start
                    .0
                    .saturating_add(round.saturating_mul(clock::nanos(interval))),
            );
            sleep_until(due);
            let lag = clock::between(due, clock::now());
            let missed = u64::try_from(lag.as_nanos() / interval.as_nanos()).unwrap_or(u64::MAX);
            let mut state = self.lock();
            state.missed_rounds += missed;
            state.worst_lag = state.worst_lag.max(lag);
            state.rounds += 1;
            inbox.empty(socket, self.session, &mut state.trackers);
            self.probe(socket, &mut state, round);
            state.cpu = Duration::from_nanos(clock::read(ClockId::CLOCK_THREAD_CPUTIME_ID));
            drop(state);
            round = round.saturating_add(1).saturating_add(missed);
        }
        sleep_until(clock::plus(clock::now(), interval));
        inbox.empty(socket, self.session, &mut self.lock().trackers);
    }

    fn probe(&self, socket: &OwnedFd, state: &mut State, round: u64) {
        let relaxed = u64::from(self.options.relaxed.max(1));
        for (target, tracker) in (0..).zip(&mut state.trackers) {
            // Staggered, so that relaxed targets do not all wake at once.
            let due = (round + u64::from(target)).is_multiple_of(relaxed);
            if !due && !state.closely.contains(&tracker.address()) {
                continue;
            }
            let probe = Probe {
                session: self.session,
                target,
                sequence: tracker.next_sequence(),
            };
            let address = SockaddrIn::from(SocketAddrV4::new(tracker.address(), 0));
            let at = clock::now();
            match sendto(
                socket.as_raw_fd(),
                &packet::request(probe),
                &address,
                MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(_) => tracker.sent(at),
                Err(_) => tracker.unsent(),
            }
        }
    }
}

fn open() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(
        AddressFamily::Inet,
        SockType::Raw,
        flags,
        SockProtocol::Icmp,
    )?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    // A smaller buffer only matters when the thread is held up for long: better that than no probe.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
    Ok(socket)
}

fn sleep_until(moment: MonoNs) {
    let time = TimeSpec::from_duration(Duration::from_nanos(moment.0));
    let sleep = || {
        clock_nanosleep(
            ClockId::CLOCK_MONOTONIC,
            ClockNanosleepFlags::TIMER_ABSTIME,
            &time,
        )
    };
    while sleep() == Err(Errno::EINTR) {}
}

/// Where replies are read into.
struct Inbox {
    bytes: [u8; 256],
    control: Vec<u8>,
    /// What to take from a kernel stamp (CLOCK_REALTIME) to get CLOCK_MONOTONIC.
    offset: u64,
}

impl Inbox {
    fn new() -> Self {
        let mut inbox = Self {
            bytes: [0; 256],
            control: nix::cmsg_space!(libc::timespec),
            offset: 0,
        };
        inbox.measure_offset(Duration::MAX);
        inbox
    }

    /// Hands all replies that wait in the socket to their trackers.
    fn empty(&mut self, socket: &OwnedFd, session: u64, trackers: &mut [Tracker]) {
        self.measure_offset(Duration::from_micros(20));
        while let Some((length, at)) = self.receive(socket) {
            let Some(probe) = packet::reply(&self.bytes[..length]) else {
                continue;
            };
            if probe.session == session
                && let Some(tracker) = trackers.get_mut(usize::from(probe.target))
            {
                tracker.received(probe.sequence, at);
            }
        }
    }

    fn receive(&mut self, socket: &OwnedFd) -> Option<(usize, MonoNs)> {
        let mut slices = [IoSliceMut::new(&mut self.bytes)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut self.control),
            flags,
        )
        .ok()?;
        let stamp = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(time) => Some(clock::nanos(Duration::from(time))),
            _ => None,
        });
        // Without a stamp: it has arrived by now, which is the best that can be said.
        let at = stamp.map_or_else(clock::now, |real| MonoNs(real.wrapping_sub(self.offset)));
        Some((message.bytes, at))
    }

    /// Reads both clocks at once; a reading in which the thread was interrupted is not used.
    fn measure_offset(&mut self, tolerance: Duration) {
        let before = clock::now();
        let real = clock::read(ClockId::CLOCK_REALTIME);
        let took = clock::between(before, clock::now());
        if took <= tolerance {
            let middle = before.0 + clock::nanos(took) / 2;
            self.offset = real.wrapping_sub(middle);
        }
    }
}

#[cfg(test)]
mod tests;
