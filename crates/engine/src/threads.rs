//! How many threads compute. The tensor library takes the number from the environment when it first computes and never again.

/// The most compute threads that are used unless asked for more: beyond, memory bandwidth is the limit.
const MOST_BY_DEFAULT: usize = 8;
const VARIABLES: [&str; 2] = ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"];

/// Sets the number of compute threads for the whole process: `None` takes physical cores minus one, at least 1 and at most 8.
///
/// Works only while the process has a single thread, so call it first in `main`, before the async runtime starts. Returns whether it took
/// effect; it does not when other threads run already, or when the environment names a number itself, which then applies.
pub fn reserve_compute_threads(threads: Option<usize>) -> bool {
    if VARIABLES
        .iter()
        .any(|name| std::env::var_os(name).is_some())
        || running_threads() != Some(1)
    {
        return false;
    }
    let count = compute_threads(threads).to_string();
    for name in VARIABLES {
        #[expect(
            unsafe_code,
            reason = "the library reads its thread count from the environment only"
        )]
        // SAFETY: this thread is the only one of the process (checked above), so nothing reads the environment meanwhile.
        unsafe {
            std::env::set_var(name, &count);
        }
    }
    true
}

/// Returns how many threads compute: as many as asked for, or physical cores minus one, at least 1 and at most 8.
pub(crate) fn compute_threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(default_threads).max(1)
}

fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = physical_cores().unwrap_or(allowed).min(allowed);
    cores.saturating_sub(1).clamp(1, MOST_BY_DEFAULT)
}

/// Counts the threads of this process; `None` where that cannot be known.
fn running_threads() -> Option<usize> {
    std::fs::read_dir("/proc/self/task")
        .ok()
        .map(Iterator::count)
}

/// Counts physical cores; `None` where that cannot be known.
fn physical_cores() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let mut cores: Vec<(&str, &str)> = text
        .split("\n\n")
        .filter_map(|block| Some((field(block, "physical id")?, field(block, "core id")?)))
        .collect();
    cores.sort_unstable();
    cores.dedup();
    (!cores.is_empty()).then_some(cores.len())
}

fn field<'a>(block: &'a str, name: &str) -> Option<&'a str> {
    let line = block.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_leaves_a_core_free_and_is_bounded() {
        assert!((1..=MOST_BY_DEFAULT).contains(&default_threads()));
    }

    #[test]
    fn nothing_changes_while_other_threads_run() {
        // The test harness runs this on a thread of its own.
        assert!(!reserve_compute_threads(Some(1)));
    }
}
