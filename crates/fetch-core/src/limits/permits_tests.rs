//! Tests of [`Permits`]: the order of service, what is reclaimed, and random schedules.

use std::{collections::VecDeque, sync::atomic::AtomicUsize};

use super::*;
use crate::internal::{ask, sync::explore};
use futures::{FutureExt, future::BoxFuture};
use proptest::prelude::*;

fn wait(permits: &Arc<Permits>, intent: Intent) -> BoxFuture<'static, Permit> {
    let (permits, activity) = (Arc::clone(permits), permits.activity());
    async move { permits.acquire(intent, &activity).await }.boxed()
}

/// A waiter that was polled once and has no permit yet.
fn queued(permits: &Arc<Permits>, intent: Intent) -> BoxFuture<'static, Permit> {
    let mut waiting = wait(permits, intent);
    assert!((&mut waiting).now_or_never().is_none());
    waiting
}

/// A permit of a call that is not polled from now on, and the activity of that call.
async fn held(permits: &Arc<Permits>) -> (Permit, Arc<CallActivity>) {
    let activity = permits.activity();
    (permits.acquire(Intent::Demand, &activity).await, activity)
}

fn speculate(permits: &Arc<Permits>, promotion: &Promotion) -> BoxFuture<'static, Permit> {
    let (permits, activity) = (Arc::clone(permits), permits.activity());
    let mut extensions = ask(0..1, Intent::Speculative).extensions;
    extensions.insert(promotion.clone());
    async move { permits.acquire_for(&extensions, &activity).await }.boxed()
}

