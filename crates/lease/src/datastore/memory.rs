//! For tests: a file system in memory that forgets what was not synced when its power is cut,
//! and one host's view of it in which operations fail, lose their replies, or are interrupted
//! by somebody else.

use super::{DatastoreLease, files::Files};
use crate::{
    home::VmHome,
    owner::{BootId, Owner},
};
use godwit_model::ids::VmId;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

type Names = BTreeMap<PathBuf, Arc<Vec<u8>>>;

/// The storage itself.
#[derive(Default)]
pub(super) struct Memory {
    /// What is seen, and what would be left after a power cut.
    names: Mutex<(Names, Names)>,
}

impl Memory {
    pub(super) fn cut_power(&self) {
        let mut names = self.names.lock().expect("no test panicked in here");
        names.0 = names.1.clone();
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Names) -> T) -> T {
        look(&mut self.names.lock().expect("no test panicked in here").0)
    }
}

impl Files for Memory {
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.seen(|names| {
            if names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            names.insert(path.to_path_buf(), Arc::new(content.to_vec()));
            Ok(())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let content = self.seen(|names| names.get(from).cloned());
        let content = content.ok_or(io::ErrorKind::NotFound)?;
        self.create(to, &content)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.seen(|names| {
            let content = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            names.insert(to.to_path_buf(), content);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut names = self.names.lock().expect("no test panicked in here");
        let here = names.0.clone();
        names.1.retain(|path, _| path.parent() != Some(dir));
        names.1.extend(
            here.into_iter()
                .filter(|(path, _)| path.parent() == Some(dir)),
        );
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = self.seen(|names| names.get(path).cloned());
        Ok(content.ok_or(io::ErrorKind::NotFound)?.to_vec())
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        Ok(self.seen(|names| {
            names
                .keys()
                .filter(|path| path.parent() == Some(dir))
                .filter_map(name)
                .collect()
        }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.seen(|names| names.remove(path));
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
}

/// What goes wrong at one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails and was not done.
    Failed,
    /// It was done, but its reply was lost.
    ReplyLost,
    /// It fails, and so does everything after it: the storage is gone, or the process.
    Gone,
    /// It was done; everything after it fails.
    GoneAfter,
}

impl Fault {
    pub(super) const ALL: [Self; 4] = [Self::Failed, Self::ReplyLost, Self::Gone, Self::GoneAfter];
}

type Hook = Box<dyn FnOnce() + Send>;

/// One host's view of the storage.
pub(super) struct View {
    storage: Arc<Memory>,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    step: usize,
    fault: Option<(usize, Fault)>,
    hook: Option<(usize, Hook)>,
    gone: bool,
}

impl View {
    pub(super) fn new(storage: &Arc<Memory>) -> Arc<Self> {
        let storage = Arc::clone(storage);
        let plan = Mutex::default();
        Arc::new(Self { storage, plan })
    }

    /// All is well again, but for `fault` at the `step`th operation from now.
    pub(super) fn plan_fault(&self, step: usize, fault: Fault) {
        let fault = Some((step, fault));
        *self.plan() = Plan {
            fault,
            ..Plan::default()
        };
    }

    /// `hook` runs just before the `step`th operation from now.
    pub(super) fn plan_hook(&self, step: usize, hook: Hook) {
        let hook = Some((step, hook));
        *self.plan() = Plan {
            hook,
            ..Plan::default()
        };
    }

    pub(super) fn heal(&self) {
        *self.plan() = Plan::default();
    }

    /// How many operations there were since the last plan.
    pub(super) fn steps(&self) -> usize {
        self.plan().step
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().expect("no test panicked in here")
    }

    fn step<T>(&self, operation: impl FnOnce(&Memory) -> io::Result<T>) -> io::Result<T> {
        let mut plan = self.plan();
        let now = plan.step;
        plan.step += 1;
        let hook = plan.hook.take_if(|(step, _)| *step == now);
        let fault = plan
            .fault
            .filter(|(step, _)| *step == now)
            .map(|(_, fault)| fault);
        let was_gone = plan.gone;
        plan.gone |= matches!(fault, Some(Fault::Gone | Fault::GoneAfter));
        drop(plan);
        if let Some((_, hook)) = hook {
            hook();
        }
        let error = Err(io::Error::from_raw_os_error(nix::libc::EIO));
        match fault {
            _ if was_gone => error,
            Some(Fault::Failed | Fault::Gone) => error,
            Some(Fault::ReplyLost) => operation(&self.storage).and(error),
            Some(Fault::GoneAfter) | None => operation(&self.storage),
        }
    }
}

impl Files for View {
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.step(|files| files.create(path, content))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|files| files.link(from, to))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|files| files.rename(from, to))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(|files| files.sync_dir(dir))
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.step(|files| files.read(path))
    }
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.step(|files| files.names(dir))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|files| files.remove(path))
    }
}

pub(super) fn owner(host: &str, boot: &str) -> Owner {
    let host = host.parse().expect("a plain name");
    let boot = BootId::from(boot);
    Owner { host, boot }
}

/// A host with its view of the storage.
pub(super) fn host(storage: &Arc<Memory>, name: &str) -> (DatastoreLease, Arc<View>) {
    let view = View::new(storage);
    let lease = DatastoreLease::with_files(owner(name, "boot1"), view.clone());
    (lease, view)
}

pub(super) fn home() -> VmHome {
    VmHome::new(Path::new("/datastore"), VmId::random())
}
