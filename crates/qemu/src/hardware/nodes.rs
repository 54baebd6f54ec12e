//! Block nodes as QEMU's `-blockdev` wants them. Structures, not loose JSON: the order of the
//! keys is then fixed, and so is the command line.

use serde::Serialize;

/// Host page cache of a node.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Cache {
    direct: bool,
    no_flush: bool,
}

/// Bypassed: the other host must see what is written here, at once.
pub(super) const DIRECT: Cache = Cache {
    direct: true,
    no_flush: false,
};
/// Used: for files that nobody writes.
pub(super) const CACHED: Cache = Cache {
    direct: false,
    no_flush: false,
};

/// An image file on the host.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct FileNode<'a> {
    pub driver: &'static str,
    pub node_name: &'a str,
    pub filename: &'a str,
    pub read_only: bool,
    /// Off: QEMU must not change its mind about `read_only`.
    pub auto_read_only: bool,
    /// `on` refuses files that cannot be locked; `auto` does without where locks do not work.
    pub locking: &'static str,
    pub aio: &'static str,
    pub discard: &'static str,
    pub cache: Cache,
    /// Whether the host's cache of the file is emptied when a migrated VM is about to run. Off for what nobody writes:
    /// nothing in it can be out of date, emptying it took 15 ms of the blackout per 350 MB (measured), and clones and
    /// later migrations would read it all again.
    pub drop_cache: bool,
}

impl<'a> FileNode<'a> {
    /// A disk of the guest.
    pub fn disk(node_name: &'a str, filename: &'a str, read_only: bool) -> Self {
        let common = Self::immutable(node_name, filename);
        Self {
            read_only,
            locking: "on",
            discard: "unmap",
            cache: DIRECT,
            drop_cache: true,
            ..common
        }
    }

    /// A file that nobody writes.
    pub fn immutable(node_name: &'a str, filename: &'a str) -> Self {
        Self {
            driver: "file",
            node_name,
            filename,
            read_only: true,
            auto_read_only: false,
            locking: "auto",
            aio: "threads",
            discard: "ignore",
            cache: CACHED,
            drop_cache: false,
        }
    }
}

/// The image format above a file.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct FormatNode<'a> {
    pub driver: &'static str,
    pub node_name: &'a str,
    pub file: &'a str,
    /// Replaces what the image's header says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backing: Option<&'a str>,
    pub read_only: bool,
    pub auto_read_only: bool,
    pub discard: &'static str,
    pub cache: Cache,
}
