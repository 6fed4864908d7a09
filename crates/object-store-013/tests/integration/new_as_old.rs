//! Stores of 0.14 under the tests of 0.13.

use headstart_object_store_013::Store013 as Adapter;
use object_store as inner;
use object_store_013 as outer;

#[path = "suite.rs"]
mod suite;
