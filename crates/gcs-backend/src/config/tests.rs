//! Tests of the settings and of what they show.

use super::*;

/// Resolves `options` and `environment` and shows what came of it, or the error.
fn resolve(options: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<GcsConfig, String> {
    let lookup = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    GcsConfig::resolve(options.iter().copied(), lookup).map_err(|error| error.to_string())
}

#[test]
fn option_beats_environment_beats_default() {
    let environment = [("STORAGE_EMULATOR_HOST", "localhost:4443"), ("GOOGLE_BUCKET", "theirs")];
    let config = resolve(&[("endpoint", "https://storage.example/")], &environment).unwrap();
    assert_eq!(config.endpoint.as_deref(), Some("https://storage.example"));
    assert_eq!(config.bucket.as_deref(), Some("theirs"));
    assert_eq!(resolve(&[], &environment).unwrap().endpoint.as_deref(), Some("http://localhost:4443"));
    assert_eq!(resolve(&[], &[]).unwrap(), GcsConfig::default());
}

#[test]
fn the_strongest_credential_wins_and_an_option_hides_them_all() {
    let environment = [
        ("GOOGLE_APPLICATION_CREDENTIALS", "/adc.json"),
        ("GOOGLE_SERVICE_ACCOUNT", "/account.json"),
        ("GOOGLE_BEARER_TOKEN", ""),
    ];
    let of = |options: &[(&str, &str)]| resolve(options, &environment).unwrap().credentials;
    assert_eq!(of(&[]), Credentials::ServiceAccountFile("/account.json".into()));
    assert_eq!(of(&[("token", "t")]), Credentials::Token("t".into()));
    assert_eq!(of(&[("anonymous", "on")]), Credentials::Anonymous);
    assert_eq!(of(&[("anonymous", "off"), ("token", "t")]), Credentials::Token("t".into()));
    let public = [environment[0], ("GOOGLE_SKIP_SIGNATURE", "true")];
    for (options, credentials) in [
        (&[][..], Credentials::Anonymous),
        (&[("anonymous", "off")], Credentials::ApplicationDefault(Some("/adc.json".into()))),
    ] {
        assert_eq!(resolve(options, &public).unwrap().credentials, credentials, "{options:?}");
    }
}

#[test]
fn errors_name_the_option_or_the_variable() {
    for (options, environment, expected) in [
        (&[("endpiont", "x")][..], &[][..], "unknown option 'endpiont'; did you mean 'endpoint'?"),
        (&[("read_timeout", "0")], &[], "option 'read_timeout' is '0': expected more than no time"),
        (&[("anonymous", "maybe")], &[], "option 'anonymous' is 'maybe': expected on or off"),
        (&[], &[("GOOGLE_SKIP_SIGNATURE", "2")], "option 'GOOGLE_SKIP_SIGNATURE' is '2': expected on or off"),
        (
            &[("token", "a"), ("anonymous", "1")],
            &[],
            "option 'anonymous' is '***': 'token' is given too; give one of them",
        ),
        (&[("bucket", "")], &[], "option 'bucket' is '': expected a value that is not empty"),
        (&[("bucket", "a/b")], &[], "option 'bucket' is 'a/b': expected a bucket's name alone"),
    ] {
        assert_eq!(resolve(options, environment).unwrap_err(), expected);
    }
    for endpoint in ["ftp://host", "http://", "https://host?query", "https://me:hunter2@host", "", "a b"] {
        let error = resolve(&[("endpoint", endpoint)], &[]).expect_err(endpoint);
        assert!(error.starts_with("option 'endpoint' is ") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    for key in ["token", "service_account_key"] {
        let config = resolve(&[(key, "hunter2")], &[]).unwrap();
        assert_eq!(config.value(key).as_deref(), Some("***"));
        let shown =
            format!("{config:?} {:?}", GcsConfig::ROWS.iter().map(|row| config.value(row.key)).collect::<Vec<_>>());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let error = resolve(&[("token", "hunter2\n")], &[]).unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn every_option_is_known_to_both_sides() {
    let config = GcsConfig::default();
    for spec in GcsConfig::specs() {
        assert!(config.value(spec.key).is_some(), "{}", spec.key);
    }
    for (variable, key) in ENVIRONMENT {
        assert!(GcsConfig::ROWS.iter().any(|row| row.key == *key), "{variable}");
    }
    for key in CREDENTIALS {
        assert!(GcsConfig::ROWS.iter().any(|row| row.key == *key), "{key}");
    }
}
#[test]
fn no_time_is_refused_in_a_struct_too() {
    let connect = GcsConfig { connect_timeout: Duration::ZERO, ..GcsConfig::default() };
    let read = GcsConfig { read_timeout: Duration::ZERO, ..GcsConfig::default() };
    for (key, config) in [("connect_timeout", connect), ("read_timeout", read)] {
        let error = config.check().expect_err(key).to_string();
        assert_eq!(error, format!("option '{key}' is '0s': expected more than no time"));
    }
}
