//! Recorded traces: read from and written to files and memory, and replayed on simulated objects of the same sizes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use headstart_trace::{Kind, Trace};
use parking_lot::Mutex;

/// Reads the trace in `file`.
///
/// # Errors
/// If the file cannot be read, or is no trace.
pub fn load(file: &Path) -> Result<Trace> {
    let open = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    Trace::read(BufReader::new(open)).with_context(|| format!("{} cannot be used", file.display()))
}

/// Writes `trace` to a new `file`.
///
/// # Errors
/// If the file cannot be written.
pub fn save(trace: &Trace, file: &Path) -> Result<()> {
    let open = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    let mut open = BufWriter::new(open);
    trace.write(&mut open)?;
    Ok(open.flush()?)
}

/// A buffer in memory that a recorder writes to. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct TraceBuffer(Arc<Mutex<Vec<u8>>>);

impl TraceBuffer {
    /// The trace in the buffer.
    ///
    /// # Errors
    /// If there is none.
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

/// The same calls on simulated objects. The size of an object is that of its answers, or else the last byte that was
/// requested.
#[must_use]
pub fn on_simulated_objects(trace: &Trace) -> Trace {
    let mut told: HashMap<&str, u64> = HashMap::new();
    let mut furthest: HashMap<&str, u64> = HashMap::new();
    for call in &trace.calls {
        let key = call.key.as_str();
        if let Some(size) = call.size {
            let known = told.entry(key).or_default();
            *known = (*known).max(size);
        }
        let end = call.ranges.iter().map(|[_, end]| *end).chain(call.offset).chain(call.suffix).max();
        let known = furthest.entry(key).or_default();
        *known = (*known).max(end.unwrap_or(0));
    }
    let size_of = |key: &str| told.get(key).or_else(|| furthest.get(key)).copied().unwrap_or(0);
    let mut made = trace.clone();
    for call in &mut made.calls {
        let size = size_of(&call.key);
        // Other characters may not be allowed in a path.
        let name: String = call.key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        call.key = format!("synthetic/{size}/{name}");
        call.size = Some(size);
    }
    made
}

/// The time from the start of the first recorded call to the end of the last.
#[must_use]
pub fn recorded_time(trace: &Trace) -> Duration {
    let begin = trace.calls.iter().map(|call| call.at_us).min().unwrap_or(0);
    let end = trace.calls.iter().map(|call| call.at_us.saturating_add(call.took_us)).max().unwrap_or(0);
    Duration::from_micros(end - begin)
}

/// Bytes that the calls returned.
#[must_use]
pub fn bytes(trace: &Trace) -> u64 {
    trace.calls.iter().filter(|call| call.kind != Kind::Overwrite).fold(0, |sum, call| sum.saturating_add(call.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_trace::{Call, Header, Keys};

    #[test]
    fn object_sizes_come_from_answers_or_requested_ranges() {
        let call = |n, key: &str| Call::new(n, key, Kind::Get);
        let calls = vec![
            Call { ranges: vec![[5, 9]], at_us: 10, took_us: 5, bytes: 4, ..call(0, "ab") },
            Call { size: Some(100), suffix: Some(8), at_us: 20, took_us: 7, bytes: 8, ..call(1, "ab") },
            Call { ranges: vec![[90, 200]], ..call(2, "ab") },
            Call { ranges: vec![[0, 50]], ..call(3, "c/d?") },
        ];
        let trace = Trace { header: Header::new(Keys::Plain, ""), calls };
        let made = on_simulated_objects(&trace);
        let keys: Vec<&str> = made.calls.iter().map(|call| call.key.as_str()).collect();
        assert_eq!(keys, ["synthetic/100/ab", "synthetic/100/ab", "synthetic/100/ab", "synthetic/50/c-d-"]);
        assert_eq!((recorded_time(&trace), bytes(&trace)), (Duration::from_micros(27), 12));
    }
}
