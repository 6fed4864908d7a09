//! Values of one version of `object_store` as those of the other, in the direction that the parent module names.

use futures::StreamExt;

use super::{from, to};

/// The name that errors of the conversion itself carry as their store.
const STORE: &str = "headstart-object-store-013";

/// A path, unchanged.
///
/// # Errors
/// `InvalidPath`, if the other version refuses the path. The present versions have the same rules.
pub fn path(path: &from::path::Path) -> to::Result<to::path::Path> {
    Ok(to::path::Path::parse(path.as_ref())?)
}

/// What the store knows of an object.
///
/// # Errors
/// As [`path()`].
pub fn object_meta(meta: from::ObjectMeta) -> to::Result<to::ObjectMeta> {
    let location = path(&meta.location)?;
    Ok(meta_at(location, meta))
}

/// `meta` of the object at `location`.
#[inline]
pub(crate) fn meta_at(location: to::path::Path, meta: from::ObjectMeta) -> to::ObjectMeta {
    let from::ObjectMeta { location: _, last_modified, size, e_tag, version } = meta;
    to::ObjectMeta { location, last_modified, size, e_tag, version }
}

/// Options of a read.
#[must_use]
#[inline]
pub fn get_options(options: from::GetOptions) -> to::GetOptions {
    let from::GetOptions {
        if_match,
        if_none_match,
        if_modified_since,
        if_unmodified_since,
        range,
        version,
        head,
        extensions,
    } = options;
    to::GetOptions {
        if_match,
        if_none_match,
        if_modified_since,
        if_unmodified_since,
        range: range.map(|range| match range {
            from::GetRange::Bounded(range) => to::GetRange::Bounded(range),
            from::GetRange::Offset(start) => to::GetRange::Offset(start),
            from::GetRange::Suffix(bytes) => to::GetRange::Suffix(bytes),
        }),
        version,
        head,
        extensions,
    }
}

/// The body of an answer: a file stays a file, chunks pass as they arrive.
#[must_use]
#[inline]
pub fn body(body: from::GetResultPayload) -> to::GetResultPayload {
    match body {
        from::GetResultPayload::File(file, path) => to::GetResultPayload::File(file, path),
        from::GetResultPayload::Stream(chunks) => {
            to::GetResultPayload::Stream(chunks.map(|chunk| chunk.map_err(error)).boxed())
        }
    }
}

/// Content type, user metadata and the like.
#[must_use]
#[inline]
pub fn attributes(attributes: &from::Attributes) -> to::Attributes {
    if attributes.is_empty() {
        return to::Attributes::new();
    }
    attributes.iter().filter_map(|(name, value)| Some((attribute(name)?, value.as_ref().to_owned()))).collect()
}

/// The name of an attribute; `None` for one that only the other version knows, of which there is none at present.
fn attribute(name: &from::Attribute) -> Option<to::Attribute> {
    Some(match name {
        from::Attribute::ContentDisposition => to::Attribute::ContentDisposition,
        from::Attribute::ContentEncoding => to::Attribute::ContentEncoding,
        from::Attribute::ContentLanguage => to::Attribute::ContentLanguage,
        from::Attribute::ContentType => to::Attribute::ContentType,
        from::Attribute::CacheControl => to::Attribute::CacheControl,
        from::Attribute::StorageClass => to::Attribute::StorageClass,
        from::Attribute::Metadata(name) => to::Attribute::Metadata(name.clone()),
        _ => return None,
    })
}

/// Bytes to write: the same `Bytes`, not a copy of them.
#[must_use]
pub fn payload(payload: &from::PutPayload) -> to::PutPayload {
    payload.iter().cloned().collect()
}

/// Options of a write.
#[must_use]
pub fn put_options(options: from::PutOptions) -> to::PutOptions {
    let from::PutOptions { mode, tags: given, attributes: named, extensions } = options;
    let mode = match mode {
        from::PutMode::Overwrite => to::PutMode::Overwrite,
        from::PutMode::Create => to::PutMode::Create,
        from::PutMode::Update(from::UpdateVersion { e_tag, version }) => {
            to::PutMode::Update(to::UpdateVersion { e_tag, version })
        }
    };
    to::PutOptions { mode, tags: tags(&given), attributes: attributes(&named), extensions }
}

