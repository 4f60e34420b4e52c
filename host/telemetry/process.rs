//! What the operating system says of this process, out of `/proc`. Formats: proc(5) and getauxval(3).
//! Key type: [`Process`].

use std::fs;

/// Figures of this process. What cannot be read is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Process {
    /// Time on processors, user and system together.
    pub cpu_seconds: f64,
    /// When it was started, in seconds since 1970.
    pub start_seconds: f64,
    /// Memory that is in use, in bytes.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Files, sockets and the like that are open.
    pub open_fds: u64,
    /// How many of them there may be.
    pub max_fds: u64,
}

impl Process {
    /// Reads them.
    pub fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let auxv = fs::read("/proc/self/auxv").unwrap_or_default();
        let open_fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64;
        Process {
            // The one that lists them is open only for that.
            open_fds: open_fds.saturating_sub(1),
            max_fds: soft_limit_of_files(&text("/proc/self/limits")).unwrap_or(0),
            ..stat(&text("/proc/self/stat"), &text("/proc/stat"), Machine::of(&auxv))
                .unwrap_or_default()
        }
    }
}

/// Units of the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Machine {
    ticks_per_second: u64,
    page: u64,
}

impl Machine {
    /// Out of the auxiliary vector: pairs of words, the first of which tells what the second is.
    fn of(auxv: &[u8]) -> Self {
        const PAGE_SIZE: usize = 6;
        const CLOCK_TICKS: usize = 17;
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, usize::from_ne_bytes);
        let value = |key: usize| {
            let mut pairs = auxv.chunks_exact(2 * size_of::<usize>());
            let found = pairs.find(|pair| word(&pair[..size_of::<usize>()]) == key)?;
            Some(word(&found[size_of::<usize>()..]) as u64).filter(|value| *value > 0)
        };
        Machine {
            ticks_per_second: value(CLOCK_TICKS).unwrap_or(100),
            page: value(PAGE_SIZE).unwrap_or(4096),
        }
    }
}

fn stat(own: &str, all: &str, machine: Machine) -> Option<Process> {
    // The name of the command stands in brackets, and may hold some itself.
    let fields: Vec<&str> = own.get(own.rfind(')')? + 1..)?.split_whitespace().collect();
    // Fields are numbered from 1 by proc(5); the state, the first one here, is number 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / machine.ticks_per_second as f64;
    let booted = all.lines().find_map(|line| line.strip_prefix("btime "));
    let booted: f64 = booted?.trim().parse().ok()?;
    Some(Process {
        cpu_seconds: seconds(field(14)? + field(15)?),
        threads: field(20)?,
        start_seconds: booted + seconds(field(22)?),
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * machine.page,
        ..Process::default()
    })
}

fn soft_limit_of_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let own = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 1000 8192 3 18 1";
        let machine = Machine { ticks_per_second: 100, page: 4096 };
        let found = stat(own, "cpu 1 2\nbtime 1700000000\n", machine).unwrap();
        assert_eq!((found.threads, found.virtual_bytes), (9, 8192));
        assert_eq!(found.resident_bytes, 3 * 4096);
        assert!((found.cpu_seconds - 3.0).abs() < 1e-9);
        assert!((found.start_seconds - 1_700_000_010.0).abs() < 1e-3);
        assert_eq!(stat("", "", machine), None);
        let limits = "Limit  Soft Limit Hard Limit Units\nMax open files  1024  4096  files\n";
        assert_eq!(soft_limit_of_files(limits), Some(1024));
    }

    #[test]
    fn this_process_has_figures() {
        let found = Process::read();
        assert!(found.resident_bytes > 1 << 20, "{found:?}");
        assert!(found.open_fds > 2 && found.max_fds >= found.open_fds, "{found:?}");
        assert!(found.start_seconds > 1.7e9 && found.threads > 0, "{found:?}");
    }
}
