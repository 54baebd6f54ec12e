//! Whether the datastores of this host can carry a lease: each thing the lease rests on is
//! tried, not looked up, since what a mount claims and what it does differ.
//!
//! One host cannot see whether another host's link would fail too; that the file system is
//! known to keep that promise over several hosts is what the check of its kind is about.

use crate::{
    datastore::files::{Files, RealFiles},
    ofd,
};
use godwit_model::doctor::Check;
use nix::sys::{statfs::statfs, statvfs::statvfs};
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Instant,
};
use uuid::Uuid;

/// Below this a datastore is as good as full: a VM's disk could not grow for long, and epoch
/// files must never lack a block.
const LITTLE_SPACE: u64 = 1 << 30;

/// The checks of all datastores. Blocks on the storage; writes only into a folder of its own,
/// `<datastore>/.godwit-doctor-<random>`, and removes it.
#[must_use]
pub fn checks(datastores: &[PathBuf]) -> Vec<Check> {
    datastores
        .iter()
        .flat_map(|datastore| check_one(datastore))
        .collect()
}

fn check_one(datastore: &Path) -> Vec<Check> {
    let folder = match TestFolder::new(datastore) {
        Ok(folder) => folder,
        Err(e) => {
            return vec![Check::failed(
                "datastore.writable",
                &title(datastore, "can be written"),
                e.to_string(),
                format!(
                    "mount it at {} and let root write there",
                    datastore.display()
                ),
            )];
        }
    };
    let mut checks = vec![kind(datastore)];
    checks.push(link(datastore, &folder.0));
    checks.push(sync(datastore, &folder.0));
    checks.push(locks(datastore, &folder.0));
    checks.push(space(datastore));
    checks
}

fn title(datastore: &Path, what: &str) -> String {
    format!("{} {what}", datastore.display())
}

/// A folder on the datastore that goes away with this value.
struct TestFolder(PathBuf);

