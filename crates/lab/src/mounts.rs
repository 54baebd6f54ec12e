//! What a box sees of the file system.
//!
//! A blade has `/etc/godwit`, `/var/lib/godwit` and `/run/godwit` of its own and its datastores under `/datastores`;
//! everything else is the machine's. /proc and /sys are mounted anew, since they show the namespaces in which they
//! were mounted. Nothing of it is seen outside, and it ends with the box.
//!
//! The mount points must exist on the machine: `up` makes them where they are missing. They stay, empty: the kernel
//! would take the removal of a mount point for leave to unmount what other labs have mounted there.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::unistd::sethostname;

use crate::error::LabError;
use crate::folder::{Description, Folder};
use crate::plan::{Blade, DATASTORES};
use crate::storage::{self, Served, Watch};

/// Where datastores are mounted in a blade.
pub const DATASTORE_ROOT: &str = "/datastores";
/// Folders of a blade that are its own: where they appear, and what they are called in the lab's folder.
const OWN: [(&str, &str); 3] = [
    ("/etc/godwit", "etc"),
    ("/run/godwit", "run"),
    ("/var/lib/godwit", "lib"),
];
const CGROUPS: &str = "/sys/fs/cgroup";

/// The mount points that must exist on the machine.
pub(crate) fn points() -> impl Iterator<Item = &'static Path> {
    OWN.iter()
        .map(|(point, _)| Path::new(*point))
        .chain([Path::new(DATASTORE_ROOT)])
}

/// Makes a blade's folders in the lab's folder, before it is started. Its `/run/godwit` is empty then, as after a boot.
pub(crate) fn make_sources(
    folder: &Folder,
    description: &Description,
    blade: &Blade,
) -> Result<(), LabError> {
    let own = folder.of_box(&blade.name);
    let run = own.join("run");
    if run.exists() {
        fs::remove_dir_all(&run).map_err(LabError::file("empty the folder", &run))?;
    }
    for (_, name) in OWN {
        folder.make(&own.join(name))?;
    }
    for name in DATASTORES {
        folder.make(&folder.datastore(&description.spec, name))?;
        if description.spec.faulty_storage {
            let path = folder.mode(&blade.name, name);
            storage::make(&path).map_err(LabError::file("write", &path))?;
        }
    }
    Ok(())
}

/// What a datastore is in a blade.
pub(crate) fn datastore_point(name: &str) -> PathBuf {
    Path::new(DATASTORE_ROOT).join(name)
}

/// Sets up a blade's view, which lasts as long as what is returned. Must run in its own mount namespace, as number 1 of
/// its pid namespace.
pub(crate) fn enter_blade(
    folder: &Folder,
    description: &Description,
    blade: &Blade,
) -> Result<Vec<Served>, LabError> {
    sethostname(&blade.name).map_err(LabError::system("set the blade's host name"))?;
    keep_to_ourselves()?;
    // All sources are opened first: a mount may hide the path of the next source.
    let stores = DATASTORES.map(|name| Store::open(folder, description, blade, name));
    let home = folder.of_box(&blade.name);
    let own = OWN.map(|(point, name)| (open(&home.join(name)), point));
    mount_kind("tmpfs", Path::new(DATASTORE_ROOT), Some("size=1m,mode=755"))?;
    for (source, point) in own {
        bind(&source?, Path::new(point))?;
    }
    mount_sys()?;
    mount_kind("proc", Path::new("/proc"), None)?;
    let mounted = stores.into_iter().map(|store| store?.mount());
    Ok(mounted
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// A datastore that is to be mounted in a blade.
struct Store {
    source: File,
    point: PathBuf,
    /// How it behaves, where it can be made to fail.
    watch: Option<Watch>,
}

impl Store {
    fn open(
        folder: &Folder,
        description: &Description,
        blade: &Blade,
        name: &str,
    ) -> Result<Self, LabError> {
        let source = open(&folder.datastore(&description.spec, name))?;
        let watch = description.spec.faulty_storage.then(|| {
            let path = folder.mode(&blade.name, name);
            Watch::open(&path).map_err(LabError::file("open", &path))
        });
        Ok(Self {
            source,
            point: datastore_point(name),
            watch: watch.transpose()?,
        })
    }

    fn mount(self) -> Result<Option<Served>, LabError> {
        let Self {
            source,
            point,
            watch,
        } = self;
        fs::create_dir(&point).map_err(LabError::file("make the folder", &point))?;
        match watch {
            None => bind(&source, &point).map(|()| None),
            Some(watch) => storage::serve(source, &point, watch).map(Some),
        }
    }
}

fn open(path: &Path) -> Result<File, LabError> {
    File::open(path).map_err(LabError::file("open", path))
}

/// Sets up the view of a box that is no blade: the machine's, with its own /proc.
pub(crate) fn enter_plain() -> Result<(), LabError> {
    keep_to_ourselves()?;
    mount_kind("proc", Path::new("/proc"), None)
}

/// Our mounts stay ours, while what the machine unmounts goes here too: a copy kept here would keep it busy for good.
fn keep_to_ourselves() -> Result<(), LabError> {
    let flags = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .map_err(LabError::system("separate the blade's mounts"))
}

fn mount_sys() -> Result<(), LabError> {
    let cgroups = File::open(CGROUPS).ok();
    mount_kind("sysfs", Path::new("/sys"), None)?;
    match cgroups {
        Some(cgroups) if Path::new(CGROUPS).exists() => bind(&cgroups, Path::new(CGROUPS)),
        _ => Ok(()),
    }
}

fn mount_kind(kind: &str, point: &Path, options: Option<&str>) -> Result<(), LabError> {
    mount(Some(kind), point, Some(kind), MsFlags::empty(), options).map_err(LabError::system(
        format!("mount {kind} at {}", point.display()),
    ))
}

fn bind(source: &File, point: &Path) -> Result<(), LabError> {
    let source = PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()));
    mount(
        Some(&source),
        point,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(LabError::system(format!(
        "mount the blade's own {}",
        point.display()
    )))
}
