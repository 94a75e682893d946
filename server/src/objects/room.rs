//! How much answers that are under way may hold together. Acts: it lends bytes.
//!
//! What a list shows of the present it shares with the store. What has changed since was read from the disk for this list
//! alone, up to a whole history window of it; and what was put into a message of gRPC's was copied.

use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What was lent is not lent for longer, however much of it is taken: others wait for it.
pub const LENT_MAX: Duration = Duration::from_secs(300);
/// Half of what the history window holds by default.
pub const BYTES_MAX: u32 = 128 << 20;
/// About as long as a list is under way whose client takes it.
const RETRY_AFTER_SECONDS: u32 = 1;
/// For a list that must wait for all others; each time it is read anew.
const RETRY_ALONE_AFTER_SECONDS: u32 = 10;

/// Cheap to clone: clones lend of the same.
#[derive(Clone)]
pub struct Room {
    /// Who is lent to: the beginning of a sentence.
    what: &'static str,
    free: Arc<Semaphore>,
    bytes_max: u32,
}

/// What is lent to a list and its clones; given back when the last of them is dropped.
#[derive(Clone, Debug, Default)]
pub struct Lent {
    permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Lent {
    pub fn is_nothing(&self) -> bool {
        self.permit.is_none()
    }
}

impl Room {
    pub fn new(what: &'static str, bytes_max: u32) -> Room {
        Room { what, free: Arc::new(Semaphore::new(bytes_max as usize)), bytes_max }
    }

    /// 429 where others hold too much. A list that needs more than there is in all gets all of it: it is answered alone.
    pub fn lend(&self, bytes: usize) -> Result<Lent, Status> {
        if bytes == 0 {
            return Ok(Lent::default());
        }
        let bytes = u32::try_from(bytes).map_or(self.bytes_max, |bytes| bytes.min(self.bytes_max));
        let Ok(permit) = self.free.clone().try_acquire_many_owned(bytes) else {
            let (what, needed, max, free) = (self.what, bytes, self.bytes_max, self.free.available_permits());
            let why = format!(
                "{what} hold too much: {free} of {max} bytes are free, and this one needs {needed}; please try again later"
            );
            let is_large = bytes == self.bytes_max;
            let retry_after = if is_large { RETRY_ALONE_AFTER_SECONDS } else { RETRY_AFTER_SECONDS };
            return Err(Status::too_many_requests(why, retry_after));
        };
        Ok(Lent { permit: Some(Arc::new(permit)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_past_share_what_there_is() {
        let room = Room::new("the lists", 100);
        let (one, other) = (room.lend(60).unwrap(), room.lend(40).unwrap());
        let refused = room.lend(1).unwrap_err();
        assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"));
        assert_eq!(refused.details.unwrap().retry_after_seconds, 1);
        room.lend(0).expect("the present costs nothing");
        let clone = one.clone();
        drop(one);
        assert!(room.lend(60).is_err(), "a clone holds it too");
        drop(clone);
        let large = || room.lend(1 << 40);
        assert_eq!(large().unwrap_err().details.unwrap().retry_after_seconds, 10, "not beside another one");
        drop(other);
        let alone = large().expect("a list that is larger than all is answered alone");
        assert!(room.lend(1).is_err());
        drop(alone);
        room.lend(100).unwrap();
    }
}
