//! Tests of [`Permits`]: the order of service, what is reclaimed, and random schedules.

use std::{collections::VecDeque, sync::atomic::AtomicUsize};

use super::*;
use crate::internal::{ask, sync::explore};
use crate::policy::fill::FULL_WEIGHT;
use futures::{FutureExt, future::BoxFuture};
use proptest::prelude::*;

fn wait(permits: &Arc<Permits>, kind: PermitKind) -> BoxFuture<'static, Permit> {
    let (permits, activity) = (Arc::clone(permits), permits.activity());
    async move { permits.acquire(kind, FULL_WEIGHT, &activity).await }.boxed()
}

/// A waiter that was polled once and has no permit yet.
fn queued(permits: &Arc<Permits>, kind: PermitKind) -> BoxFuture<'static, Permit> {
    let mut waiting = wait(permits, kind);
    assert!((&mut waiting).now_or_never().is_none());
    waiting
}

/// A permit of a call that is not polled from now on, and the activity of that call.
async fn held(permits: &Arc<Permits>) -> (Permit, Arc<CallActivity>) {
    let activity = permits.activity();
    (permits.acquire(PermitKind::Demand, FULL_WEIGHT, &activity).await, activity)
}

fn speculate(permits: &Arc<Permits>, promotion: &Promotion) -> BoxFuture<'static, Permit> {
    let (permits, activity) = (Arc::clone(permits), permits.activity());
    let mut extensions = ask(0..1, Intent::Speculative).extensions;
    extensions.insert(promotion.clone());
    async move { permits.acquire_for(&extensions, PermitKind::Demand, FULL_WEIGHT, &activity).await }.boxed()
}

fn wait_as_part(permits: &Arc<Permits>, promotion: &Promotion) -> BoxFuture<'static, Permit> {
    let (permits, activity, promotion) = (Arc::clone(permits), permits.activity(), promotion.clone());
    async move { permits.acquire_promotable(PermitKind::Part, FULL_WEIGHT, &promotion, &activity).await }.boxed()
}

#[tokio::test(start_paused = true)]
async fn demand_goes_before_speculation_that_waited_longer() {
    let permits = Permits::new(1, 1);
    let held = wait(&permits, PermitKind::Demand).await;
    let mut speculative = queued(&permits, PermitKind::Speculation);
    let demand = queued(&permits, PermitKind::Demand);
    drop(held);
    assert!(futures::poll!(&mut speculative).is_pending());
    drop(demand.now_or_never().expect("demand is next"));
    drop(speculative.now_or_never().expect("then speculation"));
    assert_eq!((permits.in_flight(), permits.peak()), (0, 1));
}

