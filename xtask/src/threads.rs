//! Independent jobs on several threads.

use std::sync::{Mutex, PoisonError};
use std::{num::NonZero, thread};

use anyhow::{Result, anyhow};

/// The cores of this machine, at least one.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Does all `jobs`, as many at a time as there are `threads`, and returns their results in the order of the jobs.
///
/// Each thread has a name of its own. After an error no further job is begun.
///
/// # Errors
/// That of a job; or that a job has panicked, once the other threads have ended.
pub(crate) fn on_threads<J: Send, R: Send>(
    threads: usize,
    jobs: Vec<J>,
    work: impl Fn(J) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let queue = Mutex::new(jobs.into_iter().enumerate());
    let queue = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || queue().next();
    let worker = || {
        let mut done = Vec::new();
        while let Some((nth, job)) = next() {
            match work(job) {
                Ok(result) => done.push((nth, result)),
                Err(error) => {
                    queue().by_ref().for_each(drop);
                    return Err(error);
                }
            }
        }
        Ok(done)
    };
    let mut results = thread::scope(|scope| -> Result<Vec<(usize, R)>> {
        let start = |n| thread::Builder::new().name(format!("job-{n}")).spawn_scoped(scope, worker);
        let started = (0..threads).map(start).collect::<std::io::Result<Vec<_>>>()?;
        let ended = started.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a job panicked"))));
        Ok(ended.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })?;
    results.sort_by_key(|(nth, _)| *nth);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let name = |n: u32| Ok((n, thread::current().name().map(str::to_owned)));
        let results = on_threads(3, (0..100).collect(), name).expect("no job fails");
        assert!(results.iter().map(|(n, _)| *n).eq(0..100));
        assert!(results.iter().all(|(_, name)| name.as_ref().is_some_and(|name| name.starts_with("job-"))));
        assert_eq!(on_threads(2, Vec::<u32>::new(), Ok).expect("nothing fails"), [0; 0]);
    }

    #[test]
    fn after_an_error_no_job_is_begun() {
        let begun = Mutex::new(Vec::new());
        let error = on_threads(1, (0..10).collect(), |n| {
            begun.lock().expect("no job panics").push(n);
            if n == 3 { bail!("job {n} fails") } else { Ok(()) }
        });
        assert_eq!(error.expect_err("job 3").to_string(), "job 3 fails");
        assert_eq!(begun.into_inner().expect("no job panics"), [0, 1, 2, 3]);
    }
}
