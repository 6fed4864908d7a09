//! Workloads: the tables in `workloads/*.toml`, and the traces that they describe.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use headstart_fetch_core::options::parse_bytes;
use headstart_sim::{FaultPlan, LinkProfile, PatternRead, ReadPattern, SeededRng};
use headstart_trace::{CallKind, Keys, Trace, TraceCall, TraceHeader};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::system::System;

/// The files, in the order of the tables.
const FILES: [(&str, &str); 9] = [
    ("sequential.toml", include_str!("../workloads/sequential.toml")),
    ("random.toml", include_str!("../workloads/random.toml")),
    ("loopback.toml", include_str!("../workloads/loopback.toml")),
    ("patterns.toml", include_str!("../workloads/patterns.toml")),
    ("many.toml", include_str!("../workloads/many.toml")),
    ("concurrent.toml", include_str!("../workloads/concurrent.toml")),
    ("trouble.toml", include_str!("../workloads/trouble.toml")),
    ("again.toml", include_str!("../workloads/again.toml")),
    ("local.toml", include_str!("../workloads/local.toml")),
];

/// Bytes that an idle reader reads.
const IDLE_BYTES: u64 = 64 * 1024;

/// A workload. A *session* is one reader on one object, from open to close. A reader has one session after the other.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The name of its table.
    #[serde(skip)]
    pub name: String,
    /// What is read, in a sentence.
    pub about: String,
    /// Length of each object, such as `1GiB`.
    #[serde(default)]
    size: Option<String>,
    /// Lengths of the objects; repeated if there are more objects.
    #[serde(default)]
    sizes: Vec<String>,
    /// The least and the greatest length. All magnitudes between them are equally likely.
    #[serde(default)]
    sizes_between: Option<[String; 2]>,
    /// The number of objects.
    #[serde(default = "one")]
    pub objects: u64,
    /// The number of concurrent readers. Sessions are distributed to them in turn. There are as many sessions as
    /// objects, or as readers if these are more.
    #[serde(default = "one")]
    pub readers: u64,
    /// The reads of a session: a pattern of `headstart_sim::ReadPattern::named`.
    reads: String,
    /// Whether each reader reads a share of the one object: the first reader its first bytes, the next the next ones.
    #[serde(default)]
    shares: bool,
    /// The number of reads that are the ranges of one call of `get_ranges`. By default every read is a call of its own,
    /// through an open object.
    #[serde(default)]
    pub ranges_a_call: Option<usize>,
    /// Whether each read is a call of `get_range` of the store, without an open object.
    #[serde(default)]
    pub by_call: bool,
    /// The most reads of a session.
    #[serde(default)]
    most_reads: Option<usize>,
    /// The greatest rate of a reader in 10⁶ bytes per second. The reader has think time after each read.
    #[serde(default)]
    most_mb_per_s: Option<u32>,
    /// The number of passes over all sessions.
    #[serde(default = "one")]
    passes: u64,
    /// Whether every pass has an order of its own.
    #[serde(default)]
    shuffled: bool,
    /// Readers that read once at the start and keep their object open.
    #[serde(default)]
    pub idle: u64,
    /// Processes that share the readers.
    #[serde(default = "one")]
    pub processes: u64,
    /// First bytes that are delayed.
    #[serde(default)]
    late: Option<Late>,
    /// The object is overwritten after this many reads.
    #[serde(default)]
    pub overwrite_after: Option<u64>,
    /// Runs are not cut off before so many seconds: the start of many processes, which takes a second, then weighs as
    /// little as for a user.
    #[serde(default)]
    least_seconds: u32,
    /// The link on which it is read, unless another one is chosen. A workload with a link of its own is read by default
    /// in virtual time only.
    #[serde(default, deserialize_with = "link_of_name")]
    pub link: Option<LinkProfile>,
    /// The systems that read it; if empty, all that can.
    #[serde(default)]
    pub systems: Vec<System>,
    /// Whether the objects are files of this machine.
    #[serde(default)]
    pub local: bool,
    /// Whether the workload is read by default.
    #[serde(default)]
    pub core: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Late {
    share: f64,
    by_ms: u64,
}

fn link_of_name<'de, D: Deserializer<'de>>(name: D) -> Result<Option<LinkProfile>, D::Error> {
    String::deserialize(name)?.parse().map(Some).map_err(D::Error::custom)
}

fn one() -> u64 {
    1
}

/// An object to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
}

