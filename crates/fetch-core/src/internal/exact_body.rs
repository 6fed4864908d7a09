//! A body as a stream that ends after exactly the promised bytes, or fails.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::{GetResult, Result};

use crate::policy::body_check::BodyCheck;

/// The body of `answer` to a request for the bytes `requested`.
///
/// For layers that pass a body on. A layer that keeps what arrives uses [`BodyCheck`] itself.
///
/// # Errors
/// [`FetchError::WrongRange`](crate::FetchError::WrongRange) if the answer covers other bytes. The stream fails with
/// `LongBody` or `ShortBody` if the body has more or fewer than promised.
pub fn exact_body(requested: &Range<u64>, answer: GetResult) -> Result<BoxStream<'static, Result<Bytes>>> {
    let check = BodyCheck::of_answer(requested, &answer.range, answer.meta.size)?;
    let body = stream::try_unfold((answer.into_stream(), check), |(mut body, mut check)| async move {
        match body.try_next().await? {
            Some(chunk) => {
                check.on_chunk(chunk.len())?;
                Ok(Some((chunk, (body, check))))
            }
            None => Ok(check.on_end().map(|()| None)?),
        }
    });
    Ok(body.fuse().boxed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FetchError;
    use object_store::{Attributes, Extensions, GetResultPayload, ObjectMeta};

    fn answer(chunks: &[&'static [u8]]) -> GetResult {
        let (location, last_modified) = ("a".into(), chrono::DateTime::UNIX_EPOCH);
        let meta = ObjectMeta { location, last_modified, size: 5, e_tag: None, version: None };
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect();
        let payload = GetResultPayload::Stream(stream::iter(chunks).boxed());
        GetResult { payload, meta, range: 1..5, attributes: Attributes::new(), extensions: Extensions::new() }
    }

    #[tokio::test]
    async fn a_body_that_is_not_exact_is_an_error() {
        let body = exact_body(&(1..9), answer(&[b"ab", b"cd"])).expect("cut at the end of the object");
        assert_eq!(body.try_collect::<Vec<_>>().await.expect("exact").concat(), b"abcd");
        let short = exact_body(&(1..5), answer(&[b"ab"])).expect("the right range").try_collect::<Vec<_>>().await;
        assert!(matches!(FetchError::find(&short.expect_err("short")), Some(FetchError::ShortBody { at: 3, .. })));
        let long = exact_body(&(1..5), answer(&[b"abcde"])).expect("the right range").try_collect::<Vec<_>>().await;
        assert!(matches!(FetchError::find(&long.expect_err("long")), Some(FetchError::LongBody { .. })));
        let mut cut = answer(&[]);
        let error = object_store::Error::NotImplemented { operation: "read".into(), implementer: "test".into() };
        cut.payload = GetResultPayload::Stream(stream::iter([Ok(Bytes::from_static(b"ab")), Err(error)]).boxed());
        let cut = exact_body(&(1..5), cut).expect("the right range").try_collect::<Vec<_>>().await;
        assert!(matches!(cut, Err(object_store::Error::NotImplemented { .. })), "an error passes through");
        assert!(exact_body(&(0..5), answer(&[b"abcd"])).is_err());
    }
}
