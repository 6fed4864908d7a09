//! Scans: the values of tables in buckets and folders, cold and again, pruned, overwritten and written.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};
use headstart::{Headstart, Mode, ObjectChanged};
use headstart_datafusion::{HeadstartRegistry, register, session_context};
use headstart_sim::LinkProfile;

use super::common::{
    BUCKET, Bucket, FILE_ROWS, GROUP_ROWS, bucket_with_table, check_table, create_table, parquet, rows, session, table,
    values,
};

#[path = "../../examples/sql.rs"]
#[expect(dead_code, reason = "its `main` is for the command line")]
mod sql;

const LOCATION: &str = "s3://bucket/table/";

#[tokio::test]
async fn every_mode_returns_the_rows() -> Result<()> {
    for mode in ["none", "fetch", "adaptive", "cached"] {
        let bucket = bucket_with_table();
        let context = session_context(bucket.registry(mode))?;
        create_table(&context, LOCATION).await?;
        check_table(&context, 0).await?;
        bucket.take_gets();
        check_table(&context, 0).await?;
        let again = bucket.take_gets();
        assert_eq!(again == 0, mode == "cached", "mode {mode}: {again} GETs for the second query");
    }
    Ok(())
}

#[tokio::test]
async fn the_example_runs() -> Result<()> {
    let bucket = bucket_with_table();
    let sql = format!("SELECT text FROM t WHERE n = {}", FILE_ROWS + 7);
    let found = sql::query(bucket.registry("adaptive"), LOCATION, &sql).await?;
    assert!(found.contains(&values(FILE_ROWS + 7, 0).2), "{found}");
    Ok(())
}

#[tokio::test]
async fn pruned_row_groups_are_not_fetched() -> Result<()> {
    let bucket = bucket_with_table();
    let plain = SessionContext::new();
    bucket.register_client(&plain);
    let mut costs = Vec::new();
    for context in [plain, session_context(bucket.registry("adaptive"))?] {
        create_table(&context, LOCATION).await?;
        bucket.server.log().clear();
        let (from, to) = (GROUP_ROWS * 3, GROUP_ROWS * 4 - 1);
        let found = rows(&context, &format!("SELECT sum(square) AS s FROM t WHERE n BETWEEN {from} AND {to}")).await?;
        let expected: i64 = (from..=to).map(|row| values(row, 0).1).sum();
        assert!(found.contains(&format!("| {expected} ")), "{expected}, not\n{found}");
        costs.push(bucket.server.log().counts());
    }
    let [plain, ours] = &costs[..] else { unreachable!("two sessions") };
    assert!(ours.gets <= plain.gets && ours.bytes_sent <= plain.bytes_sent, "{ours:?} against {plain:?}");
    Ok(())
}

#[tokio::test]
async fn the_next_file_is_requested_at_the_end_of_the_one_before() -> Result<()> {
    const FILES: i64 = 8;
    let bucket = Bucket::start(LinkProfile::loopback());
    for file in 0..FILES {
        // One row group: nothing is ahead within a file.
        let rows = file * GROUP_ROWS..(file + 1) * GROUP_ROWS;
        bucket.put(&format!("table/{file}.parquet"), parquet(rows, 0), 0);
    }
    let registry = Arc::new(bucket.registry("adaptive"));
    let config = SessionConfig::new().with_target_partitions(1);
    let context = session(&registry, config)?;
    create_table(&context, LOCATION).await?;
    let store = registry.headstart(&BUCKET.parse().unwrap())?;
    for filter in ["", "WHERE n >= 0"] {
        let before = store.stats().prefetch;
        let found = rows(&context, &format!("SELECT sum(n) AS s, max(text) AS t FROM t {filter}")).await?;
        let last = FILES * GROUP_ROWS - 1;
        assert!(
            found.contains(&format!("| {} ", last * (last + 1) / 2)) && found.contains(&values(last, 0).2),
            "{found}"
        );
        let after = store.stats().prefetch;
        let demanded = after.demanded_bytes - before.demanded_bytes;
        let ahead = after.ahead_bytes - before.ahead_bytes;
        assert!(ahead >= demanded * 3 / 4, "'{filter}': {ahead} of {demanded} bytes were requested before");
    }
    Ok(())
}

#[tokio::test]
async fn an_overwritten_file_is_an_error() -> Result<()> {
    let bucket = bucket_with_table();
    let context = session_context(bucket.registry("adaptive"))?;
    create_table(&context, LOCATION).await?;
    check_table(&context, 0).await?;
    // The session has listed the files of the table, and keeps the list and their metadata.
    table(1).for_each(|(key, bytes)| bucket.put(&key, bytes, 60));
    let error = check_table(&context, 1).await.expect_err("the metadata of other files is kept");
    let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    assert!(causes.any(|cause| cause.is::<ObjectChanged>()), "{error:?}");

    let later = session_context(bucket.registry("adaptive"))?;
    create_table(&later, LOCATION).await?;
    check_table(&later, 1).await
}

#[tokio::test]
async fn local_files_are_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("table"))?;
    for (key, bytes) in table(0) {
        std::fs::write(folder.path().join(key), bytes)?;
    }
    let context = session_context(HeadstartRegistry::new().with_environment([]))?;
    create_table(&context, &format!("{}/table/", folder.path().display())).await?;
    check_table(&context, 0).await
}

#[tokio::test]
async fn one_store_is_registered_in_a_session() -> Result<()> {
    let bucket = bucket_with_table();
    for registry in [None, Some(HeadstartRegistry::new().with_environment([]))] {
        let context = match registry {
            Some(registry) => session_context(registry)?,
            None => SessionContext::new(),
        };
        let store = Headstart::builder().store(Arc::new(bucket.client())).mode(Mode::Cached);
        let store = store.environment([]).build().await.unwrap();
        register(&context, BUCKET, store.clone())?;
        create_table(&context, LOCATION).await?;
        check_table(&context, 0).await?;
        let plan = rows(&context, "EXPLAIN ANALYZE SELECT sum(n) FROM t").await?;
        assert!(plan.contains("headstart_hit_bytes="), "{plan}");
        // Another store in the same session, by the same rule.
        register(&context, "s3://other", store)?;
        let rules =
            context.state().physical_optimizers().iter().filter(|rule| rule.name() == "headstart_scans").count();
        assert_eq!(rules, 1);
        check_table(&context, 0).await?;
    }
    Ok(())
}

#[tokio::test]
async fn tables_are_written_and_other_formats_read() -> Result<()> {
    let bucket = bucket_with_table();
    let context = session_context(bucket.registry("cached"))?;
    create_table(&context, LOCATION).await?;
    for format in ["PARQUET", "CSV"] {
        let copy = format!("COPY (SELECT n, text FROM t) TO 's3://bucket/{format}/' STORED AS {format}");
        rows(&context, &copy).await?;
        let options = if format == "CSV" { "OPTIONS ('format.has_header' 'true')" } else { "" };
        let create = format!(
            "CREATE EXTERNAL TABLE copy_{format} STORED AS {format} LOCATION 's3://bucket/{format}/' {options}"
        );
        rows(&context, &create).await?;
        let missing = format!(
            "SELECT count(*) AS missing FROM t WHERE NOT EXISTS (SELECT 1 FROM copy_{format} c WHERE c.n = t.n \
             AND c.text = t.text)"
        );
        let found = rows(&context, &missing).await?;
        assert!(found.contains("| 0 "), "{format}:\n{found}");
    }
    Ok(())
}
