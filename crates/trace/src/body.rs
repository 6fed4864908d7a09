//! A body that notes when it was read or dropped.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use tokio::time::Instant;

use crate::entry::name;
use crate::recorder::Open;

pub(crate) struct Body {
    inner: BoxStream<'static, object_store::Result<Bytes>>,
    call: Open,
    /// When the caller was given the answer, or its last piece.
    handed_over: Option<Instant>,
}

impl Body {
    /// The body of an answer that the caller is given `now`.
    pub(crate) fn new(inner: BoxStream<'static, object_store::Result<Bytes>>, call: Open, now: Instant) -> Self {
        Self { inner, call, handed_over: Some(now) }
    }
}

impl Stream for Body {
    type Item = object_store::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let asked = self.handed_over.take().map(|handed_over| {
            let now = Instant::now();
            self.call.busy += now - handed_over;
            now
        });
        let polled = self.inner.as_mut().poll_next(cx);
        match &polled {
            Poll::Ready(Some(Ok(piece))) => {
                self.call.bytes += piece.len() as u64;
                self.handed_over = Some(Instant::now());
            }
            Poll::Ready(Some(Err(error))) => self.call.error = Some(name(error)),
            // A body that ends at once has ended when it was asked.
            Poll::Ready(None) => self.call.end(asked.unwrap_or_else(Instant::now)),
            Poll::Pending => {}
        }
        polled
    }
}
