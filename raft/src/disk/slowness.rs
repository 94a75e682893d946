//! Whether small writes hold up the thread that makes them. They end in the kernel's memory and take microseconds, except where
//! its file system is busy with what others write: then one may take a second, and everything on its thread with it,
//! heartbeats too. Decides; touches nothing.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Who takes longer has waited for the file system (or for a processor, where all are busy).
const LONG: Duration = Duration::from_millis(50);
/// After one such write the next may be as long, for so much time.
const LASTS: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Slowness {
    until: Mutex<Option<Instant>>,
}

impl Slowness {
    pub fn is_now(&self) -> bool {
        self.until.lock().expect("no holder of an instant panics").is_some_and(|until| Instant::now() < until)
    }

    /// Runs a small write, and notes how long it took.
    pub fn of<T>(&self, write: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = write();
        self.took(began.elapsed());
        done
    }

    fn took(&self, time: Duration) {
        if time >= LONG {
            *self.until.lock().expect("no holder of an instant panics") = Some(Instant::now() + LASTS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_long_write_makes_the_next_ones_suspect() {
        let slowness = Slowness::default();
        slowness.took(LONG - Duration::from_millis(1));
        assert!(!slowness.is_now());
        slowness.took(LONG);
        assert!(slowness.is_now());
        tokio::time::advance(LASTS / 2).await;
        slowness.took(Duration::ZERO);
        assert!(slowness.is_now(), "a short one proves nothing");
        slowness.took(LONG);
        tokio::time::advance(LASTS / 2).await;
        assert!(slowness.is_now());
        tokio::time::advance(LASTS).await;
        assert!(!slowness.is_now());
    }
}
