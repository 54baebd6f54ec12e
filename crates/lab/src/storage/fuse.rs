//! The kernel's calls, handed to the layer and answered. No decision is made here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use fuser::{
    Filesystem, KernelConfig, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyLock, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
};

use super::layer::{Changes, Layer};
use super::locks::{conflict, lock};

/// The kernel asks again each time.
const NO_CACHE: Duration = Duration::ZERO;
/// Reads and writes pass by the kernel's page cache.
const DIRECT: u32 = fuser::consts::FOPEN_DIRECT_IO;
/// The end of a lock that goes to the end of the file.
const TO_THE_END: u64 = i64::MAX as u64;

/// The layer as the kernel calls it.
pub(super) struct Fuse(pub(super) Layer);

/// Answers with a result: `answer!(reply, result, |value| reply.something(value))`.
macro_rules! answer {
    ($reply:ident, $result:expr, |$value:pat_param| $done:expr) => {
        match $result {
            Ok($value) => $done,
            Err(errno) => $reply.error(errno),
        }
    };
}

impl Filesystem for Fuse {
    fn init(&mut self, _: &Request<'_>, config: &mut KernelConfig) -> Result<(), libc::c_int> {
        // Without it the kernel would keep locks within this mount, and two blades could hold the same one.
        config
            .add_capabilities(fuser::consts::FUSE_POSIX_LOCKS)
            .map_err(|_| libc::ENOSYS)
    }

    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.0.lookup(parent, name), |found| reply
            .entry(&NO_CACHE, &found, 0));
    }

    fn forget(&mut self, _: &Request<'_>, ino: u64, nlookup: u64) {
        self.0.forget(ino, nlookup);
    }

    fn getattr(&mut self, _: &Request<'_>, ino: u64, _: Option<u64>, reply: ReplyAttr) {
        answer!(reply, self.0.attributes(ino), |found| reply
            .attr(&NO_CACHE, &found));
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        ino: u64,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        fh: Option<u64>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        let (atime, mtime) = (atime.map(moment), mtime.map(moment));
        let changes = Changes {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
        };
        answer!(reply, self.0.change(ino, fh, changes), |found| reply
            .attr(&NO_CACHE, &found));
    }

    fn readlink(&mut self, _: &Request<'_>, ino: u64, reply: ReplyData) {
        answer!(reply, self.0.read_link(ino), |target| reply
            .data(target.as_bytes()));
    }

    fn mkdir(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.0.make_folder(parent, name, mode & !umask);
        answer!(reply, made, |made| reply.entry(&NO_CACHE, &made, 0));
    }

    fn symlink(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        answer!(reply, self.0.make_symlink(parent, name, target), |made| {
            reply.entry(&NO_CACHE, &made, 0);
        });
    }

    fn link(&mut self, _: &Request<'_>, ino: u64, parent: u64, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.0.make_link(ino, parent, name), |made| reply
            .entry(&NO_CACHE, &made, 0));
    }

    fn unlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.0.remove(parent, name, false), |()| reply.ok());
    }

    fn rmdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.0.remove(parent, name, true), |()| reply.ok());
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        newparent: u64,
        newname: &OsStr,
        _: u32,
        reply: ReplyEmpty,
    ) {
        answer!(
            reply,
            self.0.rename((parent, name), (newparent, newname)),
            |()| reply.ok()
        );
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.0.create(parent, name, mode & !umask, flags);
        answer!(reply, made, |(made, fh)| reply
            .created(&NO_CACHE, &made, 0, fh, DIRECT));
    }

    fn open(&mut self, _: &Request<'_>, ino: u64, flags: i32, reply: ReplyOpen) {
        answer!(reply, self.0.open(ino, flags), |fh| reply
            .opened(fh, DIRECT));
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        _: u64,
        fh: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        answer!(
            reply,
            self.0.read(fh, unsigned(offset), size as usize),
            |bytes| reply.data(&bytes)
        );
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        ino: u64,
        fh: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        answer!(reply, self.0.write(ino, fh, unsigned(offset), data), |()| {
            reply.written(length);
        });
    }

    fn flush(&mut self, _: &Request<'_>, _: u64, _: u64, _: u64, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &mut self,
        _: &Request<'_>,
        _: u64,
        fh: u64,
        _: i32,
        _: Option<u64>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.close(fh);
        reply.ok();
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, fh: u64, datasync: bool, reply: ReplyEmpty) {
        answer!(reply, self.0.sync(fh, datasync), |()| reply.ok());
    }

    fn opendir(&mut self, _: &Request<'_>, ino: u64, _: i32, reply: ReplyOpen) {
        answer!(reply, self.0.open_folder(ino), |fh| reply.opened(fh, 0));
    }

    fn readdir(
        &mut self,
        _: &Request<'_>,
        _: u64,
        fh: u64,
        offset: i64,
        mut reply: ReplyDirectory,
    ) {
        let entries = match self.0.entries(fh) {
            Ok(entries) => entries,
            Err(errno) => return reply.error(errno),
        };
        let skipped = usize::try_from(offset).unwrap_or(0);
        for ((inode, kind, name), next) in entries.iter().skip(skipped).zip(offset + 1..) {
            if reply.add(*inode, next, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&mut self, _: &Request<'_>, _: u64, fh: u64, _: i32, reply: ReplyEmpty) {
        self.0.close_folder(fh);
        reply.ok();
    }

    fn fsyncdir(&mut self, _: &Request<'_>, ino: u64, _: u64, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.0.sync_folder(ino), |()| reply.ok());
    }

    fn statfs(&mut self, _: &Request<'_>, _: u64, reply: ReplyStatfs) {
        answer!(reply, self.0.room(), |(room, is_full)| {
            let free = |blocks: u64| if is_full { 0 } else { blocks };
            let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            reply.statfs(
                room.blocks(),
                free(room.blocks_free()),
                free(room.blocks_available()),
                room.files(),
                free(room.files_free()),
                small(room.block_size()),
                small(room.name_max()),
                small(room.fragment_size()),
            );
        });
    }

    fn getlk(
        &mut self,
        _: &Request<'_>,
        _: u64,
        fh: u64,
        _: u64,
        start: u64,
        end: u64,
        typ: i32,
        _: u32,
        reply: ReplyLock,
    ) {
        let found = self
            .0
            .lockable(fh)
            .and_then(|file| conflict(&file, range(start, end, typ)));
        answer!(reply, found, |found| {
            let (start, length) = (unsigned(found.l_start), unsigned(found.l_len));
            let end = if length == 0 {
                TO_THE_END
            } else {
                start + length - 1
            };
            reply.locked(start, end, found.l_type.into(), 0);
        });
    }

    fn setlk(
        &mut self,
        _: &Request<'_>,
        _: u64,
        fh: u64,
        _: u64,
        start: u64,
        end: u64,
        typ: i32,
        _: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let file = match self.0.lockable(fh) {
            Ok(file) => file,
            Err(errno) => return reply.error(errno),
        };
        let wanted = range(start, end, typ);
        if sleep {
            // Who waits for a lock must not hold up all other calls, one of which may give it back.
            thread::spawn(move || answer!(reply, lock(&file, &wanted, true), |()| reply.ok()));
        } else {
            answer!(reply, lock(&file, &wanted, false), |()| reply.ok());
        }
    }
}

fn moment(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A lock as fcntl(2) wants it; FUSE names the last byte, fcntl the length, 0 for all.
fn range(start: u64, end: u64, typ: i32) -> libc::flock {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let length = if end >= TO_THE_END {
        0
    } else {
        end - start.min(end) + 1
    };
    libc::flock {
        l_type: i16::try_from(typ).unwrap_or(i16::MAX),
        l_whence: 0,
        l_start: signed(start),
        l_len: signed(length),
        l_pid: 0,
    }
}
