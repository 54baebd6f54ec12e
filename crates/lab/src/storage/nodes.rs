//! The files that the kernel knows by number, each held open by a descriptor that can do nothing but name it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FUSE_ROOT_ID, FileAttr, FileType};

struct Node {
    handle: File,
    /// How often the kernel was told of it, and may still ask for it.
    lookups: u64,
}

/// Numbers are those of the file system below, so that hard links share one; but the root's is what FUSE demands.
pub(super) struct Nodes {
    nodes: HashMap<u64, Node>,
    root: u64,
}

impl Nodes {
    pub(super) fn new(root: File) -> io::Result<Self> {
        let number = root.metadata()?.ino();
        let nodes = HashMap::from([(
            FUSE_ROOT_ID,
            Node {
                handle: root,
                lookups: 1,
            },
        )]);
        Ok(Self {
            nodes,
            root: number,
        })
    }

    fn node(&self, inode: u64) -> Result<&Node, i32> {
        self.nodes.get(&inode).ok_or(libc::ESTALE)
    }

    /// A path that leads to the file, whatever it is called now.
    pub(super) fn path(&self, inode: u64) -> Result<PathBuf, i32> {
        Ok(PathBuf::from(format!(
            "/proc/self/fd/{}",
            self.node(inode)?.handle.as_raw_fd()
        )))
    }

    pub(super) fn child(&self, folder: u64, name: &OsStr) -> Result<PathBuf, i32> {
        Ok(self.path(folder)?.join(name))
    }

    pub(super) fn attributes(&self, inode: u64) -> Result<FileAttr, i32> {
        Ok(self.translate(&self.node(inode)?.handle.metadata().map_err(errno)?))
    }

    /// Tells the kernel of the file at a path.
    pub(super) fn introduce(&mut self, path: &Path) -> Result<FileAttr, i32> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .map_err(errno)?;
        let attributes = self.translate(&handle.metadata().map_err(errno)?);
        self.nodes
            .entry(attributes.ino)
            .or_insert(Node { handle, lookups: 0 })
            .lookups += 1;
        Ok(attributes)
    }

    /// Tells the kernel once more of a file that it knows.
    pub(super) fn introduce_again(&mut self, inode: u64) -> bool {
        let node = self.nodes.get_mut(&inode);
        node.map(|node| node.lookups += 1).is_some()
    }

    /// The kernel has forgotten as many of its lookups.
    pub(super) fn forget(&mut self, inode: u64, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(&inode)
            && inode != FUSE_ROOT_ID
        {
            node.lookups = node.lookups.saturating_sub(lookups);
            if node.lookups == 0 {
                self.nodes.remove(&inode);
            }
        }
    }

    fn translate(&self, metadata: &Metadata) -> FileAttr {
        let ino = if metadata.ino() == self.root {
            FUSE_ROOT_ID
        } else {
            metadata.ino()
        };
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        FileAttr {
            ino,
            size: metadata.size(),
            blocks: metadata.blocks(),
            atime: time(metadata.atime(), metadata.atime_nsec()),
            mtime: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime: time(metadata.ctime(), metadata.ctime_nsec()),
            crtime: UNIX_EPOCH,
            kind: kind(metadata.file_type()),
            perm: u16::try_from(metadata.mode() & 0o7777).unwrap_or(0),
            nlink: small(metadata.nlink()),
            uid: metadata.uid(),
            gid: metadata.gid(),
            rdev: small(metadata.rdev()),
            blksize: small(metadata.blksize()),
            flags: 0,
        }
    }
}

pub(super) fn kind(kind: std::fs::FileType) -> FileType {
    match kind {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_symlink() => FileType::Symlink,
        kind if kind.is_socket() => FileType::Socket,
        kind if kind.is_fifo() => FileType::NamedPipe,
        kind if kind.is_block_device() => FileType::BlockDevice,
        kind if kind.is_char_device() => FileType::CharDevice,
        _ => FileType::RegularFile,
    }
}

fn time(seconds: i64, nanos: i64) -> SystemTime {
    // Files from before 1970 are shown as of 1970.
    let since = Duration::new(
        u64::try_from(seconds).unwrap_or(0),
        u32::try_from(nanos).unwrap_or(0),
    );
    UNIX_EPOCH + since
}

/// The kernel's number of an error.
#[allow(clippy::needless_pass_by_value)] // it stands in `map_err`
pub(super) fn errno(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
