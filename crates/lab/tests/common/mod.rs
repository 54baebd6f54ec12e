//! A lab of placeholders for tests: real namespaces, cables and supervisors, `sleep` instead of agents. Names and
//! networks are unique to the process, so that tests run beside each other and beside a real lab.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use godwit_lab::folder::Description;
use godwit_lab::spec::{Programs, Subnet};
use godwit_lab::up::Stop;
use godwit_lab::{LabError, Spec, exec, processes};
use godwit_net::Netns;

/// The test that plays the first process of a box, in this same binary.
pub const INIT_TEST: &str = "a_box_starts_here";

pub struct TestLab {
    pub spec: Spec,
    _temporary: tempfile::TempDir,
}

impl TestLab {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        // Where real labs live by default: below a folder of which each blade has its own.
        fs::create_dir_all("/var/lib/godwit").unwrap();
        let temporary = tempfile::tempdir_in("/var/lib/godwit").unwrap();
        let spec = Spec {
            prefix: format!("t{}{number}", base36(pid)),
            management: Subnet::new([10, octet(128 + pid % 120), octet(2 * number)]),
            production: Subnet::new([10, octet(128 + pid % 120), octet(2 * number + 1)]),
            programs: placeholders(),
            ..Spec::new(temporary.path(), Path::new("unused"))
        };
        Self {
            spec,
            _temporary: temporary,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.spec.dir
    }

    pub fn up(&self) -> Result<Description, LabError> {
        self.up_until(&Stop::default())
    }

    pub fn up_until(&self, stop: &Stop) -> Result<Description, LabError> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(godwit_lab::up(self.spec.clone(), &|_| {}, stop))
    }

    pub fn down(&self) {
        godwit_lab::down(self.dir(), false).unwrap();
    }

    /// Runs a shell line in a blade.
    pub fn shell(&self, blade: &str, line: &str) -> Output {
        exec::output(self.dir(), blade, &["sh".into(), "-c".into(), line.into()]).unwrap()
    }

    /// What a shell line prints in a blade.
    pub fn say(&self, blade: &str, line: &str) -> String {
        let output = self.shell(blade, line);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {complaint}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir().join("log").join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Whatever of the lab is left on the machine, in words.
    pub fn left_over(&self) -> Vec<String> {
        let dir = self.dir().display().to_string();
        let shown = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let mut text = shown("ip", &["-o", "link"]) + &shown("ip", &["netns", "list"]);
        text += &fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut found: Vec<String> = text
            .lines()
            .filter(|line| line.contains(&self.spec.prefix) || line.contains(&dir))
            .map(str::to_owned)
            .collect();
        found.extend(
            processes::inits(self.dir())
                .into_iter()
                .map(|init| format!("{init:?}")),
        );
        found
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        drop(godwit_lab::down(self.dir(), false));
    }
}

/// Waits until `done` gives something; half a minute is enough for any machine.
pub fn wait_for<T>(what: &str, done: impl Fn() -> Option<T>) -> T {
    for _ in 0..1_500 {
        if let Some(result) = done() {
            return result;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not happen within 30 s");
}

/// Megabits per second that one connection carries in three seconds.
pub fn throughput(from: &Netns, to: &Netns, address: Ipv4Addr) -> f64 {
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let target = listener.local_addr().unwrap();
    let mut sender = from.run(|| TcpStream::connect(target).unwrap()).unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    let sending = thread::spawn(move || {
        let block = vec![0_u8; 256 << 10];
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            sender.write_all(&block).unwrap();
        }
    });
    let (start, mut block, mut total) = (Instant::now(), vec![0_u8; 256 << 10], 0);
    loop {
        match receiver.read(&mut block).unwrap() {
            0 => break,
            count => total += count,
        }
    }
    sending.join().unwrap();
    total as f64 * 8.0 / 1e6 / start.elapsed().as_secs_f64()
}

fn placeholders() -> Programs {
    let own: PathBuf = std::env::current_exe().unwrap();
    // The folder's and the box's names come as arguments, which a test binary does not take, and by the environment.
    let line = format!("exec {} --exact {INIT_TEST} --nocapture", own.display());
    let words = |list: &[&str]| {
        list.iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    Programs {
        init: words(&["sh", "-c", &line]),
        agent: words(&["sh", "-c", "echo agent of $(hostname); exec sleep 1000000"]),
        join: None,
        manager: None,
    }
}

fn octet(number: u32) -> u8 {
    u8::try_from(number).unwrap()
}

fn base36(mut number: u32) -> String {
    let mut text = String::new();
    while number > 0 {
        text.extend(char::from_digit(number % 36, 36));
        number /= 36;
    }
    text
}
