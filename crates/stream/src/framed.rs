//! Frames over a byte stream: whole frames out in one write, frames in through one buffer that is reused.

use std::io::{self, IoSlice};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::wire::{Header, Kind, WireError};

/// A connection that brings no proper frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It broke.
    #[error("the connection between the relays broke")]
    Io(#[source] io::Error),
    /// It ended where a frame should begin, or within one.
    #[error("the other relay closed the connection")]
    Closed,
    /// It brings something else.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A proper frame in the wrong place.
    #[error("the other relay sent a {0:?} frame out of turn; are both of the same release?")]
    OutOfTurn(Kind),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        // A TLS peer that is killed ends without the closing alert: to us it has just ended.
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Reads frames.
pub struct FrameReader<R> {
    inner: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: Vec::new(),
        }
    }

    /// The next frame. A length is checked before anything is allocated for it.
    pub async fn next(&mut self) -> Result<(Kind, &[u8]), FrameError> {
        let mut header = [0; Header::SIZE];
        self.inner.read_exact(&mut header).await?;
        let Header { kind, length } = Header::decode(header)?;
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let payload = &mut self.buffer[..length];
        self.inner.read_exact(payload).await?;
        Ok((kind, payload))
    }

    /// The connection, for whoever still wants it; buffered is nothing.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }
}

/// Writes one frame, its payload given in up to three parts, and flushes nothing.
pub async fn write_frame<W>(writer: &mut W, kind: Kind, parts: [&[u8]; 3]) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let header = Header::encode(kind, parts.iter().map(|part| part.len()).sum());
    let [a, b, c] = parts;
    let mut slices = [
        IoSlice::new(&header),
        IoSlice::new(a),
        IoSlice::new(b),
        IoSlice::new(c),
    ];
    write_slices(writer, &mut slices).await
}

/// Writes all of these.
pub async fn write_slices<W>(writer: &mut W, mut left: &mut [IoSlice<'_>]) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    while !left.is_empty() {
        match writer.write_vectored(left).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut left, written),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_pass_in_any_fragmentation() {
        // A pipe of seven bytes cuts headers and payloads everywhere.
        let (mut near, far) = tokio::io::duplex(7);
        let big = vec![9; 5000];
        let sent = big.clone();
        let writer = tokio::spawn(async move {
            write_frame(&mut near, Kind::Data, [b"one", b"", b"two"])
                .await
                .unwrap();
            write_frame(&mut near, Kind::Accepted, [&[]; 3])
                .await
                .unwrap();
            write_frame(&mut near, Kind::Final, [&[], &sent, b"x"])
                .await
                .unwrap();
        });
        let mut frames = FrameReader::new(far);
        assert_eq!(frames.next().await.unwrap(), (Kind::Data, &b"onetwo"[..]));
        assert_eq!(frames.next().await.unwrap(), (Kind::Accepted, &b""[..]));
        assert_eq!(
            frames.next().await.unwrap(),
            (Kind::Final, &[&big[..], b"x"].concat()[..])
        );
        assert!(matches!(frames.next().await, Err(FrameError::Closed)));
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn oversize_is_refused_before_it_is_allocated_and_truncation_is_noticed() {
        let mut frames = FrameReader::new(&[3, 0xff, 0xff, 0xff, 0xff, 1, 2][..]);
        assert!(matches!(
            frames.next().await,
            Err(FrameError::Wire(WireError::TooLong { .. }))
        ));
        assert_eq!(frames.buffer.capacity(), 0);

        for truncated in [&[3, 0, 0][..], &[3, 0, 0, 0, 9, 1, 2][..]] {
            assert!(matches!(
                FrameReader::new(truncated).next().await,
                Err(FrameError::Closed)
            ));
        }
        assert!(matches!(
            FrameReader::new(&b"GET / HTTP"[..]).next().await,
            Err(FrameError::Wire(_))
        ));
    }
}
