//! The registry: which URLs it opens, with which options.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::object_store::{ObjectStore, memory::InMemory};
use datafusion::prelude::SessionConfig;
use headstart_datafusion::HeadstartRegistry;

use super::common::{rows, session};

fn registry() -> HeadstartRegistry {
    let azure = [("AZURE_STORAGE_ACCOUNT_NAME", "account"), ("AZURE_SKIP_SIGNATURE", "true")];
    let azure = azure.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let registry = HeadstartRegistry::new().with_environment(azure);
    let anonymous = registry.with_option("s3.anonymous", "on").unwrap();
    anonymous.with_option("gcs.anonymous", "on").unwrap()
}

/// The value of an option of the store of `url`.
fn setting(registry: &HeadstartRegistry, url: &str, key: &str) -> String {
    let store = registry.headstart(&url.parse().unwrap()).unwrap();
    let mut settings = store.effective_config().iter();
    settings.find(|setting| setting.key == key).unwrap().value.clone()
}

#[tokio::test]
async fn urls_of_all_schemes_are_opened_once() {
    let registry = registry();
    for url in ["gs://bucket/a", "s3://bucket/a", "az://container/a", "https://host/a", "file:///a", "memory:///a"] {
        let store = |url: &str| registry.get_store(&url.parse().unwrap()).unwrap();
        assert!(Arc::ptr_eq(&store(url), &store(url)), "{url}");
    }
    let other = registry.get_store(&"s3://bucket2/a".parse().unwrap()).unwrap();
    assert!(!Arc::ptr_eq(&other, &registry.get_store(&"s3://bucket/a".parse().unwrap()).unwrap()));
    let error = registry.get_store(&"hdfs://host/a".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("hdfs://host") && error.contains("scheme"), "{error}");
}

#[tokio::test]
async fn options_of_a_store_override_those_of_all() -> Result<()> {
    let registry = registry().with_option("mode", "fetch")?.with_store_option("s3://hot", "mode", "cached")?;
    assert_eq!(setting(&registry, "s3://hot/a", "mode"), "cached");
    assert_eq!(setting(&registry, "s3://cold/a", "mode"), "fetch");
    let unusable = self::registry().with_option("mode", "fast")?;
    let error = unusable.get_store(&"s3://bucket".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("s3://bucket") && error.contains("expected none, fetch, adaptive or cached"), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_namespace_of_a_session_sets_options() -> Result<()> {
    let registry = Arc::new(registry());
    let config = SessionConfig::new().with_information_schema(true);
    let context = session(&registry, config)?;
    assert_eq!(setting(&registry, "s3://before/a", "cache"), "off");
    rows(&context, "SET headstart.mode = 'cached'").await?;
    let shown = rows(&context, "SHOW headstart.mode").await?;
    assert!(shown.contains("cached"), "{shown}");
    assert_eq!(setting(&registry, "s3://after/a", "cache"), "on");
    assert_eq!(setting(&registry, "s3://before/a", "cache"), "off", "an open store stays as it is");
    let error = rows(&context, "SET headstart.modus = 'cached'").await.unwrap_err().to_string();
    assert!(error.contains("no option 'modus'"), "{error}");
    Ok(())
}

#[tokio::test]
async fn stores_registered_otherwise_are_used_as_they_are() -> Result<()> {
    let registry = registry();
    let url = "s3://bucket/a".parse().unwrap();
    let opened = registry.get_store(&url)?;
    let own: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let before = registry.register_store(&url, Arc::clone(&own)).expect("one was open");
    assert!(Arc::ptr_eq(&before, &opened));
    assert!(Arc::ptr_eq(&registry.get_store(&url)?, &own));
    assert!(Arc::ptr_eq(&registry.deregister_store(&url)?, &own));
    assert!(registry.deregister_store(&url).is_err());
    assert!(!Arc::ptr_eq(&registry.get_store(&url)?, &own), "the next use opens it");
    Ok(())
}
