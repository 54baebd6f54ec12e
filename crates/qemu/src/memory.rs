//! Where a VM's memory lies: the hardware contract makes it a shared file in memory (memfd).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// How QEMU names the memory's file (`backends/hostmem-memfd.c`).
const NAME: &str = "/memfd:memory-backend-memfd";
/// How the contract names the block of memory, and so QEMU's stream.
pub const BLOCK: &str = "pc.ram";

/// The file that is the memory of the QEMU with this process id, of `size` bytes; `None` if there is not exactly one.
/// It can be opened as long as the process lives.
#[must_use]
pub fn shared_file(pid: u32, size: u64) -> Option<PathBuf> {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut found = folder
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            let is_memory =
                fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with(NAME));
            is_memory && fs::metadata(path).is_ok_and(|file| file.size() == size)
        });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}
