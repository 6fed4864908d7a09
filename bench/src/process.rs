//! What the kernel tells of a process: its memory, the CPU time it has taken, and the time of day.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Resident memory of a process in bytes, by its number or `self`. Known on Linux only, as is peak memory.
#[must_use]
pub fn memory_bytes(process: impl fmt::Display) -> Option<u64> {
    of_status("VmRSS:", &std::fs::read_to_string(format!("/proc/{process}/status")).ok()?)
}

/// The greatest memory of this process in bytes.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    of_status("VmHWM:", &std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Resets the peak, if the kernel allows it. Otherwise the peak is that of the whole process.
pub(crate) fn forget_peak_memory() {
    // Without the reset, the peak is less exact.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// CPU time of this process, user and kernel. Known on Unix only.
pub(crate) fn cpu_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
    }
    #[cfg(not(unix))]
    None
}

/// Microseconds since the epoch of Unix.
#[expect(clippy::disallowed_methods, reason = "processes have no other clock in common")]
pub(crate) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn of_status(field: &str, status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn processes_are_known_by_their_numbers() {
        assert!(memory_bytes(std::process::id()) > Some(100_000));
        assert_eq!(memory_bytes("none"), None);
    }

    #[test]
    fn the_kernels_files_are_read() {
        let status = "Name:\tx\nVmPeak:\t  90 kB\nVmHWM:\t   12 kB\nVmRSS:\t 7 kB\n";
        assert_eq!((of_status("VmHWM:", status), of_status("VmRSS:", status)), (Some(12 * 1024), Some(7 * 1024)));
        assert_eq!(of_status("VmHWM:", "Name:\tx\n"), None);
    }
}
