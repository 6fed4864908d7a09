//! The streams of reads of one object: what counts as sequential, backward or strided.

pub(crate) mod read_stream;
pub(crate) mod stream_table;
