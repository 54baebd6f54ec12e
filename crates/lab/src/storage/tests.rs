//! The layer on a folder, mounted: as the kernel uses it.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use super::locks::{conflict, lock};
use super::*;

/// Two blades' views of one datastore.
struct Stores {
    temporary: tempfile::TempDir,
    _served: Vec<Served>,
}

impl Stores {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        fs::create_dir(path("source")).unwrap();
        let serve_one = |name: &str| {
            fs::create_dir(path(name)).unwrap();
            let mode = path(&format!("{name}.mode"));
            mode::make(&mode).unwrap();
            serve(
                File::open(path("source")).unwrap(),
                &path(name),
                Watch::open(&mode).unwrap(),
            )
            .unwrap()
        };
        let served = vec![serve_one("a"), serve_one("b")];
        Self {
            temporary,
            _served: served,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    fn behave(&self, blade: &str, mode: Mode) {
        let file = OpenOptions::new()
            .write(true)
            .open(self.path(&format!("{blade}.mode")))
            .unwrap();
        file.write_all_at(format!("{mode:8}").as_bytes(), 0)
            .unwrap();
    }
}

fn whole_file(kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind.try_into().unwrap(),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn number<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_file_is_what_it_is_below() {
    let stores = Stores::new();
    fs::create_dir(stores.path("a/vms")).unwrap();
    let path = stores.path("a/vms/disk");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|number| number.to_le_bytes()[1])
        .collect();
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
    file.rewind().unwrap();
    let mut back = Vec::new();
    file.read_to_end(&mut back).unwrap();
    assert!(back == bytes, "what was written is read");
    assert!(fs::read(stores.path("source/vms/disk")).unwrap() == bytes);
    file.set_len(5).unwrap();
    assert_eq!(fs::metadata(stores.path("b/vms/disk")).unwrap().len(), 5);
    assert!(
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .is_err()
    );
    let appended = OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write(b"xyz")
        .unwrap();
    assert_eq!((appended, fs::metadata(&path).unwrap().len()), (3, 8));
}

#[test]
fn names_are_made_linked_moved_and_removed() {
    let stores = Stores::new();
    let (one, two, three) = (
        stores.path("a/one"),
        stores.path("b/two"),
        stores.path("a/three"),
    );
    fs::write(&one, "1").unwrap();
    fs::hard_link(stores.path("b/one"), &two).unwrap();
    assert_eq!(
        number(fs::hard_link(&one, stores.path("a/two"))),
        Some(libc::EEXIST),
        "one link wins"
    );
    assert_eq!(fs::metadata(&one).unwrap().nlink(), 2);
    fs::rename(stores.path("a/two"), &three).unwrap();
    assert!(!two.exists());
    std::os::unix::fs::symlink("three", stores.path("a/link")).unwrap();
    assert_eq!(
        fs::read_link(stores.path("b/link")).unwrap(),
        PathBuf::from("three")
    );
    assert_eq!(fs::read(stores.path("b/link")).unwrap(), b"1");
    let mut names: Vec<_> = fs::read_dir(stores.path("b"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["link", "one", "three"]);
    fs::remove_file(&one).unwrap();
    assert_eq!(fs::read(&three).unwrap(), b"1");
    File::open(stores.path("a")).unwrap().sync_all().unwrap();
}

#[test]
fn direct_access_works() {
    let stores = Stores::new();
    fs::write(stores.path("a/disk"), vec![7; 8_192]).unwrap();
    let direct = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(stores.path("b/disk"));
    let direct = direct.unwrap();
    let mut buffer = vec![0_u8; 3 * 4_096];
    let start = buffer.as_ptr().align_offset(4_096);
    let aligned = &mut buffer[start..start + 4_096];
    assert_eq!(direct.read_at(aligned, 4_096).unwrap(), 4_096);
    assert!(aligned.iter().all(|byte| *byte == 7));
    aligned.fill(9);
    direct.write_all_at(aligned, 0).unwrap();
    assert_eq!(
        fs::read(stores.path("a/disk")).unwrap()[4_095..4_097],
        [9, 7]
    );
}

#[test]
fn locks_hold_between_blades_and_end_with_the_open_file() {
    let stores = Stores::new();
    fs::write(stores.path("a/disk"), "x").unwrap();
    let open = |blade: &str| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(stores.path(blade).join("disk"))
            .unwrap()
    };
    let (a, b, below) = (open("a"), open("b"), open("source"));
    lock(&a, &whole_file(libc::F_WRLCK), false).unwrap();
    for other in [&b, &below, &open("a")] {
        assert!(lock(other, &whole_file(libc::F_RDLCK), false).is_err());
        let found = conflict(other, whole_file(libc::F_WRLCK)).unwrap();
        assert_eq!(i32::from(found.l_type), libc::F_WRLCK);
    }
    lock(&a, &whole_file(libc::F_UNLCK), false).unwrap();
    assert_eq!(
        i32::from(conflict(&b, whole_file(libc::F_WRLCK)).unwrap().l_type),
        libc::F_UNLCK
    );
    lock(&a, &whole_file(libc::F_WRLCK), false).unwrap();
    drop(a);
    // The kernel tells the layer of the last close a moment later; whoever waits gets the lock then.
    lock(&b, &whole_file(libc::F_WRLCK), true).unwrap();
}

#[test]
fn cut_for_one_blade_only() {
    let stores = Stores::new();
    fs::write(stores.path("a/x"), "1").unwrap();
    let open = File::open(stores.path("a/x")).unwrap();
    stores.behave("a", Mode::Cut);
    assert_eq!(number(open.read_at(&mut [0], 0)), Some(libc::EIO));
    assert_eq!(number(fs::metadata(stores.path("a/x"))), Some(libc::EIO));
    assert_eq!(fs::read(stores.path("b/x")).unwrap(), b"1");
    stores.behave("a", Mode::Ok);
    assert_eq!(open.read_at(&mut [0], 0).unwrap(), 1);
}

#[test]
fn full_is_full_for_what_would_grow() {
    let stores = Stores::new();
    fs::write(stores.path("a/x"), "123").unwrap();
    let file = OpenOptions::new()
        .write(true)
        .open(stores.path("a/x"))
        .unwrap();
    stores.behave("a", Mode::Full);
    assert_eq!(
        number(fs::write(stores.path("a/y"), "1")),
        Some(libc::ENOSPC)
    );
    assert_eq!(
        number(fs::create_dir(stores.path("a/z"))),
        Some(libc::ENOSPC)
    );
    assert_eq!(number(file.write_all_at(b"45", 2)), Some(libc::ENOSPC));
    assert_eq!(number(file.set_len(9)), Some(libc::ENOSPC));
    file.write_all_at(b"9", 2).unwrap();
    assert_eq!(fs::read(stores.path("a/x")).unwrap(), b"129");
    assert_eq!(
        nix::sys::statvfs::statvfs(&stores.path("a"))
            .unwrap()
            .blocks_available(),
        0
    );
    fs::write(stores.path("b/y"), "1").unwrap();
}

#[test]
fn hanging_calls_go_on_when_they_may() {
    let stores = Stores::new();
    fs::write(stores.path("a/x"), "1").unwrap();
    stores.behave("a", Mode::Hang);
    let path = stores.path("a/x");
    let reader = std::thread::spawn(move || fs::read(path));
    assert_eq!(fs::read(stores.path("b/x")).unwrap(), b"1");
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!reader.is_finished());
    stores.behave("a", Mode::Ok);
    assert_eq!(reader.join().unwrap().unwrap(), b"1");
}

#[test]
fn stale_answers_until_the_file_is_opened() {
    let stores = Stores::new();
    let (a, b) = (stores.path("a/x"), stores.path("b/x"));
    fs::write(&a, "1").unwrap();
    assert_eq!(fs::metadata(&a).unwrap().len(), 1);
    assert!(!stores.path("a/late").exists());
    stores.behave("a", Mode::Stale);
    fs::write(&b, "123").unwrap();
    fs::write(stores.path("b/late"), "").unwrap();
    assert_eq!(fs::metadata(&a).unwrap().len(), 1, "as it was");
    assert!(!stores.path("a/late").exists(), "as it was");
    assert_eq!(fs::read(&a).unwrap(), b"123", "opened afresh");
    assert_eq!(fs::metadata(&a).unwrap().len(), 3);
    stores.behave("a", Mode::Ok);
    assert!(stores.path("a/late").exists());
}

#[test]
fn modes_are_words() {
    for mode in Mode::ALL {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    assert!("broken".parse::<Mode>().is_err());
}
