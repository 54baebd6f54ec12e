//! From the tree to a bootable disk: one partition with an ext4 file system, started by
//! extlinux, as a compressed qcow2 file.

use super::error::ImageError;
use super::recipe::KERNEL_ARGUMENTS;
use super::tree::Tree;
use super::work::{Work, contained};
use godwit_model::units::Bytes;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

/// The code in the first sector that starts the active partition.
pub(super) const MBR: &str = "/usr/lib/syslinux/mbr/mbr.bin";
/// The core of the boot loader.
pub(super) const LDLINUX: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";

const SECTOR: u64 = 512;
/// Where the partition begins; everybody aligns to a mebibyte.
const START: u64 = 1 << 20;

/// Puts the boot loader's files into the tree.
pub(super) fn add_boot_loader(tree: &Tree) -> Result<(), ImageError> {
    tree.folder("boot/extlinux")?;
    let target = tree.root().join("boot/extlinux/ldlinux.c32");
    fs::copy(LDLINUX, &target).map_err(ImageError::file("copy the boot loader to", &target))?;
    let configuration = format!(
        "default guest\nprompt 0\ntimeout 0\nlabel guest\n  linux {}\n  initrd /boot/initrd.img\n  append {KERNEL_ARGUMENTS}\n",
        tree.kernel_path()
    );
    tree.write("boot/extlinux/extlinux.conf", 0o644, &configuration)
}

/// Makes the disk `target` (qcow2) of the tree, by way of `raw`.
pub(super) fn make(
    work: &Work<'_>,
    tree: &Tree,
    size: Bytes,
    raw: &Path,
    target: &Path,
) -> Result<(), ImageError> {
    work.progress.step("making the file system");
    let file = File::create_new(raw).map_err(ImageError::file("create", raw))?;
    file.set_len(size.0)
        .map_err(ImageError::file("size", raw))?;
    make_file_system(work, tree, size, raw)?;
    write_first_sector(&file, size).map_err(ImageError::file("write the boot sector of", raw))?;
    drop(file);

    work.progress.step("installing the boot loader");
    let mount_point = raw.with_extension("mnt");
    fs::create_dir(&mount_point).map_err(ImageError::file("create", &mount_point))?;
    // The mount lives in the command's own namespace, and the loop device ends with the mount.
    let script = format!(
        "mount -o loop,offset={START} \"$0\" \"$1\" && extlinux --install \"$1/boot/extlinux\" && umount \"$1\""
    );
    let mut command = contained("sh");
    command.args(["-ec", &script]).arg(raw).arg(&mount_point);
    work.run("installing the boot loader (extlinux)", command)?;

    work.progress.step("compressing the disk");
    let mut command = contained("qemu-img");
    command.args([
        "convert",
        "-p",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-c",
        "-o",
        "compression_type=zstd",
    ]);
    command.arg(raw).arg(target);
    work.run("compressing the disk (qemu-img)", command)
        .map(drop)
}

fn make_file_system(
    work: &Work<'_>,
    tree: &Tree,
    size: Bytes,
    raw: &Path,
) -> Result<(), ImageError> {
    let mut command = contained("mke2fs");
    command.args([
        "-F",
        "-t",
        "ext4",
        "-L",
        "godwit-root",
        "-m",
        "0",
        "-J",
        "size=32",
        "-i",
        "65536",
    ]);
    // What the boot loader cannot read is off. Everything is initialized now: a clone that did it
    // later would write hundreds of megabytes for nothing.
    command.args([
        "-O",
        "^64bit,^metadata_csum_seed,^orphan_file,^resize_inode",
    ]);
    command.args([
        "-E",
        &format!("offset={START},lazy_itable_init=0,lazy_journal_init=0,nodiscard"),
    ]);
    command.arg("-d").arg(tree.root()).arg(raw);
    command.arg(format!("{}k", (size.0 - START) / 1024));
    work.run("making the file system (mke2fs)", command)
        .map(drop)
}

fn write_first_sector(mut file: &File, size: Bytes) -> std::io::Result<()> {
    let code = fs::read(MBR)?;
    file.write_all(&first_sector(&code, START / SECTOR, size.0 / SECTOR))?;
    file.sync_all()
}

/// A master boot record with one active Linux partition from sector `start` to `end`.
fn first_sector(code: &[u8], start: u64, end: u64) -> [u8; 512] {
    // Beyond what a cylinder-head-sector address can say: readers use the sector numbers.
    const FAR: [u8; 3] = [0xfe, 0xff, 0xff];
    let number = |sectors: u64| u32::try_from(sectors).unwrap_or(u32::MAX).to_le_bytes();
    let mut sector = [0; 512];
    let len = code.len().min(440);
    sector[..len].copy_from_slice(&code[..len]);
    sector[446] = 0x80;
    sector[447..450].copy_from_slice(&FAR);
    sector[450] = 0x83;
    sector[451..454].copy_from_slice(&FAR);
    sector[454..458].copy_from_slice(&number(start));
    sector[458..462].copy_from_slice(&number(end - start));
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sector_names_one_active_partition() {
        let sector = first_sector(&[0x33; 600], 2048, 4096);
        assert_eq!(&sector[..440], &[0x33; 440]);
        assert_eq!(&sector[440..446], &[0; 6]);
        assert_eq!(
            sector[446..462],
            [
                0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff, 0, 8, 0, 0, 0, 8, 0, 0
            ]
        );
        assert_eq!(&sector[510..], &[0x55, 0xaa]);
    }
}
