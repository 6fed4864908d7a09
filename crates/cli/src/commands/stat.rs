//! `stat`: everything that is known about an object.

use std::collections::BTreeMap;

use clap::Args;
use headstart::ObjectVersion;
use headstart::object_store::{Attribute, GetResult, ObjectStore};
use serde::Serialize;

use super::ls::seconds;
use crate::failure::Failure;
use crate::file_crc::reported_crc32c;
use crate::listing::find_objects;
use crate::policy::text;
use crate::session::{Session, Site};

#[derive(Debug, Clone, Args)]
pub(crate) struct StatArgs {
    /// URLs or patterns of objects, or paths of files
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
}

/// An object, as its store describes it.
#[derive(Debug, Serialize)]
struct DescribedObject {
    url: String,
    size: u64,
    last_modified: String,
    e_tag: Option<String>,
    version: Option<String>,
    crc32c: Option<String>,
    attributes: BTreeMap<String, String>,
    /// What tells this version from others.
    pinned_by: &'static str,
}

/// Describes objects.
pub(crate) async fn run(session: &Session, args: &StatArgs) -> Result<(), Failure> {
    let mut is_first = true;
    for url in &args.urls {
        let site = session.site(url).await?;
        let paths = match site.pattern {
            Some(_) => find_objects(session, &site).await?.into_iter().map(|item| item.meta.location).collect(),
            None => {
                site.check_one()?;
                vec![site.path.clone()]
            }
        };
        for path in paths {
            let shown = site.url_of(&path);
            let answer = site
                .store
                .get_opts(&path, site.head_options())
                .await
                .map_err(|error| Failure::store(&shown, &error))?;
            let object = describe(&site, shown, &answer);
            let gap = if is_first { "" } else { "\n" };
            is_first = false;
            session.output.line(|| format!("{gap}{}", lines(&object)), &object)?;
        }
    }
    Ok(())
}

fn describe(site: &Site, url: String, answer: &GetResult) -> DescribedObject {
    let meta = &answer.meta;
    let attributes = answer.attributes.iter().map(|(name, value)| (attribute_name(name), value.to_string()));
    DescribedObject {
        url,
        size: meta.size,
        last_modified: seconds(meta),
        e_tag: meta.e_tag.clone(),
        version: meta.version.clone(),
        crc32c: reported_crc32c(answer).map(|crc32c| format!("{crc32c:08x}")),
        attributes: attributes.collect(),
        pinned_by: pinned_by(&ObjectVersion::of(meta), site.store_url.starts_with("gs:")),
    }
}

/// The header that an attribute is sent as.
fn attribute_name(attribute: &Attribute) -> String {
    match attribute {
        Attribute::ContentDisposition => "Content-Disposition".to_owned(),
        Attribute::ContentEncoding => "Content-Encoding".to_owned(),
        Attribute::ContentLanguage => "Content-Language".to_owned(),
        Attribute::ContentType => "Content-Type".to_owned(),
        Attribute::CacheControl => "Cache-Control".to_owned(),
        Attribute::StorageClass => "Storage-Class".to_owned(),
        Attribute::Metadata(name) => format!("Metadata {name}"),
        other => format!("{other:?}"),
    }
}

/// What tells the version of an object from others, and what follows for reads.
fn pinned_by(version: &ObjectVersion, has_generations: bool) -> &'static str {
    match version {
        ObjectVersion { version: Some(_), .. } if has_generations => "generation",
        ObjectVersion { version: Some(_), e_tag: None, .. } => "version",
        version if version.is_exact() => "entity tag",
        ObjectVersion { last_modified: Some(_), .. } => "date of the last change",
        _ => "nothing",
    }
}

fn lines(object: &DescribedObject) -> String {
    let mut rows = vec![
        ("URL", object.url.clone()),
        ("Size", format!("{} bytes ({})", text::count(object.size), text::size(object.size))),
        ("Changed", object.last_modified.clone()),
    ];
    let optional = [("Entity tag", &object.e_tag), ("Version", &object.version), ("CRC32C", &object.crc32c)];
    rows.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    rows.extend(object.attributes.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let reads = match object.pinned_by {
        "nothing" => "nothing tells its versions apart: it is read by one request a read, and not cached",
        "date of the last change" => "date of the last change: reads are split and cached once it is a minute old",
        pin => pin,
    };
    rows.push(("Pinned by", reads.to_owned()));
    text::fields(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_pinned_by_its_strongest_validator() {
        let version = |version: Option<&str>, e_tag: Option<&str>| ObjectVersion {
            version: version.map(str::to_owned),
            e_tag: e_tag.map(str::to_owned),
            last_modified: None,
            size: 1,
        };
        for (version, has_generations, expected) in [
            (version(Some("1"), Some("\"a\"")), true, "generation"),
            (version(Some("1"), Some("\"a\"")), false, "entity tag"),
            (version(None, Some("\"a\"")), false, "entity tag"),
            (version(None, Some("W/\"a\"")), false, "nothing"),
        ] {
            assert_eq!(pinned_by(&version, has_generations), expected, "{version:?}");
        }
    }
}
