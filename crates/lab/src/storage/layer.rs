//! What the layer does with each call: ask the mode, then do the same below.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{FileAttr, FileType};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statvfs::{Statvfs, statvfs};
use nix::unistd::linkat;

use super::memory::Memory;
use super::mode::{Mode, Watch};
use super::nodes::{Nodes, errno, kind};

/// Flags of open(2) that are the kernel's to act on, not ours to repeat: buffers of ours are not aligned for O_DIRECT.
const NOT_REPEATED: i32 = libc::O_DIRECT | libc::O_CREAT | libc::O_EXCL | libc::O_NOCTTY;

type Answer<T> = Result<T, i32>;

/// What a folder held when it was opened.
type Entries = Vec<(u64, FileType, OsString)>;

/// What may be changed of a file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Changes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SystemTime>,
    pub mtime: Option<SystemTime>,
}

pub(super) struct Layer {
    watch: Watch,
    nodes: Nodes,
    memory: Memory,
    files: HashMap<u64, Arc<File>>,
    folders: HashMap<u64, Entries>,
    next: u64,
}

impl Layer {
    pub(super) fn new(root: File, watch: Watch) -> std::io::Result<Self> {
        Ok(Self {
            watch,
            nodes: Nodes::new(root)?,
            memory: Memory::default(),
            files: HashMap::new(),
            folders: HashMap::new(),
            next: 1,
        })
    }

    /// Lets a call through that needs no room.
    fn pass(&self) -> Answer<Mode> {
        match self.watch.wait() {
            Mode::Cut => Err(libc::EIO),
            mode => Ok(mode),
        }
    }

