//! What the kernel says of this process, as the metrics that are named alike for every program.
use std::fs;

/// What is known; none where the kernel hides it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// In seconds, of user and system together.
    pub(super) cpu_seconds: Option<f64>,
    /// In bytes.
    pub(super) resident_bytes: Option<f64>,
    /// In bytes.
    pub(super) virtual_bytes: Option<f64>,
    /// How many files are open.
    pub(super) open_fds: Option<f64>,
    /// How many may be.
    pub(super) max_fds: Option<f64>,
}

impl Process {
    /// Reads them for this process.
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        // One of them is the folder itself, while it is read.
        let open = fs::read_dir("/proc/self/fd").map(|it| it.count().saturating_sub(1)).ok();
        Self {
            open_fds: open.and_then(|it| u32::try_from(it).ok()).map(f64::from),
            max_fds: limits.lines().find_map(most_open).and_then(|it| it.parse().ok()),
            ..Self::of_stat(&stat, ticks_per_second(), page_bytes())
        }
    }

    fn of_stat(stat: &str, ticks_per_second: f64, page_bytes: f64) -> Self {
        // The name of the program, in parentheses, may contain anything.
        let rest = stat.rsplit_once(')').map_or("", |it| it.1);
        // The first field after it is the third of proc_pid_stat(5).
        let field = |number: usize| rest.split_whitespace().nth(number - 3)?.parse::<f64>().ok();
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| (user + system) / ticks_per_second),
            virtual_bytes: field(23),
            resident_bytes: field(24).map(|pages| pages * page_bytes),
            ..Self::default()
        }
    }
}

fn most_open(line: &str) -> Option<&str> {
    line.strip_prefix("Max open files")?.split_whitespace().next()
}

#[expect(clippy::cast_precision_loss, reason = "it is 100")]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[expect(clippy::cast_precision_loss, reason = "it is a small power of two")]
fn page_bytes() -> f64 {
    rustix::param::page_size() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_counted_from_behind_the_name() {
        let stat = "4242 (a ) b) S 1 4242 4242 0 -1 4194560 900 0 1 0 150 50 0 0 20 0 4 0 12345 1048576 256 184467";
        let process = Process::of_stat(stat, 100.0, 4096.0);
        assert_eq!((process.cpu_seconds, process.virtual_bytes), (Some(2.0), Some(1_048_576.0)));
        assert_eq!(process.resident_bytes, Some(1_048_576.0));
        assert_eq!(Process::of_stat("", 100.0, 4096.0), Process::default());
    }

    #[test]
    fn this_process_has_memory_and_open_files() {
        let process = Process::read();
        assert!(process.resident_bytes > Some(100_000.0) && process.virtual_bytes >= process.resident_bytes);
        assert!(process.open_fds > Some(0.0) && process.open_fds < process.max_fds, "{process:?}");
    }
}
