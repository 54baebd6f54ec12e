//! A relay as a process: `godwit relay send` and `godwit relay receive`.
//!
//! ```text
//! stdin:  configuration, one JSON line;  then commands, JSON lines;  its end means that the agent is gone
//! stdout: events, JSON lines
//! ```
//! Order of its beginning: read the configuration, make the sockets, give up root's rights, and only then say that it
//! listens. [`send`] and [`receive`] are to be called before the program starts threads of its own.

use std::{
    io::{self, BufRead, Read, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use godwit_tls::{ConfigError, Expect, Identity};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    DestinationConfig, Event, PagesConfig, SourceConfig,
    destination::{self, DestinationError, DestinationSockets},
    local::{Afterwards, LocalPages},
    memory::GuestMemory,
    orders::Orders,
    privilege::{self, Keep, PrivilegeError},
    report::{Counters, Reporter, whole},
    sockets::{self, SocketError},
    source::{self, SourceError, SourceSockets},
};

/// The longest configuration in bytes; three certificates take a few thousand.
const MAX_CONFIG: u64 = 1 << 20;
/// How long QEMU's incoming socket may take to appear.
const QEMU_LISTENS_WITHIN: Duration = Duration::from_secs(10);
/// How long a relay that has done its part rests before it does what is left, which no VM waits for.
const VM_FIRST: Duration = Duration::from_millis(250);
/// How often progress is reported.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Why a relay ended.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error("no usable configuration on standard input; relays are started by the agent")]
    Config(#[source] io::Error),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Tls(#[from] ConfigError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Destination(#[from] DestinationError),
}

/// `godwit relay send`, from beginning to end.
#[must_use]
pub fn send() -> ExitCode {
    conclude(run_on_own_thread(send_all))
}

/// `godwit relay receive`, from beginning to end.
#[must_use]
pub fn receive() -> ExitCode {
    conclude(run_on_own_thread(receive_all))
}

/// What is left to say at the end: everything a run counted, and how it ended.
type Ending = (Result<Afterwards, ProcessError>, bool, Arc<Counters>);

fn send_all(counters: &Arc<Counters>) -> Ending {
    let mut released = false;
    let result = (|| {
        let config: SourceConfig = read_config()?;
        let destination = Expect::Exactly(Identity::Relay(config.destination_host.clone()));
        let own = config.credentials.keyed();
        let tls = godwit_tls::config::relay_client(&config.credentials.ca_pem, &own, destination)?;
        let qemu = sockets::listen_for_qemu(&config.socket)?;
        let network = sockets::towards_relay(config.destination, config.from, config.priority)?;
        let (local, without) = open_pages(config.pages.as_ref());
        privilege::become_nobody(Keep::Nothing)?;

        in_runtime(async {
            let qemu = qemu.try_into().map_err(ProcessError::Runtime)?;
            let (report, mut orders, printing) = channels();
            report.say(Event::Listening {
                address: config.socket.display().to_string(),
            });
            say_without(&report, without);
            let run = source::run(
                SourceSockets { qemu, network },
                tls,
                &config,
                local,
                &mut orders,
                (&report, counters),
            );
            let result = with_progress(run, &report, counters).await;
            drop(report);
            let _ = printing.await;
            result.map_err(|failure| {
                released = failure.released;
                failure.error.into()
            })
        })
    })();
    (result, released, counters.clone())
}

fn receive_all(counters: &Arc<Counters>) -> Ending {
    let result = (|| {
        let config: DestinationConfig = read_config()?;
        let tls = godwit_tls::config::relay_server(
            &config.credentials.ca_pem,
            &config.credentials.keyed(),
        )?;
        let qemu = sockets::connect_to_qemu(&config.socket, QEMU_LISTENS_WITHIN)?;
        let network = sockets::listen_for_relay(config.listen)?;
        let keep = config.priority.map_or(Keep::Nothing, |_| Keep::NetAdmin);
        let (local, mut without) = open_pages(config.pages.as_ref());
        let memory = config.memory.as_ref().and_then(|memory| {
            GuestMemory::open(memory)
                .map_err(|error| without.push(whole(&error)))
                .ok()
        });
        privilege::become_nobody(keep)?;

        in_runtime(async {
            let address = network.local_addr().map_err(ProcessError::Runtime)?;
            let qemu = qemu.try_into().map_err(ProcessError::Runtime)?;
            let network = network.try_into().map_err(ProcessError::Runtime)?;
            let (report, mut orders, printing) = channels();
            report.say(Event::Listening {
                address: address.to_string(),
            });
            say_without(&report, without);
            let run = destination::run(
                DestinationSockets { qemu, network },
                tls,
                &config,
                (local, memory),
                &mut orders,
                (&report, counters),
                || privilege::drop_capabilities().map_err(io::Error::other),
            );
            let result = with_progress(run, &report, counters).await;
            drop(report);
            let _ = printing.await;
            result.map_err(ProcessError::from)
        })
    })();
    (result, false, counters.clone())
}

fn open_pages(config: Option<&PagesConfig>) -> (Option<LocalPages>, Vec<String>) {
    let opened = config.map(LocalPages::open);
    opened.map_or((None, Vec::new()), |(local, without)| {
        (Some(local), without)
    })
}

fn say_without(report: &Reporter, without: Vec<String>) {
    for what in without {
        report.say(Event::Without { what });
    }
}

/// Says the last word, for which a VM may be waiting; then does the rest, and gives the exit code.
fn conclude((result, released, counters): Ending) -> ExitCode {
    let totals = counters.totals();
    let (event, afterwards, code) = match result {
        Ok(afterwards) => (
            Event::Verified { totals },
            Some(afterwards),
            ExitCode::SUCCESS,
        ),
        Err(error) => (
            Event::Failed {
                reason: whole(&error),
                released,
                totals,
            },
            None,
            ExitCode::FAILURE,
        ),
    };
    print(&event);
    if let Some(afterwards) = afterwards {
        // The VM is about to run: on a busy host everything done now is time that it stands still.
        std::thread::sleep(VM_FIRST);
        afterwards();
    }
    code
}

/// Runs on a thread of its own, so that it works within a program that has a runtime already. Such a program's other
/// threads lose root's rights too (the C library sees to that).
fn run_on_own_thread(run: fn(&Arc<Counters>) -> Ending) -> Ending {
    let counters = Arc::new(Counters::default());
    // Here, so that the calling thread is covered too.
    if let Err(error) = privilege::gain_nothing() {
        return (Err(error.into()), false, counters);
    }
    let counted = counters.clone();
    let thread = std::thread::Builder::new()
        .name("relay".into())
        .spawn(move || run(&counted));
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(ending)) => ending,
        Ok(Err(_)) => (
            Err(ProcessError::Runtime(io::Error::other(
                "the relay panicked",
            ))),
            true,
            counters,
        ),
        Err(error) => (Err(ProcessError::Runtime(error)), false, counters),
    }
}

