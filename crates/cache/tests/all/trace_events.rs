//! What the cache tells a `tracing` subscriber.

use std::fmt;
use std::sync::Arc;

use crate::common::{Mood, cache, content};
use headstart_cache::Freshness;
use object_store::ObjectStoreExt;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps the message of each event of the cache.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<String>>>);

impl Visit for Messages {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Messages {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "headstart::cache"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn fills_and_changes_of_version_are_events() {
    let messages = Messages::default();
    let _default = tracing::subscriber::set_default(messages.clone());
    let (double, store) = cache(Freshness::EveryRead);
    let told = || std::mem::take(&mut *messages.0.lock());
    let read = async || store.get_range(&"a".into(), 0..10).await;

    double.write("a", content(1, 100)).await;
    read().await.expect("there");
    assert_eq!(told(), ["fill started", "fill finished"]);
    read().await.expect("there");
    assert_eq!(told(), ["version stale", "version validated"]);
    double.write("a", content(2, 100)).await;
    read().await.expect("there");
    let changed = ["version stale", "version changed", "version validated", "fill started", "fill finished"];
    assert_eq!(told(), changed);
    double.feel(Mood::Fail);
    store.get_range(&"b".into(), 0..10).await.expect_err("the store fails");
    assert_eq!(told(), ["fill started", "fill failed"]);
}
