//! What is run in which order, and what comes of it.

use anyhow::Error;

use super::measure::Run;
use super::report::{Row, Wire};
use super::system::{Shape, System};
use super::workload::Workload;
use crate::explain;

/// One way of reading one workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) system: System,
    pub(crate) workload: Workload,
    /// Which of the system's shapes.
    pub(crate) shape: usize,
}

impl Job {
    /// Requests in flight and their size.
    pub(crate) fn shape(self) -> Shape {
        self.system.shapes(self.workload)[self.shape]
    }
}

/// All jobs and what their runs came to.
#[derive(Debug)]
pub(crate) struct Plan {
    rows: Vec<(Workload, System)>,
    jobs: Vec<(Job, Vec<(Run, Wire)>)>,
    /// What failed, one line each.
    pub(crate) failures: Vec<String>,
}

impl Plan {
    /// Every system on every workload it can do.
    pub(crate) fn new(workloads: &[Workload], systems: &[System]) -> Self {
        let pairs = workloads.iter().flat_map(|workload| systems.iter().map(move |system| (*workload, *system)));
        let rows: Vec<_> = pairs.filter(|(workload, system)| system.can(*workload)).collect();
        let measured = rows.iter().filter(|(workload, system)| stand_in(&rows, *workload, *system) == *workload);
        let jobs = measured.flat_map(|&(workload, system)| {
            let shapes = 0..system.shapes(workload).len();
            shapes.map(move |shape| (Job { system, workload, shape }, Vec::new()))
        });
        Self { jobs: jobs.collect(), rows, failures: Vec::new() }
    }

    /// The jobs of run number `run`: workload by workload, each time beginning with another system, so that none always
    /// has the machine as the same other one left it.
    pub(crate) fn order(&self, run: usize) -> Vec<Job> {
        let jobs: Vec<Job> = self.jobs.iter().map(|(job, _)| *job).collect();
        let rotated = jobs.chunk_by(|a, b| a.workload == b.workload).flat_map(|of_workload| {
            let (before, after) = of_workload.split_at(run % of_workload.len());
            [after, before].concat()
        });
        rotated.collect()
    }

    /// Takes in what a run of `job` came to.
    pub(crate) fn record(&mut self, job: Job, outcome: Result<(Run, Wire), Error>) {
        match outcome {
            Ok(run) => {
                if let Some((_, runs)) = self.jobs.iter_mut().find(|(known, _)| *known == job) {
                    runs.push(run);
                }
            }
            Err(error) => self.failures.push(format!("{} {}: {}", job.workload, job.system, explain(&error))),
        }
    }

    /// One row for each workload and system: of several shapes the fastest.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let row = |&(workload, system): &(Workload, System)| {
            let measured = stand_in(&self.rows, workload, system);
            let jobs = self.jobs.iter().filter(|(job, _)| (job.workload, job.system) == (measured, system));
            let shapes = jobs.filter_map(|(_, runs)| Row::of(system, workload, runs));
            shapes.max_by(|a, b| a.mb_per_s.median.total_cmp(&b.mb_per_s.median))
        };
        self.rows.iter().filter_map(row).collect()
    }
}

/// The workload on which `system` is measured for `workload`. The ideal takes bytes in any order: whatever reads the
/// whole object is the same to it, and measured once.
fn stand_in(rows: &[(Workload, System)], workload: Workload, system: System) -> Workload {
    if system != System::Ideal || workload.is_random() {
        return workload;
    }
    let whole = rows.iter().find(|(other, system)| *system == System::Ideal && !other.is_random());
    whole.map_or(workload, |(other, _)| *other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(jobs: &[Job]) -> Vec<String> {
        jobs.iter().map(|job| format!("{} {} {}", job.workload, job.system, job.shape)).collect()
    }

    #[test]
    fn each_run_begins_with_another_system() {
        let plan = Plan::new(&[Workload::Seq1m, Workload::Rand1m], &[System::Raw, System::Stream, System::Ideal]);
        let first =
            ["seq-1m raw 0", "seq-1m stream 0", "seq-1m ideal 0", "seq-1m ideal 1", "rand-1m raw 0", "rand-1m ideal 0"];
        assert_eq!(names(&plan.order(0)), first);
        let second =
            ["seq-1m stream 0", "seq-1m ideal 0", "seq-1m ideal 1", "seq-1m raw 0", "rand-1m ideal 0", "rand-1m raw 0"];
        assert_eq!(names(&plan.order(1)), second);
    }

    #[test]
    fn the_fastest_shape_counts_and_failures_are_kept() {
        let mut plan = Plan::new(&[Workload::Seq1m, Workload::Seq16m], &[System::Ideal]);
        let [slow, fast] = plan.order(0)[..] else { panic!("ideal has two shapes") };
        for (job, elapsed_ms) in [(slow, 20.0), (fast, 10.0)] {
            let run = Run {
                elapsed_ms,
                first_byte_ms: None,
                p50_ms: None,
                p99_ms: None,
                stalled_ms: 0.0,
                bytes_delivered: 1_000_000,
                wrong_bytes: 0,
                peak_memory_bytes: None,
                cpu_s: None,
            };
            plan.record(job, Ok((run, Wire::default())));
        }
        plan.record(slow, Err(anyhow::anyhow!("no route")));
        let rows = plan.rows();
        assert_eq!(rows.iter().map(|row| row.workload).collect::<Vec<_>>(), [Workload::Seq1m, Workload::Seq16m]);
        assert!(rows.iter().all(|row| (row.mb_per_s.median - 100.0).abs() < 1e-9), "measured once for both");
        assert_eq!(plan.failures, ["seq-1m ideal: no route"]);
    }
}
