//! No process has more tasks at a time than it can need: what is left behind now and then adds up. And one that has ended has none.
//! Pure.

use std::time::Duration;

pub struct Tasks {
    limit: usize,
    most: usize,
}

impl Tasks {
    pub fn new(limit: usize) -> Tasks {
        Tasks { limit, most: 0 }
    }

    pub fn see(&mut self, host: usize, tasks: usize) -> Result<(), String> {
        let before = self.most;
        self.most = before.max(tasks);
        // Said once: they go on growing.
        match before <= self.limit && tasks > self.limit {
            true => Err(format!("a process has {tasks} tasks, more than {}, on host {host}", self.limit)),
            false => Ok(()),
        }
    }

    /// That one process has had.
    pub fn most(&self) -> usize {
        self.most
    }
}

/// One look at a process that was told to end so long ago.
pub fn ended(host: usize, tasks: usize, ago: Duration) -> Result<(), String> {
    match tasks {
        0 => Ok(()),
        _ => Err(format!("host {host} was told to end {ago:?} ago and has {tasks} tasks")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_ended_has_no_task() {
        let ago = Duration::from_secs(12);
        ended(2, 0, ago).unwrap();
        assert_eq!(ended(2, 1, ago).unwrap_err(), "host 2 was told to end 12s ago and has 1 tasks");
    }

    #[test]
    fn more_than_the_limit_is_too_many_and_the_most_is_kept() {
        let mut tasks = Tasks::new(10);
        for (host, count) in [(0, 3), (1, 10), (0, 4)] {
            tasks.see(host, count).unwrap();
        }
        assert_eq!(tasks.most(), 10);
        assert_eq!(tasks.see(2, 11).unwrap_err(), "a process has 11 tasks, more than 10, on host 2");
        tasks.see(2, 12).expect("that was said");
        assert_eq!(tasks.most(), 12);
    }
}