impl TestFolder {
    fn new(datastore: &Path) -> io::Result<Self> {
        let path = datastore.join(format!(".godwit-doctor-{}", Uuid::new_v4().simple()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        // Best effort: a storage that fails now has failed the checks already.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is known of a kind of file system.
enum Known {
    /// Several hosts share it and it keeps its promises.
    Shared,
    /// Keeps them on one host; whether several see it depends on what is underneath.
    Local,
    /// Known not to keep them, or nothing is known.
    Doubtful(&'static str),
}

/// Names and magic numbers as in statfs(2) and the kernel's `magic.h`.
fn known(magic: u32) -> (&'static str, Known) {
    match magic {
        0x6969 => ("NFS", Known::Shared),
        0x00c3_6400 => ("CephFS", Known::Shared),
        0x0116_1970 => ("GFS2", Known::Shared),
        0x7461_636f => ("OCFS2", Known::Shared),
        0x0bd0_0bd0 => ("Lustre", Known::Shared),
        0xef53 => ("ext4", Known::Local),
        0x5846_5342 => ("XFS", Known::Local),
        0x9123_683e => ("Btrfs", Known::Local),
        0x2fc1_2fc1 => ("ZFS", Known::Local),
        0xf2f5_2010 => ("F2FS", Known::Local),
        0x0102_1994 => (
            "tmpfs",
            Known::Doubtful("it forgets everything at a reboot"),
        ),
        0x794c_7630 => (
            "overlayfs",
            Known::Doubtful("its links and locks depend on its layers"),
        ),
        0x6573_5546 => (
            "FUSE",
            Known::Doubtful("whether links are atomic over several hosts depends on its server"),
        ),
        0xff53_4d42 | 0xfe53_4d42 => ("SMB", Known::Doubtful("its links depend on the server")),
        0x0102_1997 => (
            "9p",
            Known::Doubtful("its cache may hide another host's link"),
        ),
        0x4d44 => ("FAT", Known::Doubtful("it has no hard links")),
        _ => (
            "a file system unknown to godwit",
            Known::Doubtful("nothing is known about it"),
        ),
    }
}

fn kind(datastore: &Path) -> Check {
    let id = "datastore.kind";
    let title = title(datastore, "keeps promises over several hosts");
    let magic = match statfs(datastore) {
        // Magic numbers have 32 bits; the field is wider and on some systems signed.
        Ok(found) => (found.filesystem_type().0 & 0xffff_ffff) as u32,
        Err(e) => return Check::failed(id, &title, e.to_string(), "check the mount"),
    };
    match known(magic) {
        (name, Known::Shared) => Check::ok(id, &title, name),
        (name, Known::Local) => Check::ok(
            id,
            &title,
            format!(
                "{name}: a local file system; VMs on it move only between hosts that mount this very folder"
            ),
        ),
        (name, Known::Doubtful(why)) => Check::warning(
            id,
            &title,
            format!("{name} (0x{magic:x}): {why}"),
            "use NFS, CephFS or GFS2 for VMs that must not run twice",
        ),
    }
}

fn link(datastore: &Path, folder: &Path) -> Check {
    let id = "datastore.link";
    let title = title(datastore, "has atomic hard links");
    let remedy = "epoch files need hard links: use a file system that has them";
    let (first, second, target) = (folder.join("a"), folder.join("b"), folder.join("1"));
    let linked = RealFiles
        .create(&first, b"a")
        .and_then(|()| RealFiles.create(&second, b"b"))
        .and_then(|()| RealFiles.link(&first, &target));
    if let Err(e) = linked {
        return Check::failed(id, &title, format!("linking fails: {e}"), remedy);
    }
    match RealFiles.link(&second, &target) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => {
            let found = format!("a second link to the same name fails oddly: {e}");
            return Check::failed(id, &title, found, remedy);
        }
        Ok(()) => {
            let found = "a second link to the same name succeeds: two hosts could win one epoch";
            return Check::failed(id, &title, found, remedy);
        }
    }
    match RealFiles.read(&target) {
        Ok(content) if content == b"a" => Check::ok(id, &title, "the second link to a name fails"),
        Ok(_) => Check::failed(id, &title, "the loser's content is seen", remedy),
        Err(e) => Check::failed(
            id,
            &title,
            format!("a linked file cannot be read: {e}"),
            remedy,
        ),
    }
}

fn sync(datastore: &Path, folder: &Path) -> Check {
    let id = "datastore.sync";
    let title = title(datastore, "makes writes durable");
    let started = Instant::now();
    let synced = RealFiles
        .create(&folder.join("synced"), b"x")
        .and_then(|()| RealFiles.sync_dir(folder));
    match synced {
        Ok(()) => {
            let millis = started.elapsed().as_secs_f64() * 1e3;
            Check::ok(
                id,
                &title,
                format!("a file and its folder synced in {millis:.1} ms"),
            )
        }
        Err(e) => {
            let remedy = "a claim counts only once it is durable: use a file system that can sync files and folders";
            Check::failed(id, &title, e.to_string(), remedy)
        }
    }
}

fn locks(datastore: &Path, folder: &Path) -> Check {
    let id = "datastore.locks";
    let title = title(datastore, "has locks");
    let remedy = "QEMU locks its images by open-file-description locks: mount with locking (NFS: not `nolock`)";
    match try_locks(&folder.join("lock")) {
        Ok(true) => Check::ok(id, &title, "a locked file cannot be locked again"),
        Ok(false) => {
            let found = "a locked file can be locked again: two QEMUs could write one disk";
            Check::failed(id, &title, found, remedy)
        }
        Err(e) => Check::failed(id, &title, format!("locking fails: {e}"), remedy),
    }
}

/// These locks belong to open files, so two of them meet as those of two processes would.
fn try_locks(path: &Path) -> io::Result<bool> {
    let open = || -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
    };
    let (first, second) = (open()?, open()?);
    let excluded = ofd::try_lock(&first)? && !ofd::try_lock(&second)? && ofd::is_locked(&second)?;
    drop(first);
    Ok(excluded && ofd::try_lock(&second)?)
}

fn space(datastore: &Path) -> Check {
    let id = "datastore.space";
    let title = title(datastore, "has space");
    let stat = match statvfs(datastore) {
        Ok(stat) => stat,
        Err(e) => return Check::failed(id, &title, e.to_string(), "check the mount"),
    };
    let free = stat.blocks_available() * stat.fragment_size();
    let found = format!("{:.1} GiB free", free as f64 / f64::from(1 << 30));
    // Some file systems (Btrfs, many servers) make inodes as they go and report none.
    let no_inodes = stat.files() > 0 && stat.files_available() == 0;
    let remedy = "free some, or move VMs to another datastore";
    if stat.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY) {
        return Check::failed(id, &title, "mounted read-only", "mount it writable");
    }
    if no_inodes {
        return Check::failed(id, &title, "no inode is free", remedy);
    }
    if free < LITTLE_SPACE {
        return Check::warning(id, &title, found, remedy);
    }
    Check::ok(id, &title, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_model::doctor::CheckState;

    fn state(checks: &[Check], id: &str) -> CheckState {
        let check = checks.iter().find(|check| check.id == id);
        check
            .unwrap_or_else(|| panic!("no {id} in {checks:?}"))
            .state
    }

    #[test]
    fn a_local_folder_passes_and_is_left_clean() {
        let datastore = tempfile::tempdir().expect("a temporary folder");
        let checks = checks(&[datastore.path().to_path_buf()]);
        for id in ["datastore.link", "datastore.sync", "datastore.locks"] {
            assert_eq!(state(&checks, id), CheckState::Ok, "{checks:?}");
        }
        assert_eq!(checks.len(), 5);
        assert_eq!(fs::read_dir(datastore.path()).expect("lists").count(), 0);
    }

    #[test]
    fn what_is_not_there_fails_with_a_remedy() {
        let checks = checks(&[PathBuf::from("/no/such/datastore")]);
        assert_eq!(state(&checks, "datastore.writable"), CheckState::Failed);
        assert!(
            checks[0]
                .remedy
                .as_ref()
                .is_some_and(|remedy| remedy.contains("/no/such"))
        );
    }

    #[test]
    fn a_file_system_without_links_or_locks_is_found_out() {
        // /proc is a file system of the kernel's own, unknown as a datastore.
        let check = kind(Path::new("/proc"));
        assert_eq!(check.state, CheckState::Warning, "{check:?}");
        let proc = Path::new("/proc");
        assert_eq!(link(proc, proc).state, CheckState::Failed);
        assert_eq!(sync(proc, proc).state, CheckState::Failed);
        assert_eq!(locks(proc, proc).state, CheckState::Failed);
    }
}
