//! Reads of a limited size from applications.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};

/// Bytes of one read, and so of one chunk of a response body. hyper's buffers begin with 8 KiB and
/// double whenever a read fills them, up to 400 KiB; every response that its client does not read
/// keeps two of them. One byte less than a power of two, and they do not grow beyond it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MaxRead {
    /// For clients that take many responses at a time over one connection (HTTP/2).
    Small = (8 << 10) - 1,
    /// For clients that take one response after the other (HTTP/1.1): large responses cost less
    /// processor time.
    Large = (64 << 10) - 1,
}

/// A connection whose reads have a limit.
pub(super) struct LimitedReads<S> {
    stream: Take<S>,
    max: u64,
}

impl<S: AsyncRead> LimitedReads<S> {
    pub(super) fn new(stream: S, max: MaxRead) -> Self {
        let max = max as u64;
        Self {
            stream: stream.take(max),
            max,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedReads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let max = self.max;
        self.stream.set_limit(max);
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LimitedReads<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(context)
    }
}