    /// Lets a call through that needs room.
    fn pass_with_room(&self) -> Answer<()> {
        match self.pass()? {
            Mode::Full => Err(libc::ENOSPC),
            _ => Ok(()),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn file(&self, handle: u64) -> Answer<&Arc<File>> {
        self.files.get(&handle).ok_or(libc::EBADF)
    }

    pub(super) fn lookup(&mut self, folder: u64, name: &OsStr) -> Answer<FileAttr> {
        let mode = self.pass()?;
        if mode == Mode::Stale
            && let Some(known) = self.memory.name(folder, name)
        {
            let inode = known?;
            if let Some(attributes) = self.memory.attributes(inode)
                && self.nodes.introduce_again(inode)
            {
                return Ok(attributes);
            }
        }
        let path = self.nodes.child(folder, name)?;
        let found = self.nodes.introduce(&path);
        self.memory
            .keep_name(folder, name, found.map(|found| found.ino));
        self.remember(found?)
    }

    fn remember(&mut self, attributes: FileAttr) -> Answer<FileAttr> {
        self.memory.keep_attributes(attributes);
        Ok(attributes)
    }

    pub(super) fn forget(&mut self, inode: u64, lookups: u64) {
        self.nodes.forget(inode, lookups);
    }

    pub(super) fn attributes(&mut self, inode: u64) -> Answer<FileAttr> {
        let mode = self.pass()?;
        let known = self
            .memory
            .attributes(inode)
            .filter(|_| mode == Mode::Stale);
        match known {
            Some(known) => Ok(known),
            None => self
                .nodes
                .attributes(inode)
                .and_then(|attributes| self.remember(attributes)),
        }
    }

    pub(super) fn change(
        &mut self,
        inode: u64,
        handle: Option<u64>,
        changes: Changes,
    ) -> Answer<FileAttr> {
        self.pass()?;
        let path = self.nodes.path(inode)?;
        if let Some(size) = changes.size {
            if size > self.nodes.attributes(inode)?.size {
                self.pass_with_room()?;
            }
            let opened = handle.and_then(|handle| self.files.get(&handle));
            let resized = match opened {
                Some(file) => file.set_len(size),
                None => OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .and_then(|file| file.set_len(size)),
            };
            resized.map_err(errno)?;
        }
        if let Some(mode) = changes.mode {
            fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(errno)?;
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            std::os::unix::fs::chown(&path, changes.uid, changes.gid).map_err(errno)?;
        }
        self.set_times(&path, changes)?;
        let attributes = self.nodes.attributes(inode)?;
        self.remember(attributes)
    }

    fn set_times(&self, path: &Path, changes: Changes) -> Answer<()> {
        let mut times = fs::FileTimes::new();
        match (changes.atime, changes.mtime) {
            (None, None) => return Ok(()),
            (Some(atime), None) => times = times.set_accessed(atime),
            (None, Some(mtime)) => times = times.set_modified(mtime),
            (Some(atime), Some(mtime)) => times = times.set_accessed(atime).set_modified(mtime),
        }
        File::open(path)
            .and_then(|file| file.set_times(times))
            .map_err(errno)
    }

    pub(super) fn read_link(&mut self, inode: u64) -> Answer<OsString> {
        self.pass()?;
        let target =
            nix::fcntl::readlink(&self.nodes.path(inode)?).map_err(|error| error as i32)?;
        // /proc/self/fd/N of a symbolic link leads to its own path; its target is read by that.
        let text = fs::read_link(target).map_err(errno)?;
        Ok(text.into_os_string())
    }

    /// Makes something under a name, and tells the kernel of it.
    fn make(
        &mut self,
        folder: u64,
        name: &OsStr,
        make: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> Answer<FileAttr> {
        self.pass_with_room()?;
        let path = self.nodes.child(folder, name)?;
        make(&path).map_err(errno)?;
        self.memory.forget_name(folder, name);
        let attributes = self.nodes.introduce(&path)?;
        self.memory.keep_name(folder, name, Ok(attributes.ino));
        self.remember(attributes)
    }

    pub(super) fn make_folder(&mut self, folder: u64, name: &OsStr, mode: u32) -> Answer<FileAttr> {
        self.make(folder, name, |path| {
            DirBuilder::new().mode(mode).create(path)
        })
    }

    pub(super) fn make_symlink(
        &mut self,
        folder: u64,
        name: &OsStr,
        target: &Path,
    ) -> Answer<FileAttr> {
        self.make(folder, name, |path| {
            std::os::unix::fs::symlink(target, path)
        })
    }

    pub(super) fn make_link(&mut self, inode: u64, folder: u64, name: &OsStr) -> Answer<FileAttr> {
        let source = self.nodes.path(inode)?;
        let link = |path: &Path| {
            let follow = AtFlags::AT_SYMLINK_FOLLOW;
            linkat(AT_FDCWD, &source, AT_FDCWD, path, follow).map_err(std::io::Error::from)
        };
        self.make(folder, name, link)
    }

    pub(super) fn create(
        &mut self,
        folder: u64,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> Answer<(FileAttr, u64)> {
        let mut made = None;
        let exclusive = flags & libc::O_EXCL != 0;
        let attributes = self.make(folder, name, |path| {
            let mut options = options(flags);
            options
                .write(true)
                .create(true)
                .create_new(exclusive)
                .mode(mode);
            made = Some(options.open(path)?);
            Ok(())
        })?;
        let file = made.ok_or(libc::EIO)?;
        Ok((attributes, self.keep(file)))
    }

    fn keep(&mut self, file: File) -> u64 {
        let handle = self.number();
        self.files.insert(handle, Arc::new(file));
        handle
    }

    pub(super) fn remove(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> Answer<()> {
        self.pass()?;
        let path = self.nodes.child(folder, name)?;
        let removed = if is_folder {
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
        self.memory.forget_name(folder, name);
        removed.map_err(errno)
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Answer<()> {
        self.pass()?;
        let (old, new) = (
            self.nodes.child(from.0, from.1)?,
            self.nodes.child(to.0, to.1)?,
        );
        self.memory.forget_name(from.0, from.1);
        self.memory.forget_name(to.0, to.1);
        fs::rename(old, new).map_err(errno)
    }

    pub(super) fn open(&mut self, inode: u64, flags: i32) -> Answer<u64> {
        self.pass()?;
        let path = self.nodes.path(inode)?;
        let file = options(flags).open(path).map_err(errno)?;
        self.memory.forget(inode);
        Ok(self.keep(file))
    }

    pub(super) fn close(&mut self, handle: u64) {
        self.files.remove(&handle);
    }

    pub(super) fn read(&self, handle: u64, offset: u64, size: usize) -> Answer<Vec<u8>> {
        self.pass()?;
        let (file, mut bytes, mut filled) = (self.file(handle)?, vec![0; size], 0);
        while filled < size {
            match file
                .read_at(&mut bytes[filled..], offset + filled as u64)
                .map_err(errno)?
            {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    pub(super) fn write(
        &mut self,
        inode: u64,
        handle: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Answer<()> {
        let mode = self.pass()?;
        let file = self.file(handle)?;
        if mode == Mode::Full && offset + bytes.len() as u64 > file.metadata().map_err(errno)?.len()
        {
            return Err(libc::ENOSPC);
        }
        file.write_all_at(bytes, offset).map_err(errno)?;
        self.memory.forget(inode);
        Ok(())
    }

    pub(super) fn sync(&self, handle: u64, data_only: bool) -> Answer<()> {
        self.pass()?;
        let file = self.file(handle)?;
        if data_only {
            file.sync_data()
        } else {
            file.sync_all()
        }
        .map_err(errno)
    }

    pub(super) fn sync_folder(&self, inode: u64) -> Answer<()> {
        self.pass()?;
        File::open(self.nodes.path(inode)?)
            .and_then(|folder| folder.sync_all())
            .map_err(errno)
    }

    pub(super) fn open_folder(&mut self, inode: u64) -> Answer<u64> {
        self.pass()?;
        let mut entries = vec![
            (inode, FileType::Directory, OsString::from(".")),
            (inode, FileType::Directory, OsString::from("..")),
        ];
        for entry in fs::read_dir(self.nodes.path(inode)?).map_err(errno)? {
            let entry = entry.map_err(errno)?;
            entries.push((
                entry.ino(),
                kind(entry.file_type().map_err(errno)?),
                entry.file_name(),
            ));
        }
        let handle = self.number();
        self.folders.insert(handle, entries);
        Ok(handle)
    }

    pub(super) fn entries(&self, handle: u64) -> Answer<&Entries> {
        self.pass()?;
        self.folders.get(&handle).ok_or(libc::EBADF)
    }

    pub(super) fn close_folder(&mut self, handle: u64) {
        self.folders.remove(&handle);
    }

    /// Room below, and whether it counts as full.
    pub(super) fn room(&self) -> Answer<(Statvfs, bool)> {
        let mode = self.pass()?;
        let room = statvfs(&self.nodes.path(fuser::FUSE_ROOT_ID)?).map_err(|error| error as i32)?;
        Ok((room, mode == Mode::Full))
    }

    /// The open file on which a lock is to be taken.
    pub(super) fn lockable(&self, handle: u64) -> Answer<Arc<File>> {
        self.pass()?;
        self.file(handle).cloned()
    }
}

fn options(flags: i32) -> OpenOptions {
    let mut options = OpenOptions::new();
    let access = flags & libc::O_ACCMODE;
    options
        .read(access != libc::O_WRONLY)
        .write(access != libc::O_RDONLY);
    // O_APPEND below would write at the end whatever offset the kernel has worked out.
    options
        .custom_flags(flags & !(NOT_REPEATED | libc::O_ACCMODE | libc::O_APPEND | libc::O_TRUNC));
    options
}
