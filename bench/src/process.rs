//! What this process has used so far, as the kernel counts it. Linux only; elsewhere nothing is known.

use std::time::Duration;

/// Memory that this process holds now, in bytes.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    of_status("VmRSS:", &std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The most memory this process has held at once, in bytes.
#[must_use]
pub fn peak_memory_bytes() -> Option<u64> {
    of_status("VmHWM:", &std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The peak begins anew, where the kernel allows it; elsewhere it is that of the whole process.
pub fn forget_peak_memory() {
    // Nothing is lost but a little exactness.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// CPU time of this process, in user space and in the kernel.
#[must_use]
pub fn cpu_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
    }
    #[cfg(not(unix))]
    None
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
    fn the_kernels_files_are_read() {
        let status = "Name:\tx\nVmPeak:\t  90 kB\nVmHWM:\t   12 kB\nVmRSS:\t 7 kB\n";
        assert_eq!((of_status("VmHWM:", status), of_status("VmRSS:", status)), (Some(12 * 1024), Some(7 * 1024)));
        assert_eq!(of_status("VmHWM:", "Name:\tx\n"), None);
    }
}