impl Workload {
    /// All workloads, in the order of the tables.
    ///
    /// # Errors
    /// If a file is invalid, which a test excludes.
    pub fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for (file, text) in FILES {
            all.extend(parse(text).with_context(|| format!("bench/workloads/{file}"))?);
        }
        Ok(all)
    }

    /// The workload of this name.
    ///
    /// # Errors
    /// If there is none; the error lists all names.
    pub fn named(name: &str) -> Result<Self> {
        let all = Self::all()?;
        let names: Vec<String> = all.iter().map(|workload| workload.name.clone()).collect();
        all.into_iter()
            .find(|workload| workload.name == name)
            .with_context(|| format!("there is no workload '{name}', but {}", names.join(", ")))
    }

    /// Whether the reads go through open objects, and are not calls of a store.
    #[must_use]
    pub fn reads_open_objects(&self) -> bool {
        self.ranges_a_call.is_none() && !self.by_call
    }

    /// Whether any object will do: the workload reads one object, once, and needs nothing but reads.
    #[must_use]
    pub fn suits_any_object(&self) -> bool {
        self.objects == 1 && self.late.is_none() && self.overwrite_after.is_none() && self.idle == 0 && !self.local
    }

    /// Whether its link has no delay and no limit. Then it takes no time in virtual time, and HTTP on this machine
    /// simulates it exactly.
    #[must_use]
    pub fn has_no_delay(&self) -> bool {
        self.link.as_ref() == Some(&LinkProfile::loopback())
    }

    /// The simulated objects.
    ///
    /// # Errors
    /// If no size is given, or an invalid one.
    pub fn objects(&self, seed: u64) -> Result<Vec<Object>> {
        let bytes = |text: &String| Ok::<u64, anyhow::Error>(parse_bytes("size", text)?);
        let mut dice = SeededRng::new(seed);
        let mut sizes: Vec<u64> = match (&self.size, &self.sizes_between) {
            (Some(size), None) if self.sizes.is_empty() => vec![bytes(size)?],
            (None, None) if !self.sizes.is_empty() => self.sizes.iter().map(bytes).collect::<Result<_>>()?,
            (None, Some([least, most])) if self.sizes.is_empty() => {
                let (least, most) = (bytes(least)?, bytes(most)?);
                ensure!(0 < least && least <= most, "sizes_between must be two sizes above 0, the lesser first");
                (0..self.objects).map(|_| between(least, most, &mut dice)).collect()
            }
            _ => bail!("one of size, sizes and sizes_between must be given"),
        };
        sizes.truncate(self.objects.try_into()?);
        let object =
            |(n, size): (u64, &u64)| Object { key: format!("synthetic/{size}/{}-{n}", self.name), size: *size };
        Ok((0..self.objects).zip(sizes.iter().cycle()).map(object).collect())
    }

    /// When a run is cut off, if others are cut off after `usual`.
    #[must_use]
    pub fn cut_after(&self, usual: Duration) -> Duration {
        usual.max(Duration::from_secs(self.least_seconds.into()))
    }

    /// The link to simulate: `chosen`, or else the workload's own, or else `gcs`.
    #[must_use]
    pub fn link_or(&self, chosen: Option<&LinkProfile>) -> LinkProfile {
        chosen.or(self.link.as_ref()).cloned().unwrap_or_else(LinkProfile::gcs)
    }

    /// The faults of the store.
    #[must_use]
    pub fn faults(&self, seed: u64) -> FaultPlan {
        match self.late {
            None => FaultPlan::default(),
            Some(late) => {
                FaultPlan { seed, late: late.share, late_by: Duration::from_millis(late.by_ms), ..FaultPlan::default() }
            }
        }
    }

    /// The trace on `objects`. The same seed makes the same trace.
    ///
    /// # Errors
    /// If an object is too small for the reads.
    pub fn trace(&self, objects: &[Object], seed: u64) -> Result<Trace> {
        let mut maker = TraceMaker { calls: Vec::new(), handles: 0 };
        for idle in 0..self.idle {
            let object = &objects[pick(idle, objects.len())];
            let handle = maker.handle();
            maker.read(None, Some(handle), object, &[PatternRead { offset: 0, len: IDLE_BYTES.min(object.size) }], 0);
        }
        let sessions = self.objects.max(self.readers);
        let mut dice = SeededRng::new(seed);
        let mut turns: Vec<u64> = Vec::new();
        for _ in 0..self.passes {
            let mut pass: Vec<u64> = (0..sessions).collect();
            if self.shuffled {
                dice.shuffle(&mut pass);
            }
            turns.extend(pass);
        }
        for reader in 0..self.readers {
            let mut last = None;
            let mut think_us = 0;
            let own = turns.iter().enumerate().filter(|(turn, _)| *turn as u64 % self.readers == reader);
            for (_, session) in own {
                let object = &objects[pick(*session, objects.len())];
                let reads = self.reads_of(*session, object, seed)?;
                let handle = self.reads_open_objects().then(|| maker.handle());
                for (ranges, number) in reads.chunks(self.ranges_a_call.unwrap_or(1)).zip(1..) {
                    last = Some(maker.read(last, handle, object, ranges, think_us));
                    let bytes: u64 = ranges.iter().map(|range| range.len).sum();
                    // Bytes divided by 10⁶ bytes per second are microseconds.
                    think_us = self.most_mb_per_s.map_or(0, |rate| bytes / u64::from(rate));
                    if self.overwrite_after == Some(number) {
                        last = Some(maker.overwrite(last, object));
                    }
                }
                if handle.is_some() {
                    maker.close();
                }
            }
        }
        let header = TraceHeader::new(Keys::Plain, format!("{}: {} (seed {seed})", self.name, self.about));
        Ok(Trace { header, calls: maker.calls })
    }

    /// The reads of a session.
    fn reads_of(&self, session: u64, object: &Object, seed: u64) -> Result<Vec<PatternRead>> {
        let border = |reader: u64| reader * object.size / self.readers;
        let part = if self.shares { border(session)..border(session + 1) } else { 0..object.size };
        let mut reads = ReadPattern::named(&self.reads, part.end - part.start, seed ^ (session << 8))?.reads;
        reads.truncate(self.most_reads.unwrap_or(usize::MAX));
        reads.iter_mut().for_each(|read| read.offset += part.start);
        Ok(reads)
    }
}

