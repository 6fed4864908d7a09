//! What URLs open, and what bad ones are told.

use headstart::{Error, Headstart, HeadstartBuilder, Reader};
use object_store::{ObjectStore, ObjectStoreExt};

fn url(url: &str) -> HeadstartBuilder {
    Headstart::builder().url(url).environment([])
}

async fn open(text: &str) -> Result<Reader, Error> {
    url(text).build().await?.open().await
}

async fn refused(text: &str) -> String {
    match open(text).await {
        Ok(_) => panic!("{text} was opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn memory_urls_of_a_process_share_their_objects() {
    let store = url("memory:///").build().await.unwrap();
    store.put(&"shared/a#b".into(), "x".into()).await.unwrap();
    store.put(&object_store::path::Path::parse("shared/ü ?").unwrap(), "y".into()).await.unwrap();
    // `Path::from` escapes '#' in the key itself; the URL escapes its '%'.
    assert_eq!(open("memory:///shared/a%2523b").await.unwrap().read_at(0..9).await.unwrap(), "x");
    assert_eq!(open("memory:///shared/ü ?").await.unwrap().read_at(0..9).await.unwrap(), "y");
}

#[tokio::test]
async fn files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a b#c?d%e");
    std::fs::write(&file, "bytes").unwrap();
    let path = folder.path().display();
    for text in [format!("file://{path}/a%20b%23c%3Fd%25e"), format!("file://{path}/a b#c?d%25e")] {
        let reader = open(&text).await.unwrap();
        assert_eq!(reader.read_at(1..4).await.unwrap(), "yte", "{text}");
        assert_eq!(reader.size().await.unwrap(), 5);
    }
    let missing = open(&format!("file://{path}/nothing")).await.unwrap().read_at(0..1).await.unwrap_err();
    assert!(matches!(missing, object_store::Error::NotFound { .. }), "{missing}");
    // What a disk refuses it refuses at once: nothing is tried again.
    let began = tokio::time::Instant::now();
    open(&format!("file://{path}/a b%23c%3Fd%25e/x")).await.unwrap().read_at(0..1).await.unwrap_err();
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    // A folder is a store, and no object.
    let headstart = url(&format!("file://{path}/")).build().await.unwrap();
    let names = headstart.list_with_delimiter(Some(headstart.path())).await.unwrap();
    assert_eq!(names.objects.len(), 1);
    let error = headstart.open().await.unwrap().read_at(0..1).await.unwrap_err();
    assert!(matches!(error, object_store::Error::NotFound { .. } | object_store::Error::Generic { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_object_is_not_found() {
    let error = open("memory:///no/such/object").await.unwrap().read_at(0..1).await.unwrap_err();
    assert!(matches!(&error, object_store::Error::NotFound { path, .. } if path == "no/such/object"), "{error}");
    assert!(matches!(
        url("memory:///").build().await.unwrap().get(&"x".into()).await,
        Err(object_store::Error::NotFound { .. })
    ));
}

#[tokio::test]
async fn bad_urls() {
    for (text, expected) in [
        ("", "expected a URL, such as gs://bucket/key or file:///path"),
        ("/data/file", "expected a URL, such as gs://bucket/key or file:///path"),
        ("ftp://host/file", "unsupported URL scheme 'ftp:'"),
        ("file://data/file", "expected three slashes and a path"),
        ("memory://bucket/key", "expected three slashes and a path"),
        ("memory:///", "'memory:///' names no object: expected a URL with a key"),
        ("memory:///a%00b", "control character"),
        ("memory:///%ff", "not UTF-8"),
    ] {
        let error = refused(text).await;
        assert!(error.contains(expected), "{text}: {error}");
    }
    for text in [
        "gs://me:hunter2@bucket:x/key",
        "ftp://me:hunter2@host/key",
        "://me:hunter2@x",
        "https://host:bad/a?signature=hunter2",
        "https:\\\\me:hunter2@host:bad\\x",
    ] {
        assert!(!refused(text).await.contains("hunter2"));
    }
}

#[cfg(not(any(feature = "gcp", feature = "aws", feature = "azure", feature = "http")))]
#[tokio::test]
async fn a_scheme_that_is_not_built_in_names_its_feature() {
    for (text, feature) in [("gs://b/k", "gcp"), ("s3://b/k", "aws"), ("az://c/k", "azure"), ("https://h/k", "http")] {
        assert!(
            refused(text).await.ends_with(&format!("needs the feature '{feature}' of the crate 'headstart'")),
            "{text}"
        );
    }
}

#[cfg(feature = "gcp")]
#[tokio::test]
async fn gs() {
    let variables = [("STORAGE_EMULATOR_HOST", "localhost:1"), ("GOOGLE_BEARER_TOKEN", "hunter2")];
    let environment = || variables.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let headstart = Headstart::builder()
        .url("gs://bucket/a?b#17")
        .environment(environment())
        .option("gcs.read_timeout", "7s")
        .build()
        .await
        .unwrap();
    assert_eq!(headstart.to_string(), "Headstart(PrefetchStore(FetchStore(GoogleCloudStorage(bucket))))");
    assert_eq!(headstart.path().as_ref(), "a?b");
    let shown = |key: &str| {
        let setting = headstart.effective_config().iter().find(|setting| setting.key == key).unwrap();
        (setting.value.clone(), setting.source)
    };
    use headstart::Source;
    assert_eq!(shown("gcs.bucket"), ("bucket".into(), Source::Url));
    assert_eq!(shown("gcs.endpoint"), ("http://localhost:1".into(), Source::Environment));
    assert_eq!(shown("gcs.token"), ("***".into(), Source::Environment));
    assert_eq!(shown("gcs.read_timeout"), ("7s".into(), Source::Explicit));
    assert_eq!(shown("gcs.anonymous"), ("off".into(), Source::Default));
    assert!(!format!("{headstart:?} {:?}", headstart.effective_config()).contains("hunter2"));

    for (text, expected) in [
        ("gs:///key", "no bucket"),
        ("gs://bucket/a/../b", "a segment '.' or '..'"),
        ("gs://bucket/a/%2e%2E/b", "a segment '.' or '..'"),
        ("gs://bucket/a/.%2e", "a segment '.' or '..'"),
        ("gs://bucket/a/%2e/b", "a segment '.' or '..'"),
        ("gs://bucket/a\nb", "a line break as %0A"),
        ("gs://bucket/a ", "a space at the end as %20"),
        ("gs://bucket//a", "begins with '/'"),
        ("gs://me@bucket/a", "no user, password or port"),
        ("gs://bucket", "'gs://bucket' names no object: expected a URL with a key"),
    ] {
        let built = Headstart::builder().url(text).environment(environment()).build().await;
        let error = match built {
            Ok(headstart) => headstart.open().await.map(drop).unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
    // Of who asks, the strongest level counts alone.
    for (weak, strong, shown) in [("on", "", "***"), ("", "on", ""), ("", "off", "***")] {
        let weak = if weak.is_empty() { ("HEADSTART_GCS_TOKEN", "t") } else { ("HEADSTART_GCS_ANONYMOUS", weak) };
        let environment = [(weak.0.to_owned(), weak.1.to_owned())];
        let builder = Headstart::builder().url("gs://b/k").environment(environment);
        let builder =
            if strong.is_empty() { builder.option("gcs.token", "t") } else { builder.option("gcs.anonymous", strong) };
        let headstart = builder.build().await.unwrap();
        let token = headstart.effective_config().iter().find(|setting| setting.key == "gcs.token").unwrap();
        assert_eq!(token.value, shown);
    }
    let unreadable = url("gs://b/k").option("gcs.service_account", "/nowhere/key.json").build().await.unwrap_err();
    assert_eq!(unreadable.to_string(), "cannot open the key file /nowhere/key.json");
    let broken = url("gs://b/k").option("gcs.read_timeout", "soon").build().await.unwrap_err();
    assert!(broken.to_string().starts_with("option 'gcs.read_timeout' is 'soon'"), "{broken}");
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn s3() {
    let environment = || [("AWS_REGION".to_owned(), "eu-west-1".to_owned())];
    let headstart = Headstart::builder()
        .url("s3://bucket/a#17")
        .environment(environment())
        .option("s3.secret_access_key", "hunter2")
        .option("s3.access_key_id", "me")
        .build()
        .await
        .unwrap();
    assert_eq!(headstart.to_string(), "Headstart(PrefetchStore(FetchStore(AmazonS3(bucket))))");
    assert_eq!(headstart.path().as_ref(), "a#17");
    let shown: Vec<_> = headstart.effective_config().iter().filter(|setting| setting.key.starts_with("s3.")).collect();
    assert_eq!(shown[1].to_string(), "s3.region = eu-west-1 (Environment)");
    // Credentials of two levels do not belong together.
    let weaker = [
        ("HEADSTART_S3_ANONYMOUS", "on"),
        ("AWS_ACCESS_KEY_ID", "other"),
        ("AWS_SECRET_ACCESS_KEY", "other"),
        ("AWS_SESSION_TOKEN", "old"),
    ];
    for (options, expected) in [
        (&[("s3.access_key_id", "me"), ("s3.secret_access_key", "hunter2")][..], ["off", "me", ""]),
        (&[("s3.anonymous", "on")], ["on", "", ""]),
        (&[("s3.anonymous", "off")], ["off", "other", "***"]),
        (&[], ["on", "", ""]),
    ] {
        let environment = weaker.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let builder = Headstart::builder().url("s3://bucket/a").environment(environment);
        let builder = options.iter().fold(builder, |builder, (key, value)| builder.option(*key, *value));
        let headstart = builder.build().await.unwrap();
        let value = |key| &headstart.effective_config().iter().find(|setting| setting.key == key).unwrap().value;
        let shown = ["s3.anonymous", "s3.access_key_id", "s3.session_token"].map(value);
        assert_eq!(shown, expected, "{options:?}");
    }
    assert_eq!(shown[4].to_string(), "s3.secret_access_key = *** (Explicit)");
    assert!(!format!("{headstart:?} {shown:?}").contains("hunter2"));
    assert_eq!(refused("s3:///key").await, "no bucket: expected s3://bucket/key");
}

#[cfg(feature = "azure")]
#[tokio::test]
async fn az() {
    let key = "aHVudGVyMg=="; // hunter2
    let variables =
        [("AZURE_STORAGE_ACCOUNT_NAME", "account"), ("AZURE_STORAGE_ACCOUNT_KEY", key), ("AZURE_REGION", "x")];
    let environment = || variables.map(|(key, value)| (key.to_owned(), value.to_owned()));
    for text in ["az://container/a%20b?c#1", "abfss://container@account.dfs.core.windows.net/a%20b?c#1"] {
        let headstart = Headstart::builder().url(text).environment(environment()).build().await.unwrap();
        assert_eq!(headstart.path().as_ref(), "a b?c#1");
        let shown = format!("{headstart} {headstart:?}");
        assert!(shown.contains("container: container"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains(key), "{shown}");
    }
    for (text, expected) in [
        ("az://container/a/../b", "a segment '.' or '..'"),
        ("abfss://container:hunter2@account.dfs.core.windows.net/a", "no password or port"),
    ] {
        let error = refused(text).await;
        assert!(error.contains(expected) && !error.contains("hunter2"), "{text}: {error}");
    }
}

#[cfg(feature = "http")]
#[tokio::test]
async fn https() {
    let headstart = url("https://host/a%20b").build().await.unwrap();
    // A download goes on only where this says the same.
    assert!(headstart.to_string().contains("https://host"), "{headstart}");
    assert_eq!(headstart.path().as_ref(), "a b");
    for text in ["https://host/a?signature=hunter2", "https://me:hunter2@host/a?x=1", "http://me:hunter2@host/a"] {
        let error = refused(text).await;
        assert!(error.contains("cannot be sent") && !error.contains("hunter2"), "{error}");
    }
}

#[cfg(feature = "http")]
#[tokio::test]
async fn stacks_of_one_host_share_the_estimate_of_its_link() {
    let link = async |text: &str| url(text).build().await.unwrap().link();
    let shares = |one: &_, other: &_| std::sync::Arc::ptr_eq(one, other);
    let first = link("https://host-1.example/a").await;
    assert!(shares(&first, &link("https://host-1.example/b/c").await));
    assert!(!shares(&first, &link("https://host-2.example/a").await));
    assert!(!shares(&first, &link("https://host-1.example:8443/a").await));
    assert!(!shares(&link("memory:///").await, &link("memory:///").await));
}

#[tokio::test]
async fn a_url_is_split_into_its_store_and_its_object() {
    let split = |text: &str| headstart::split_url(text).map(|(store, path)| (store, path.to_string()));
    for (text, store, path) in [
        ("gs://bucket/a/b%20c", "gs://bucket/", "a/b c"),
        ("s3://bucket/what?#1", "s3://bucket/", "what?#1"),
        ("s3://bucket", "s3://bucket/", ""),
        ("az://container/dir/", "az://container/", "dir"),
        ("https://host:81/a/b", "https://host:81/", "a/b"),
        ("file:///tmp/a%25b", "file:///", "tmp/a%b"),
        ("memory:///key", "memory:///", "key"),
    ] {
        assert_eq!(split(text).unwrap(), (store.to_owned(), path.to_owned()), "{text}");
    }
    for text in ["no url", "ftp://host/a", "gs://b/../a", "s3://b/k?X-Amz-Signature=1", "https://h/k?q", "file://h/k"] {
        let said = split(text).unwrap_err().to_string();
        assert!(said.contains("url") || said.contains("URL"), "{text}: {said}");
    }
}