fn read_config<T: DeserializeOwned>() -> Result<T, ProcessError> {
    let mut line = String::new();
    // Byte for byte as far as the buffer of the standard input goes; what follows stays in it for the commands.
    io::stdin()
        .lock()
        .take(MAX_CONFIG)
        .read_line(&mut line)
        .map_err(ProcessError::Config)?;
    serde_json::from_str(&line).map_err(|error| ProcessError::Config(error.into()))
}

/// One thread: everything here happens in turn, and CPU time is what a migration must not waste.
fn in_runtime<T>(run: impl Future<Output = Result<T, ProcessError>>) -> Result<T, ProcessError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ProcessError::Runtime)?;
    runtime.block_on(run)
}

/// The channels to the agent: events are printed by a task, commands are read by a thread.
fn channels() -> (Reporter, Orders, JoinHandle<()>) {
    let (report, mut events) = Reporter::new();
    let printing = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            print(&event);
        }
    });
    let (sender, commands) = mpsc::channel(16);
    // It may wait for ever for a line; the process's end ends it.
    std::thread::spawn(move || {
        if privilege::drop_capabilities().is_err() {
            return;
        }
        for line in io::stdin().lock().lines() {
            // A line that is no command comes from nobody we know: as if the agent were gone.
            let Ok(command) = line
                .map_err(|_| ())
                .and_then(|line| serde_json::from_str(&line).map_err(|_| ()))
            else {
                return;
            };
            if sender.blocking_send(command).is_err() {
                return;
            }
        }
    });
    (report, Orders::new(commands), printing)
}

/// Reports progress beside `run` as long as something moves.
async fn with_progress<T>(
    run: impl Future<Output = T>,
    report: &Reporter,
    counters: &Counters,
) -> T {
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = counters.totals();
    tokio::pin!(run);
    loop {
        tokio::select! {
            result = &mut run => return result,
            _ = ticks.tick() => {
                let totals = counters.totals();
                if (totals.bytes_in, totals.bytes_out) != (last.bytes_in, last.bytes_out) {
                    report.say(Event::Progress { totals });
                    last = totals;
                }
            }
        }
    }
}

/// Prints one event. If nobody reads it the agent is gone, which the other end of standard input tells too.
fn print(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
