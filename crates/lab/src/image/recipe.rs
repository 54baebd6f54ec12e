//! What an image is made of: packages, files, kernel arguments. Everything that decides an
//! image's content goes into its fingerprint, so that a changed recipe builds anew.

use super::ImageSpec;
use std::path::Path;

/// The release the guest is.
pub(super) const CODENAME: &str = "bookworm";
/// PostgreSQL's programs in the guest.
pub(super) const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";
/// Its data in the guest.
pub(super) const POSTGRES_DATA: &str = "/var/lib/postgresql/15/main";
/// Raised when the code that builds changes what it builds.
const VERSION: u32 = 1;

/// Packages beside the essential ones.
pub(super) const PACKAGES: &[&str] = &[
    "linux-image-cloud-amd64",
    "postgresql-15",
    "busybox-static",
    "iproute2",
    "netbase",
    "procps",
];

/// What is left out: nobody reads documentation in there, and without just-in-time
/// compilation (`jit = off`) PostgreSQL does not need LLVM, a quarter of the whole.
pub(super) const LEFT_OUT: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/i18n/*",
    "/usr/lib/x86_64-linux-gnu/libLLVM*",
    "/usr/lib/x86_64-linux-gnu/libz3*",
    "/usr/lib/postgresql/15/lib/bitcode/*",
    "/usr/lib/postgresql/15/lib/llvmjit*",
];
/// Exceptions from it: what licences ask for, and what a package's set-up looks for.
pub(super) const KEPT: &[&str] = &[
    "/usr/share/doc/*/copyright",
    "/usr/share/postgresql/15/man/*",
];

/// Kernel modules that stay, by the beginning of their path below `kernel/`.
pub(super) const MODULES: &[&str] = &[
    "drivers/acpi/button",
    "drivers/ata/",
    "drivers/block/virtio_blk",
    "drivers/cdrom/",
    "drivers/char/hw_random/",
    "drivers/input/evdev",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/scsi/",
    "drivers/virtio/",
    "fs/fat/",
    "fs/isofs/",
    "fs/nls/",
    "lib/",
    "net/core/failover",
];
/// Modules that the initial RAM disk loads, with what they need, to reach the root disk.
pub(super) const BOOT_MODULES: &[&str] = &["virtio_pci", "virtio_blk"];

/// Kernel arguments. The first line makes it quick to boot, the second saves wake-ups and page
/// table switches, which are what a software-emulated guest mostly pays for.
pub(super) const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet audit=0 ipv6.disable=1 i8042.noaux noresume \
    rcupdate.rcu_expedited=1 random.trust_bootloader=on \
    nowatchdog tsc=reliable clocksource=tsc mitigations=off transparent_hugepage=never cgroup_disable=memory";

/// A file of ours in the guest.
pub(super) struct GuestFile {
    pub path: &'static str,
    pub mode: u32,
    pub text: &'static str,
}

macro_rules! guest_file {
    ($path:literal, $mode:literal, $name:literal) => {
        GuestFile {
            path: $path,
            mode: $mode,
            text: include_str!(concat!("guest/", $name)),
        }
    };
}

/// Our files in the guest.
pub(super) const FILES: &[GuestFile] = &[
    guest_file!("etc/inittab", 0o644, "inittab"),
    guest_file!("etc/acpi/PWRF/00000080", 0o755, "power-off"),
    guest_file!("usr/lib/godwit/boot", 0o755, "boot"),
    guest_file!("usr/lib/godwit/identity", 0o755, "identity"),
    guest_file!("usr/lib/godwit/dhcp", 0o755, "dhcp"),
    guest_file!("usr/lib/godwit/postgresql", 0o755, "postgresql"),
    guest_file!("usr/lib/godwit/power-button", 0o755, "power-button"),
    guest_file!("usr/lib/godwit/console", 0o755, "console"),
    guest_file!("usr/lib/godwit/shell", 0o755, "shell"),
    guest_file!("usr/lib/godwit/ready", 0o755, "ready"),
    guest_file!("usr/lib/godwit/shutdown", 0o755, "shutdown"),
];
/// The first program of the initial RAM disk; `MODULES` stands for what it loads.
pub(super) const INITRD_INIT: &str = include_str!("guest/initrd-init");
/// Appended to the configuration that `initdb` writes.
pub(super) const POSTGRESQL_CONF: &str = include_str!("guest/postgresql.conf");
/// Who may connect.
pub(super) const PG_HBA_CONF: &str = include_str!("guest/pg_hba.conf");

/// A hash of everything that decides the image's content, except the packages' versions:
/// newer packages alone are no reason to build anew.
pub(super) fn fingerprint(spec: &ImageSpec) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    add(&format!(
        "{VERSION} {CODENAME} {} {} {} {}",
        spec.size.megabytes(),
        spec.seed,
        spec.disk.0,
        godwit_dvdstore::generate::FORMAT
    ));
    for list in [PACKAGES, LEFT_OUT, KEPT, MODULES, BOOT_MODULES] {
        add(&list.join("\n"));
    }
    for file in FILES {
        add(&format!("{} {:o}", file.path, file.mode));
        add(file.text);
    }
    for text in [KERNEL_ARGUMENTS, INITRD_INIT, POSTGRESQL_CONF, PG_HBA_CONF] {
        add(text);
    }
    hasher.finalize().to_hex().to_string()
}

/// Programs and files that this host must have, and the package that brings each.
const NEEDED: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("mount", "mount"),
    ("mke2fs", "e2fsprogs"),
    ("extlinux", "extlinux"),
    (super::disk::MBR, "syslinux-common"),
    (super::disk::LDLINUX, "syslinux-common"),
    ("qemu-img", "qemu-utils"),
    ("unshare", "util-linux"),
];

/// Whether this host has all that is needed.
pub(super) fn check_host() -> Result<(), super::ImageError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Root's PATH may come without the administrator's folders.
    let folders: Vec<_> = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .collect();
    for (program, package) in NEEDED {
        let found = Path::new(program).is_absolute() && Path::new(program).exists()
            || folders.iter().any(|folder| folder.join(program).is_file());
        if !found {
            return Err(super::ImageError::Missing { program, package });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_follows_what_decides_the_content() {
        let spec = ImageSpec::default();
        let other_size = ImageSpec {
            size: godwit_dvdstore::Size::M,
            ..spec.clone()
        };
        let other_seed = ImageSpec {
            seed: godwit_dvdstore::Seed(99),
            ..spec.clone()
        };
        let other_place = ImageSpec {
            output: Some("/elsewhere".into()),
            ..spec.clone()
        };
        assert_ne!(fingerprint(&spec), fingerprint(&other_size));
        assert_ne!(fingerprint(&spec), fingerprint(&other_seed));
        assert_eq!(fingerprint(&spec), fingerprint(&other_place));
    }

    #[test]
    fn no_order_may_be_lost() {
        for setting in [
            "fsync = on",
            "synchronous_commit = on",
            "full_page_writes = on",
        ] {
            assert!(
                POSTGRESQL_CONF.lines().any(|line| line == setting),
                "{setting}"
            );
        }
    }

    #[test]
    fn every_script_of_the_guest_is_well_formed() {
        let scripts = FILES
            .iter()
            .filter(|file| file.text.starts_with("#!"))
            .map(|file| file.text);
        for script in scripts.chain([INITRD_INIT]) {
            let mut shell = std::process::Command::new("sh")
                .args(["-n"])
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Write::write_all(&mut shell.stdin.take().unwrap(), script.as_bytes()).unwrap();
            assert!(shell.wait().unwrap().success(), "{script}");
        }
    }
}
