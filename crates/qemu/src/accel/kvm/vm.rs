//! A VM of one page and one vCPU, and the signal that interrupts it.

use super::{ProbeError, abi};
use std::{
    ffi::c_void,
    fs::{File, OpenOptions},
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

const PAGE: usize = 4096;
/// `1: dec ecx; jnz 1b; hlt`, 32-bit.
const CODE: [u8; 4] = [0x49, 0x75, 0xFD, 0xF4];

/// A mapping that ends with its owner.
struct Mapping {
    at: *mut c_void,
    length: usize,
}

impl Mapping {
    /// Maps shared memory: of `fd` from its beginning, or anonymous.
    fn new(length: usize, fd: Option<&OwnedFd>, step: &'static str) -> Result<Self, ProbeError> {
        let (flags, fd) = match fd {
            Some(fd) => (libc::MAP_SHARED, fd.as_raw_fd()),
            None => (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping wherever the kernel likes; it overlaps nothing.
        let at = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(ProbeError::Step {
                step,
                source: io::Error::last_os_error(),
            });
        }
        Ok(Self { at, length })
    }
}

// SAFETY: the mapping belongs to one owner and is reached through it only.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `at` and `length` are what mmap returned; nobody holds a reference into it.
        // A failure would leave the mapping until the process ends, which does no harm.
        unsafe { libc::munmap(self.at, self.length) };
    }
}

/// Fields are dropped in this order: the vCPU, its VM, then the memory that they use.
pub(super) struct ProbeVm {
    run: Mapping,
    vcpu: OwnedFd,
    _vm: OwnedFd,
    _kvm: File,
    _memory: Mapping,
    rounds: u32,
}

impl ProbeVm {
    /// Creates it, ready to run `rounds` of the loop.
    pub fn create(rounds: u32) -> Result<Self, ProbeError> {
        let kvm = open_kvm()?;
        let version = ioctl(&kvm, "KVM_GET_API_VERSION", abi::KVM_GET_API_VERSION, 0)?;
        if version != abi::API_VERSION {
            let source = io::Error::other(format!("version {version} is not known"));
            return Err(ProbeError::Step {
                step: "KVM_GET_API_VERSION",
                source,
            });
        }
        let vm = owned(ioctl(&kvm, "KVM_CREATE_VM", abi::KVM_CREATE_VM, 0)?);
        // Needed by old Intel processors only; elsewhere a failure means nothing.
        let _ = ioctl(&vm, "KVM_SET_TSS_ADDR", abi::KVM_SET_TSS_ADDR, 0xFFFB_D000);
        let memory = guest_memory(&vm)?;
        let vcpu = owned(ioctl(&vm, "KVM_CREATE_VCPU", abi::KVM_CREATE_VCPU, 0)?);
        let run = map_run(&kvm, &vcpu)?;
        set_registers(&vcpu, rounds)?;
        Ok(Self {
            run,
            vcpu,
            _vm: vm,
            _kvm: kvm,
            _memory: memory,
            rounds,
        })
    }

    /// Runs until the loop has ended or a signal comes; returns how many rounds were done.
    pub fn run(&mut self) -> Result<u64, ProbeError> {
        match ioctl(&self.vcpu, "KVM_RUN", abi::KVM_RUN, 0) {
            Ok(_) => {}
            Err(ProbeError::Step { source, .. }) if source.kind() == io::ErrorKind::Interrupted => {
                return self.rounds_done();
            }
            Err(error) => return Err(error),
        }
        // SAFETY: the mapping is at least one page, the offset is aligned and inside of it, and
        // the kernel does not write to it outside KVM_RUN.
        let reason = unsafe {
            self.run
                .at
                .cast::<u8>()
                .add(abi::EXIT_REASON_OFFSET)
                .cast::<u32>()
                .read_volatile()
        };
        if reason == abi::EXIT_HLT {
            self.rounds_done()
        } else {
            Err(ProbeError::Exit(reason))
        }
    }

    fn rounds_done(&self) -> Result<u64, ProbeError> {
        let mut regs = abi::Regs::default();
        ioctl_with(&self.vcpu, "KVM_GET_REGS", abi::KVM_GET_REGS, &mut regs)?;
        Ok(u64::from(self.rounds).saturating_sub(regs.rcx & 0xFFFF_FFFF))
    }
}

fn open_kvm() -> Result<File, ProbeError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(|source| match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => ProbeError::NoDevice,
            Some(libc::EACCES | libc::EPERM) => ProbeError::NoAccess,
            _ => ProbeError::Step {
                step: "opening /dev/kvm",
                source,
            },
        })
}

