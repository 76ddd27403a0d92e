//! Memory that a disk may write from and read into: 4 KiB aligned, owned, and free to cross cores.
//!
//! Always true: the bytes are initialised; two [`AlignedBuf`]s never overlap; memory taken from a [`Pool`] goes back to it when the last owner, on
//! whatever core, lets go. Knows nothing of files or sockets.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::base::limits::PAGE_BYTES;

/// Bytes of the largest allocation that a [`Pool`] keeps for later. Larger ones go back to the allocator.
pub const POOLED_BYTES_MAX: usize = PAGE_BYTES << (CLASSES - 1);
/// The pool's sizes: 4 KiB and each doubling up to 4 MiB.
const CLASSES: usize = 11;

/// Page-aligned bytes with one owner. Like `BytesMut` it can be split into disjoint parts, and frozen it becomes a [`Bytes`].
pub struct AlignedBuf {
    start: NonNull<u8>,
    len: usize,
    memory: Arc<Memory>,
}

// SAFETY: an `AlignedBuf` is the only owner of its range of the allocation, and the allocation itself is plain memory that any thread may free.
unsafe impl Send for AlignedBuf {}
// SAFETY: through `&AlignedBuf` the bytes can only be read.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// `len` zero bytes, of no pool. The memory is a whole number of pages; `len` need not be.
    pub fn zeroed(len: usize) -> Self {
        Self::over(Memory::allocate(len.max(1).next_multiple_of(PAGE_BYTES), None), len)
    }

    /// A copy of `bytes`, the rest of the last page zero; its length is a whole number of pages.
    pub fn padded_copy(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len().next_multiple_of(PAGE_BYTES));
        copy[..bytes.len()].copy_from_slice(bytes);
        copy
    }

    fn over(memory: Memory, len: usize) -> Self {
        assert!(len <= memory.len, "{len} bytes asked of {}", memory.len);
        Self { start: memory.start, len, memory: Arc::new(memory) }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Cuts off the first `at` bytes and gives them away; `self` keeps the rest. No bytes are copied.
    ///
    /// `at` is a multiple of 4 KiB (or the whole length), so that both parts stay aligned.
    pub fn split_to(&mut self, at: usize) -> AlignedBuf {
        assert!(at <= self.len, "split at {at} of {}", self.len);
        assert!(at.is_multiple_of(PAGE_BYTES) || at == self.len, "split at {at}, which is no page boundary");
        let head = AlignedBuf { start: self.start, len: at, memory: Arc::clone(&self.memory) };
        // SAFETY: `at <= self.len`, so the pointer stays within the allocation or one past its end.
        self.start = unsafe { self.start.add(at) };
        self.len -= at;
        head
    }

    /// Forgets all bytes behind the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Gives up writing: from here on the bytes are shared and never change.
    pub fn freeze(self) -> Bytes {
        if self.is_empty() { Bytes::new() } else { Bytes::from_owner(self) }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies in the allocation, which is initialised and lives as long as `memory`; nobody else writes to it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; ranges of split buffers are disjoint, so `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

/// Keeps returned memory for the next taker: one shelf per size. What came back last is given out first, because the processor may still have it in its
/// cache: a copy of 16 KiB into memory of long ago took 2.2 us, into a ring of 16 MiB 0.8. Clones share the shelves; any core may take and give back.
#[derive(Clone)]
pub struct Pool {
    shelves: Arc<Shelves>,
}

impl Pool {
    /// A pool that keeps at most about `keep_bytes` per size for later (at least one allocation of each). It starts empty: a budget is a limit, not
    /// memory touched ahead of need.
    pub fn new(keep_bytes: usize) -> Self {
        let shelf =
            |class: usize| Shelf { keep: (keep_bytes / (PAGE_BYTES << class)).clamp(1, 4096), ..Shelf::default() };
        Self { shelves: Arc::new(Shelves { classes: std::array::from_fn(shelf) }) }
    }

    /// A buffer of `len` bytes. What the bytes are is not said: they may be those of an earlier owner.
    pub fn take(&self, len: usize) -> AlignedBuf {
        let pages = len.max(1).div_ceil(PAGE_BYTES);
        let class = pages.next_power_of_two().trailing_zeros() as usize;
        let Some(shelf) = self.shelves.classes.get(class) else { return AlignedBuf::zeroed(len) };
        let kept = shelf.lock().pop();
        let memory = match kept {
            Some(Kept(start)) => {
                Memory { start, len: PAGE_BYTES << class, home: Some((Arc::clone(&self.shelves), class)) }
            }
            None => Memory::allocate(PAGE_BYTES << class, Some((Arc::clone(&self.shelves), class))),
        };
        AlignedBuf::over(memory, len)
    }

    /// Bytes that lie on the shelves now.
    pub fn kept_bytes(&self) -> usize {
        self.shelves.classes.iter().enumerate().map(|(class, shelf)| shelf.lock().len() * (PAGE_BYTES << class)).sum()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} bytes kept)", self.kept_bytes())
    }
}

struct Shelves {
    classes: [Shelf; CLASSES],
}

/// Memory of one size. The lock is held for a push or a pop of a pointer.
#[derive(Default)]
struct Shelf {
    kept: Mutex<Vec<Kept>>,
    /// As many stay here at most.
    keep: usize,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was a place for it.
    fn put(&self, memory: Kept) -> bool {
        let mut kept = self.lock();
        let fits = kept.len() < self.keep;
        if fits {
            kept.push(memory);
        }
        fits
    }
}

impl Drop for Shelves {
    fn drop(&mut self) {
        for (class, shelf) in self.classes.iter().enumerate() {
            for Kept(start) in std::mem::take(&mut *shelf.lock()) {
                drop(Memory { start, len: PAGE_BYTES << class, home: None });
            }
        }
    }
}

/// An allocation that nobody uses now. Its size is that of its shelf.
struct Kept(NonNull<u8>);

// SAFETY: plain memory without an owner.
unsafe impl Send for Kept {}

struct Memory {
    start: NonNull<u8>,
    len: usize,
    home: Option<(Arc<Shelves>, usize)>,
}

// SAFETY: `Memory` only frees; access to the bytes goes through `AlignedBuf`.
unsafe impl Send for Memory {}
// SAFETY: as above; it has no methods that read or write the bytes.
unsafe impl Sync for Memory {}

impl Memory {
    fn allocate(len: usize, home: Option<(Arc<Shelves>, usize)>) -> Self {
        let layout = Self::layout(len);
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        Self { start: NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout)), len, home }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, PAGE_BYTES).expect("a buffer is smaller than the address space")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some((shelves, class)) = self.home.take()
            && shelves.classes[class].put(Kept(self.start))
        {
            return;
        }
        // SAFETY: allocated with the same layout, and this was the last owner.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.len)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_and_aligned() {
        let mut whole = AlignedBuf::zeroed(3 * PAGE_BYTES);
        let mut head = whole.split_to(PAGE_BYTES);
        head.fill(1);
        whole.fill(2);
        assert_eq!((head.len(), whole.len()), (PAGE_BYTES, 2 * PAGE_BYTES));
        assert!(head.as_ptr().addr().is_multiple_of(PAGE_BYTES) && whole.as_ptr().addr().is_multiple_of(PAGE_BYTES));
        let (head, whole) = (head.freeze(), whole.freeze());
        assert!(head.iter().all(|byte| *byte == 1) && whole.iter().all(|byte| *byte == 2));
    }

    #[test]
    fn memory_comes_back_from_another_thread() {
        let pool = Pool::new(1 << 20);
        let bytes = pool.take(5000).freeze();
        let slice = bytes.slice(10..20);
        let at = bytes.as_ptr();
        drop(bytes);
        assert_eq!(pool.kept_bytes(), 0, "a slice keeps the memory");
        std::thread::spawn(move || drop(slice)).join().expect("the thread only drops");
        assert_eq!(pool.kept_bytes(), 8192);
        assert_eq!(pool.take(8192).as_ptr(), at);
        let large = pool.take(POOLED_BYTES_MAX + 1);
        assert_eq!(large.len(), POOLED_BYTES_MAX + 1);
        drop(large);
        assert_eq!(pool.kept_bytes(), 8192, "what is too large is not kept");
    }

    /// A consumer that takes what came back longest ago goes round all memory there ever was, and finds none of it in the processor's cache.
    #[test]
    fn what_came_back_last_is_given_out_first() {
        let pool = Pool::new(1 << 20);
        let (first, second, third) = (pool.take(4096), pool.take(4096), pool.take(4096));
        let (at_first, at_third) = (first.as_ptr(), third.as_ptr());
        drop((third, second, first));
        assert_eq!(pool.take(4096).as_ptr(), at_first);
        let held = [pool.take(4096), pool.take(4096), pool.take(4096)];
        assert_eq!(held[2].as_ptr(), at_third);
    }

    #[test]
    fn no_more_is_kept_than_was_said() {
        let pool = Pool::new(2 * PAGE_BYTES);
        let taken: Vec<_> = (0..5).map(|_| pool.take(PAGE_BYTES)).collect();
        drop(taken);
        assert_eq!(pool.kept_bytes(), 2 * PAGE_BYTES);
    }

    #[test]
    #[should_panic(expected = "no page boundary")]
    fn a_split_inside_a_page_is_refused() {
        AlignedBuf::zeroed(8192).split_to(100);
    }
}
