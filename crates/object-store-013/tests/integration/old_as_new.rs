//! Stores of 0.13 under the tests of 0.14.

use headstart_object_store_013::Store014 as Adapter;
use object_store as outer;
use object_store_013 as inner;

#[path = "suite.rs"]
mod suite;
