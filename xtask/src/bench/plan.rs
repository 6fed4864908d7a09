//! The jobs of a bench, their order, and the outcomes of their runs.

use anyhow::Error;
use headstart_bench::results::{Row, WireCounts};
use headstart_bench::{ideal::IdealShape, meter::Outcome, system::System};
use headstart_fetch_core::Prices;

use super::{PreparedWorkload, summary};
use crate::explain;

/// The outcome of a run, and its requests.
pub(crate) type MeasuredRun = (Outcome, WireCounts);

/// One system on one workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BenchJob {
    pub(crate) workload: usize,
    pub(crate) system: System,
    /// Index of the system's shape.
    pub(crate) shape: usize,
}

#[derive(Debug)]
pub(crate) struct BenchPlan {
    pub(crate) workloads: Vec<PreparedWorkload>,
    rows: Vec<(usize, System)>,
    jobs: Vec<(BenchJob, Vec<MeasuredRun>)>,
    /// The failures, one line each.
    pub(crate) failures: Vec<String>,
}

impl BenchPlan {
    /// Every system on every workload that it can read.
    pub(crate) fn new(workloads: Vec<PreparedWorkload>, systems: &[System]) -> Self {
        let pairs = (0..workloads.len()).flat_map(|workload| systems.iter().map(move |system| (workload, *system)));
        let rows: Vec<_> = pairs.filter(|(workload, system)| workloads[*workload].suits(*system)).collect();
        let mut plan = Self { workloads, rows, jobs: Vec::new(), failures: Vec::new() };
        let measured = plan.rows.iter().filter(|(workload, system)| plan.stand_in(*workload, *system) == *workload);
        let jobs = measured.flat_map(|&(workload, system)| {
            let shapes = 0..plan.workloads[workload].shapes(system).len();
            shapes.map(move |shape| (BenchJob { workload, system, shape }, Vec::new()))
        });
        plan.jobs = jobs.collect();
        plan
    }

    /// The workload whose runs count for `system` on `workload`. Workloads that read the same objects completely are
    /// the same to the ideal, which takes bytes in any order; they are measured once.
    fn stand_in(&self, workload: usize, system: System) -> usize {
        let first = (0..workload).find(|other| self.workloads[*other].same_to_ideal(&self.workloads[workload]));
        if system == System::Ideal { first.unwrap_or(workload) } else { workload }
    }

    pub(crate) fn workload(&self, job: BenchJob) -> &PreparedWorkload {
        &self.workloads[job.workload]
    }

    pub(crate) fn shape(&self, job: BenchJob) -> IdealShape {
        self.workload(job).shapes(job.system)[job.shape]
    }

    /// The jobs of run number `run`. Each run starts with another system, so that none always follows the same one.
    pub(crate) fn order(&self, run: usize) -> Vec<BenchJob> {
        let jobs: Vec<BenchJob> = self.jobs.iter().map(|(job, _)| *job).collect();
        let rotated = jobs.chunk_by(|a, b| a.workload == b.workload).flat_map(|of_workload| {
            let (before, after) = of_workload.split_at(run % of_workload.len());
            [after, before].concat()
        });
        rotated.collect()
    }

    pub(crate) fn record(&mut self, job: BenchJob, outcome: Result<MeasuredRun, Error>) {
        match outcome {
            Ok(run) => {
                if let Some((_, runs)) = self.jobs.iter_mut().find(|(known, _)| *known == job) {
                    runs.push(run);
                }
            }
            Err(error) => {
                let line = format!("{} {}: {}", self.workload(job).name(), job.system, explain(&error));
                self.failures.push(line);
            }
        }
    }

    /// One row for each workload and system. If a system has several shapes, the fastest counts.
    pub(crate) fn rows(&self, prices: &Prices) -> Vec<Row> {
        let row = |&(workload, system): &(usize, System)| {
            let measured = self.stand_in(workload, system);
            let jobs = self.jobs.iter().filter(|(job, _)| (job.workload, job.system) == (measured, system));
            let name = self.workloads[workload].name();
            let shapes: Vec<Row> = jobs.filter_map(|(_, runs)| summary::row(name, system, runs, prices)).collect();
            let wrong_bytes = shapes.iter().map(|row| row.wrong_bytes).sum();
            let fastest = shapes.into_iter().max_by(|a, b| a.mb_per_s.median.total_cmp(&b.mb_per_s.median));
            fastest.map(|row| Row { wrong_bytes, ..row })
        };
        let mut rows: Vec<Row> = self.rows.iter().filter_map(row).collect();
        let notes: Vec<_> = self.workloads.iter().map(PreparedWorkload::note).collect();
        summary::compare(&mut rows, &notes);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::prepared::tests::prepared;

    fn plan(workloads: &[&str], systems: &[System]) -> BenchPlan {
        BenchPlan::new(workloads.iter().map(|name| prepared(name)).collect(), systems)
    }

    #[test]
    fn each_run_begins_with_another_system() {
        let plan = plan(&["seq-1m", "rand-1m"], &[System::Raw, System::Stream, System::Ideal]);
        let names = |run| {
            let name = |job: BenchJob| format!("{} {} {}", plan.workload(job).name(), job.system, job.shape);
            plan.order(run).into_iter().map(name).collect::<Vec<_>>()
        };
        let first =
            ["seq-1m raw 0", "seq-1m stream 0", "seq-1m ideal 0", "seq-1m ideal 1", "rand-1m raw 0", "rand-1m ideal 0"];
        assert_eq!(names(0), first);
        let second =
            ["seq-1m stream 0", "seq-1m ideal 0", "seq-1m ideal 1", "seq-1m raw 0", "rand-1m ideal 0", "rand-1m raw 0"];
        assert_eq!(names(1), second);
    }

    #[test]
    fn the_fastest_shape_counts_and_failures_are_kept() {
        let mut plan = plan(&["seq-1m", "seq-16m"], &[System::Ideal]);
        let [slow, fast] = plan.order(0)[..] else { panic!("ideal has two shapes, and is measured once for both") };
        for (job, elapsed_ms) in [(slow, 20.0), (fast, 10.0)] {
            let outcome = Outcome { elapsed_ms, delivered_bytes: 1_000_000, ..Outcome::default() };
            plan.record(job, Ok((outcome, WireCounts::default())));
        }
        plan.record(slow, Err(anyhow::anyhow!("no route")));
        let rows = plan.rows(&Prices::default());
        assert_eq!(rows.iter().map(|row| row.workload.as_str()).collect::<Vec<_>>(), ["seq-1m", "seq-16m"]);
        assert!(rows.iter().all(|row| (row.mb_per_s.median - 100.0).abs() < 1e-9), "measured once for both");
        assert_eq!(plan.failures, ["seq-1m ideal: no route"]);
    }
}
