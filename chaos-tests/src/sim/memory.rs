//! How much memory a thread holds: what it has allocated and not given back. A world is one thread, so what that holds once the
//! world has ended was leaked by it. Acts.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// In bytes. 0 where the process allocates otherwise.
pub fn held() -> i64 {
    HELD.get()
}

fn count(bytes: i64) {
    HELD.set(HELD.get() + bytes);
}

/// Counts what goes through it.
pub struct Counting<A>(pub A);

#[allow(unsafe_code, reason = "an allocator is")]
// SAFETY: the allocator behind it keeps the contract; counting does not touch the memory, and allocates nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { self.0.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { self.0.realloc(at, layout, size) }
    }
}

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: Counting<std::alloc::System> = Counting(std::alloc::System);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_given_back_is_held() {
        let before = held();
        let mut bytes = vec![1u8; 100_000];
        bytes.extend_from_slice(&[2; 900_000]);
        assert!(held() - before >= 1_000_000, "{}", held() - before);
        drop(std::hint::black_box(bytes));
        assert_eq!(held(), before);
    }
}
