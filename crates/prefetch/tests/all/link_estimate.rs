//! A stack made by hand, without `PrefetchConfig::link`, uses the link estimate of the `FetchStore` below it.

use std::time::Duration;

use crate::common::{Bench, MIB, sequential, times};
use headstart_prefetch::PrefetchConfig;

const SIZE: u64 = 1024 * MIB;

/// The time to read 1 GiB by 16 MiB reads.
async fn read_time(bench: &Bench) -> Duration {
    bench.read_all(&bench.reader(), sequential(SIZE, 16 * MIB)).await
}

#[tokio::test(start_paused = true)]
async fn a_stack_without_a_link_is_as_fast_as_one_with_it() {
    let with_link = read_time(&Bench::with(SIZE, PrefetchConfig::default())).await;
    let without_link = read_time(&Bench::without_link(SIZE)).await;
    let share = times(with_link, without_link);
    println!("1 GiB by 16 MiB: {with_link:?} with a link, {without_link:?} without, {share:.3} of its rate");
    assert!(share >= 0.97, "{share:.3} of the rate with a link");
}