struct TraceMaker {
    calls: Vec<TraceCall>,
    handles: u32,
}

impl TraceMaker {
    fn handle(&mut self) -> u32 {
        self.handles += 1;
        self.handles - 1
    }

    fn add(&mut self, object: &Object, kind: CallKind, after: Option<u64>) -> (&mut TraceCall, u64) {
        let n = self.calls.len() as u64;
        self.calls.push(TraceCall { size: Some(object.size), after, ..TraceCall::new(n, &object.key, kind) });
        (self.calls.last_mut().expect("it was just added"), n)
    }

    /// A read through `handle`, or without one a call of the store: `get_range`, and `get_ranges` for several ranges.
    fn read(
        &mut self,
        after: Option<u64>,
        handle: Option<u32>,
        object: &Object,
        ranges: &[PatternRead],
        wait_us: u64,
    ) -> u64 {
        let kind = match (handle, ranges) {
            (Some(_), _) => CallKind::Read,
            (None, [_]) => CallKind::Get,
            (None, _) => CallKind::GetRanges,
        };
        let (call, n) = self.add(object, kind, after);
        call.ranges = ranges.iter().map(|range| [range.offset, range.offset + range.len]).collect();
        (call.handle, call.wait_us, call.bytes) = (handle, wait_us, ranges.iter().map(|range| range.len).sum());
        n
    }

    fn overwrite(&mut self, after: Option<u64>, object: &Object) -> u64 {
        self.add(object, CallKind::Overwrite, after).1
    }

    fn close(&mut self) {
        if let Some(call) = self.calls.iter_mut().rfind(|call| call.kind == CallKind::Read) {
            call.is_last = true;
        }
    }
}

fn pick(n: u64, of: usize) -> usize {
    usize::try_from(n % of as u64).expect("less than a length")
}

/// A random length; all magnitudes are equally likely.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a length at random"
)]
fn between(least: u64, most: u64, dice: &mut SeededRng) -> u64 {
    let ratio = most as f64 / least as f64;
    (least as f64 * ratio.powf(dice.unit())).round() as u64
}

/// The workloads of one file, in its order.
fn parse(text: &str) -> Result<Vec<Workload>> {
    let mut tables: BTreeMap<String, Workload> = toml::from_str(text)?;
    for (name, workload) in &mut tables {
        workload.name.clone_from(name);
        ensure!(
            workload.objects > 0 && workload.readers > 0 && workload.passes > 0 && workload.processes > 0,
            "{name}: objects, readers, passes and processes are at least 1"
        );
        ensure!(workload.most_mb_per_s != Some(0), "{name}: most_mb_per_s is at least 1");
        ensure!(workload.most_reads != Some(0), "{name}: most_reads is at least 1");
        ensure!(workload.ranges_a_call != Some(0), "{name}: ranges_a_call is at least 1");
        ensure!(!workload.by_call || workload.ranges_a_call.is_none(), "{name}: a call of get_range has one range");
        ensure!(!workload.shares || workload.objects == 1, "{name}: readers share one object");
        ensure!(workload.processes <= workload.readers, "{name}: a process needs a reader");
        ensure!(
            workload.overwrite_after.is_none() || (workload.objects, workload.readers) == (1, 1),
            "{name}: one reader of one object can find it overwritten"
        );
        workload.objects(1).with_context(|| name.clone())?;
    }
    // Parsed tables have no order, but their headings do.
    let heading = |name: &str| text.find(&format!("\n[{name}]")).unwrap_or(0);
    let mut workloads: Vec<Workload> = tables.into_values().collect();
    workloads.sort_by_key(|workload| heading(&workload.name));
    Ok(workloads)
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
