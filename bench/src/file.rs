//! Traces in files, and in memory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use headstart_trace::Trace;
use parking_lot::Mutex;

/// Reads the trace in `file`.
///
/// # Errors
/// Where it cannot be read, or is none.
pub fn load(file: &Path) -> Result<Trace> {
    let open = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    Trace::read(BufReader::new(open)).with_context(|| format!("{} cannot be used", file.display()))
}

/// Writes `trace` into a new `file`.
///
/// # Errors
/// Where that cannot be written.
pub fn save(trace: &Trace, file: &Path) -> Result<()> {
    let open = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    let mut open = BufWriter::new(open);
    trace.write(&mut open)?;
    Ok(open.flush()?)
}

/// A file in memory, for a recorder to write into. Clones are one file.
#[derive(Debug, Clone, Default)]
pub struct TraceBuffer(Arc<Mutex<Vec<u8>>>);

impl TraceBuffer {
    /// The trace that was written.
    ///
    /// # Errors
    /// Where none was.
    pub fn trace(&self) -> Result<Trace> {
        Ok(Trace::read(&**self.0.lock())?)
    }
}

impl Write for TraceBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