/// Small requests hardly fill the link, but they take permits.
#[tokio::test(start_paused = true)]
async fn speculation_of_little_weight_leaves_a_permit_to_demand() {
    let permits = Permits::new(32, 32);
    let activity = permits.activity();
    let light = || permits.acquire(PermitKind::Speculation, 1, &activity).boxed().now_or_never();
    let held: Vec<_> = (0..31).map(|_| light().expect("it is free")).collect();
    assert!(light().is_none());
    drop(wait(&permits, PermitKind::Demand).now_or_never().expect("one is left"));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_polls_loses_its_permit_to_a_waiter() {
    let permits = Permits::new(1, 1);
    let (unread, activity) = held(&permits).await;
    activity.mark_idle();
    let start = Instant::now();
    let next = wait(&permits, PermitKind::Demand).await;
    assert!(start.elapsed() >= IDLE_TIMEOUT, "not before its reader had time to poll");
    assert!(unread.is_reclaimed());
    drop(unread);
    assert_eq!(permits.in_flight(), 1, "a permit that was reclaimed is not given back twice");
    drop(next);
    assert_eq!(permits.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_polled_keeps_its_permit() {
    let permits = Permits::new(1, 1);
    let (held, activity) = held(&permits).await;
    activity.mark_idle();
    let mut waiting = queued(&permits, PermitKind::Demand);
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
    let permits = Permits::new(1, 1);
    let held = wait(&permits, PermitKind::Demand).await;
    let unpolled: Vec<_> = (0..5).map(|_| queued(&permits, PermitKind::Demand)).collect();
    let last = queued(&permits, PermitKind::Demand);
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
    let permits = Permits::new(2, 2);
    let tasks = stopped.block_on(async {
        let hold = |permits: Arc<Permits>| async move {
            let _held = wait(&permits, PermitKind::Demand).await;
            std::future::pending::<()>().await;
        };
        let tasks = [0, 1].map(|_| tokio::spawn(hold(Arc::clone(&permits))));
        tokio::time::sleep(IDLE_TIMEOUT * 20).await;
        assert_eq!(permits.in_flight(), 2);
        tasks
    });
    here.block_on(async {
        let start = Instant::now();
        let pair = [wait(&permits, PermitKind::Demand).await, wait(&permits, PermitKind::Demand).await];
        assert!(start.elapsed() < LATER_WAITERS_SCAN_EVERY, "{:?}", start.elapsed());
        drop(pair);
    });
    drop((tasks, stopped));
    assert_eq!(permits.in_flight(), 0);
}

/// Guards against a queue that is searched for each waiter: with one, this took 4.1 s.
#[tokio::test(start_paused = true)]
async fn forty_thousand_waiters_are_served_in_order() {
    let permits = Permits::new(1, 1);
    let held = wait(&permits, PermitKind::Demand).await;
    let mut waiting: VecDeque<_> = (0..40_000).map(|_| queued(&permits, PermitKind::Demand)).collect();
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
        let permits = Permits::new(2, 2);
        let (using, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let task = |n: usize| {
            let (permits, using, most) = (Arc::clone(&permits), Arc::clone(&using), Arc::clone(&most));
            let promotion = Promotion::default();
            let promote = promotion.clone();
            shuttle::future::spawn(async move {
                let mut waiting = match n % 3 {
                    0 => wait(&permits, PermitKind::Speculation),
                    1 => speculate(&permits, &promotion),
                    _ => wait(&permits, PermitKind::Demand),
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
        assert_eq!((state.in_flight(), state.in_flight_of(PermitKind::Speculation)), (0, 0));
        assert!(state.held.is_empty() && !state.queue.has_unclaimed());
    });
}

#[tokio::test(start_paused = true)]
async fn a_promoted_waiter_goes_before_speculation_and_after_demand() {
    let permits = Permits::new(1, 1);
    let held = wait(&permits, PermitKind::Demand).await;
    let promotion = Promotion::default();
    let mut waiting =
        [wait(&permits, PermitKind::Speculation), speculate(&permits, &promotion), wait(&permits, PermitKind::Demand)];
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
    let permits = Permits::new(64, 64);
    let promotion = Promotion::default();
    let speculation: Vec<Permit> =
        (0..62).filter_map(|_| wait(&permits, PermitKind::Speculation).now_or_never()).collect();
    assert_eq!(speculation.len(), 62);
    let mut next = speculate(&permits, &promotion);
    assert!(futures::poll!(&mut next).is_pending(), "the last two are reserved for demand");
    let demand = wait(&permits, PermitKind::Demand).now_or_never().expect("demand may use the rest");
    promotion.promote();
    assert!(next.now_or_never().is_some(), "it is demand now");
    drop((speculation, demand));
    assert_eq!(permits.in_flight(), 0);
    assert_eq!(permits.state.lock().in_flight_of(PermitKind::Speculation), 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_raised_serves_at_once() {
    let permits = Permits::new(2, 2);
    let held = [wait(&permits, PermitKind::Demand).await, wait(&permits, PermitKind::Demand).await];
    permits.set_limit(1);
    permits.serve();
    let [first, second] = held;
    let mut next = wait(&permits, PermitKind::Demand);
    drop(first);
    assert!(futures::poll!(&mut next).is_pending(), "one is in flight, and no more may be");
    permits.set_limit(2);
    permits.serve();
    let next = next.now_or_never().expect("two may be in flight again");
    drop((second, next));
    assert_eq!(permits.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn small_requests_fill_less_of_the_link() {
    let permits = Permits::new(32, 2);
    let activity = permits.activity();
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(permits.acquire(PermitKind::Part, FULL_WEIGHT / 4, &activity).await);
    }
    let next = queued(&permits, PermitKind::Part);
    drop(held.pop());
    drop(next.now_or_never().expect("there is room again"));
    drop(held);
    let full = [wait(&permits, PermitKind::Part).await, wait(&permits, PermitKind::Part).await];
    drop((queued(&permits, PermitKind::Part), full));
    assert_eq!(permits.in_flight(), 0);
}

proptest! {
    /// Acquire, release, promote and give up in any order, compared with two plain queues: the same waiters are served.
    #[test]
    fn serves_like_three_queues(
        limit in 1_usize..9,
        fill_limit in 1_usize..9,
        ops in prop::collection::vec((0_u8..9, 0_usize..8), 1..100),
    ) {
        use PermitKind::{Demand, LargeDemand, Part, Speculation};
        let permits = Permits::new(limit, fill_limit);
        let fill_limit = fill_limit.min(limit);
        let most_speculative = (fill_limit - 1).max(1);
        // What the limits allow beside the permits that are held.
        let is_free = |held: &[(PermitKind, Permit)], kind| {
            let filling = held.iter().filter(|(kind, _)| *kind != Demand).count();
            let speculative = held.iter().filter(|(kind, _)| *kind == Speculation).count();
            held.len() < limit && match kind {
                Demand | LargeDemand => true,
                Part => filling < fill_limit,
                Speculation => filling < fill_limit && speculative < most_speculative,
            }
        };
        let mut held: Vec<(PermitKind, Permit)> = Vec::new();
        // In the order in which each joined its queue.
        let mut waiting: Vec<(PermitKind, Promotion, BoxFuture<'static, Permit>)> = Vec::new();
        for (op, n) in ops {
            match op {
                0..=3 => {
                    let kind = [Demand, LargeDemand, Part, Speculation][usize::from(op)];
                    let promotion = Promotion::default();
                    let mut future = match kind {
                        Demand | LargeDemand => wait(&permits, kind),
                        Part => wait_as_part(&permits, &promotion),
                        Speculation => speculate(&permits, &promotion),
                    };
                    let free = is_free(&held, kind);
                    match (&mut future).now_or_never() {
                        Some(permit) => { prop_assert!(free); held.push((kind, permit)); }
                        None => { prop_assert!(!free); waiting.push((kind, promotion, future)); }
                    }
                }
                4 if !held.is_empty() => drop(held.remove(n % held.len())),
                5 if !waiting.is_empty() => drop(waiting.remove(n % waiting.len())),
                6 if !held.is_empty() => prop_assert!(!held[n % held.len()].1.is_reclaimed()),
                7 | 8 if !waiting.is_empty() => {
                    let n = n % waiting.len();
                    if matches!(waiting[n].0, Part | Speculation) {
                        let (_, promotion, mut future) = waiting.remove(n);
                        promotion.promote();
                        match (&mut future).now_or_never() {
                            Some(permit) => {
                                prop_assert!(is_free(&held, LargeDemand));
                                held.push((LargeDemand, permit));
                            }
                            None => waiting.push((LargeDemand, promotion, future)),
                        }
                    }
                }
                _ => {}
            }
            // The model: the oldest demand is served, then the oldest part, then the oldest speculation.
            loop {
                let first = |wanted: &[PermitKind]| waiting.iter().position(|(kind, ..)| wanted.contains(kind));
                let next = first(&[Demand, LargeDemand]).or_else(|| first(&[Part])).or_else(|| first(&[Speculation]));
                let Some(next) = next.filter(|next| is_free(&held, waiting[*next].0)) else { break };
                let (kind, _, future) = waiting.remove(next);
                held.push((kind, future.now_or_never().expect("the model serves it, so must we")));
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
        let state = permits.state.lock();
        prop_assert!([Demand, LargeDemand, Part, Speculation].iter().all(|kind| state.in_flight_of(*kind) == 0));
    }
}
