//! Decisions of the commands. Pure: no I/O, no clock, no runtime.

pub(crate) mod bench_summary;
pub(crate) mod byte_span;
pub(crate) mod chunked_body;
pub(crate) mod copy_plan;
pub(crate) mod diagnosis;
pub(crate) mod exposition;
pub(crate) mod place;
pub(crate) mod served_name;
pub(crate) mod served_page;
pub(crate) mod text;
pub(crate) mod top;