/// A request whose argument is a number.
fn ioctl(
    fd: &impl AsRawFd,
    step: &'static str,
    request: libc::c_ulong,
    argument: libc::c_ulong,
) -> Result<i32, ProbeError> {
    // SAFETY: the requests given here take a number, so no memory of ours is touched.
    checked(step, unsafe {
        libc::ioctl(fd.as_raw_fd(), request, argument)
    })
}

/// A request whose argument is a structure that it reads, writes or both.
fn ioctl_with<T>(
    fd: &impl AsRawFd,
    step: &'static str,
    request: libc::c_ulong,
    argument: &mut T,
) -> Result<i32, ProbeError> {
    // SAFETY: each request is given the structure of `abi` whose size is part of its number, any
    // bytes are valid in those structures, and the reference lives until the call returns.
    checked(step, unsafe {
        libc::ioctl(fd.as_raw_fd(), request, ptr::from_mut(argument))
    })
}

fn checked(step: &'static str, result: i32) -> Result<i32, ProbeError> {
    if result < 0 {
        return Err(ProbeError::Step {
            step,
            source: io::Error::last_os_error(),
        });
    }
    Ok(result)
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: `fd` was just returned by an ioctl that creates a descriptor; nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// One page at guest address 0 with the loop in it.
fn guest_memory(vm: &OwnedFd) -> Result<Mapping, ProbeError> {
    let memory = Mapping::new(PAGE, None, "mapping memory")?;
    // SAFETY: the mapping is a whole page, ours alone, and longer than the code.
    unsafe { ptr::copy_nonoverlapping(CODE.as_ptr(), memory.at.cast(), CODE.len()) };
    let mut region = abi::UserspaceMemoryRegion {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: PAGE as u64,
        userspace_addr: memory.at as u64,
    };
    let request = abi::KVM_SET_USER_MEMORY_REGION;
    ioctl_with(vm, "KVM_SET_USER_MEMORY_REGION", request, &mut region)?;
    Ok(memory)
}

fn map_run(kvm: &File, vcpu: &OwnedFd) -> Result<Mapping, ProbeError> {
    let step = "KVM_GET_VCPU_MMAP_SIZE";
    let length = ioctl(kvm, step, abi::KVM_GET_VCPU_MMAP_SIZE, 0)?;
    match usize::try_from(length) {
        Ok(length) if length >= PAGE => Mapping::new(length, Some(vcpu), "mapping the vCPU"),
        _ => Err(ProbeError::Step {
            step,
            source: io::Error::other("too small"),
        }),
    }
}

/// Flat 32-bit protected mode at privilege level 0, without paging and interrupts.
fn set_registers(vcpu: &OwnedFd, rounds: u32) -> Result<(), ProbeError> {
    let mut sregs = abi::Sregs::default();
    ioctl_with(vcpu, "KVM_GET_SREGS", abi::KVM_GET_SREGS, &mut sregs)?;
    let flat = |selector, type_| abi::Segment {
        limit: 0xFFFF_FFFF,
        selector,
        type_,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..abi::Segment::default()
    };
    sregs.cs = flat(8, 0xB);
    let data = flat(16, 0x3);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.cr0 |= 1;
    ioctl_with(vcpu, "KVM_SET_SREGS", abi::KVM_SET_SREGS, &mut sregs)?;
    // Bit 1 of the flags is always set.
    let mut regs = abi::Regs {
        rcx: rounds.into(),
        rflags: 2,
        ..abi::Regs::default()
    };
    ioctl_with(vcpu, "KVM_SET_REGS", abi::KVM_SET_REGS, &mut regs)?;
    Ok(())
}

/// The signal that interrupts the vCPU: one that nothing else here uses.
fn interrupt_signal() -> i32 {
    libc::SIGRTMIN() + 9
}

extern "C" fn nothing(_signal: i32) {}

/// While it lives, the signal interrupts system calls instead of ending the process.
pub(super) struct InterruptHandler(libc::sigaction);

impl InterruptHandler {
    pub fn install() -> io::Result<Self> {
        // SAFETY: all-zero is a valid sigaction (no flags, so no SA_RESTART; empty mask).
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        // SAFETY: as above.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: both structures live through the call; the handler does nothing at all, which
        // is safe in a signal context.
        if unsafe { libc::sigaction(interrupt_signal(), &raw const action, &raw mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(before))
    }
}

impl Drop for InterruptHandler {
    fn drop(&mut self) {
        // SAFETY: restores what `install` was given. No signal is pending: the thread that got
        // them has been joined, or else the handler stays (see `time_guest`).
        unsafe { libc::sigaction(interrupt_signal(), &raw const self.0, ptr::null_mut()) };
    }
}

pub(super) fn interrupt(thread: libc::pthread_t) {
    // SAFETY: the thread has not been joined or detached yet, so its id is valid.
    // The result does not matter: the caller looks whether the thread came back.
    unsafe { libc::pthread_kill(thread, interrupt_signal()) };
}
