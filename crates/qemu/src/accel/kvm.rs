//! The KVM probe: a loop in guest ring 0, timed, with raw ioctls.
//!
//! A VM with one page of memory and one vCPU in flat 32-bit protected mode, privilege level 0,
//! which is what a guest kernel runs in: `1: dec ecx; jnz 1b; hlt`. A probe thread runs it; after
//! [`BUDGET`] the caller interrupts it with a signal and reads from ECX how far it came, so that
//! a crawling KVM costs no more time than a real one. Structures and numbers are those of
//! `linux/kvm.h` on x86-64.

mod abi;
mod vm;

use super::{KvmState, verdict};
use std::{
    io,
    os::unix::thread::JoinHandleExt,
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};
use vm::ProbeVm;

/// How long the guest loop may run.
const BUDGET: Duration = Duration::from_millis(100);
/// How long, after that, the vCPU may take to come back when it is interrupted.
const GRACE: Duration = Duration::from_millis(150);
/// Loop rounds of two instructions: some 10 ms at native speed.
const ROUNDS: u32 = 20_000_000;

/// Why the probe could not run the loop.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(
        "/dev/kvm does not exist: no hardware virtualization here, or the kvm module is not loaded"
    )]
    NoDevice,
    #[error("/dev/kvm may not be opened by this user")]
    NoAccess,
    #[error("{step} failed: {source}")]
    Step {
        step: &'static str,
        source: io::Error,
    },
    #[error("the guest loop ended with KVM exit {0} instead of a halt")]
    Exit(u32),
    #[error("the vCPU did not come back when it was interrupted")]
    Stuck,
}

type Outcome = Result<f64, ProbeError>;

/// Finds out whether KVM runs guest kernels at native speed. Blocks for at most about 300 ms.
pub fn probe_kvm() -> KvmState {
    // One at a time: two probes would slow each other and share the signal.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let native_mips = native_mips();
    match ProbeVm::create(ROUNDS).and_then(time_guest) {
        Ok(mips) => verdict(mips, native_mips),
        Err(absent @ (ProbeError::NoDevice | ProbeError::NoAccess)) => KvmState::Absent {
            reason: absent.to_string(),
        },
        Err(broken) => KvmState::Unusable {
            mips: 0.0,
            native_mips,
            reason: broken.to_string(),
        },
    }
}

/// Runs the loop in a thread of its own, which is interrupted when the budget is spent.
fn time_guest(mut vm: ProbeVm) -> Result<f64, ProbeError> {
    let handler = vm::InterruptHandler::install().map_err(|source| ProbeError::Step {
        step: "setting a signal handler",
        source,
    })?;
    let (done, result) = mpsc::channel();
    let runner = thread::Builder::new()
        .name("kvm-probe".into())
        .spawn(move || {
            let start = Instant::now();
            let ran = vm.run();
            let elapsed = start.elapsed();
            // An error means that the caller has given up on us.
            let _ = done.send(ran.map(|rounds| mips(rounds, elapsed)));
        });
    let runner = runner.map_err(|source| ProbeError::Step {
        step: "starting a thread",
        source,
    })?;
    let Some(finished) = wait_for(&result, runner.as_pthread_t()) else {
        // The thread cannot be ended by force. Its handler stays, since a signal is pending.
        std::mem::forget(handler);
        return Err(ProbeError::Stuck);
    };
    // It has nothing left to do, and only then may the handler go.
    let _ = runner.join();
    finished
}

/// What the loop's thread says; `None` if it does not come back.
fn wait_for(result: &mpsc::Receiver<Outcome>, thread: libc::pthread_t) -> Option<Outcome> {
    if let Ok(finished) = result.recv_timeout(BUDGET) {
        return Some(finished);
    }
    let give_up = Instant::now() + GRACE;
    while Instant::now() < give_up {
        // Again and again: a signal that arrives before KVM_RUN is entered interrupts nothing.
        vm::interrupt(thread);
        if let Ok(finished) = result.recv_timeout(Duration::from_millis(5)) {
            return Some(finished);
        }
    }
    None
}

#[allow(clippy::cast_precision_loss)] // a few digits are enough
fn mips(rounds: u64, elapsed: Duration) -> f64 {
    (2 * rounds) as f64 / elapsed.as_secs_f64().max(1e-9) / 1e6
}

/// The same loop outside a guest: the best of three, since others use the processor too.
fn native_mips() -> f64 {
    let once = |_| {
        let start = Instant::now();
        native_loop();
        mips(u64::from(ROUNDS), start.elapsed())
    };
    (0..3).map(once).fold(0.0, f64::max)
}

fn native_loop() {
    // SAFETY: the loop touches one register and the flags, which are declared; no memory.
    unsafe {
        std::arch::asm!(
            "2:", "dec {0:e}", "jnz 2b",
            inout(reg) ROUNDS => _,
            options(nomem, nostack)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_consistent_with_the_device() {
        let state = probe_kvm();
        println!("{state:?}");
        let exists = std::path::Path::new("/dev/kvm").exists();
        match state {
            KvmState::Absent { reason } => assert!(!exists || !reason.is_empty()),
            KvmState::Unusable {
                mips, native_mips, ..
            } => {
                assert!(exists && mips < native_mips);
            }
            KvmState::Usable { mips } => assert!(exists && mips > 1.0),
        }
    }

    #[test]
    fn the_native_loop_is_not_optimized_away() {
        let native = native_mips();
        assert!((10.0..100_000.0).contains(&native), "{native}");
    }
}
