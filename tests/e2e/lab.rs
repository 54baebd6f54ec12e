//! The farm in one box that all scenarios share: built with names and networks of its own, so that a user's lab is not
//! in the way; SAN2 is a small file system, so that it can be filled.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use godwit_lab::farm::Access;
use godwit_lab::folder::{Description, Folder};
use godwit_lab::init::State;
use godwit_lab::plan::MANAGER_BOX;
use godwit_lab::processes::{self, Member};
use godwit_lab::spec::Subnet;
use godwit_lab::up::Stop;
use godwit_lab::{Spec, exec};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// First letters of its interfaces' names.
pub const PREFIX: &str = "gwe2e";
const MANAGEMENT: Subnet = Subnet::new([10, 77, 99]);
/// VMs and migration.
pub const PRODUCTION: Subnet = Subnet::new([192, 168, 199]);
/// SAN2: room for what one VM writes, and filled in no time.
const SMALL_STORE: &str = "size=256m";
/// Lines of each log that are shown when a scenario fails.
const SHOWN: usize = 40;

/// A lab that is up.
pub struct Lab {
    /// Its folder.
    pub dir: PathBuf,
    /// The `godwit` program that everything in it runs.
    pub godwit: PathBuf,
    /// How to reach its manager.
    pub access: Access,
    /// Names and addresses.
    pub description: Description,
}

