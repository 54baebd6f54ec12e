//! A private PostgreSQL server for one test: a unix socket in a directory of its own, gone when the test ends.

#![allow(dead_code)] // each test program uses its own part

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown};

/// A running server.
pub struct Postgres {
    dir: tempfile::TempDir,
    bin: PathBuf,
}

impl Postgres {
    /// Makes a cluster and starts it. Works as root (the server then runs as user `postgres`) and as anybody else.
    pub fn start() -> Postgres {
        let bin = newest_binaries();
        let dir = tempfile::Builder::new().prefix("gw-pg-").tempdir().unwrap();
        if nix::unistd::geteuid().is_root() {
            let user = User::from_name("postgres")
                .unwrap()
                .expect("user postgres exists");
            chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let server = Postgres { dir, bin };
        let data = server.data();
        server.run(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "ds2",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ],
        );
        let socket = server.dir.path().display();
        let settings = format!(
            "listen_addresses = ''\nunix_socket_directories = '{socket}'\nshared_buffers = 64MB\nmax_connections = 60\n\
             jit = off\nmax_wal_size = 1GB\nlog_line_prefix = '%m [%p] '\n"
        );
        std::fs::write(format!("{data}/postgresql.auto.conf"), settings).unwrap();
        server.up();
        server.run("createdb", &["-h", &server.socket(), "-U", "ds2", "ds2"]);
        server
    }

    /// The URL of its database `ds2`.
    pub fn url(&self) -> String {
        format!("host={} user=ds2 dbname=ds2", self.socket())
    }

    /// Starts the server after [`Postgres::down`] or [`Postgres::crash`].
    pub fn up(&self) {
        let log = self.dir.path().join("log").display().to_string();
        self.run(
            "pg_ctl",
            &["-D", &self.data(), "-l", &log, "-w", "-t", "120", "start"],
        );
    }

    /// Stops the server and cuts all its connections.
    pub fn down(&self) {
        self.run(
            "pg_ctl",
            &["-D", &self.data(), "-m", "fast", "-w", "-t", "120", "stop"],
        );
    }

    /// Stops the server as a power cut would, its processes at once.
    pub fn crash(&self) {
        self.run(
            "pg_ctl",
            &[
                "-D",
                &self.data(),
                "-m",
                "immediate",
                "-w",
                "-t",
                "120",
                "stop",
            ],
        );
    }

    /// Sends a signal to one of its processes; one that has ended meanwhile gets none.
    pub fn signal(&self, pid: i32, signal: Signal) {
        let _ = kill(Pid::from_raw(pid), signal);
    }

    /// Stops all its processes, as a paused VM does: connections stay, nobody answers, not even new ones.
    pub fn pause(&self) {
        // The parent first, so that it has no new children.
        self.family()
            .iter()
            .for_each(|pid| self.signal(*pid, Signal::SIGSTOP));
        self.family()
            .iter()
            .for_each(|pid| self.signal(*pid, Signal::SIGSTOP));
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.family()
            .iter()
            .for_each(|pid| self.signal(*pid, Signal::SIGCONT));
    }

    /// The server's process and its children; nothing if it does not run.
    fn family(&self) -> Vec<i32> {
        let file =
            std::fs::read_to_string(format!("{}/postmaster.pid", self.data())).unwrap_or_default();
        let Some(server) = file.lines().next() else {
            return Vec::new();
        };
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"))
            .unwrap_or_default();
        let pids = std::iter::once(server).chain(children.split_whitespace());
        pids.map(|pid| pid.parse().unwrap()).collect()
    }

    /// The processes that serve the driver now.
    pub fn backends(&self) -> Vec<i32> {
        let query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'godwit-dvdstore'";
        let socket = self.socket();
        let output = self.command(
            "psql",
            &["-h", &socket, "-U", "ds2", "-At", "-c", query, "ds2"],
        );
        let output = { output }.stdout(Stdio::piped()).output().unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|pid| pid.parse().unwrap())
            .collect()
    }

    /// Makes database `to` a copy of `from`.
    pub fn copy_database(&self, from: &str, to: &str) {
        self.run(
            "createdb",
            &[
                "-h",
                &self.socket(),
                "-U",
                "ds2",
                "--maintenance-db=postgres",
                "-T",
                from,
                to,
            ],
        );
    }

    /// Drops a database.
    pub fn drop_database(&self, name: &str) {
        self.run(
            "dropdb",
            &[
                "-h",
                &self.socket(),
                "-U",
                "ds2",
                "--maintenance-db=postgres",
                name,
            ],
        );
    }

    fn socket(&self) -> String {
        self.dir.path().display().to_string()
    }

    fn data(&self) -> String {
        self.dir.path().join("data").display().to_string()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let program = self.bin.join(program);
        let mut command = if nix::unistd::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command
                .args([
                    "--reuid=postgres",
                    "--regid=postgres",
                    "--clear-groups",
                    "--",
                ])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = self
            .command(program, arguments)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        assert!(status.success(), "{program} {arguments:?} failed\n{log}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.resume(); // a stopped process cannot end
        let _ = self
            .command(
                "pg_ctl",
                &["-D", &self.data(), "-m", "immediate", "-w", "stop"],
            )
            .status();
    }
}

/// Debian keeps the server's programs beside the path, by version.
fn newest_binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .expect("install the package postgresql to run these tests");
    let mut found: Vec<PathBuf> = versions
        .map(|v| v.unwrap().path().join("bin"))
        .filter(|b| has_initdb(b))
        .collect();
    found.sort();
    found
        .pop()
        .expect("install the package postgresql to run these tests")
}

fn has_initdb(bin: &Path) -> bool {
    bin.join("initdb").exists()
}
