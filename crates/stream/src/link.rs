//! What a link carries, where nobody has said it: seen while it is used.

use std::os::fd::AsRawFd;

use crate::ByteCount;

/// The median of so many rates counts: single ones are those of a burst that a shaper lets through.
const SEEN: usize = 9;

/// Watches a connection.
#[derive(Debug)]
pub struct LinkWatch<S> {
    socket: S,
    known: Option<ByteCount>,
    /// The newest rates that were seen, in turn.
    seen: [f64; SEEN],
    readings: usize,
}

impl<S: AsRawFd> LinkWatch<S> {
    /// Begins to watch; what the link carries need not be measured if it is known.
    pub fn new(socket: S, known: Option<ByteCount>) -> Self {
        Self {
            socket,
            known,
            seen: [0.0; SEEN],
            readings: 0,
        }
    }

    /// What the link carries, in bytes per second; `None` as long as too little was seen. Cheap enough for every Batch.
    pub fn rate(&mut self) -> Option<f64> {
        if let Some(ByteCount(rate)) = self.known {
            return Some(rate as f64);
        }
        if let Some(rate) = delivery_rate(&self.socket) {
            self.seen[self.readings % SEEN] = rate;
            self.readings += 1;
        }
        if self.readings < SEEN {
            return None;
        }
        let mut seen = self.seen;
        seen.sort_by(f64::total_cmp);
        Some(seen[SEEN / 2])
    }
}

/// The latest rate at which the peer has taken bytes (`tcpi_delivery_rate` of `struct tcp_info`, linux/tcp.h), in
/// bytes per second.
fn delivery_rate(socket: &impl AsRawFd) -> Option<f64> {
    /// Where the field lies: 8 single bytes, 24 u32, 4 u64, 6 u32.
    const AT: usize = 8 + 24 * 4 + 4 * 8 + 6 * 4;
    let mut info = [0_u8; AT + 8];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the descriptor is open while `socket` is borrowed; the kernel writes at most `length` bytes into `info`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let (_, rate) = info.split_last_chunk()?;
    let rate = u64::from_ne_bytes(*rate);
    (result == 0 && length as usize == info.len() && rate > 0).then_some(rate as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_connection_that_moves_bytes_has_a_rate() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let mut watch = LinkWatch::new(near.try_clone().unwrap(), None);
        for _ in 0..SEEN - 1 {
            near.write_all(&[1; 64 << 10]).unwrap();
            far.read_exact(&mut [0; 64 << 10]).unwrap();
            assert_eq!(watch.rate(), None);
        }
        assert!(watch.rate().is_some_and(|rate| rate > 1000.0));
        let mut known = LinkWatch::new(near, Some(ByteCount(7)));
        assert_eq!(known.rate(), Some(7.0));
        assert!(delivery_rate(&std::io::stdin()).is_none());
    }
}
