//! The fourteen functions of `object_store::integration` that take a `dyn ObjectStore`, over memory, local files and
//! the simulated cloud by S3, each with a new store.

use std::sync::Arc;

use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};

use super::{Adapter, inner, outer};
use inner::aws::{AmazonS3Builder, S3CopyIfNotExists};
use outer::integration;

/// What keeps a store alive.
enum Kept {
    Nothing,
    Folder(#[expect(dead_code, reason = "its drop removes the folder")] tempfile::TempDir),
    Server(#[expect(dead_code, reason = "its drop stops the server")] SimServerHandle),
}

fn memory() -> (Kept, Adapter) {
    (Kept::Nothing, Adapter::new(Arc::new(inner::memory::InMemory::new())))
}

fn files() -> (Kept, Adapter) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = inner::local::LocalFileSystem::new_with_prefix(folder.path()).expect("the folder exists");
    (Kept::Folder(folder), Adapter::new(Arc::new(store)))
}

fn s3() -> (Kept, Adapter) {
    let config = SimServerConfig { dialect: Dialect::S3, ..SimServerConfig::default() };
    let server = SimServer::start(config).expect("a free port");
    let client = AmazonS3Builder::new()
        .with_endpoint(server.url())
        .with_bucket_name("bucket")
        .with_access_key_id("any")
        .with_secret_access_key("any")
        // S3 has no other way to copy without overwriting.
        .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
        .with_client_options(inner::ClientOptions::new().with_allow_http(true));
    (Kept::Server(server), Adapter::new(Arc::new(client.build().expect("complete"))))
}

/// A test for each function and each store. Local files have no condition on a version: `updates` is false for them.
macro_rules! suite {
    ($($name:ident: |$store:ident, $updates:ident| $run:expr;)*) => {
        mod over_memory { $(suite!(@test $name, memory, true, $store, $updates, $run);)* }
        mod over_files { $(suite!(@test $name, files, false, $store, $updates, $run);)* }
        mod over_s3 { $(suite!(@test $name, s3, true, $store, $updates, $run);)* }
    };
    (@test $name:ident, $backend:ident, $can_update:literal, $store:ident, $updates:ident, $run:expr) => {
        #[tokio::test]
        async fn $name() {
            use super::*;
            let (_kept, adapter) = $backend();
            let ($store, $updates) = (&adapter, $can_update);
            $run;
            let _ = $updates;
        }
    };
}

suite! {
    put_get_delete_list: |store, updates| integration::put_get_delete_list(store).await;
    put_get_attributes: |store, updates| integration::put_get_attributes(store).await;
    get_opts: |store, updates| integration::get_opts(store).await;
    put_opts: |store, updates| integration::put_opts(store, updates).await;
    stream_get: |store, updates| integration::stream_get(store).await;
    list_uses_directories_correctly: |store, updates| integration::list_uses_directories_correctly(store).await;
    list_with_delimiter: |store, updates| integration::list_with_delimiter(store).await;
    get_nonexistent_object: |store, updates| {
        let error = integration::get_nonexistent_object(store, None).await.expect_err("nobody made it");
        assert!(matches!(error, outer::Error::NotFound { .. }), "{error}");
    };
    rename_and_copy: |store, updates| integration::rename_and_copy(store).await;
    copy_if_not_exists: |store, updates| integration::copy_if_not_exists(store).await;
    copy_rename_nonexistent_object: |store, updates| integration::copy_rename_nonexistent_object(store).await;
    multipart_race_condition: |store, updates| integration::multipart_race_condition(store, true).await;
    multipart_out_of_order: |store, updates| integration::multipart_out_of_order(store).await;
    list_with_offset_exclusivity: |store, updates| integration::list_with_offset_exclusivity(store).await;
}
