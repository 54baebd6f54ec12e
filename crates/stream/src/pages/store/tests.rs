//! What goes in comes out or is a miss, whatever happens to the file and to who writes it.

use std::process::{Command, Stdio};

use super::*;
use crate::pages::table::Row;

fn key() -> PageKey {
    "5e".repeat(32).parse().unwrap()
}

fn page(seed: u64) -> [u8; PAGE] {
    let mut page = [7; PAGE];
    page[..8].copy_from_slice(&seed.to_le_bytes());
    page
}

fn open(path: &Path, mib: u64) -> PageStore {
    PageStore::create_or_open(path, ByteCount(mib << 20), &key()).unwrap()
}

fn put(store: &PageStore, vm: u8, seeds: std::ops::Range<u64>) {
    let mut visit = store.begin([vm; 16]).unwrap();
    put_more(&mut visit, seeds);
}

fn put_more(visit: &mut Visit, seeds: std::ops::Range<u64>) {
    let pages: Vec<_> = seeds.map(page).collect();
    let hashed: Vec<_> = pages.iter().map(|page| (key().hash(page), page)).collect();
    for some in hashed.chunks(100) {
        visit.put(some).unwrap();
    }
}

/// How many of these pages the store gives out; each must be right.
fn found(store: &PageStore, seeds: std::ops::Range<u64>) -> usize {
    let mut out = [0; PAGE];
    seeds
        .filter(|seed| {
            let found = store.get(key().hash(&page(*seed)), &mut out);
            assert!(!found || out == page(*seed));
            found
        })
        .count()
}

#[test]
fn pages_are_found_again_and_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = open(&path, 64);
    put(&store, 1, 0..5000);
    put(&store, 2, 4000..6000);
    assert_eq!(
        (found(&store, 0..6000), found(&store, 6000..6100)),
        (6000, 0)
    );
    // Another process, a later life.
    let store = open(&path, 64);
    assert_eq!(found(&store, 0..6000), 6000);
    let stats = store.stats();
    assert_eq!(
        (stats.pages, stats.hits, stats.misses, stats.bad),
        (6000, 12000, 100, 0)
    );
    let mut of: Vec<_> = stats.vms.iter().map(|vm| (vm.vm[0], vm.pages)).collect();
    of.sort_unstable();
    assert_eq!(of, [(1, 5000), (2, 1000)]);
    assert_eq!(PageStore::look(&path).unwrap(), Some(stats));
    assert_eq!(PageStore::look(&dir.path().join("none")).unwrap(), None);
}

#[test]
fn a_full_index_still_finds_nearly_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"), 128);
    let capacity = store.stats().capacity;
    put(&store, 1, 0..capacity);
    let found = found(&store, 0..capacity) as u64;
    assert!(found * 1000 > capacity * 995, "{found} of {capacity}");
}

#[test]
fn the_vm_seen_longest_ago_gives_way_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"), 36);
    assert_eq!(store.stats().capacity, 8 * 1024);
    put(&store, 1, 0..3000);
    put(&store, 2, 10_000..13_000);
    // As if these visits lay days apart; VM 1 was here again after VM 2.
    let row = |at, seen| {
        let row = store.0.table.row(at);
        store.0.table.set_row(at, &Row { seen, ..row });
    };
    for (at, seen) in [(0, 300), (1, 300), (2, 300), (3, 200), (4, 200), (5, 200)] {
        row(at, seen);
    }
    put(&store, 3, 20_000..25_000);
    // A full index has lost a page here and there.
    assert!(found(&store, 0..3000) > 2980);
    assert_eq!(found(&store, 10_000..13_000), 0);
    assert!(found(&store, 20_000..25_000) > 4980);
}

#[test]
fn a_damaged_page_is_a_miss_and_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = open(&path, 64);
    put(&store, 1, 0..10);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"planted", store.0.layout.page(0, 3) + 100)
        .unwrap();
    assert_eq!(found(&store, 0..10), 9);
    assert_eq!(store.stats().bad, 1);
    put(&store, 1, 0..10);
    assert_eq!(found(&store, 0..10), 10, "it is stored again");
}

