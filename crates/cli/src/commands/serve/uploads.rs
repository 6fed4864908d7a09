//! Uploads in parts (S3's multipart uploads), which `--allow-writes` passes to the store.
//!
//! Stores take the parts of an upload in their order, so the body of a part is read once those before it have been
//! read. Sending them to the store goes on meanwhile, several at once.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, Stream};
use headstart::object_store::path::Path;
use headstart::object_store::{Error as StoreError, ObjectStore, PutMultipartOptions, PutResult};
use hyper::header::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::received::ReceivedBody;
use super::refusal::RefusedRequest;
use super::served::Served;
use super::writes;
use crate::upload::{MOST_PART_BYTES, SharedUpload};

/// Uploads at once.
const MOST_UPLOADS: usize = 1000;

/// Where there are so many, one to which nothing was sent for this time gives way.
const IDLE: Duration = Duration::from_secs(3600);

/// How long a part waits for those before it.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);

/// The most parts of an upload, as with S3.
const MOST_PARTS: usize = 10_000;

/// Uploads that are neither complete nor aborted.
pub(super) struct ServedUploads {
    open: Mutex<BTreeMap<String, Arc<ServedUpload>>>,
    /// Begins all names of uploads: those of another process differ.
    tag: u64,
    next: AtomicU64,
}

/// An upload in parts.
struct ServedUpload {
    path: Path,
    /// Its number among those that are aborted when the program ends.
    number: u64,
    /// Locked while a part is read.
    store: SharedUpload,
    /// The parts that were read, in their order.
    parts: watch::Sender<Vec<ReadPart>>,
    used: Mutex<Instant>,
}

/// A part whose body was read.
#[derive(Clone)]
struct ReadPart {
    /// The MD5 checksum of its bytes, in hexadecimal.
    e_tag: String,
    /// The end of sending it to the store.
    sent: Shared<BoxFuture<'static, Result<(), Arc<StoreError>>>>,
}

/// A part as a request to complete an upload names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedPart {
    pub(super) number: usize,
    pub(super) e_tag: String,
}

impl ServedUploads {
    pub(super) fn new() -> Self {
        Self { open: Mutex::default(), tag: RandomState::new().hash_one(std::process::id()), next: AtomicU64::new(0) }
    }

    /// Begins an upload, and returns its name.
    ///
    /// # Errors
    /// The key is not served, there are too many uploads, or the store refuses it.
    pub(super) async fn create(
        &self,
        served: &Served,
        path: &Path,
        headers: &HeaderMap,
    ) -> Result<String, RefusedRequest> {
        self.make_room(served).await?;
        let options = PutMultipartOptions { attributes: writes::attributes(headers), ..PutMultipartOptions::default() };
        let upload = served.stack.put_multipart_opts(path, options).await;
        let upload = upload.map_err(|error| served.refusal(path.as_ref(), &error))?;
        let (number, store) = served.session.uploads.add(upload);
        let id = format!("{:016x}{:08x}", self.tag, self.next.fetch_add(1, Relaxed));
        let parts = watch::Sender::new(Vec::new());
        let upload = ServedUpload { path: path.clone(), number, store, parts, used: Mutex::new(Instant::now()) };
        self.open.lock().insert(id.clone(), Arc::new(upload));
        Ok(id)
    }

    /// Sends a part of `size` bytes, as far as is known, and returns its entity tag. Sending the same bytes again does
    /// nothing.
    ///
    /// # Errors
    /// There is no such upload, another part with this number was sent, those before it do not come, the body cannot be
    /// used, or the store fails.
    ///
    /// # Cancel safety
    /// The part is sent if all of its body was read, and else not.
    pub(super) async fn put_part<S, E>(
        &self,
        served: &Served,
        (path, id): (&Path, &str),
        number: usize,
        size: u64,
        body: ReceivedBody<S>,
    ) -> Result<String, RefusedRequest>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display + Send,
    {
        let upload = self.find(path, id)?;
        let index = number.checked_sub(1).filter(|index| *index < MOST_PARTS);
        let index = index.ok_or_else(|| RefusedRequest::invalid("partNumber must be from 1 to 10,000"))?;
        if size > MOST_PART_BYTES {
            return Err(RefusedRequest::part_too_large(MOST_PART_BYTES));
        }
        upload.wait_for_turn(index).await?;
        let memory = served.session.uploads.memory(size).await;
        let mut store = upload.store.lock().await;
        // It may have ended during the wait.
        self.find(path, id)?;
        let read = body.read_all(size, MOST_PART_BYTES);
        let known = upload.parts.borrow().get(index).cloned();
        let part = match known {
            Some(part) => {
                drop(store);
                if read.await?.1 != part.e_tag {
                    return Err(RefusedRequest::unsupported("another part with the number of one that was sent"));
                }
                part
            }
            None => {
                let (bytes, e_tag) = read.await?;
                let sending = store.put_part(bytes.into());
                // It goes on where the client goes away: the store counts the part as begun.
                let sent = tokio::spawn(async move {
                    let sent = sending.await;
                    drop(memory);
                    sent
                });
                let sent = async { sent.await.unwrap_or_else(|error| Err(error.into())).map_err(Arc::new) };
                let part = ReadPart { e_tag, sent: sent.boxed().shared() };
                upload.parts.send_modify(|parts| parts.push(part.clone()));
                drop(store);
                part
            }
        };
        *upload.used.lock() = Instant::now();
        part.sent.await.map_err(|error| served.refusal(path.as_ref(), &error))?;
        Ok(part.e_tag)
    }

