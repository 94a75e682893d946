//! A place that cannot be read is tried again: the next attempt may well read it. What three in a row could not read is lost, and is
//! damage. Acts; for reads while a replica runs.

use std::io;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// A piece that cannot be read so many times in a row is lost, whatever the reason: filled anew, it is written elsewhere.
pub const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Neither damage, nor want of room, nor a database that is closed.
pub fn may_pass(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::StorageFull | io::ErrorKind::NotConnected)
}

/// The damage that a place is which could not be read again and again.
pub fn lost(error: &io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{error} ({TRIES} times in a row)"))
}

/// With `stop`, after which the disk is closed, the first error is the last.
pub async fn patiently<T, R>(stop: &CancellationToken, mut read: impl FnMut() -> R) -> io::Result<T>
where
    R: Future<Output = io::Result<T>>,
{
    for failures in 1.. {
        let error = match read().await {
            Err(error) if may_pass(&error) => error,
            done => return done,
        };
        if failures == TRIES {
            return Err(lost(&error));
        }
        tracing::warn!(%error, "a read of the disk failed, and is tried again");
        if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return Err(error);
        }
    }
    unreachable!("it ends with the last try")
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    async fn tried(fails: u32, kind: io::ErrorKind) -> (u32, io::Result<()>) {
        let mut tries = 0;
        let read = || {
            tries += 1;
            ready(if tries <= fails { Err(io::Error::new(kind, "says the test")) } else { Ok(()) })
        };
        let done = patiently(&CancellationToken::new(), read).await;
        (tries, done)
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_be_read_at_the_third_try_is_read_and_what_cannot_is_damage() {
        let (tries, done) = tried(2, io::ErrorKind::Other).await;
        assert!(tries == 3 && done.is_ok(), "{done:?}");
        let (tries, done) = tried(9, io::ErrorKind::Other).await;
        let error = done.unwrap_err();
        assert_eq!((tries, error.kind()), (3, io::ErrorKind::InvalidData));
        assert_eq!(error.to_string(), "says the test (3 times in a row)");
    }

    #[tokio::test(start_paused = true)]
    async fn damage_a_full_disk_and_a_closed_one_are_told_at_once() {
        for kind in [io::ErrorKind::InvalidData, io::ErrorKind::StorageFull, io::ErrorKind::NotConnected] {
            let (tries, done) = tried(9, kind).await;
            assert_eq!((tries, done.unwrap_err().kind()), (1, kind));
        }
    }

    #[tokio::test]
    async fn on_a_disk_that_is_being_closed_nothing_is_damage() {
        let stop = CancellationToken::new();
        stop.cancel();
        let done: io::Result<()> = patiently(&stop, || ready(Err(io::Error::other("it goes away")))).await;
        assert_eq!(done.unwrap_err().kind(), io::ErrorKind::Other);
    }
}