#[tokio::test(start_paused = true)]
async fn demand_goes_before_speculation_that_waited_longer() {
    let permits = Permits::new(1);
    let held = wait(&permits, Intent::Demand).await;
    let mut speculative = queued(&permits, Intent::Speculative);
    let demand = queued(&permits, Intent::Demand);
    drop(held);
    assert!(futures::poll!(&mut speculative).is_pending());
    drop(demand.now_or_never().expect("demand is next"));
    drop(speculative.now_or_never().expect("then speculation"));
    assert_eq!((permits.in_flight(), permits.peak()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_polls_loses_its_permit_to_a_waiter() {
    let permits = Permits::new(1);
    let (unread, activity) = held(&permits).await;
    activity.mark_idle();
    let start = Instant::now();
    let next = wait(&permits, Intent::Demand).await;
    assert!(start.elapsed() >= IDLE_TIMEOUT, "not before its reader had time to poll");
    assert!(unread.is_reclaimed());
    drop(unread);
    assert_eq!(permits.in_flight(), 1, "a permit that was reclaimed is not given back twice");
    drop(next);
    assert_eq!(permits.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_polled_keeps_its_permit() {
    let permits = Permits::new(1);
    let (held, activity) = held(&permits).await;
    activity.mark_idle();
    let mut waiting = queued(&permits, Intent::Demand);
    tokio::time::sleep(IDLE_TIMEOUT / 2).await;
    activity.mark_active();
    for _ in 0..3 {
        tokio::time::sleep(IDLE_TIMEOUT).await;
        assert!(futures::poll!(&mut waiting).is_pending());
    }
    assert!(!held.is_reclaimed());
    drop(held);
    assert!(waiting.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_not_polled_blocks_no_other() {
    let permits = Permits::new(1);
    let held = wait(&permits, Intent::Demand).await;
    let unpolled: Vec<_> = (0..5).map(|_| queued(&permits, Intent::Demand)).collect();
    let last = queued(&permits, Intent::Demand);
    drop(held);
    let start = Instant::now();
    drop(last.await);
    assert!(start.elapsed() < 3 * LATER_WAITERS_SCAN_EVERY, "{:?}", start.elapsed());
    // A waiter that is polled late has kept its place.
    for waiter in unpolled {
        drop(waiter.await);
    }
    assert_eq!((permits.in_flight(), permits.peak()), (0, 1));
}

#[test]
fn permits_of_tasks_on_a_runtime_that_has_stopped_are_reclaimed() {
    let new = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let (stopped, here) = (new().expect("a runtime"), new().expect("a runtime"));
    let permits = Permits::new(2);
    let tasks = stopped.block_on(async {
        let hold = |permits: Arc<Permits>| async move {
            let _held = wait(&permits, Intent::Demand).await;
            std::future::pending::<()>().await;
        };
        let tasks = [0, 1].map(|_| tokio::spawn(hold(Arc::clone(&permits))));
        tokio::time::sleep(IDLE_TIMEOUT * 20).await;
        assert_eq!(permits.in_flight(), 2);
        tasks
    });
    here.block_on(async {
        let start = Instant::now();
        let pair = [wait(&permits, Intent::Demand).await, wait(&permits, Intent::Demand).await];
        assert!(start.elapsed() < LATER_WAITERS_SCAN_EVERY, "{:?}", start.elapsed());
        drop(pair);
    });
    drop((tasks, stopped));
    assert_eq!(permits.in_flight(), 0);
}

/// Guards against a queue that is searched for each waiter: with one, this took 4.1 s.
#[tokio::test(start_paused = true)]
async fn forty_thousand_waiters_are_served_in_order() {
    let permits = Permits::new(1);
    let held = wait(&permits, Intent::Demand).await;
    let mut waiting: VecDeque<_> = (0..40_000).map(|_| queued(&permits, Intent::Demand)).collect();
    drop(held);
    while let Some(first) = waiting.pop_front() {
        drop(first.now_or_never().expect("it is the first one"));
        // Every second waiter gives up.
        drop(waiting.pop_back());
    }
    assert_eq!((permits.in_flight(), permits.peak()), (0, 1));
}

/// Random schedules: no permit is lost or granted twice, and every waiter is served.
#[test]
fn no_schedule_loses_a_permit_or_a_waiter() {
    explore(3000, || {
        let permits = Permits::new(2);
        let (using, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let task = |n: usize| {
            let (permits, using, most) = (Arc::clone(&permits), Arc::clone(&using), Arc::clone(&most));
            let promotion = Promotion::default();
            let promote = promotion.clone();
            shuttle::future::spawn(async move {
                let mut waiting = match n % 3 {
                    0 => wait(&permits, Intent::Speculative),
                    1 => speculate(&permits, &promotion),
                    _ => wait(&permits, Intent::Demand),
                };
                if n == 4 {
                    // Gives up, perhaps at the moment it is served.
                    if (&mut waiting).now_or_never().is_none() {
                        shuttle::future::yield_now().await;
                        drop((&mut waiting).now_or_never());
                    }
                    return;
                }
                let served = shuttle::future::spawn(async move {
                    let permit = waiting.await;
                    most.fetch_max(using.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    shuttle::future::yield_now().await;
                    using.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                });
                promote.promote();
                served.await.expect("it is served");
            })
        };
        let tasks: Vec<_> = (0..6).map(task).collect();
        let limits = Arc::clone(&permits);
        let limit = shuttle::future::spawn(async move {
            limits.set_limit(1);
            limits.serve();
            limits.set_limit(3);
            limits.serve();
        });
        shuttle::future::block_on(async {
            for task in tasks {
                task.await.expect("no task panics");
            }
            limit.await.expect("no task panics");
        });
        assert!(most.load(Ordering::SeqCst) <= 3);
        let state = permits.state.lock();
        assert_eq!((state.in_flight, state.speculative), (0, 0));
        assert!(state.held.is_empty() && !state.queue.has_unclaimed());
    });
}

#[tokio::test(start_paused = true)]
async fn a_promoted_waiter_goes_before_speculation_and_after_demand() {
    let permits = Permits::new(1);
    let held = wait(&permits, Intent::Demand).await;
    let promotion = Promotion::default();
    let mut waiting =
        [wait(&permits, Intent::Speculative), speculate(&permits, &promotion), wait(&permits, Intent::Demand)];
    for waiting in &mut waiting {
        assert!(futures::poll!(waiting).is_pending());
    }
    promotion.promote();
    let [mut speculation, mut promoted, demand] = waiting;
    assert!(futures::poll!(&mut promoted).is_pending());
    drop(held);
    drop(demand.now_or_never().expect("demand was first"));
    assert!(futures::poll!(&mut speculation).is_pending());
    drop(promoted.now_or_never().expect("then what was promoted"));
    drop(speculation.now_or_never().expect("then speculation"));
    assert_eq!(permits.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn speculation_leaves_permits_to_demand_and_to_what_is_promoted() {
    let permits = Permits::new(64);
    let promotion = Promotion::default();
    let speculation: Vec<Permit> = (0..62).filter_map(|_| wait(&permits, Intent::Speculative).now_or_never()).collect();
    assert_eq!(speculation.len(), 62);
    let mut next = speculate(&permits, &promotion);
    assert!(futures::poll!(&mut next).is_pending(), "the last two are reserved for demand");
    let demand = wait(&permits, Intent::Demand).now_or_never().expect("demand may use the rest");
    promotion.promote();
    assert!(next.now_or_never().is_some(), "it is demand now");
    drop((speculation, demand));
    assert_eq!(permits.in_flight(), 0);
    assert_eq!(permits.state.lock().speculative, 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_raised_serves_at_once() {
    let permits = Permits::new(2);
    let held = [wait(&permits, Intent::Demand).await, wait(&permits, Intent::Demand).await];
    permits.set_limit(1);
    permits.serve();
    let [first, second] = held;
    let mut next = wait(&permits, Intent::Demand);
    drop(first);
    assert!(futures::poll!(&mut next).is_pending(), "one is in flight, and no more may be");
    permits.set_limit(2);
    permits.serve();
    let next = next.now_or_never().expect("two may be in flight again");
    drop((second, next));
    assert_eq!(permits.in_flight(), 0);
}

proptest! {
    /// Acquire, release, promote and give up in any order, compared with two plain queues: the same waiters are served.
    #[test]
    fn serves_like_two_queues(
        limit in 1_usize..9,
        ops in prop::collection::vec((0_u8..7, 0_usize..8), 1..100),
    ) {
        let permits = Permits::new(limit);
        let most_speculative = (limit - limit.div_ceil(8)).max(1);
        let mut held: Vec<(Intent, Permit)> = Vec::new();
        // In the order in which each joined its queue.
        let mut waiting: Vec<(Intent, Promotion, BoxFuture<'static, Permit>)> = Vec::new();
        for (op, n) in ops {
            let speculative = held.iter().filter(|(intent, _)| *intent == Intent::Speculative).count();
            match op {
                0 | 1 => {
                    let intent = if op == 0 { Intent::Demand } else { Intent::Speculative };
                    let free = held.len() < limit && (op == 0 || speculative < most_speculative);
                    let promotion = Promotion::default();
                    let mut future = match intent {
                        Intent::Demand => wait(&permits, intent),
                        Intent::Speculative => speculate(&permits, &promotion),
                    };
                    match (&mut future).now_or_never() {
                        Some(permit) => { prop_assert!(free); held.push((intent, permit)); }
                        None => { prop_assert!(!free); waiting.push((intent, promotion, future)); }
                    }
                }
                2 if !held.is_empty() => drop(held.remove(n % held.len())),
                3 if !waiting.is_empty() => drop(waiting.remove(n % waiting.len())),
                4 if !held.is_empty() => prop_assert!(!held[n % held.len()].1.is_reclaimed()),
                5 | 6 if !waiting.is_empty() => {
                    let n = n % waiting.len();
                    if waiting[n].0 == Intent::Speculative {
                        let (_, promotion, mut future) = waiting.remove(n);
                        promotion.promote();
                        match (&mut future).now_or_never() {
                            Some(permit) => { prop_assert!(held.len() < limit); held.push((Intent::Demand, permit)); }
                            None => waiting.push((Intent::Demand, promotion, future)),
                        }
                    }
                }
                _ => {}
            }
            // The model: while a permit is free, the oldest demand is served, then the oldest speculation.
            while held.len() < limit {
                let speculative = held.iter().filter(|(intent, _)| *intent == Intent::Speculative).count();
                let first = |wanted| waiting.iter().position(|(intent, ..)| *intent == wanted);
                let next = first(Intent::Demand)
                    .or_else(|| first(Intent::Speculative).filter(|_| speculative < most_speculative));
                let Some(next) = next else { break };
                let (intent, _, future) = waiting.remove(next);
                held.push((intent, future.now_or_never().expect("the model serves it, so must we")));
            }
            for (.., future) in &mut waiting {
                prop_assert!(future.now_or_never().is_none(), "served out of turn");
            }
            prop_assert_eq!(permits.in_flight(), held.len());
            prop_assert!(permits.peak() <= limit);
        }
        drop(waiting);
        held.clear();
        prop_assert_eq!(permits.in_flight(), 0);
        prop_assert_eq!(permits.state.lock().speculative, 0);
    }
}