    /// Makes the object of the parts that were sent, which must be those that are named.
    ///
    /// # Errors
    /// There is no such upload, other parts are named, or the store fails. Then the upload stays.
    pub(super) async fn complete(
        &self,
        served: &Served,
        path: &Path,
        id: &str,
        named: &[NamedPart],
    ) -> Result<PutResult, RefusedRequest> {
        let upload = self.find(path, id)?;
        let parts = upload.parts.borrow().clone();
        check_named(named, &parts.iter().map(|part| part.e_tag.as_str()).collect::<Vec<_>>())?;
        let failed = |error: &StoreError| served.refusal(path.as_ref(), error);
        for part in parts {
            part.sent.await.map_err(|error| failed(&error))?;
        }
        let mut store = upload.store.lock().await;
        self.find(path, id)?;
        let result = store.complete().await.map_err(|error| failed(&error))?;
        self.forget(served, id);
        Ok(result)
    }

    /// Lets the store forget the parts of an upload.
    ///
    /// # Errors
    /// There is no such upload, or the store fails.
    pub(super) async fn abort(&self, served: &Served, path: &Path, id: &str) -> Result<(), RefusedRequest> {
        let upload = self.find(path, id)?;
        let mut store = upload.store.lock().await;
        self.find(path, id)?;
        store.abort().await.map_err(|error| served.refusal(path.as_ref(), &error))?;
        self.forget(served, id);
        Ok(())
    }

    fn find(&self, path: &Path, id: &str) -> Result<Arc<ServedUpload>, RefusedRequest> {
        let upload = self.open.lock().get(id).filter(|upload| upload.path == *path).cloned();
        upload.ok_or_else(|| RefusedRequest::no_such_upload(id))
    }

    fn forget(&self, served: &Served, id: &str) {
        if let Some(upload) = self.open.lock().remove(id) {
            served.session.uploads.remove(upload.number);
        }
    }

    /// Makes room for one more upload.
    async fn make_room(&self, served: &Served) -> Result<(), RefusedRequest> {
        let oldest = {
            let open = self.open.lock();
            if open.len() < MOST_UPLOADS {
                return Ok(());
            }
            let oldest = open.iter().map(|(id, upload)| (*upload.used.lock(), id, upload)).min_by_key(|it| it.0);
            oldest.filter(|(used, ..)| used.elapsed() > IDLE).map(|(_, id, upload)| (id.clone(), upload.path.clone()))
        };
        match oldest {
            Some((id, path)) => self.abort(served, &path, &id).await,
            None => Err(RefusedRequest::busy(format!("{MOST_UPLOADS} uploads in parts are in progress"))),
        }
    }
}

impl ServedUpload {
    /// Waits until all parts before that at `index` were read.
    async fn wait_for_turn(&self, index: usize) -> Result<(), RefusedRequest> {
        let mut parts = self.parts.subscribe();
        let turn = parts.wait_for(|parts| parts.len() >= index);
        match tokio::time::timeout(TURN_TIMEOUT, turn).await {
            Ok(_) => Ok(()),
            Err(_) => Err(RefusedRequest::busy(format!(
                "Part {} waits for those before it: headstart serve takes parts with the numbers 1, 2, 3 and so on",
                index + 1
            ))),
        }
    }
}

/// Checks that all parts that were sent are named, in their order. `sent` are their entity tags.
fn check_named(named: &[NamedPart], sent: &[&str]) -> Result<(), RefusedRequest> {
    if named.is_empty() {
        return Err(RefusedRequest::part("No part is named"));
    }
    for (at, part) in named.iter().enumerate() {
        match sent.get(part.number.wrapping_sub(1)) {
            None => return Err(RefusedRequest::part(format!("Part {} was not sent", part.number))),
            Some(_) if part.number != at + 1 => {
                return Err(RefusedRequest::part("The parts are not named in their order, or one is left out"));
            }
            Some(sent) if part.e_tag.trim_matches('"') != *sent => {
                return Err(RefusedRequest::part(format!("Part {} has another entity tag", part.number)));
            }
            Some(_) => {}
        }
    }
    match named.len() == sent.len() {
        true => Ok(()),
        false => Err(RefusedRequest::unsupported("leaving out parts that were sent")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_as_they_were_sent() {
        let part = |number, e_tag: &str| NamedPart { number, e_tag: e_tag.to_owned() };
        for (named, status) in [
            (vec![part(1, "\"a\""), part(2, "b")], None),
            (vec![], Some(400)),
            (vec![part(1, "a")], Some(501)),
            (vec![part(2, "b")], Some(400)),
            (vec![part(2, "b"), part(1, "a")], Some(400)),
            (vec![part(1, "a"), part(1, "a")], Some(400)),
            (vec![part(1, "a"), part(2, "c")], Some(400)),
            (vec![part(1, "a"), part(2, "b"), part(3, "c")], Some(400)),
            (vec![part(0, "a")], Some(400)),
        ] {
            let checked = check_named(&named, &["a", "b"]);
            assert_eq!(checked.err().map(|refusal| refusal.status.as_u16()), status, "{named:?}");
        }
    }
}
