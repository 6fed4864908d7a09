//! Tests of the catalog.

use super::*;
use chrono::TimeDelta;
use proptest::prelude::*;

const DAY: TimeDelta = TimeDelta::days(1);

fn put(catalog: &Catalog, key: &str, bytes: &'static str, condition: &WriteCondition) -> Result<u64, CatalogError> {
    let bytes = Bytes::from_static(bytes.as_bytes());
    catalog.put(key, bytes, Attributes::default(), condition, EPOCH + DAY).map(|made| made.number)
}

fn read(catalog: &Catalog, key: &str, generation: Option<u64>) -> Option<Bytes> {
    catalog.get(key, generation).ok().map(|found| found.bytes(0..found.size))
}

#[test]
fn an_object_exists_by_its_name_until_it_is_written_to() {
    let catalog = Catalog::new(Versioning::Off);
    for (key, size) in [
        ("synthetic/4096/a", Some(4096)),
        ("synthetic/64KiB/a/b", Some(65_536)),
        ("synthetic/1GB/a", Some(1_000_000_000)),
        ("synthetic/lots/a", None),
        ("synthetic/4096", None),
        ("other/4096/a", None),
    ] {
        assert_eq!(catalog.get(key, None).ok().map(|found| found.size), size, "{key}");
    }
    let key = "synthetic/100/a";
    let first = catalog.get(key, Some(FIRST_GENERATION)).unwrap();
    assert_eq!(Content::new(key, first.number).check(40, &first.bytes(40..90)), Ok(()));
    assert!(catalog.list(&ListQuery::default()).objects.is_empty());
    assert!(matches!(put(&catalog, key, "mine", &WriteCondition::Absent), Err(CatalogError::AlreadyExists(_))));
    assert!(catalog.delete(key));
    assert_eq!(read(&catalog, key, None), None, "deleted for good");
    assert!(!catalog.delete(key));
    put(&catalog, key, "mine", &WriteCondition::Absent).unwrap();
    assert_eq!(read(&catalog, key, None).unwrap(), "mine");
}

#[test]
fn older_generations_stay_only_where_they_are_kept() {
    for (versioning, kept) in [(Versioning::Kept, true), (Versioning::Off, false)] {
        let catalog = Catalog::new(versioning);
        let one = catalog.add_synthetic("a", 10);
        let two = catalog.overwrite_synthetic("a", None, EPOCH + DAY).unwrap();
        assert_eq!((one.size, two.size), (10, 10));
        assert!(one.number < two.number && one.e_tag != two.e_tag && one.last_modified < two.last_modified);
        assert_ne!(one.bytes(0..10), two.bytes(0..10));
        assert_eq!(read(&catalog, "a", Some(two.number)), Some(two.bytes(0..10)));
        assert_eq!(read(&catalog, "a", Some(one.number)).is_some(), kept);
        assert!(catalog.delete("a"));
        assert_eq!(read(&catalog, "a", Some(two.number)).is_some(), kept);
        assert_eq!(read(&catalog, "a", None), None);
        assert_eq!(catalog.overwrite_synthetic("a", None, EPOCH).unwrap_err(), CatalogError::NotFound("a".into()));
    }
}

#[test]
fn conditions_hold_or_nothing_changes() {
    let catalog = Catalog::new(Versioning::Kept);
    let one = put(&catalog, "a", "1", &WriteCondition::Absent).unwrap();
    assert_eq!(put(&catalog, "a", "2", &WriteCondition::Absent), Err(CatalogError::AlreadyExists("a".into())));
    let e_tag = catalog.get("a", None).unwrap().e_tag.clone();
    let two = put(&catalog, "a", "2", &WriteCondition::ETag(e_tag.clone())).unwrap();
    for stale in [WriteCondition::ETag(e_tag), WriteCondition::Generation(one)] {
        assert_eq!(put(&catalog, "a", "3", &stale), Err(CatalogError::Precondition("a".into())));
        assert_eq!(put(&catalog, "none", "3", &stale), Err(CatalogError::Precondition("none".into())));
    }
    put(&catalog, "a", "3", &WriteCondition::Generation(two)).unwrap();
    assert_eq!(read(&catalog, "a", None).unwrap(), "3");

    catalog.copy("a", "b", &WriteCondition::Absent, EPOCH).unwrap();
    assert_eq!(read(&catalog, "b", None).unwrap(), "3");
    assert!(matches!(catalog.copy("a", "b", &WriteCondition::Absent, EPOCH), Err(CatalogError::AlreadyExists(_))));
    assert!(matches!(catalog.copy("none", "b", &WriteCondition::Always, EPOCH), Err(CatalogError::NotFound(_))));
}

