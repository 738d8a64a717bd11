//! What CPU time and memory processes have used, ours and the target's.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// CPU time of this process.
pub fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// CPU time of these processes, ended threads included. `None` where one is not there.
pub fn cpu(pids: &[u32]) -> Option<Duration> {
    pids.iter()
        .map(|pid| ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .sum::<Option<u64>>()
        .map(|ticks| Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
}

/// Bytes of memory that these processes have resident.
pub fn resident(pids: &[u32]) -> Option<u64> {
    pids.iter().map(|pid| resident_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)).sum()
}

/// utime and stime, fields 14 and 15 of proc_pid_stat(5). The second is a name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(14 - 3);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_name() {
        let stat = "7 (a b) 1 2) S 1 7 7 0 -1 4194560 118 0 0 0 250 31 0 0 20 0 1 0 100 2 3";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(resident_of("Name:\tx\nVmRSS:\t    1044 kB\nRssAnon:\t 7 kB\n"), Some(1044 * 1024));
    }

    #[test]
    fn of_living_processes() {
        let own = std::process::id();
        let before = (own_cpu(), cpu(&[own]).expect("we live"));
        let mut sum = 0_u64;
        while own_cpu() < before.0 + Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu(&[own]).expect("we live") >= before.1 + Duration::from_millis(30));
        assert!(resident(&[own]).is_some_and(|bytes| bytes > 100_000));
        assert_eq!((cpu(&[own, u32::MAX]), resident(&[u32::MAX])), (None, None));
        assert_eq!(cpu(&[]), Some(Duration::ZERO));
    }
}