impl Lab {
    /// Builds it. What an earlier run left, if it was killed, is taken away first.
    pub async fn up(stop: &Stop) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("namespaces and bridges need root: run the tests as root".to_owned());
        }
        let godwit = build_godwit()?;
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e-lab");
        clear(&dir)?;
        let spec = Spec {
            prefix: PREFIX.into(),
            management: MANAGEMENT,
            production: PRODUCTION,
            ..Spec::new(&dir, &godwit)
        };
        mount_small_store(&Folder::new(&dir).datastore(&spec, "SAN2"))?;
        let built = godwit_lab::up(spec, &|what| eprintln!("e2e: {what}"), stop).await;
        let description = built.map_err(|error| {
            let problem = whole(&error);
            let _ = clear(&dir);
            problem
        })?;
        let access = Access::new(&description, &Folder::new(&dir));
        Ok(Self {
            dir,
            godwit,
            access,
            description,
        })
    }

    /// Takes it down with all its files. Again is no error.
    pub fn down(&self) -> Result<(), String> {
        clear(&self.dir)
    }

    /// Where a datastore's files are, seen from outside.
    pub fn datastore(&self, name: &str) -> PathBuf {
        Folder::new(&self.dir).datastore(&self.description.spec, name)
    }

    /// The manager's state.
    pub fn manager_state(&self) -> PathBuf {
        Folder::new(&self.dir).manager()
    }

    /// A blade's `/var/lib/godwit/agent`.
    pub fn agent_state(&self, blade: &str) -> PathBuf {
        Folder::new(&self.dir).of_box(blade).join("lib/agent")
    }

    /// A blade's `/run/godwit`.
    pub fn run_dir(&self, blade: &str) -> PathBuf {
        Folder::new(&self.dir).of_box(blade).join("run")
    }

    /// Runs a command inside a blade.
    pub fn exec(&self, blade: &str, words: &[&str]) -> Output {
        let argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        exec::output(&self.dir, blade, &argv).unwrap()
    }

    /// The processes of a box.
    pub fn members(&self, name: &str) -> Vec<Member> {
        let init = processes::find(&self.dir, name);
        init.as_ref().map(processes::members).unwrap_or_default()
    }

    /// What the first process of a box says of the program that it keeps running.
    pub fn state(&self, name: &str) -> State {
        let text = fs::read(Folder::new(&self.dir).state(name)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Ends a box's program (an agent or the manager) with SIGKILL; the box starts it again.
    pub fn kill_program(&self, name: &str) {
        let program = self.state(name).program;
        let members = self.members(name);
        let found = members.iter().find(|one| Some(one.inner) == program);
        let pid = found.expect("the box's program runs").pid;
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }

    /// Ends a blade's agent with SIGKILL.
    pub fn kill_agent(&self, blade: &str) {
        self.kill_program(blade);
    }

    /// Ends the manager with SIGKILL.
    pub fn kill_manager(&self) {
        self.kill_program(MANAGER_BOX);
    }

    /// QEMU processes of a blade.
    pub fn qemus(&self, blade: &str) -> usize {
        let members = self.members(blade);
        members
            .iter()
            .filter(|one| one.command.starts_with("qemu-system"))
            .count()
    }

    /// A blade's network interfaces.
    pub fn interfaces(&self, blade: &str) -> Vec<String> {
        let output = self.exec(blade, &["ls", "/sys/class/net"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// The last lines of all logs.
    pub fn logs(&self) -> String {
        let folder = Folder::new(&self.dir);
        let blades = self.description.plan.blades.iter();
        let names = blades
            .map(|blade| blade.name.clone())
            .chain([MANAGER_BOX.to_owned()]);
        let last = |name: String| {
            let text = fs::read_to_string(folder.log(&name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let end = &lines[lines.len().saturating_sub(SHOWN)..];
            format!("--- {name}: last lines of its log\n{}\n", end.join("\n"))
        };
        names.map(last).collect()
    }
}

/// Takes everything away that is, or was, in a lab's folder.
fn clear(dir: &Path) -> Result<(), String> {
    godwit_lab::down(dir, false).map_err(|error| whole(&error))?;
    // An error says that nothing is mounted there.
    let _ = umount2(&dir.join("san2"), MntFlags::MNT_DETACH);
    godwit_lab::down(dir, true).map_err(|error| whole(&error))
}

fn whole(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", whole(cause)),
        None => error.to_string(),
    }
}

/// The program under test, built from the same tree with the same profile: a test of another package does not get it
/// built by itself. `GODWIT_BIN` names a finished one instead.
fn build_godwit() -> Result<PathBuf, String> {
    if let Some(finished) = std::env::var_os("GODWIT_BIN") {
        return Ok(finished.into());
    }
    // target/<profile>/deps/e2e-<hash>
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = own.ancestors().nth(2).ok_or("the test lies nowhere")?;
    let target = profile.parent().ok_or("the test lies nowhere")?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--locked", "-p", "godwit"]);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command.env("CARGO_TARGET_DIR", target);
    // What this test was built for is not what the program is built for: build scripts that look would run each time.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"]
            .iter()
            .any(|of| text.starts_with(of))
        {
            command.env_remove(&name);
        }
    }
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let built = command.status().map_err(|error| error.to_string())?;
    if !built.success() {
        return Err("the godwit program does not build".to_owned());
    }
    Ok(profile.join("godwit"))
}

/// A file system in memory; on kernels where it knows no direct access, which disks need, one in a file.
fn mount_small_store(point: &Path) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot mount a small SAN2: {error}");
    fs::create_dir_all(point).map_err(|error| failed(&error))?;
    let none = None::<&str>;
    mount(
        none,
        point,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(SMALL_STORE),
    )
    .map_err(|error| failed(&error))?;
    let probe = point.join("probe");
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(true).write(true);
    let direct = options.custom_flags(nix::libc::O_DIRECT).open(&probe);
    let _ = fs::remove_file(&probe);
    if direct.is_ok() {
        return Ok(());
    }
    umount2(point, MntFlags::empty()).map_err(|error| failed(&error))?;
    let image = point.with_extension("ext4");
    let (image, point) = (image.display().to_string(), point.display().to_string());
    for words in [
        ["truncate", "-s", "256M", &image].as_slice(),
        &["mkfs.ext4", "-q", "-F", "-m", "0", &image],
        &["mount", "-o", "loop", &image, &point],
    ] {
        let status = Command::new(words[0]).args(&words[1..]).status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(failed(&words.join(" ")));
        }
    }
    Ok(())
}
