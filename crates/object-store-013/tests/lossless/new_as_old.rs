//! A store of 0.14 seen through 0.13.

use headstart_object_store_013::{Store013 as Adapter, into_013 as answer};
use object_store as inner;
use object_store_013 as outer;

#[path = "cases.rs"]
mod cases;
#[path = "recorder.rs"]
mod recorder;
