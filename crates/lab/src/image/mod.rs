//! The golden image: a small bootable Debian guest with PostgreSQL and the DVD Store.
//!
//! ```text
//! host's apt sources ──► mmdebstrap ──► tree ──► our files, few modules, initial RAM disk
//!                                        │
//!                guest's own PostgreSQL ─┤ initdb, the DVD Store loaded natively, vacuumed
//!                                        ▼
//!                      mke2fs -d ──► raw disk ──► extlinux ──► compressed qcow2
//! ```
//! Read `recipe.rs` first: it says what goes in. `work.rs` makes sure that nothing outlives a
//! build that fails or is interrupted. What the guest does is in `guest/` and `docs/guest.md`.

mod database;
mod disk;
mod error;
mod recipe;
mod sources;
mod tree;
mod work;

pub use error::ImageError;

use crate::up::Stop;
use godwit_dvdstore::{Seed, Size};
use godwit_model::units::Bytes;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use work::{Work, WorkFolder};

/// Where images are built and kept unless another place is named.
pub const CACHE: &str = "/var/cache/godwit";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// Size of the DVD Store.
    pub size: Size,
    /// Decides the store's data.
    pub seed: Seed,
    /// Size of the disk that the guest sees.
    pub disk: Bytes,
    /// The file; by default one in [`CACHE`] named after size and seed.
    pub output: Option<PathBuf>,
    /// Build even if the file is there and fits.
    pub force: bool,
}

impl Default for ImageSpec {
    fn default() -> Self {
        Self {
            size: Size::S,
            seed: Seed(1),
            disk: Bytes::gib(10),
            output: None,
            force: false,
        }
    }
}

impl ImageSpec {
    /// Where the image will be.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let named =
            || Path::new(CACHE).join(format!("golden-{}-seed{}.qcow2", self.size, self.seed));
        self.output.clone().unwrap_or_else(named)
    }
}

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// The file.
    pub path: PathBuf,
    /// What it takes on disk.
    pub bytes: Bytes,
    /// Hash of the recipe that made it.
    pub fingerprint: String,
    /// Size of the store in it.
    pub size: Size,
    /// Seed of the store in it.
    pub seed: Seed,
    /// Whether it was there already.
    #[serde(skip)]
    pub cached: bool,
}

/// Who watches a build.
pub trait Progress: Sync {
    /// A step begins.
    fn step(&self, what: &str);
    /// Something happens within it.
    fn line(&self, text: &str);
    /// It goes on: called several times a second, so that nobody has to wait in silence.
    fn tick(&self) {}
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&self, _: &str) {}
    fn line(&self, _: &str) {}
}

/// Builds an image, or finds it built. Blocks for minutes: not for async code.
///
/// # Errors
/// Any [`ImageError`]; then nothing is left of what was half made, and an older image stays.
pub fn build(spec: &ImageSpec, progress: &dyn Progress, stop: &Stop) -> Result<Built, ImageError> {
    let path = spec.path();
    let fingerprint = recipe::fingerprint(spec);
    if let Some(built) = cached(&path, &fingerprint).filter(|_| !spec.force) {
        return Ok(built);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(ImageError::NotRoot);
    }
    recipe::check_host()?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    for each in [Path::new(CACHE), folder] {
        fs::create_dir_all(each).map_err(ImageError::file("create", each))?;
    }
    let _lock = lock(&path)?;
    if let Some(built) = cached(&path, &fingerprint).filter(|_| !spec.force) {
        return Ok(built);
    }
    let partial = Partial(beside(&path, "partial"));
    make(spec, &partial.0, Work { progress, stop })?;
    progress.step("writing it down");
    keep(&partial, &path, fingerprint, spec)
}

fn make(spec: &ImageSpec, target: &Path, work: Work<'_>) -> Result<(), ImageError> {
    let folder = WorkFolder::new(Path::new(CACHE))?;
    let sources = folder.path().join("debian.sources");
    fs::write(&sources, sources::debian()?).map_err(ImageError::file("write", &sources))?;
    work.progress.step("installing Debian's packages");
    let tree = tree::Tree::bootstrap(&work, folder.path().join("root"), &sources)?;
    work.progress.step("making the guest of it");
    tree.customize(&work)?;
    disk::add_boot_loader(&tree)?;
    database::make(&work, &tree, spec)?;
    disk::make(
        &work,
        &tree,
        spec.disk,
        &folder.path().join("disk.raw"),
        target,
    )
}

/// Puts the finished image in its place, its description last: an image without one is built anew.
fn keep(
    partial: &Partial,
    path: &Path,
    fingerprint: String,
    spec: &ImageSpec,
) -> Result<Built, ImageError> {
    let file = File::open(&partial.0).map_err(ImageError::file("open", &partial.0))?;
    file.sync_all()
        .map_err(ImageError::file("write down", &partial.0))?;
    let bytes = Bytes(
        file.metadata()
            .map_err(ImageError::file("look at", &partial.0))?
            .len(),
    );
    let built = Built {
        path: path.to_owned(),
        bytes,
        fingerprint,
        size: spec.size,
        seed: spec.seed,
        cached: false,
    };
    let description = beside(path, "json");
    let text = serde_json::to_vec_pretty(&built).map_err(|error| ImageError::File {
        action: "describe the image in",
        path: description.clone(),
        source: error.into(),
    })?;
    let _ = fs::remove_file(&description);
    fs::rename(&partial.0, path).map_err(ImageError::file("put in place", path))?;
    fs::write(&description, text).map_err(ImageError::file("write", &description))?;
    Ok(built)
}

/// The image, if it is there and made by this recipe.
fn cached(path: &Path, fingerprint: &str) -> Option<Built> {
    let text = fs::read(beside(path, "json")).ok()?;
    let built: Built = serde_json::from_slice(&text).ok()?;
    let same_file = fs::metadata(path).ok()?.len() == built.bytes.0;
    (same_file && built.fingerprint == fingerprint).then(|| Built {
        path: path.to_owned(),
        cached: true,
        ..built
    })
}

/// `golden.qcow2` → `golden.qcow2.json`.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

fn lock(path: &Path) -> Result<Flock<File>, ImageError> {
    let lock = beside(path, "lock");
    let file = File::create(&lock).map_err(ImageError::file("create", &lock))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| ImageError::Busy(path.to_owned()))
}

/// A file that is removed unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_image_is_found_again_until_recipe_or_file_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("golden.qcow2");
        let spec = ImageSpec {
            output: Some(path.clone()),
            ..ImageSpec::default()
        };
        let partial = beside(&path, "partial");
        fs::write(&partial, "disk").unwrap();
        let fingerprint = recipe::fingerprint(&spec);
        let built = keep(&Partial(partial), &path, fingerprint.clone(), &spec).unwrap();
        assert_eq!(
            cached(&path, &fingerprint),
            Some(Built {
                cached: true,
                ..built
            })
        );
        assert_eq!(
            build(&spec, &Quiet, &Stop::default()).unwrap().bytes,
            Bytes(4)
        );
        assert_eq!(cached(&path, "another recipe"), None);
        fs::write(&path, "cut").unwrap();
        assert_eq!(cached(&path, &fingerprint), None);
    }

    #[test]
    fn a_second_build_of_the_same_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("golden.qcow2");
        let _first = lock(&path).unwrap();
        assert!(matches!(lock(&path), Err(ImageError::Busy(_))));
    }
}
