//! What the relay sees of its surroundings while it sends: the link's rate and the idle share of its cores.

use std::{
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::{ByteCount, effort::Conditions};

/// The median of so many rates counts: single ones are those of a burst that a shaper lets through.
const SEEN: usize = 9;
/// How long a reading of the cores holds.
const READ_EVERY: Duration = Duration::from_millis(100);

/// Watches a connection and the cores that this process may use.
#[derive(Debug)]
pub struct Surroundings<S> {
    socket: S,
    /// What the link is known to carry.
    known: Option<ByteCount>,
    /// The newest rates that were seen, in turn.
    seen: [f64; SEEN],
    readings: usize,
    cores: Option<CpuSet>,
    last: Option<(Instant, CpuTime)>,
    idle: Option<f64>,
}

impl<S: AsRawFd> Surroundings<S> {
    /// Begins to watch; what the link carries need not be measured if it is known.
    pub fn new(socket: S, known: Option<ByteCount>) -> Self {
        Self {
            socket,
            known,
            seen: [0.0; SEEN],
            readings: 0,
            cores: sched_getaffinity(Pid::from_raw(0)).ok(),
            last: None,
            idle: None,
        }
    }

    /// The present conditions; cheap enough for every Batch.
    pub fn read(&mut self) -> Conditions {
        self.read_idle();
        Conditions {
            link: self.link(),
            idle: self.idle,
        }
    }

    fn link(&mut self) -> Option<f64> {
        if let Some(ByteCount(rate)) = self.known {
            return Some(rate as f64);
        }
        if let Some(rate) = delivery_rate(&self.socket) {
            self.seen[self.readings % SEEN] = rate;
            self.readings += 1;
        }
        if self.readings < SEEN {
            return None;
        }
        let mut seen = self.seen;
        seen.sort_by(f64::total_cmp);
        Some(seen[SEEN / 2])
    }

    fn read_idle(&mut self) {
        if self.last.is_some_and(|(at, _)| at.elapsed() < READ_EVERY) {
            return;
        }
        let Some(now) = self.cores.as_ref().and_then(cpu_time) else {
            return;
        };
        if let Some((_, before)) = self.last {
            self.idle = now.idle_since(before);
        }
        self.last = Some((Instant::now(), now));
    }
}

/// Ticks of some cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CpuTime {
    idle: u64,
    all: u64,
}

impl CpuTime {
    fn idle_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        Some(self.idle.saturating_sub(before.idle) as f64 / all as f64)
    }
}

/// The ticks of these cores, from the `cpuN` lines of /proc/stat (proc_stat(5)): idle and iowait against all.
fn cpu_time(cores: &CpuSet) -> Option<CpuTime> {
    Some(parse(
        &std::fs::read_to_string("/proc/stat").ok()?,
        |core| cores.is_set(core).unwrap_or(false),
    ))
}

fn parse(stat: &str, wanted: impl Fn(usize) -> bool) -> CpuTime {
    let mut time = CpuTime::default();
    for line in stat.lines() {
        let Some((core, ticks)) = line
            .strip_prefix("cpu")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        if !core.parse().is_ok_and(&wanted) {
            continue;
        }
        // user nice system idle iowait irq softirq steal; guest time is in user already.
        for (at, ticks) in ticks.split_whitespace().take(8).enumerate() {
            let ticks = ticks.parse().unwrap_or(0);
            time.all += ticks;
            if at == 3 || at == 4 {
                time.idle += ticks;
            }
        }
    }
    time
}

/// The latest rate at which the peer has taken bytes (`tcpi_delivery_rate` of `struct tcp_info`, linux/tcp.h), in
/// bytes per second.
fn delivery_rate(socket: &impl AsRawFd) -> Option<f64> {
    /// Where the field lies: 8 single bytes, 24 u32, 4 u64, 6 u32.
    const AT: usize = 8 + 24 * 4 + 4 * 8 + 6 * 4;
    let mut info = [0_u8; AT + 8];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the descriptor is open while `socket` is borrowed; the kernel writes at most `length` bytes into `info`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let (_, rate) = info.split_last_chunk()?;
    let rate = u64::from_ne_bytes(*rate);
    (result == 0 && length as usize == info.len() && rate > 0).then_some(rate as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn only_the_own_cores_count() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 0 5 80 5 0 0 0 7 0\ncpu1 90 0 5 5 0 0 0 0 0 0\nintr 4\n";
        let one = parse(stat, |core| core == 0);
        assert_eq!(one, CpuTime { idle: 85, all: 100 });
        assert_eq!(one.idle_since(CpuTime::default()), Some(0.85));
        assert_eq!(one.idle_since(one), None);
        assert_eq!(parse(stat, |_| true).all, 200);
    }

    #[test]
    fn a_connection_that_moves_bytes_has_a_rate() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        for _ in 0..20 {
            near.write_all(&[1; 64 << 10]).unwrap();
            far.read_exact(&mut [0; 64 << 10]).unwrap();
        }
        assert!(delivery_rate(&near).is_some_and(|rate| rate > 1000.0));
        assert!(delivery_rate(&std::io::stdin()).is_none());
    }
}
