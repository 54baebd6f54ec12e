//! Blocks of real images are found, and nothing that is not the index of its image is used.

use super::*;

fn key() -> PageKey {
    "5e".repeat(32).parse().unwrap()
}

fn qemu_img(args: &[&str]) {
    let status = Command::new("qemu-img").args(args).arg("-q").status();
    assert!(status.unwrap().success(), "qemu-img {args:?}");
}

/// An image in this form whose blocks 16 to 79 differ and are the only ones.
fn image(dir: &Path, format: &str, more: &[&str]) -> std::path::PathBuf {
    let raw = dir.join("raw");
    let mut data = vec![0; 4 << 20];
    for block in 16..80_usize {
        data[block * PAGE..][..PAGE].copy_from_slice(&page(block as u64));
    }
    std::fs::write(&raw, data).unwrap();
    let image = dir.join(format!("image.{format}"));
    let (raw, path) = (raw.to_str().unwrap(), image.to_str().unwrap());
    qemu_img(&[&["convert", "-f", "raw", "-O", format], more, &[raw, path]].concat());
    image
}

fn page(block: u64) -> [u8; PAGE] {
    std::array::from_fn(|at| (at as u64 * 31 + block * 7 + 1) as u8)
}

fn found(index: &TemplateIndex) -> usize {
    let mut out = [0; PAGE];
    (0..100)
        .filter(|block| {
            let found = index.get(key().hash(&page(*block)), &mut out);
            assert!(!found || out == page(*block));
            found
        })
        .count()
}

#[test]
fn blocks_of_images_are_found() {
    for (format, more) in [("qcow2", &[][..]), ("raw", &[])] {
        let dir = tempfile::tempdir().unwrap();
        let (image, index) = (image(dir.path(), format, more), dir.path().join("pages"));
        TemplateIndex::build(Path::new("qemu-img"), &image, &key(), &index).unwrap();
        let opened = TemplateIndex::open(&index, &image, &key()).unwrap();
        assert_eq!(found(&opened), 64, "{format}");
        assert!(opened.contains(key().hash(&page(20))));
        assert!(!opened.contains(key().hash(&page(80))));
        assert!(!opened.contains(key().hash(&[0; PAGE])));

        // An image that was changed after all.
        let file = File::options().write(true).open(&image).unwrap();
        let at = u64::from(opened.block(key().hash(&page(20))).unwrap()) * PAGE as u64;
        file.write_all_at(b"changed", at).unwrap();
        assert_eq!(found(&opened), 63);
    }
}

#[test]
fn builders_at_once_leave_one_whole_index_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (image, index) = (image(dir.path(), "qcow2", &[]), dir.path().join("pages"));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                TemplateIndex::build(Path::new("qemu-img"), &image, &key(), &index).unwrap();
                // Whoever looks, sees a whole one.
                let opened = TemplateIndex::open(&index, &image, &key()).unwrap();
                assert_eq!(found(&opened), 64);
            });
        }
    });
    let names = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 3, "raw, image and index");
}

#[test]
fn entries_that_are_garbage_are_misses() {
    let dir = tempfile::tempdir().unwrap();
    let (image, index) = (image(dir.path(), "qcow2", &[]), dir.path().join("pages"));
    TemplateIndex::build(Path::new("qemu-img"), &image, &key(), &index).unwrap();
    let good = std::fs::read(&index).unwrap();
    // Blocks far outside of the image; then nothing but noise, in no order.
    let mut far = good.clone();
    for entry in far[HEADER..].chunks_mut(ENTRY) {
        entry[16..].fill(0xff);
    }
    let mut noise = good.clone();
    blake3::Hasher::new()
        .finalize_xof()
        .fill(&mut noise[HEADER..]);
    for bytes in [far, noise] {
        std::fs::write(&index, bytes).unwrap();
        assert_eq!(
            found(&TemplateIndex::open(&index, &image, &key()).unwrap()),
            0
        );
    }
}

#[test]
fn compressed_clusters_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path(), "qcow2", &["-c"]);
    let index = dir.path().join("pages");
    TemplateIndex::build(Path::new("qemu-img"), &image, &key(), &index).unwrap();
    assert_eq!(
        found(&TemplateIndex::open(&index, &image, &key()).unwrap()),
        0
    );
}

#[test]
fn what_is_not_the_index_of_this_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path(), "qcow2", &[]);
    let index = dir.path().join("pages");
    TemplateIndex::build(Path::new("qemu-img"), &image, &key(), &index).unwrap();
    let other = "a1".repeat(32).parse().unwrap();
    let refused = |index: &Path, key: &PageKey| {
        let opened = TemplateIndex::open(index, &image, key);
        assert!(matches!(opened, Err(IndexError::Foreign(_))), "{opened:?}");
        assert!(!TemplateIndex::fits(index, &image, key));
    };
    refused(&index, &other);
    let good = std::fs::read(&index).unwrap();
    let garbage = [
        &good[..good.len() - 1],
        &good[..30],
        &[],
        &[good.clone(), vec![0; 20]].concat(),
    ];
    for garbage in garbage {
        std::fs::write(&index, garbage).unwrap();
        refused(&index, &key());
    }
    let none = dir.path().join("none");
    assert!(matches!(
        TemplateIndex::open(&none, &image, &key()),
        Err(IndexError::File { .. })
    ));
    assert!(matches!(
        TemplateIndex::build(Path::new("qemu-img"), &none, &key(), &index),
        Err(IndexError::File { .. })
    ));
    assert!(matches!(
        TemplateIndex::build(Path::new("/no/tool"), &image, &key(), &index),
        Err(IndexError::Map { .. })
    ));
}
