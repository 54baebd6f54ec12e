//! The keeper's loop: one thread that waits for signals, clients and their lines.

use super::{
    children::Children,
    connection::Connection,
    protocol::{LONGEST_LINE, PROTOCOL_VERSION, RefusalCode, Refused, Reply, Request},
    setup::{Keeper, ServeError, become_keeper},
    socket_path,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
    unistd::Pid,
};
use std::{
    fs,
    io::{self, Write},
    os::fd::AsFd,
    path::Path,
};
use time::OffsetDateTime;

/// More clients than one agent needs; further ones wait in the socket's queue.
const MOST_CLIENTS: usize = 64;

/// Keeps the VMs of this host until told to shut down, or until the last one has ended after a
/// SIGTERM. Blocks; must be called on the main thread of a process that does nothing else.
///
/// # Errors
/// If it could not become the keeper, or the system failed it in a way that cannot be survived.
pub fn serve(run_dir: &Path) -> Result<(), ServeError> {
    let keeper = become_keeper(run_dir)?;
    let mut server = Server {
        children: Children::new(keeper.run_dir.clone()),
        clients: Vec::new(),
        stopping: false,
        keeper,
    };
    note(&format!("keeper {} is up", Pid::this()));
    while !(server.stopping && server.children.is_empty()) {
        server.turn()?;
    }
    server.farewell();
    Ok(())
}

struct Server {
    keeper: Keeper,
    children: Children,
    clients: Vec<Connection>,
    /// No new children; ends with the last one.
    stopping: bool,
}

impl Server {
    /// Waits until something happens, and deals with it.
    fn turn(&mut self) -> Result<(), ServeError> {
        let ready = self.wait()?;
        self.signals();
        self.exits();
        for (client, ready) in ready.clients.into_iter().enumerate() {
            if ready.intersects(PollFlags::POLLOUT) {
                self.clients[client].flush();
            }
            if ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                self.listen_to(client);
            }
        }
        if ready.listener {
            self.accept();
        }
        self.clients.retain(|client| !client.over());
        Ok(())
    }

    fn wait(&self) -> Result<Ready, ServeError> {
        let mut fds = vec![PollFd::new(self.keeper.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.clients.iter().map(|client| {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, client.has_output());
            PollFd::new(client.as_fd(), flags)
        }));
        if self.clients.len() < MOST_CLIENTS {
            fds.push(PollFd::new(self.keeper.listener.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(ServeError::Io {
                    doing: "wait for events",
                    path: self.keeper.run_dir.clone(),
                    source: errno.into(),
                });
            }
        }
        let mut flags = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()))
            .skip(1);
        let clients = flags.by_ref().take(self.clients.len()).collect();
        let listener = flags.next().is_some_and(|flags| !flags.is_empty());
        Ok(Ready { clients, listener })
    }

    fn signals(&mut self) {
        while let Ok(Some(info)) = self.keeper.signals.read_signal() {
            let number = info.ssi_signo.cast_signed();
            if number == Signal::SIGTERM as i32 || number == Signal::SIGINT as i32 {
                note(&format!(
                    "told to end; {} VMs to wait for",
                    self.children.len()
                ));
                self.stopping = true;
            }
        }
    }

    fn exits(&mut self) {
        for exit in self.children.reap() {
            note(&format!(
                "VM {} (process {}) ended: {:?}",
                exit.vm, exit.pid, exit.status
            ));
            for client in self.clients.iter_mut().filter(|client| client.watching) {
                client.say(&Reply::Exited(exit.clone()));
            }
        }
    }

    fn accept(&mut self) {
        // One per turn; an error is that client's, or will be there again next turn.
        if let Ok((stream, _)) = self.keeper.listener.accept()
            && let Ok(client) = Connection::new(stream)
        {
            self.clients.push(client);
        }
    }

    fn listen_to(&mut self, client: usize) {
        for line in self.clients[client].lines() {
            let request = serde_json::from_slice(&line).ok();
            let request = request.filter(|_| line.len() < LONGEST_LINE);
            let Some(request) = request else {
                let text = "this is not a request of the keeper's protocol";
                let refused = Refused::new(RefusalCode::Invalid, text);
                self.clients[client].close_with(&Reply::Refused(refused));
                return;
            };
            self.answer(client, request);
        }
    }

    fn answer(&mut self, client: usize, request: Request) {
        let connection = &mut self.clients[client];
        let reply = match request {
            Request::Hello { version } => {
                connection.greeted = version == PROTOCOL_VERSION;
                // Said in any case, so that the other side can name both versions.
                Ok(Reply::Hello {
                    version: PROTOCOL_VERSION,
                    keeper: self.children.keeper,
                    pid: std::process::id(),
                })
            }
            _ if !connection.greeted || connection.watching => {
                let text =
                    "this connection cannot ask that: say hello first, and ask nothing after watch";
                let refused = Refused::new(RefusalCode::Version, text);
                return connection.close_with(&Reply::Refused(refused));
            }
            Request::Spawn(_) if self.stopping => {
                let text = "the keeper is about to end: start again when a new one runs";
                Err(Refused::new(RefusalCode::ShuttingDown, text))
            }
            Request::Spawn(spawn) => {
                let vm = spawn.vm;
                let spawned = self.children.spawn(spawn);
                note(&format!("VM {vm}: {spawned:?}"));
                spawned.map(|pid| Reply::Spawned { pid })
            }
            Request::Kill { vm, signal } => {
                note(&format!("VM {vm}: {signal:?}"));
                self.children.kill(vm, signal).map(|()| Reply::Done)
            }
            Request::List => Ok(Reply::Running(self.children.list())),
            Request::Watch(seen) => {
                connection.say(&Reply::Done);
                connection.watching = true;
                for exit in self.children.exits_after(seen) {
                    connection.say(&Reply::Exited(exit.clone()));
                }
                return;
            }
            Request::Shutdown { force } => {
                if !force && !self.children.is_empty() {
                    let text = format!(
                        "{} VMs run: stop them first, or use force",
                        self.children.len()
                    );
                    Err(Refused::new(RefusalCode::HasChildren, text))
                } else {
                    self.stopping = true;
                    connection.awaits_end = true;
                    self.children.kill_all();
                    return;
                }
            }
        };
        connection.say(&reply.unwrap_or_else(Reply::Refused));
    }

    /// Tells those who asked for it that all children are gone. Socket and lock go first, in
    /// this order: whoever hears of the end finds no keeper and can start another.
    fn farewell(mut self) {
        let _ = fs::remove_file(socket_path(&self.keeper.run_dir));
        drop(self.keeper);
        for client in self.clients.iter_mut().filter(|client| client.awaits_end) {
            client.say(&Reply::Done);
        }
        note(&format!("keeper {} ends", Pid::this()));
    }
}

struct Ready {
    clients: Vec<PollFlags>,
    listener: bool,
}

/// A line in the keeper's log, which is its standard error. A log that takes no more (a full
/// disk, a reader that is gone) costs its lines; `eprintln!` would cost every VM of the host.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{} {text}", OffsetDateTime::now_utc());
}
