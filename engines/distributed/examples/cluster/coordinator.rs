//! The session that plans, and the list of workers that it knows.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_distributed::{DistributedExt, SessionStateBuilderExt, WorkerResolver};
use headstart_datafusion::{HeadstartRegistry, with_headstart};
use headstart_distributed::{CacheAffinity, with_cache_affinity};
use url::Url;

use crate::bucket::create_tables;

/// The workers that live: URLs by id.
#[derive(Clone, Default)]
pub(crate) struct Members(Arc<Mutex<BTreeMap<String, Url>>>);

impl Members {
    pub(crate) fn add(&self, id: &str, url: &Url) {
        self.0.lock().unwrap().insert(id.to_owned(), url.clone());
    }

    /// Removes the workers that accept no connection, and returns their ids.
    pub(crate) fn remove_dead(&self) -> Vec<String> {
        let lives = |url: &Url| {
            let address = url.socket_addrs(|| None).unwrap();
            TcpStream::connect(&address[..]).is_ok()
        };
        let mut members = self.0.lock().unwrap();
        let dead: Vec<_> = members.iter().filter(|(_, url)| !lives(url)).map(|(id, _)| id.clone()).collect();
        members.retain(|id, _| !dead.contains(id));
        dead
    }

    fn id_of(&self, url: &Url) -> String {
        let members = self.0.lock().unwrap();
        members.iter().find(|(_, other)| *other == url).map_or_else(|| url.to_string(), |(id, _)| id.clone())
    }
}

impl WorkerResolver for Members {
    fn get_urls(&self) -> Result<Vec<Url>> {
        Ok(self.0.lock().unwrap().values().cloned().collect())
    }
}

/// A session that runs its queries on the members.
pub(crate) async fn session(
    registry: &Arc<HeadstartRegistry>,
    members: &Members,
) -> Result<(SessionContext, Arc<CacheAffinity>)> {
    let names = members.clone();
    let affinity = Arc::new(CacheAffinity::new().with_worker_ids(move |url| names.id_of(url)));
    let builder =
        SessionStateBuilder::new().with_default_features().with_config(SessionConfig::new().with_target_partitions(2));
    let builder = with_headstart(builder, registry)?
        .with_distributed_worker_resolver(members.clone())
        .with_distributed_planner()
        // So that a query that sends rows is still running when the first ones have arrived.
        .with_distributed_worker_connection_buffer_budget_bytes(64 << 10)?;
    let context = SessionContext::new_with_state(with_cache_affinity(builder, &affinity)?.build());
    create_tables(&context).await?;
    Ok((context, affinity))
}
