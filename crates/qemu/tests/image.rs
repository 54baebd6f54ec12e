//! `qemu-img` as this crate uses it.
#![allow(clippy::unwrap_used)]

use godwit_model::{units::Bytes, vm::DiskFormat};
use godwit_qemu::image::{ImageError, ImageTool, SourceFormat};
use std::{path::Path, process::Command};

fn find_tool() -> ImageTool {
    ImageTool::find().unwrap()
}

/// A raw image of 3 MiB with something in it.
fn raw(path: &Path) {
    let bytes: Vec<u8> = (0..3 << 20).map(|i: u32| (i / 4096 % 251) as u8).collect();
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn an_overlay_names_its_template_and_is_small() {
    let tool = find_tool();
    let folder = tempfile::tempdir().unwrap();
    let (template, overlay) = (folder.path().join("t.qcow2"), folder.path().join("o.qcow2"));
    tool.create(&template, DiskFormat::Qcow2, Bytes::gib(1))
        .await
        .unwrap();
    let larger = Some(Bytes::gib(10));
    tool.create_overlay(&overlay, &template, DiskFormat::Qcow2, larger)
        .await
        .unwrap();
    let info = tool.info(&overlay, Some(DiskFormat::Qcow2)).await.unwrap();
    assert_eq!(info.virtual_size, Bytes::gib(10));
    assert_eq!(info.backing_filename.as_deref(), template.to_str());
    assert_eq!(info.backing_filename_format.as_deref(), Some("qcow2"));
    assert!(info.actual_size < Bytes::mib(1));
    assert!(
        tool.check(&overlay, DiskFormat::Qcow2)
            .await
            .unwrap()
            .is_sound()
    );

    let again = tool
        .create_overlay(&overlay, &template, DiskFormat::Qcow2, None)
        .await;
    assert!(matches!(again, Err(ImageError::Exists(_))));
    let relative = Path::new("t.qcow2");
    let other = folder.path().join("p.qcow2");
    let refused = tool
        .create_overlay(&other, relative, DiskFormat::Qcow2, None)
        .await;
    assert!(matches!(refused, Err(ImageError::RelativeBacking(_))));
}

#[tokio::test]
async fn a_failure_leaves_nothing_behind() {
    let tool = find_tool();
    let folder = tempfile::tempdir().unwrap();
    let overlay = folder.path().join("o.qcow2");
    let missing = folder.path().join("missing.qcow2");
    let error = tool
        .create_overlay(&overlay, &missing, DiskFormat::Qcow2, None)
        .await;
    assert!(
        matches!(&error, Err(ImageError::Failed { .. })),
        "{error:?}"
    );
    let copied = tool.convert(
        &missing,
        SourceFormat::Raw,
        &overlay,
        DiskFormat::Raw,
        |_| {},
    );
    assert!(copied.await.is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn all_formats_are_imported_whole() {
    let tool = find_tool();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    raw(&path("disk.raw"));
    for (name, format) in [("a.qcow2", "qcow2"), ("a.vmdk", "vmdk"), ("b.raw", "raw")] {
        let (from, to) = (path("disk.raw"), path(name));
        let status = Command::new("qemu-img")
            .args(["convert", "-q", "-f", "raw", "-O", format])
            .args([&from, &to])
            .status();
        assert!(status.unwrap().success());
        let imported = path(&format!("{name}.imported"));
        let mut seen = Vec::new();
        tool.import(&to, None, &imported, |percent| seen.push(percent))
            .await
            .unwrap();
        assert_eq!(seen.last(), Some(&100.0), "{name}: {seen:?}");
        let back = path(&format!("{name}.back"));
        let convert = tool.convert(
            &imported,
            SourceFormat::Qcow2,
            &back,
            DiskFormat::Raw,
            |_| {},
        );
        convert.await.unwrap();
        assert!(
            std::fs::read(&back).unwrap() == std::fs::read(&from).unwrap(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_image_that_names_other_files_is_not_imported() {
    let tool = find_tool();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    raw(&path("secret"));
    tool.create_overlay(
        &path("trojan.qcow2"),
        &path("secret"),
        DiskFormat::Raw,
        None,
    )
    .await
    .unwrap();
    let imported = tool
        .import(&path("trojan.qcow2"), None, &path("i"), |_| {})
        .await;
    assert!(
        matches!(imported, Err(ImageError::Incomplete { .. })),
        "{imported:?}"
    );
    // A format that was promised but is not there.
    let promised = Some(SourceFormat::Vmdk);
    assert!(
        tool.import(&path("trojan.qcow2"), promised, &path("i"), |_| {})
            .await
            .is_err()
    );
    assert!(!path("i").exists());
}

#[tokio::test]
async fn a_spoilt_image_is_noticed() {
    let tool = find_tool();
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("d.qcow2");
    tool.create(&image, DiskFormat::Qcow2, Bytes::mib(64))
        .await
        .unwrap();
    tool.resize(&image, DiskFormat::Qcow2, Bytes::mib(128))
        .await
        .unwrap();
    let info = tool.info(&image, Some(DiskFormat::Qcow2)).await.unwrap();
    assert_eq!(info.virtual_size, Bytes::mib(128));
    // The reference counts of the first clusters: all in use, says the header, but counted zero.
    let mut bytes = std::fs::read(&image).unwrap();
    let refcounts = 2 << 16;
    bytes[refcounts..refcounts + 8].fill(0);
    std::fs::write(&image, bytes).unwrap();
    assert!(
        !tool
            .check(&image, DiskFormat::Qcow2)
            .await
            .unwrap()
            .is_sound()
    );
}
