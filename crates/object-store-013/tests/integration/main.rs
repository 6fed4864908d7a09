//! The integration tests of both versions of `object_store`, through the adapters.

#![allow(clippy::duplicate_mod, reason = "both directions pass the same tests")]

mod new_as_old;
mod old_as_new;
