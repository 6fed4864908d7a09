//! The names of the systems that are compared.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::results::Group;

/// A system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// A loop of `get_range`
    Raw,
    /// One streaming GET an object (where objects are read in order only)
    Stream,
    /// `object_store::buffered::BufReader`
    #[value(name = "bufreader")]
    #[serde(rename = "bufreader")]
    BufReader,
    /// `FetchStore` alone, in a loop of `get_range`
    Fetch,
    /// One `get` an object through `FetchStore`, streamed (where objects are read in order only)
    FetchStream,
    /// The facade's defaults: fetch and read-ahead, no cache, no hints
    Headstart,
    /// The facade with its cache on
    #[value(name = "headstart+cache")]
    #[serde(rename = "headstart+cache")]
    HeadstartCache,
    /// OpenDAL's reader: chunks of 8 MiB, 4 at once, 4 ahead
    #[value(name = "opendal-4x8m")]
    #[serde(rename = "opendal-4x8m")]
    Opendal4,
    /// OpenDAL's reader: chunks of 8 MiB, 8 at once, 8 ahead
    #[value(name = "opendal-8x8m")]
    #[serde(rename = "opendal-8x8m")]
    Opendal8,
    /// ocra's cache of pages in memory over its own, older `object_store`
    Ocra,
    /// A cache of pages in foyer over `object_store`
    Foyer,
    /// gcsfs with its defaults: adaptive read-ahead
    GcsfsAdaptive,
    /// gcsfs with `cache_type="readahead"`
    GcsfsReadahead,
    /// gcsfs with `cache_type="none"`
    GcsfsNone,
    /// gcsfs with `cache_type="blockcache"`
    GcsfsBlockcache,
    /// s3fs with its defaults
    S3fs,
    /// `headstart.open` of the Python package
    HeadstartPy,
    /// `headstart.fsspec`'s file system
    HeadstartPyFsspec,
    /// A file of gcsfs with `cache_type="headstart"`
    HeadstartPyCache,
    /// `Store.objects` of the Python package (where whole objects are read in order)
    HeadstartPyObjects,
    /// obstore: `open_reader`, and `get_range` for calls without a handle
    Obstore,
    /// 16 threads that get objects by obstore (where whole objects are read in order)
    ObstorePool,
    /// Ranges in flight without any logic, with all reads known
    Ideal,
}

impl System {
    /// The system's kind.
    #[must_use]
    pub fn group(self) -> Group {
        match self {
            Self::Raw | Self::Stream | Self::BufReader => Group::Raw,
            Self::Fetch | Self::FetchStream | Self::Headstart | Self::HeadstartCache => Group::Headstart,
            Self::Ideal => Group::Ideal,
            _ => Group::Peer,
        }
    }

    /// Whether the system can only read objects from their start to their end.
    #[must_use]
    pub fn only_in_order(self) -> bool {
        matches!(self, Self::Stream | Self::FetchStream)
    }

    /// Whether the system can only read whole objects, one after the other.
    #[must_use]
    pub fn only_whole_objects(self) -> bool {
        matches!(self, Self::HeadstartPyObjects | Self::ObstorePool)
    }

    /// Whether the system is a store, so that it can make every kind of call, and not only read open objects.
    #[must_use]
    pub fn is_store(self) -> bool {
        matches!(self, Self::Raw | Self::Fetch | Self::Headstart | Self::HeadstartCache)
    }

    /// Whether the system is a program in Python.
    #[must_use]
    pub fn is_python(self) -> bool {
        let is_gcsfs =
            matches!(self, Self::GcsfsAdaptive | Self::GcsfsReadahead | Self::GcsfsNone | Self::GcsfsBlockcache);
        is_gcsfs || matches!(self, Self::S3fs | Self::Obstore | Self::ObstorePool) || self.is_python_package()
    }

    /// Whether the system is the Python package of this workspace.
    #[must_use]
    pub fn is_python_package(self) -> bool {
        matches!(self, Self::HeadstartPy | Self::HeadstartPyFsspec | Self::HeadstartPyCache | Self::HeadstartPyObjects)
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no system is hidden").get_name())
    }
}
