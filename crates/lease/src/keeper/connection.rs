//! One client of the keeper: lines in, lines out, both bounded. Never blocks.

use super::protocol::{LONGEST_LINE, Reply, line};
use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

/// A client that lets more than this pile up is not reading, and is dropped.
const LONGEST_BACKLOG: usize = 4 << 20;

pub(super) struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: VecDeque<u8>,
    /// Has said a hello that was accepted.
    pub(super) greeted: bool,
    /// Gets exits as they happen; asks nothing any more.
    pub(super) watching: bool,
    /// Waits for the keeper's end.
    pub(super) awaits_end: bool,
    /// To be dropped once its output is written.
    closing: bool,
    dead: bool,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
            output: VecDeque::new(),
            greeted: false,
            watching: false,
            awaits_end: false,
            closing: false,
            dead: false,
        })
    }

    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    pub(super) fn over(&self) -> bool {
        self.dead || (self.closing && self.output.is_empty())
    }

    /// Says it, and closes the connection after what was said has been read.
    pub(super) fn close_with(&mut self, reply: &Reply) {
        self.say(reply);
        self.closing = true;
    }

    pub(super) fn say(&mut self, reply: &Reply) {
        if self.closing || self.dead {
            return;
        }
        self.output.extend(line(reply));
        self.flush();
        if self.output.len() > LONGEST_BACKLOG {
            self.dead = true;
        }
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) {
        while !self.output.is_empty() {
            let (front, _) = self.output.as_slices();
            match self.stream.write(front) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.dead = true;
                    return;
                }
            }
        }
    }

    /// Reads what is there (one buffer full at a time, so that no client keeps the others
    /// waiting) and gives the complete lines. An end, or a line too long, marks it as dead.
    pub(super) fn lines(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.dead = true,
            // What a closing client still says is read and forgotten.
            Ok(_) if self.closing => {}
            Ok(read) => self.input.extend_from_slice(&buffer[..read]),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => self.dead = true,
        }
        let mut lines = Vec::new();
        if let Some(end) = self.input.iter().rposition(|&byte| byte == b'\n') {
            let rest = self.input.split_off(end + 1);
            let complete = std::mem::replace(&mut self.input, rest);
            lines.extend(
                complete[..end]
                    .split(|&byte| byte == b'\n')
                    .map(<[u8]>::to_vec),
            );
        }
        if self.input.len() >= LONGEST_LINE {
            self.dead = true;
        }
        lines
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
