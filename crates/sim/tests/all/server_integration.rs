//! `object_store`'s integration tests with its real clients, against a versioned bucket of each dialect.

use headstart_sim::server::{Dialect, SimServerConfig};
use object_store::integration;

use crate::common;

/// A test for each function of the suite and each dialect, with a new bucket each.
macro_rules! suite {
    ($($name:ident: |$store:ident| $run:expr;)*) => {
        mod gcs { $(suite!(@test $name, Gcs, $store, $run);)* }
        mod s3 { $(suite!(@test $name, S3, $store, $run);)* }
    };
    (@test $name:ident, $dialect:ident, $store:ident, $run:expr) => {
        #[tokio::test]
        async fn $name() {
            use super::*;
            let config = SimServerConfig { dialect: Dialect::$dialect, ..SimServerConfig::default() };
            let (_server, store) = common::serve(config);
            let $store = &*store;
            $run;
        }
    };
}

suite! {
    put_get_delete_list: |store| integration::put_get_delete_list(store).await;
    put_get_attributes: |store| integration::put_get_attributes(store).await;
    get_opts: |store| integration::get_opts(store).await;
    put_opts: |store| integration::put_opts(store, true).await;
    stream_get: |store| integration::stream_get(store).await;
    list_uses_directories_correctly: |store| integration::list_uses_directories_correctly(store).await;
    list_with_delimiter: |store| integration::list_with_delimiter(store).await;
    get_nonexistent_object: |store| {
        let error = integration::get_nonexistent_object(store, None).await.unwrap_err();
        assert!(matches!(error, object_store::Error::NotFound { .. }), "{error}");
    };
    rename_and_copy: |store| integration::rename_and_copy(store).await;
    copy_if_not_exists: |store| integration::copy_if_not_exists(store).await;
    copy_rename_nonexistent_object: |store| integration::copy_rename_nonexistent_object(store).await;
    multipart_race_condition: |store| integration::multipart_race_condition(store, true).await;
    multipart_out_of_order: |store| integration::multipart_out_of_order(store).await;
    list_with_offset_exclusivity: |store| integration::list_with_offset_exclusivity(store).await;
}
