//! A workload with its trace, and the systems that can read it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use headstart_bench::ideal::{self, IdealShape};
use headstart_bench::results::{Group, WorkloadNote};
use headstart_bench::workload::{Object, Workload};
use headstart_bench::{limit, system::System};
use headstart_sim::LinkProfile;
use headstart_trace::{CallKind, Trace, TraceCall};

#[derive(Debug, Clone)]
pub(crate) struct PreparedWorkload {
    pub(crate) workload: Workload,
    pub(crate) trace: Arc<Trace>,
    link: Option<LinkProfile>,
    limit_mb_per_s: Option<f64>,
    in_order: bool,
    whole_objects: bool,
}

impl PreparedWorkload {
    /// `workload` on `objects`. `link` is known for simulated stores.
    pub(crate) fn new(
        workload: Workload,
        objects: &[Object],
        seed: u64,
        link: Option<&LinkProfile>,
        cut: Option<Duration>,
    ) -> Result<Self> {
        let trace = workload.trace(objects, seed).with_context(|| workload.name.clone())?;
        let link = link.filter(|_| !workload.local);
        Ok(Self {
            limit_mb_per_s: link.and_then(|link| limit::mb_per_s(&trace, link, cut)),
            link: link.cloned(),
            in_order: in_order(&trace),
            whole_objects: whole_objects(&trace),
            trace: Arc::new(trace),
            workload,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.workload.name
    }

    /// Whether `system` can read the workload, and is among those that the workload is for.
    ///
    /// One stream cannot jump. Peers are measured over the network only. OpenDAL's readers keep 32 or 64 MiB ahead even
    /// while idle, and s3fs reads 50 MiB for the first byte, so that a thousand of them run out of memory.
    pub(crate) fn suits(&self, system: System) -> bool {
        let is_large = matches!(system, System::Opendal4 | System::Opendal8 | System::S3fs);
        // A stream cannot be resumed after a change of its object.
        let jumps = system.only_in_order() && (!self.in_order || self.workload.overwrite_after.is_some());
        let parts = system.only_whole_objects() && !self.whole_objects;
        let is_for_others = !self.workload.systems.is_empty() && !self.workload.systems.contains(&system);
        // Only a store has `get_ranges`.
        let lacks_call = !self.workload.reads_open_objects() && !system.is_store();
        let is_elsewhere = self.workload.local && system.group() == Group::Peer;
        !(is_for_others || lacks_call || jumps || parts || is_elsewhere || (is_large && self.workload.idle > 100))
    }

    pub(crate) fn shapes(&self, system: System) -> &'static [IdealShape] {
        if system == System::Ideal { ideal::shapes(&self.trace) } else { &[IdealShape::Reads(1)] }
    }

    pub(crate) fn same_to_ideal(&self, other: &Self) -> bool {
        let parts =
            |one: &Self| ideal::parts(&one.trace).filter(|_| !one.workload.local && one.workload.processes == 1);
        parts(self).is_some_and(|own| Some(own) == parts(other))
    }

    pub(crate) fn note(&self) -> WorkloadNote {
        WorkloadNote {
            name: self.name().to_owned(),
            about: self.workload.about.clone(),
            link: self.link.as_ref().map(ToString::to_string),
            limit_mb_per_s: self.limit_mb_per_s,
        }
    }
}

/// Whether every handle reads its object from the first byte on without gaps.
fn in_order(trace: &Trace) -> bool {
    let mut at: HashMap<u32, u64> = HashMap::new();
    trace.calls.iter().filter(|call| call.kind == CallKind::Read).all(|call| {
        let (Some(handle), [start, end]) = (call.handle, call.ranges[0]) else { return false };
        at.insert(handle, end).unwrap_or(0) == start
    })
}

/// Whether one reader reads whole objects, each once.
fn whole_objects(trace: &Trace) -> bool {
    let whole = |call: &TraceCall| call.ranges.first().copied() == call.size.map(|size| [0, size]);
    let starts = trace.calls.iter().filter(|call| call.after.is_none()).count();
    starts == 1 && trace.calls.iter().all(|call| call.kind == CallKind::Read && call.is_last && whole(call))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn prepared(name: &str) -> PreparedWorkload {
        let workload = Workload::named(name).unwrap();
        let objects = workload.objects(1).unwrap();
        PreparedWorkload::new(workload, &objects, 1, Some(&LinkProfile::gcs()), None).unwrap()
    }

    #[test]
    fn a_stream_reads_what_is_read_in_order() {
        let suits = |name| prepared(name).suits(System::Stream);
        let names = ["seq-1m", "probe", "mixed", "rand-1m", "interleaved-2"];
        assert_eq!(names.map(suits), [true, true, true, false, false]);
        let local = prepared("local-seq-1m");
        assert!(local.suits(System::Headstart) && !local.suits(System::Foyer));
        assert_eq!(local.note().limit_mb_per_s, None);
        assert!(!prepared("idle-1000").suits(System::Opendal4) && !prepared("idle-1000").suits(System::S3fs));
        let suits = |system| ["rand-64k-x64", "ranges-64k-x64"].map(|name| prepared(name).suits(system));
        assert_eq!([System::HeadstartCache, System::Ideal].map(suits), [[true; 2], [false; 2]]);
    }

    #[test]
    fn calls_for_whole_objects_read_nothing_else() {
        let suits = |name| prepared(name).suits(System::ObstorePool);
        let names = ["objects-100kb", "small", "seq-1m", "probe", "mixed", "rand-64k-x64", "overwrite"];
        assert_eq!(names.map(suits), [true, true, false, false, false, false, false]);
        assert!(!prepared("objects-100kb").suits(System::GcsfsNone), "it says who reads it");
    }

    #[test]
    fn complete_reads_of_the_same_objects_are_the_same_to_the_ideal() {
        let sequential = prepared("seq-1m");
        let same = |name| prepared(name).same_to_ideal(&sequential);
        let names = ["seq-64k", "interleaved-2", "rand-1m", "slow-200", "strided-1m"];
        assert_eq!(names.map(same), [true, true, false, false, false]);
        assert_eq!(sequential.shapes(System::Ideal).len(), 2);
        assert_eq!(prepared("home-1m").shapes(System::Ideal), [IdealShape::Reads(16)]);
    }
}