#[test]
fn another_key_or_size_garbage_and_a_cut_file_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    put(&open(&path, 64), 1, 0..10);
    assert_eq!(found(&open(&path, 65), 0..10), 0);

    put(&open(&path, 65), 1, 0..10);
    let other = "a1".repeat(32).parse().unwrap();
    let store = PageStore::create_or_open(&path, ByteCount(65 << 20), &other).unwrap();
    assert_eq!(store.stats().pages, 0);

    for garbage in [vec![], vec![0x55; 100], vec![0; 1 << 20]] {
        std::fs::write(&path, &garbage).unwrap();
        assert!(PageStore::look(&path).is_err());
        put(&open(&path, 64), 1, 0..10);
        assert_eq!(found(&open(&path, 64), 0..10), 10);
    }
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    assert_eq!(found(&open(&path, 64), 0..10), 0);
    assert!(matches!(
        PageStore::create_or_open(&path, ByteCount(1 << 20), &key()),
        Err(StoreError::TooSmall)
    ));
    assert!(matches!(
        PageStore::create_or_open(&dir.path().join("no/such"), ByteCount(64 << 20), &key()),
        Err(StoreError::File { .. })
    ));
}

#[test]
fn garbage_in_index_and_table_is_no_more_than_misses() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = open(&path, 16);
    put(&store, 1, 0..1000);
    let mut noise = vec![0; (store.0.layout.data() - 4096) as usize];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&noise, 4096).unwrap();
    found(&store, 0..1000);
    put(&store, 2, 1000..2000);
    found(&store, 0..2000);
    let _ = store.stats();
}

#[test]
fn two_visits_at_once_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let threads: Vec<_> = (0..4_u8)
        .map(|vm| {
            let path = path.clone();
            std::thread::spawn(move || {
                let from = u64::from(vm) * 10_000;
                put(&open(&path, 128), vm, from..from + 4000);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let store = open(&path, 128);
    let all: usize = (0..4_u64)
        .map(|vm| found(&store, vm * 10_000..vm * 10_000 + 4000))
        .sum();
    // They began together and have the same file. Two that enter a page at the same place at once may lose one of them.
    assert_eq!(store.stats().pages, 16_000);
    assert!(all > 16_000 - 20, "{all}");
    assert_eq!(store.stats().bad, 0);
}

#[test]
fn a_visit_goes_on_where_the_last_one_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    // Far more visits than there are segments.
    for visit in 0..100 {
        put(&open(&path, 24), 1, visit * 30..visit * 30 + 30);
    }
    let store = open(&path, 24);
    assert_eq!(store.stats().pages, 3000);
    assert_eq!(store.0.table.counter(Counter::Used), 3);
    assert_eq!(found(&store, 0..3000), 3000);
}

#[test]
fn a_page_that_is_twice_in_one_call_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"), 24);
    let one = page(1);
    store
        .begin([1; 16])
        .unwrap()
        .put(&[(key().hash(&one), &one); 5])
        .unwrap();
    assert_eq!(store.stats().pages, 1);
}

#[test]
fn a_vm_that_is_larger_than_the_store_still_gains_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"), 64);
    let pages = store.stats().capacity * 5 / 4;
    put(&store, 1, 0..pages);
    // A return asks for some pages, and puts what is missing before it asks for the next.
    let mut visit = store.begin([1; 16]).unwrap();
    let mut hits = 0;
    for from in (0..pages).step_by(64) {
        let some = from..(from + 64).min(pages);
        hits += found(&store, some.clone());
        put_more(&mut visit, some);
    }
    assert!(hits as u64 * 5 > pages, "{hits} of {pages}");
}

#[test]
fn a_vm_alone_in_a_full_store_does_not_keep_only_what_is_outdated() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"), 64);
    let capacity = store.stats().capacity;
    put(&store, 1, 0..capacity);
    // Five segments of new pages, of which at least two are there now.
    put(&store, 1, 100_000..105_000);
    assert!(found(&store, 100_000..105_000) > 1500);
}