/// Options of a write in parts.
#[must_use]
pub fn put_multipart_options(options: from::PutMultipartOptions) -> to::PutMultipartOptions {
    let from::PutMultipartOptions { tags: given, attributes: named, extensions } = options;
    to::PutMultipartOptions { tags: tags(&given), attributes: attributes(&named), extensions }
}

/// Tags of an object. A `TagSet` shows only its encoding, so the pairs are decoded and set again.
fn tags(tags: &from::TagSet) -> to::TagSet {
    let mut set = to::TagSet::default();
    for (key, value) in url::form_urlencoded::parse(tags.encoded().as_bytes()) {
        set.push(&key, &value);
    }
    set
}

/// Options of a copy.
#[must_use]
pub fn copy_options(options: from::CopyOptions) -> to::CopyOptions {
    let from::CopyOptions { mode, extensions } = options;
    let mode = match mode {
        from::CopyMode::Overwrite => to::CopyMode::Overwrite,
        from::CopyMode::Create => to::CopyMode::Create,
    };
    to::CopyOptions { mode, extensions }
}

/// Options of a rename.
#[must_use]
pub fn rename_options(options: from::RenameOptions) -> to::RenameOptions {
    let from::RenameOptions { target_mode, extensions } = options;
    let target_mode = match target_mode {
        from::RenameTargetMode::Overwrite => to::RenameTargetMode::Overwrite,
        from::RenameTargetMode::Create => to::RenameTargetMode::Create,
    };
    to::RenameOptions { target_mode, extensions }
}

/// An error in its variant, with its source.
#[must_use]
pub fn error(error: from::Error) -> to::Error {
    use from::Error as Given;
    match error {
        Given::Generic { store, source } => to::Error::Generic { store, source },
        Given::NotFound { path, source } => to::Error::NotFound { path, source },
        Given::InvalidPath { source } => path_error(source),
        Given::JoinError { source } => to::Error::JoinError { source },
        Given::NotSupported { source } => to::Error::NotSupported { source },
        Given::AlreadyExists { path, source } => to::Error::AlreadyExists { path, source },
        Given::Precondition { path, source } => to::Error::Precondition { path, source },
        Given::NotModified { path, source } => to::Error::NotModified { path, source },
        Given::NotImplemented { operation, implementer } => to::Error::NotImplemented { operation, implementer },
        Given::PermissionDenied { path, source } => to::Error::PermissionDenied { path, source },
        Given::Unauthenticated { path, source } => to::Error::Unauthenticated { path, source },
        Given::UnknownConfigurationKey { store, key } => to::Error::UnknownConfigurationKey { store, key },
        unknown => to::Error::Generic { store: STORE, source: Box::new(unknown) },
    }
}

fn path_error(error: from::path::Error) -> to::Error {
    use from::path::Error as Given;
    use to::path::Error as Taken;
    let source = match error {
        Given::EmptySegment { path } => Taken::EmptySegment { path },
        // Its source cannot be constructed. Parsing the same path again fails in the same way.
        Given::BadSegment { path, source } => match to::path::Path::parse(&path) {
            Err(error) => error,
            Ok(_) => {
                let error = Given::BadSegment { path, source };
                return to::Error::Generic { store: STORE, source: Box::new(error) };
            }
        },
        Given::Canonicalize { path, source } => Taken::Canonicalize { path, source },
        Given::InvalidPath { path } => Taken::InvalidPath { path },
        Given::NonUnicode { path, source } => Taken::NonUnicode { path, source },
        Given::PrefixMismatch { path, prefix } => Taken::PrefixMismatch { path, prefix },
        unknown => return to::Error::Generic { store: STORE, source: Box::new(unknown) },
    };
    to::Error::InvalidPath { source }
}
