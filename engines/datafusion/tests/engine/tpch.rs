//! The 22 queries of TPC-H over a simulated bucket: results as those over the client alone, and the requests of a
//! second pass. `cargo xtask engines --measure` measures times.

mod data;
mod queries;
mod runs;

use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use headstart_sim::LinkProfile;

use super::common::{self, Bucket};
use queries::QUERIES;

/// The code that reads is not optimised in tests.
const SCALE: f64 = 0.01;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_those_of_the_client() -> Result<()> {
    let bucket = Bucket::start(LinkProfile::loopback());
    let folder = data::folder(SCALE);
    runs::files(&folder).for_each(|(path, bytes)| bucket.put(&format!("tpch/{path}"), bytes, 0));

    let plain = SessionContext::new_with_config(runs::session_config());
    bucket.register_client(&plain);
    runs::create_tables(&plain, "s3://bucket/tpch").await?;
    let [adaptive, cached] =
        [runs::session(bucket.registry("adaptive")).await?, runs::session(bucket.registry("cached")).await?];

    let mut gets = [0; 4];
    for number in 1..=QUERIES {
        bucket.take_gets();
        let (expected, _) = runs::run(&plain, number, SCALE).await?;
        // The lines of the frame are five: three rules, the names and nothing else, and one a row.
        assert!(expected.len() > 4, "query {number} finds nothing:\n{}", expected.join("\n"));
        gets[0] += bucket.take_gets();
        for (nth, context) in [(1, &adaptive), (2, &cached), (3, &cached)] {
            let (found, _) = runs::run(context, number, SCALE).await?;
            assert_eq!(found, expected, "query {number}");
            gets[nth] += bucket.take_gets();
        }
    }
    println!("GETs of 22 queries: client {}, headstart {}, cached {}, again {}", gets[0], gets[1], gets[2], gets[3]);
    assert!(gets[1] <= gets[0] + gets[0] / 10, "row groups ahead are requested as those of a call");
    assert_eq!(gets[3], 0, "the cache holds all tables");
    assert!(gets[2] < gets[1], "queries share what is cached");
    Ok(())
}