#[test]
fn room_is_given_once_and_only_in_the_segment_that_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"), 24);
    put(&store, 1, 0..1000);
    let table = &store.0.table;
    let row = table.row(0);
    assert_eq!(table.reserve(0, row.generation + 1, 1), None);
    assert_eq!(table.reserve(0, row.generation, 20), Some((1000, 20)));
    assert_eq!(table.reserve(0, row.generation, 20), Some((1020, 4)));
    assert_eq!(table.reserve(0, row.generation, 20), None);
    // Whatever the file says.
    let used = u64::from(u32::MAX);
    table.set_row(0, &Row { used, ..row });
    assert_eq!(table.reserve(0, row.generation, 20), None);
    put(&store, 1, 2000..2100);
    assert_eq!(found(&store, 2000..2100), 100);
}

#[test]
fn visits_that_take_segments_from_each_other_spoil_nothing_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    // Two segments for three handles and their six visits.
    let threads: Vec<_> = (0..6_u8)
        .scan(None, |shared: &mut Option<PageStore>, vm| {
            let other = shared.take();
            let store = other.clone().unwrap_or_else(|| open(&path, 9));
            *shared = other.is_none().then(|| store.clone());
            Some((vm, store))
        })
        .map(|(vm, store)| {
            std::thread::spawn(move || {
                for round in 0..20 {
                    let from = u64::from(vm) * 100_000 + round * 500;
                    put(&store, vm, from..from + 500);
                    found(&store, from..from + 500);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let store = open(&path, 9);
    assert!(store.stats().pages <= store.stats().capacity);
    put(&store, 9, 0..700);
    assert_eq!(found(&store, 0..700), 700);
}

#[test]
fn a_store_that_others_may_read_is_not_gone_on_with() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    put(&open(&path, 24), 1, 0..10);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(open(&path, 24).stats().pages, 0);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    // Nor is what a link points to.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    put(&open(&path, 24), 1, 0..10);
    assert_eq!(open(&link, 24).stats().pages, 0);
    assert_eq!(open(&path, 24).stats().pages, 10);
}

/// The environment variable that makes this test program the writer that is killed.
const WRITER: &str = "GODWIT_TEST_PAGE_WRITER";

#[test]
fn a_writer_that_is_killed_leaves_a_good_store() {
    if let Ok(path) = std::env::var(WRITER) {
        let store = open(Path::new(&path), 24);
        loop {
            put(&store, 9, 0..20_000);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    put(&open(&path, 24), 1, 0..100);
    for round in 0..20_u64 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "pages::store::tests::a_writer_that_is_killed_leaves_a_good_store",
            ])
            .env(WRITER, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30 + 7 * round));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let store = open(&path, 24);
        found(&store, 0..20_000);
        put(&store, 2, 30_000..30_500);
        assert_eq!(found(&store, 30_000..30_500), 500, "round {round}");
    }
    assert_eq!(open(&path, 24).stats().bad, 0);
}

#[test]
fn a_full_disk_is_an_error_of_one_put() {
    use nix::mount::{MsFlags, mount, umount};
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("NOT TESTED: a full disk needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    mount(
        Some("tmpfs"),
        dir.path(),
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=4m"),
    )
    .unwrap();
    let store = open(&dir.path().join("store"), 64);
    let mut visit = store.begin([1; 16]).unwrap();
    let pages: Vec<_> = (0..2000).map(page).collect();
    let hashed: Vec<_> = pages.iter().map(|page| (key().hash(page), page)).collect();
    let failed = hashed.chunks(50).find_map(|some| visit.put(some).err());
    let some = found(&store, 0..2000);
    let tiny = PageStore::create_or_open(&dir.path().join("other"), ByteCount(1 << 32), &key());
    drop((visit, store));
    umount(dir.path()).unwrap();
    assert!(matches!(failed, Some(StoreError::Write(_))), "{failed:?}");
    assert!((1..2000).contains(&some), "{some}");
    // The part that is mapped does not fit: said at once.
    assert!(matches!(tiny, Err(StoreError::File { .. })));
}
