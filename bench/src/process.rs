//! What this process has used so far, as the kernel counts it. Linux only; elsewhere nothing is known.

use std::time::Duration;

/// Length of the kernel's clock tick in user space: the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

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
    cpu_of_stat(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

fn of_status(field: &str, status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn cpu_of_stat(stat: &str) -> Option<Duration> {
    // The second field is the program's name in parentheses and may hold anything, blanks and parentheses included.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(|field| field.parse::<u32>());
    let ticks = times.next()?.ok()?.checked_add(times.next()?.ok()?)?;
    Some(TICK * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let status = "Name:\tx\nVmPeak:\t  90 kB\nVmHWM:\t   12 kB\nVmRSS:\t 7 kB\n";
        assert_eq!((of_status("VmHWM:", status), of_status("VmRSS:", status)), (Some(12 * 1024), Some(7 * 1024)));
        assert_eq!(of_status("VmHWM:", "Name:\tx\n"), None);
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 3 4 20 0 1 0 100 0 0";
        assert_eq!(cpu_of_stat(stat), Some(Duration::from_millis(420)));
        assert_eq!(cpu_of_stat("garbage"), None);
    }
}
