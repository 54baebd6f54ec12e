//! What was seen before: the answers of mode `stale`.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use fuser::FileAttr;

/// Attributes and names as they were when they were last asked for in earnest.
#[derive(Default)]
pub(super) struct Memory {
    attributes: HashMap<u64, FileAttr>,
    /// What a name in a folder led to: an inode, or an error such as ENOENT.
    names: HashMap<(u64, OsString), Result<u64, i32>>,
}

impl Memory {
    pub(super) fn attributes(&self, inode: u64) -> Option<FileAttr> {
        self.attributes.get(&inode).copied()
    }

    pub(super) fn name(&self, folder: u64, name: &OsStr) -> Option<Result<u64, i32>> {
        self.names.get(&(folder, name.to_owned())).copied()
    }

    pub(super) fn keep_attributes(&mut self, attributes: FileAttr) {
        self.attributes.insert(attributes.ino, attributes);
    }

    pub(super) fn keep_name(&mut self, folder: u64, name: &OsStr, led_to: Result<u64, i32>) {
        self.names.insert((folder, name.to_owned()), led_to);
    }

    /// The blade itself changed the file, or opened it anew.
    pub(super) fn forget(&mut self, inode: u64) {
        self.attributes.remove(&inode);
    }

    /// The blade itself changed what the name leads to.
    pub(super) fn forget_name(&mut self, folder: u64, name: &OsStr) {
        self.names.remove(&(folder, name.to_owned()));
        self.attributes.remove(&folder);
    }
}
