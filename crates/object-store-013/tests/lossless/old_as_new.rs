//! A store of 0.13 seen through 0.14.

use headstart_object_store_013::{Store014 as Adapter, into_014 as answer};
use object_store as outer;
use object_store_013 as inner;

#[path = "cases.rs"]
mod cases;
#[path = "recorder.rs"]
mod recorder;
