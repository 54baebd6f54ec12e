//! The lab's processes, found by their mark instead of by pid files: a file can be stale or missing after a crash, the
//! process table cannot.
//!
//! The first process of each box carries the lab's folder and the box's name in its environment and has number 1 in
//! its own pid namespace. When it ends, the kernel ends everything in that namespace.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::LabError;

/// Environment variable: the lab's folder.
pub(crate) const DIR_MARK: &str = "GODWIT_LAB_DIR";
/// Environment variable: the box's name.
pub(crate) const BOX_MARK: &str = "GODWIT_LAB_BOX";

/// How long a killed process may take to be gone; longer means that it is stuck in the kernel.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first process of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// Its number on the machine.
    pub pid: i32,
    /// The box it is the first process of.
    pub name: String,
}

/// The first processes of all boxes of the lab in this folder.
#[must_use]
pub fn inits(dir: &Path) -> Vec<Init> {
    all().filter_map(|pid| init(dir, pid)).collect()
}

/// The first process of one box.
#[must_use]
pub fn find(dir: &Path, name: &str) -> Option<Init> {
    inits(dir).into_iter().find(|init| init.name == name)
}

fn init(dir: &Path, pid: i32) -> Option<Init> {
    let (_, inner) = numbers(pid)?;
    if inner != 1 || is_zombie(pid) {
        return None;
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = |name: &str| {
        let entries = environment
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy);
        entries
            .filter_map(|entry| {
                entry
                    .strip_prefix(name)?
                    .strip_prefix('=')
                    .map(str::to_owned)
            })
            .next()
    };
    (value(DIR_MARK)? == dir.display().to_string()).then_some(())?;
    Some(Init {
        pid,
        name: value(BOX_MARK)?,
    })
}

/// A process of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number on the machine.
    pub pid: i32,
    /// Its number in the box.
    pub inner: i32,
    /// Its short name.
    pub command: String,
}

/// All processes of a box, by its first one.
#[must_use]
pub fn members(init: &Init) -> Vec<Member> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(init.pid) else {
        return Vec::new();
    };
    let inside = all().filter(|pid| namespace(*pid).as_ref() == Some(&own));
    let members = inside.filter_map(|pid| {
        let command = fs::read_to_string(format!("/proc/{pid}/comm"))
            .ok()?
            .trim()
            .to_owned();
        Some(Member {
            pid,
            inner: numbers(pid)?.1,
            command,
        })
    });
    members.collect()
}

/// Ends boxes at once, with everything in them, and waits until they are gone.
///
/// # Errors
/// [`LabError::Process`] when one is stuck.
pub fn end(inits: &[Init], log: impl Fn(&str) -> std::path::PathBuf) -> Result<(), LabError> {
    for init in inits {
        // An error says that it has ended by itself.
        let _ = kill(Pid::from_raw(init.pid), Signal::SIGKILL);
    }
    let start = Instant::now();
    for init in inits {
        while !is_gone(init.pid) {
            if start.elapsed() > PATIENCE {
                let what = format!(
                    "{} (process {}) does not end: it is stuck in the kernel",
                    init.name, init.pid
                );
                return Err(LabError::Process {
                    what,
                    log: log(&init.name),
                });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

fn is_gone(pid: i32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists() || is_zombie(pid)
}

fn is_zombie(pid: i32) -> bool {
    // The state follows the name, which stands in brackets and may hold anything. A zombie's namespace is empty.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// A process's number on the machine and in its own pid namespace, when those are two.
fn numbers(pid: i32) -> Option<(i32, i32)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let numbers: Vec<i32> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [outer, .., inner] = numbers[..] else {
        return None;
    };
    Some((outer, inner))
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
