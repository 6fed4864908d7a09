//! What `EXPLAIN ANALYZE` shows of the layers, beside the log of the server.

use datafusion::error::Result;
use headstart_datafusion::session_context;

use super::common::{bucket_with_table, check_table, create_table, rows};

/// The sum of a metric over the scans of a plan.
fn metric(plan: &str, name: &str) -> f64 {
    let name = format!("{name}=");
    let shown = plan.split(&name).skip(1);
    let values = shown.map(|rest| {
        // `12`, or `1.5 K`, `130.0 KB`: a number and perhaps a unit of thousands.
        let mut words = rest.split([',', ']']).next().unwrap_or_default().split_whitespace();
        let number: f64 = words.next().unwrap_or_default().parse().unwrap();
        let unit = words.next().and_then(|unit| unit.chars().next());
        let binary = rest.split([',', ']']).next().unwrap_or_default().ends_with('B');
        let base = if binary { 1024.0 } else { 1000.0 };
        match unit {
            Some('K') => number * base,
            Some('M') => number * base * base,
            _ => number,
        }
    });
    values.sum()
}

#[tokio::test]
async fn counts_are_those_of_the_server() -> Result<()> {
    let bucket = bucket_with_table();
    // A hedge may be given up before the server has seen it.
    let context = session_context(bucket.registry("adaptive").with_option("fetch.hedge", "off")?)?;
    create_table(&context, "s3://bucket/table/").await?;
    // A file with a filter has two readers.
    for filter in ["", "WHERE n >= 0"] {
        bucket.server.log().clear();
        let plan = rows(&context, &format!("EXPLAIN ANALYZE SELECT sum(n), max(text) FROM t {filter}")).await?;
        let counts = bucket.server.log().counts();
        assert_eq!(metric(&plan, "headstart_gets"), counts.gets as f64, "{plan}");
        let (scanned, fetched) = (metric(&plan, "bytes_scanned"), metric(&plan, "headstart_fetched_bytes"));
        let wasted = metric(&plan, "headstart_wasted_bytes");
        assert!(scanned > 0.0 && fetched - wasted >= scanned * 0.99, "{plan}");
        assert!(metric(&plan, "headstart_ahead_bytes") > 0.0, "{plan}");
        assert!(plan.contains("headstart_wait_time="), "{plan}");
    }
    Ok(())
}

#[tokio::test]
async fn hits_are_counted() -> Result<()> {
    let bucket = bucket_with_table();
    let context = session_context(bucket.registry("cached"))?;
    create_table(&context, "s3://bucket/table/").await?;
    check_table(&context, 0).await?;
    bucket.take_gets();
    let plan = rows(&context, "EXPLAIN ANALYZE SELECT sum(n), sum(square), max(text) FROM t").await?;
    assert_eq!(bucket.take_gets(), 0, "{plan}");
    assert_eq!(metric(&plan, "headstart_gets"), 0.0, "{plan}");
    assert!(metric(&plan, "headstart_hit_bytes") >= metric(&plan, "bytes_scanned") * 0.99, "{plan}");
    Ok(())
}
