//! The programs that a build runs, and the folder it works in.
//!
//! Every program runs inside mount and process namespaces of its own. When it is ended, by
//! failure, Ctrl-C or the end of this process, all it started ends with it, and all it mounted
//! is gone, loop devices included: nothing is left to be undone.

use super::Progress;
use super::error::ImageError;
use crate::up::Stop;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, PipeReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How often a wait looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(100);
/// Lines of output that an error quotes.
const QUOTED: usize = 15;

/// What all steps of a build share.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub progress: &'a dyn Progress,
    pub stop: &'a Stop,
}

impl Work<'_> {
    /// Fails if somebody asked to stop.
    pub fn check(&self) -> Result<(), ImageError> {
        self.stop.check().map_err(|_| ImageError::Interrupted)
    }

    /// Runs a program to its end and returns what it said. Its output is shown as it comes.
    pub fn run(&self, what: &'static str, command: Command) -> Result<String, ImageError> {
        let mut running = Running::start(what, command)?;
        let mut all = String::new();
        while let Some(line) = running.line(self)? {
            all.push_str(&line);
            all.push('\n');
        }
        running.finish()?;
        Ok(all)
    }
}

/// A command in namespaces of its own.
pub(super) fn contained(program: impl AsRef<OsStr>) -> Command {
    // Should this process be killed, `unshare` dies with it, and with that all that it started.
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "--",
        "unshare",
        "--mount",
        "--pid",
        "--fork",
    ]);
    command.args(["--kill-child", "--mount-proc", "--"]);
    command.arg(program);
    command
}

/// A command inside the new system, as one of its users.
pub(super) fn inside(tree: &Path, user: &str) -> Command {
    let mut command = contained("chroot");
    command.arg(format!("--userspec={user}:{user}")).arg(tree);
    command.args([
        "env",
        "-i",
        "LC_ALL=C.UTF-8",
        "HOME=/",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    ]);
    command
}

/// A program that runs. Dropping it ends it and everything it started.
pub(super) struct Running {
    what: &'static str,
    child: Child,
    lines: Receiver<String>,
    tail: VecDeque<String>,
}

impl Running {
    /// Starts a command made by [`contained`] or [`inside`].
    pub fn start(what: &'static str, mut command: Command) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Start {
            program: what.to_owned(),
            source,
        };
        let (reader, writer) = io::pipe().map_err(failed)?;
        command
            .stdin(Stdio::null())
            .stderr(writer.try_clone().map_err(failed)?)
            .stdout(writer);
        // Ctrl-C is for this process to decide about.
        command.process_group(0);
        let child = command.spawn().map_err(failed)?;
        drop(command); // its ends of the pipe, or reading would never end
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in Lines::new(reader) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            what,
            child,
            lines,
            tail: VecDeque::new(),
        })
    }

    /// The next line of its output; nothing when it has closed it.
    pub fn line(&mut self, work: &Work<'_>) -> Result<Option<String>, ImageError> {
        loop {
            work.check()?;
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => {
                    self.note(&line, work);
                    return Ok(Some(line));
                }
                Err(RecvTimeoutError::Timeout) => work.progress.tick(),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// Shows what it has said until now; fails if it has ended.
    pub fn still_runs(&mut self, work: &Work<'_>) -> Result<(), ImageError> {
        work.check()?;
        while let Ok(line) = self.lines.recv_timeout(LOOK) {
            self.note(&line, work);
        }
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(&status.to_string())),
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }

    /// Sends a signal to the program itself, which is the first process of its namespace.
    pub fn signal(&self, signal: Signal) {
        for pid in children(self.child.id()) {
            let _ = kill(pid, signal);
        }
    }

    /// Waits for its end, which must be a success.
    pub fn finish(mut self) -> Result<(), ImageError> {
        let status = self.child.wait();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.failed(&status.to_string())),
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }

    fn note(&mut self, line: &str, work: &Work<'_>) {
        work.progress.line(line);
        if self.tail.len() == QUOTED {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    fn failed(&self, status: &str) -> ImageError {
        let said = Vec::from(self.tail.clone()).join("\n");
        ImageError::Failed {
            what: self.what,
            status: status.to_owned(),
            said,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // `unshare` waits for the first process of the namespace, whose end is that of all others.
            self.signal(Signal::SIGKILL);
            let ended: io::Result<ExitStatus> = self.child.wait();
            let _ = ended;
        }
    }
}

fn children(pid: u32) -> Vec<Pid> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok().map(Pid::from_raw))
        .collect()
}

/// Lines of a pipe; a carriage return ends one, too, as progress displays use it.
struct Lines(BufReader<PipeReader>);

impl Lines {
    fn new(reader: PipeReader) -> Self {
        Self(BufReader::new(reader))
    }
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            let available = self.0.fill_buf().ok()?;
            if available.is_empty() {
                return (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned());
            }
            let end = available
                .iter()
                .position(|byte| matches!(byte, b'\n' | b'\r'));
            line.extend_from_slice(&available[..end.unwrap_or(available.len())]);
            let used = end.map_or(available.len(), |end| end + 1);
            self.0.consume(used);
            if end.is_some() && !line.is_empty() {
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
        }
    }
}

/// A folder that goes away with the build.
pub(super) struct WorkFolder(PathBuf);

impl WorkFolder {
    /// Makes one below `parent`, and removes what builds that were killed have left there.
    pub fn new(parent: &Path) -> Result<Self, ImageError> {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name
                .to_str()
                .and_then(|name| name.strip_prefix(Self::PREFIX)?.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let path = parent.join(format!("{}{}", Self::PREFIX, std::process::id()));
        fs::create_dir(&path).map_err(ImageError::file("create", &path))?;
        Ok(Self(path))
    }

    const PREFIX: &str = "work-";

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "cannot remove the work folder");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Quiet;

    fn shell(script: &str) -> Command {
        let mut command = contained("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_is_returned_and_quoted_in_errors() {
        let (progress, stop) = (Quiet, Stop::default());
        let work = Work {
            progress: &progress,
            stop: &stop,
        };
        assert_eq!(
            work.run("talking", shell("echo a; printf 'b\\rc' >&2"))
                .unwrap(),
            "a\nb\nc\n"
        );
        let error = work
            .run("failing", shell("echo because; exit 3"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("failing") && error.contains("because") && error.contains('3'),
            "{error}"
        );
    }

    #[test]
    fn stopping_ends_everything_and_leaves_no_mount() {
        let folder = tempfile::tempdir().unwrap();
        let (progress, stop) = (Quiet, Stop::default());
        let work = Work {
            progress: &progress,
            stop: &stop,
        };
        let at = folder.path().display();
        let script = format!(
            "mount -t tmpfs none {at}; setsid sleep 1000000 & echo $! $(readlink /proc/self/ns/pid); wait"
        );
        let mut running = Running::start("sleeping", shell(&script)).unwrap();
        running.line(&work).unwrap().unwrap();
        let first = children(running.child.id())[0];
        stop.stop();
        assert!(matches!(running.line(&work), Err(ImageError::Interrupted)));
        drop(running);
        // The end of a namespace's first process comes after that of all others in it.
        assert!(kill(first, None).is_err());
        assert!(
            !fs::read_to_string("/proc/mounts")
                .unwrap()
                .contains(&at.to_string())
        );
    }

    #[test]
    fn work_folders_of_the_dead_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent
            .path()
            .join(format!("{}{}", WorkFolder::PREFIX, u32::MAX));
        fs::create_dir(&dead).unwrap();
        let folder = WorkFolder::new(parent.path()).unwrap();
        assert!(folder.path().exists() && !dead.exists());
        drop(folder);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
