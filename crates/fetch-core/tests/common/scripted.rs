//! A store in memory that follows a script where one is set.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "each test file uses its part of this"
)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::*;
use parking_lot::Mutex;

pub type Script = Box<dyn Fn(&Odd, usize, &GetOptions, Result<GetResult>) -> Result<GetResult> + Send + Sync>;

#[derive(Clone)]
pub struct Version {
    pub data: Bytes,
    pub e_tag: Option<String>,
    pub date: chrono::DateTime<chrono::Utc>,
}

pub struct Odd {
    pub objects: Mutex<std::collections::BTreeMap<String, Version>>,
    pub log: Mutex<Vec<(String, GetOptions)>>,
    pub script: Script,
    asked: AtomicUsize,
}

impl fmt::Debug for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Odd")
    }
}
impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Odd")
    }
}

#[derive(Debug)]
pub struct Performing(pub String);
#[derive(Debug)]
pub struct Status(pub String, pub Option<Box<Status>>);
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Status {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|s| s as _)
    }
}

/// An error in the words of object_store's clients.
pub fn status(said: &str) -> Error {
    let inner = format!("Server returned non-2xx status code: {said}: ");
    let outer = format!("Error performing GET http://x/ in 1ms - {inner}");
    Error::Generic { store: "odd", source: Box::new(Status(outer, Some(Box::new(Status(inner, None))))) }
}

pub fn old() -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

pub fn pattern(len: usize, seed: u8) -> Bytes {
    (0..len).map(|n| (n as u8).wrapping_mul(31) ^ ((n >> 8) as u8) ^ seed).collect::<Vec<u8>>().into()
}

impl Odd {
    pub fn new(
        script: impl Fn(&Odd, usize, &GetOptions, Result<GetResult>) -> Result<GetResult> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            objects: Default::default(),
            log: Default::default(),
            script: Box::new(script),
            asked: AtomicUsize::new(0),
        })
    }
    pub fn correct() -> Arc<Self> {
        Self::new(|_, _, _, a| a)
    }
    pub fn set(&self, key: &str, data: Bytes, e_tag: Option<&str>) {
        self.set_at(key, data, e_tag, old());
    }
    pub fn set_at(&self, key: &str, data: Bytes, e_tag: Option<&str>, date: chrono::DateTime<chrono::Utc>) {
        self.objects.lock().insert(key.into(), Version { data, e_tag: e_tag.map(Into::into), date });
    }
    pub fn requests(&self) -> Vec<(String, GetOptions)> {
        self.log.lock().clone()
    }
    pub fn clear(&self) {
        self.log.lock().clear();
    }
    pub fn answer(&self, path: &Path, options: &GetOptions) -> Result<GetResult> {
        let Some(v) = self.objects.lock().get(path.as_ref()).cloned() else {
            return Err(Error::NotFound { path: path.to_string(), source: "404".into() });
        };
        let size = v.data.len() as u64;
        let meta =
            ObjectMeta { location: path.clone(), last_modified: v.date, size, e_tag: v.e_tag.clone(), version: None };
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            None => 0..size,
            Some(r) => r.as_range(size).map_err(|_| status("416 Range Not Satisfiable"))?,
        };
        let data = v.data.slice(range.start as usize..range.end as usize);
        // Chunks of 64 KiB.
        let chunks: Vec<Result<Bytes>> = if options.head {
            vec![]
        } else {
            (0..data.len()).step_by(65536).map(|at| Ok(data.slice(at..data.len().min(at + 65536)))).collect()
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter(chunks).boxed()),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }
}

/// The first `n` bytes of the body, then nothing.
pub fn silent_after(mut answer: GetResult, n: usize) -> GetResult {
    let GetResultPayload::Stream(body) = answer.payload else { panic!() };
    let mut left = n;
    let body = body.filter_map(move |c| {
        let c = c.unwrap();
        let k = c.len().min(left);
        left -= k;
        let c = c.slice(..k);
        async move { (k > 0).then_some(Ok(c)) }
    });
    answer.payload = GetResultPayload::Stream(body.chain(stream::pending()).boxed());
    answer
}

#[async_trait::async_trait]
impl ObjectStore for Odd {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        only_read()
    }
    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        only_read()
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        self.log.lock().push((location.to_string(), options.clone()));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let answer = self.answer(location, &options);
        (self.script)(self, n, &options, answer)
    }
    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { only_read() }).boxed()
    }
    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { only_read() }).boxed()
    }
    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        only_read()
    }
    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        only_read()
    }
}

fn only_read<T>() -> Result<T> {
    Err(Error::NotImplemented { operation: "writing and listing".into(), implementer: "Odd".into() })
}
