//! The few structures and numbers of `linux/kvm.h` (x86-64) that the probe uses.

use libc::{c_int, c_ulong};

pub const KVM_GET_API_VERSION: c_ulong = 0xAE00;
pub const KVM_CREATE_VM: c_ulong = 0xAE01;
pub const KVM_GET_VCPU_MMAP_SIZE: c_ulong = 0xAE04;
pub const KVM_CREATE_VCPU: c_ulong = 0xAE41;
pub const KVM_SET_USER_MEMORY_REGION: c_ulong = 0x4020_AE46;
pub const KVM_SET_TSS_ADDR: c_ulong = 0xAE47;
pub const KVM_RUN: c_ulong = 0xAE80;
pub const KVM_GET_REGS: c_ulong = 0x8090_AE81;
pub const KVM_SET_REGS: c_ulong = 0x4090_AE82;
pub const KVM_GET_SREGS: c_ulong = 0x8138_AE83;
pub const KVM_SET_SREGS: c_ulong = 0x4138_AE84;

/// The only version there has been since 2007.
pub const API_VERSION: c_int = 12;
/// `exit_reason` of a vCPU that executed HLT.
pub const EXIT_HLT: u32 = 5;
/// Where `exit_reason` is in `struct kvm_run`.
pub const EXIT_REASON_OFFSET: usize = 8;

#[repr(C)]
pub struct UserspaceMemoryRegion {
    pub slot: u32,
    pub flags: u32,
    pub guest_phys_addr: u64,
    pub memory_size: u64,
    pub userspace_addr: u64,
}

#[repr(C)]
#[derive(Default)]
pub struct Regs {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rsp: u64,
    pub rbp: u64,
    pub r8_to_r15: [u64; 8],
    pub rip: u64,
    pub rflags: u64,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
pub struct Segment {
    pub base: u64,
    pub limit: u32,
    pub selector: u16,
    pub type_: u8,
    pub present: u8,
    pub dpl: u8,
    pub db: u8,
    pub s: u8,
    pub l: u8,
    pub g: u8,
    pub avl: u8,
    pub unusable: u8,
    pub padding: u8,
}

#[repr(C)]
#[derive(Default)]
pub struct Table {
    pub base: u64,
    pub limit: u16,
    pub padding: [u16; 3],
}

#[repr(C)]
#[derive(Default)]
pub struct Sregs {
    pub cs: Segment,
    pub ds: Segment,
    pub es: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub ss: Segment,
    pub tr: Segment,
    pub ldt: Segment,
    pub gdt: Table,
    pub idt: Table,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub cr8: u64,
    pub efer: u64,
    pub apic_base: u64,
    pub interrupt_bitmap: [u64; 4],
}

// The sizes are part of the ioctl numbers above.
const _: () = {
    assert!(size_of::<UserspaceMemoryRegion>() == 0x20);
    assert!(size_of::<Regs>() == 0x90);
    assert!(size_of::<Sregs>() == 0x138);
};
