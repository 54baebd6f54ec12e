//! The guest's file tree: Debian's packages, our few files, and the initial RAM disk.

use super::error::ImageError;
use super::recipe::{self, GuestFile};
use super::work::{Work, contained, inside};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// The new system's tree.
pub(super) struct Tree {
    root: PathBuf,
    kernel: String,
}

impl Tree {
    /// Installs the packages into `root`, which does not exist yet.
    pub fn bootstrap(work: &Work<'_>, root: PathBuf, sources: &Path) -> Result<Self, ImageError> {
        let mut command = contained("mmdebstrap");
        command.args([
            "--mode=root",
            "--variant=minbase",
            "--format=directory",
            "--verbose",
        ]);
        command.arg(format!("--include={}", recipe::PACKAGES.join(",")));
        command.arg("--aptopt=APT::Install-Recommends \"false\"");
        command.arg("--aptopt=Acquire::Languages \"none\"");
        let left_out = recipe::LEFT_OUT
            .iter()
            .map(|path| format!("--dpkgopt=path-exclude={path}"));
        let kept = recipe::KEPT
            .iter()
            .map(|path| format!("--dpkgopt=path-include={path}"));
        command.args(left_out.chain(kept));
        // The database and the initial RAM disk are made below, knowing what this guest needs.
        command.arg("--dpkgopt=force-confold");
        command.arg(
            "--essential-hook=mkdir -p \"$1/etc/postgresql-common\" \"$1/etc/initramfs-tools\" \
             && echo 'create_main_cluster = false' >\"$1/etc/postgresql-common/createcluster.conf\" \
             && echo 'update_initramfs=no' >\"$1/etc/initramfs-tools/update-initramfs.conf\"",
        );
        command.arg(recipe::CODENAME).arg(&root).arg(sources);
        work.run("installing Debian's packages (mmdebstrap)", command)?;
        let modules = root.join("usr/lib/modules");
        let mut kernels = fs::read_dir(&modules)
            .map_err(ImageError::file("read", &modules))?
            .flatten();
        let kernel = kernels
            .next()
            .and_then(|entry| entry.file_name().into_string().ok());
        let kernel = kernel.ok_or(ImageError::Recipe("kernel"))?;
        Ok(Self { root, kernel })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The kernel's path in the guest.
    pub fn kernel_path(&self) -> String {
        format!("/boot/vmlinuz-{}", self.kernel)
    }

    /// Makes the guest of it: our files, few modules, busybox as the first program.
    pub fn customize(&self, work: &Work<'_>) -> Result<(), ImageError> {
        recipe::FILES
            .iter()
            .try_for_each(|file| self.install(file))?;
        self.busybox(work)?;
        self.initrd(work)?;
        self.prune_modules(&self.modules(), &self.modules())?;
        work.run("listing the kernel's modules", {
            let mut command = inside(&self.root, "root");
            command.args(["/sbin/depmod", &self.kernel]);
            command
        })?;
        // A clone makes its own at first boot.
        self.write("etc/machine-id", 0o644, "")?;
        self.write("etc/hostname", 0o644, "godwit-guest\n")?;
        // The building host's name servers are none of the guest's business.
        self.write("etc/resolv.conf", 0o644, "")?;
        self.write("etc/hosts", 0o644, "127.0.0.1 localhost\n")?;
        self.write(
            "etc/fstab",
            0o644,
            "# The root file system is mounted before init runs.\n",
        )?;
        self.folder("var/lib/godwit")
    }

    fn install(&self, file: &GuestFile) -> Result<(), ImageError> {
        if let Some(folder) = Path::new(file.path).parent() {
            let folder = self.root.join(folder);
            fs::create_dir_all(&folder).map_err(ImageError::file("create", &folder))?;
        }
        self.write(file.path, file.mode, file.text)
    }

    /// Writes a file of the guest.
    pub fn write(&self, path: &str, mode: u32, text: &str) -> Result<(), ImageError> {
        let path = self.root.join(path);
        // A symbolic link in the tree must not lead out of it.
        let _ = fs::remove_file(&path);
        fs::write(&path, text).map_err(ImageError::file("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(ImageError::file("set the mode of", &path))
    }

    /// Makes a folder of the guest.
    pub fn folder(&self, path: &str) -> Result<(), ImageError> {
        let path = self.root.join(path);
        fs::create_dir_all(&path).map_err(ImageError::file("create", &path))
    }

    /// busybox is the first program, and every command that Debian's own packages do not bring.
    fn busybox(&self, work: &Work<'_>) -> Result<(), ImageError> {
        let mut command = inside(&self.root, "root");
        command.args(["/bin/busybox", "--list"]);
        let applets = work.run("asking busybox for its commands", command)?;
        for applet in applets.lines() {
            let places = ["usr/bin", "usr/sbin"].map(|folder| self.root.join(folder).join(applet));
            if places.iter().all(|place| place.symlink_metadata().is_err()) {
                symlink("../bin/busybox", &places[1])
                    .map_err(ImageError::file("link", &places[1]))?;
            }
        }
        let init = self.root.join("usr/sbin/init");
        let _ = fs::remove_file(&init);
        symlink("../bin/busybox", &init).map_err(ImageError::file("link", &init))
    }

    /// An initial RAM disk of busybox and the modules that reach the root disk.
    fn initrd(&self, work: &Work<'_>) -> Result<(), ImageError> {
        let listing =
            "for module in \"$@\"; do modprobe -S \"$0\" --show-depends \"$module\"; done";
        let mut command = inside(&self.root, "root");
        command
            .args(["sh", "-ec", listing, &self.kernel])
            .args(recipe::BOOT_MODULES);
        let listed = work.run("asking for the modules of the root disk", command)?;
        let mut modules: Vec<&str> = Vec::new();
        for path in listed
            .lines()
            .filter_map(|line| line.strip_prefix("insmod "))
            .map(str::trim)
        {
            if !modules.contains(&path) {
                modules.push(path);
            }
        }
        let names: Vec<_> = modules
            .iter()
            .filter_map(|path| path.rsplit('/').next())
            .collect();
        self.folder("boot/initrd")?;
        self.write(
            "boot/initrd/init",
            0o755,
            &recipe::INITRD_INIT.replace("MODULES", &names.join(" ")),
        )?;
        let packing = "mkdir bin dev root modules && cp /bin/busybox bin/ && cp \"$@\" modules/ \
                       && find . | sort | cpio --quiet -o -H newc >../initrd.img && cd .. && rm -r initrd initrd.img-*";
        let mut command = inside(&self.root, "root");
        command
            .args(["sh", "-ec", &format!("cd /boot/initrd && {packing}"), "sh"])
            .args(modules);
        work.run("packing the initial RAM disk", command).map(drop)
    }

    fn modules(&self) -> PathBuf {
        self.root
            .join("usr/lib/modules")
            .join(&self.kernel)
            .join("kernel")
    }

    fn prune_modules(&self, folder: &Path, top: &Path) -> Result<(), ImageError> {
        let entries = fs::read_dir(folder).map_err(ImageError::file("read", folder))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                self.prune_modules(&path, top)?;
                // Fails, as it shall, if something is left in it.
                let _ = fs::remove_dir(&path);
            } else if !is_kept(path.strip_prefix(top).unwrap_or(&path)) {
                fs::remove_file(&path).map_err(ImageError::file("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// Whether a module, by its path below `kernel/`, stays.
fn is_kept(module: &Path) -> bool {
    let name = module.to_string_lossy();
    recipe::MODULES.iter().any(|kept| name.starts_with(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_for_the_contracts_hardware_stay_and_others_go() {
        for kept in [
            "drivers/virtio/virtio_pci.ko",
            "drivers/net/virtio_net.ko",
            "fs/isofs/isofs.ko",
        ] {
            assert!(is_kept(Path::new(kept)), "{kept}");
        }
        assert!(!is_kept(Path::new("drivers/infiniband/core/ib_core.ko")));
    }
}
