//! Tests of driving a trace.

use super::*;
use headstart_trace::{Header, Keys};

fn trace(after: &[Option<u64>]) -> Trace {
    let calls = after.iter().zip(0..).map(|(after, n)| Call { after: *after, ..Call::new(n, "a", Kind::Get) });
    Trace { header: Header::new(Keys::Plain, ""), calls: calls.collect() }
}

#[test]
fn chains_follow_what_calls_come_after() {
    let chains = chains(&trace(&[None, Some(0), None, Some(1), Some(1), Some(2)]));
    let shown: Vec<_> = chains.iter().map(|chain| (chain.after, &chain.calls[..])).collect();
    assert_eq!(shown, [(None, &[0, 1, 3][..]), (None, &[2, 5]), (Some(1), &[4])]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_as_long_as_told_on_the_whole() {
    let (began, mut pause) = (Instant::now(), Pause::default());
    for _ in 0..1000 {
        pause.take(Duration::from_micros(3_277), None).await;
    }
    let took = began.elapsed();
    assert!(took.abs_diff(Duration::from_micros(3_277_000)) < Duration::from_millis(5), "{took:?}");
}

struct Memory;

#[async_trait::async_trait]
impl ReadSource for Memory {
    async fn open(&self, _: &str, _: u64) -> Result<Box<dyn Handle>> {
        bail!("it is called as a store")
    }

    fn store(&self) -> Option<Arc<dyn ObjectStore>> {
        Some(Arc::new(headstart_sim::SimStore::builder().build()))
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_after_a_lost_call_begins_when_it_did() {
    let mut trace = trace(&[None, Some(7), Some(0)]);
    for call in &mut trace.calls {
        call.key = "synthetic/10/a".into();
        (call.size, call.bytes, call.at_us) = (Some(10), 10, 40_000);
    }
    let meter = Arc::new(Meter::start(crate::check::Checker::Simulated, None));
    let began = Instant::now();
    run(Arc::new(trace), &[Some(Arc::new(Memory))], None, Arc::clone(&meter)).await.unwrap();
    assert_eq!((meter.delivered_bytes(), began.elapsed().as_millis()), (30, 40));
}
