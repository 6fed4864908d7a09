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
    pub(crate) fn new(inner: BoxStream<'static, object_store::Result<Bytes>>, call: Open) -> Self {
        Self { inner, call, handed_over: Some(Instant::now()) }
    }
}

impl Stream for Body {
    type Item = object_store::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(handed_over) = self.handed_over.take() {
            self.call.busy += handed_over.elapsed();
        }
        let polled = self.inner.as_mut().poll_next(cx);
        match &polled {
            Poll::Ready(Some(Ok(piece))) => {
                self.call.bytes += piece.len() as u64;
                self.handed_over = Some(Instant::now());
            }
            Poll::Ready(Some(Err(error))) => self.call.error = Some(name(error)),
            Poll::Ready(None) => self.call.end(),
            Poll::Pending => {}
        }
        polled
    }
}