#[test]
fn dates_are_whole_seconds() {
    let catalog = Catalog::new(Versioning::Off);
    let made = catalog.overwrite_synthetic("a", Some(1), EPOCH + TimeDelta::milliseconds(1999)).unwrap();
    assert_eq!(made.last_modified, EPOCH + TimeDelta::seconds(1));
}

#[test]
fn an_upload_is_made_of_the_parts_named_in_their_order() {
    let catalog = Catalog::new(Versioning::Off);
    let upload = catalog.begin_upload("a", Attributes::default());
    let part = |number, text: &'static str| catalog.put_part(&upload, number, Bytes::from_static(text.as_bytes()));
    let two = part(2, "two").unwrap();
    let replaced = part(1, "zero").unwrap();
    let one = part(1, "one").unwrap();
    assert_eq!(read(&catalog, "a", None), None);
    let complete = |parts: &[(usize, String)]| catalog.complete_upload(&upload, parts, &WriteCondition::Always, EPOCH);
    for wrong in [(1, replaced), (3, two.clone())] {
        let part = wrong.0;
        assert_eq!(complete(&[wrong]).unwrap_err(), CatalogError::NoSuchPart { upload: upload.clone(), part });
    }
    complete(&[(1, one), (2, two)]).unwrap();
    assert_eq!(read(&catalog, "a", None).unwrap(), "onetwo");
    assert_eq!(part(1, "late"), Err(CatalogError::NoSuchUpload(upload.clone())));
    assert_eq!(catalog.abort_upload(&upload), Err(CatalogError::NoSuchUpload(upload.clone())));
}

/// Every page of a listing, one after another.
fn list_all(catalog: &Catalog, query: ListQuery) -> (Vec<String>, Vec<String>) {
    let (mut keys, mut prefixes, mut query) = (Vec::new(), Vec::new(), query);
    loop {
        let page = catalog.list(&query);
        assert!(page.objects.len() + page.prefixes.len() <= query.max_keys);
        keys.extend(page.objects.into_iter().map(|(key, _)| key));
        prefixes.extend(page.prefixes);
        match page.next {
            Some(next) => query.start_after = Some(next),
            None => return (keys, prefixes),
        }
    }
}

proptest! {
    #[test]
    fn pages_of_any_size_list_the_same(
        keys in prop::collection::btree_set("[ab/]{1,4}", 0..30), gone in "[ab/]{1,4}",
        prefix in "[ab/]{0,2}", after in prop::option::of("[ab/]{0,3}"), max_keys in 1_usize..5,
    ) {
        let catalog = Catalog::new(Versioning::Kept);
        for key in &keys {
            put(&catalog, key, "x", &WriteCondition::Always).unwrap();
        }
        catalog.delete(&gone);
        let wanted = keys.iter().filter(|key| {
            **key != gone && key.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after)
        });
        let query = ListQuery { prefix: prefix.clone(), start_after: after.clone(), delimiter: None, max_keys };
        prop_assert_eq!(list_all(&catalog, query.clone()).0, wanted.clone().cloned().collect::<Vec<_>>());

        let (folded, plain): (Vec<_>, Vec<_>) = wanted.partition(|key| key[prefix.len()..].contains('/'));
        let mut prefixes: Vec<String> = folded
            .into_iter()
            .map(|key| key[..=prefix.len() + key[prefix.len()..].find('/').unwrap()].to_owned())
            .collect();
        prefixes.dedup();
        let found = list_all(&catalog, ListQuery { delimiter: Some("/".into()), ..query });
        prop_assert_eq!(found, (plain.into_iter().cloned().collect::<Vec<_>>(), prefixes));
    }
}
