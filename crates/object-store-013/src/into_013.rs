//! Values of `object_store` 0.14 as those of 0.13: paths, metadata, options, answers and errors.

use object_store as from;
use object_store_013 as to;

#[expect(clippy::duplicate_mod, reason = "the versions have the same types; the file has one direction of both")]
#[path = "convert.rs"]
mod convert;

#[expect(clippy::duplicate_mod, reason = "the traits of both versions are equal")]
#[path = "adapter.rs"]
mod adapter;

pub use adapter::Adapter;
pub use convert::*;

use crate::into_013 as answer;
use crate::into_014 as request;

/// The name of the adapter in messages.
const NAME: &str = "Store013";

/// The answer to a write. Its extensions are lost.
#[must_use]
pub fn put_result(result: from::PutResult) -> to::PutResult {
    let from::PutResult { e_tag, version, extensions: _ } = result;
    to::PutResult { e_tag, version }
}

/// The answer to a read of the object at `location`. Its extensions are lost.
#[inline]
pub(crate) fn get_result(location: to::path::Path, result: from::GetResult) -> to::GetResult {
    let from::GetResult { payload, meta, range, attributes: named, extensions: _ } = result;
    to::GetResult { payload: body(payload), meta: meta_at(location, meta), range, attributes: attributes(&named) }
}

/// The answer to a list. Its extensions are lost.
///
/// # Errors
/// As [`path()`].
pub fn list_result(result: from::ListResult) -> to::Result<to::ListResult> {
    let from::ListResult { common_prefixes, objects, extensions: _ } = result;
    Ok(to::ListResult {
        common_prefixes: common_prefixes.iter().map(path).collect::<to::Result<_>>()?,
        objects: objects.into_iter().map(object_meta).collect::<to::Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_keep_all_but_extensions() {
        let e_tag = Some("\"1\"".to_owned());
        let meta = from::ObjectMeta {
            location: "a/b".into(),
            last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
            size: 7,
            e_tag: e_tag.clone(),
            version: Some("3".into()),
        };
        let converted = object_meta(meta.clone()).expect("a valid path");
        assert_eq!(format!("{converted:?}"), format!("{meta:?}"));
        assert_eq!(converted.e_tag, e_tag);
        assert_eq!(path(&meta.location).expect("a valid path"), converted.location);
    }
}
