//! Reads of one object through the bare client, timed.

use std::ops::Range;
use std::time::Duration;

use futures::StreamExt;
use headstart::Headstart;
use headstart::object_store::{Error as StoreError, GetOptions, GetRange, ObjectMeta, ObjectStore};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::file_crc::reported_crc32c;
use crate::policy::bench_summary::offsets;
use crate::session::Site;

/// Small reads whose first bytes are timed.
pub(super) const FIRST_BYTES: usize = 20;

/// Bytes of one stream, at most.
pub(super) const STREAM_BYTES: u64 = 128 << 20;

/// Requests in flight in each round.
pub(super) const ROUNDS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Bytes of a request of a round.
pub(super) const PIECE_BYTES: u64 = 4 << 20;

/// Bytes of a round, at most.
pub(super) const ROUND_BYTES: u64 = 512 << 20;

/// What the small reads take on a slow link.
pub(super) const SMALL_READS_TIME: Duration = Duration::from_secs(5);

/// Bytes of the object that are read.
const MOST_BYTES: u64 = 256 << 20;

const SMALL_BYTES: u64 = 1024;
const SEED: u64 = 1;

/// An entity tag that no object has.
const WRONG_TAG: &str = "\"headstart-doctor-asks-for-no-version\"";

/// The probes of an object.
pub(super) struct Probes<'a> {
    bare: &'a Headstart,
    site: &'a Site,
    pub(super) meta: ObjectMeta,
    pub(super) has_checksum: bool,
    /// Bytes of the object that are read.
    pub(super) size: u64,
    /// A round, and the stream, end after this time.
    round_time: Duration,
}

impl<'a> Probes<'a> {
    /// Sends the first request, a HEAD.
    pub(super) async fn begin(bare: &'a Headstart, site: &'a Site, round_time: Duration) -> Result<Self, Failure> {
        let answer = bare.get_opts(&site.path, site.head_options()).await.map_err(|error| site.failure(&error))?;
        let has_checksum = reported_crc32c(&answer).is_some();
        let size = answer.meta.size.min(MOST_BYTES);
        if size < SMALL_BYTES {
            return Err(Failure::usage(format!(
                "{} is too small. Name an object of some MiB, better 256.",
                site.shown
            )));
        }
        Ok(Self { bare, site, meta: answer.meta, has_checksum, size, round_time })
    }

    /// Times from a request to its first byte, sorted, in milliseconds. The first of all, which makes a connection, is
    /// left out.
    pub(super) async fn first_bytes(&self) -> Result<Vec<f64>, Failure> {
        let mut times = Vec::new();
        let offsets = offsets(SEED, self.size, SMALL_BYTES, FIRST_BYTES + 1);
        for at in offsets {
            let began = Instant::now();
            self.read(at..at + SMALL_BYTES, None).await?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        if times.len() > 1 {
            times.remove(0);
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// The rate of one stream, after its first byte.
    pub(super) async fn one_stream(&self) -> Result<f64, Failure> {
        let range = 0..self.size.min(STREAM_BYTES);
        let mut body = self.get(range).await.map_err(|error| self.site.failure(&error))?;
        let (mut first, mut bytes) = (None, 0);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| self.site.failure(&error))?;
            let began = *first.get_or_insert_with(Instant::now);
            bytes += piece.len() as u64;
            if began.elapsed() > self.round_time {
                break;
            }
        }
        let seconds = first.map_or(0.0, |began| began.elapsed().as_secs_f64());
        Ok(bytes as f64 / seconds.max(1e-4))
    }

    /// The rate of so many requests in flight.
    pub(super) async fn round(&self, in_flight: usize) -> Result<f64, Failure> {
        let piece = PIECE_BYTES.min(self.size);
        let places = self.size / piece;
        let began = Instant::now();
        let deadline = began + self.round_time;
        let most = ROUND_BYTES / piece;
        let reads = (0..most).map(|number| {
            let at = number % places * piece;
            self.read(at..at + piece, Some(deadline))
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(in_flight);
        let mut bytes = 0;
        while let Some(read) = reads.next().await {
            bytes += read?;
            if Instant::now() >= deadline {
                break;
            }
        }
        // What is still in flight counts with what has arrived of it.
        let partial = async {
            let mut sum = 0;
            while let Some(read) = reads.next().await {
                sum += read.unwrap_or(0);
            }
            sum
        };
        bytes += tokio::time::timeout(Duration::from_millis(50), partial).await.unwrap_or(0);
        Ok(bytes as f64 / began.elapsed().as_secs_f64().max(1e-4))
    }

    /// Whether exactly the requested bytes come.
    pub(super) async fn honours_ranges(&self) -> Result<bool, Failure> {
        let middle = self.size / 2;
        match self.read(middle..middle + SMALL_BYTES.min(self.size - middle), None).await {
            Ok(bytes) => Ok(bytes == SMALL_BYTES.min(self.size - middle)),
            // The client refuses an answer with other bytes.
            Err(failure) if failure.message.contains("non-partial") => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Whether a version that the object does not have is refused; `None` where it has no entity tag.
    pub(super) async fn honours_if_match(&self) -> Result<Option<bool>, Failure> {
        if self.meta.e_tag.is_none() {
            return Ok(None);
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(0..1)),
            if_match: Some(WRONG_TAG.to_owned()),
            ..self.site.get_options()
        };
        match self.bare.get_opts(&self.site.path, options).await {
            Ok(_) => Ok(Some(false)),
            Err(StoreError::Precondition { .. }) => Ok(Some(true)),
            Err(error) => Err(self.site.failure(&error)),
        }
    }

    async fn get(
        &self,
        range: Range<u64>,
    ) -> Result<futures::stream::BoxStream<'static, headstart::object_store::Result<bytes::Bytes>>, StoreError> {
        let options = GetOptions { range: Some(range.into()), ..self.site.get_options() };
        Ok(self.bare.get_opts(&self.site.path, options).await?.into_stream())
    }

    /// Reads a range, until its end or the deadline; returns how many bytes came.
    async fn read(&self, range: Range<u64>, deadline: Option<Instant>) -> Result<u64, Failure> {
        let mut body = self.get(range).await.map_err(|error| self.site.failure(&error))?;
        let mut bytes = 0;
        while let Some(piece) = body.next().await {
            bytes += piece.map_err(|error| self.site.failure(&error))?.len() as u64;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        Ok(bytes)
    }
}
