//! Memory that somebody else may be writing: views, and cursors over the pieces of one request.
//!
//! A user page stays mapped in its process while the kernel copies to or from it, and a page of a file may be mapped by
//! many. A Rust reference to such bytes would claim what nobody can promise (that they do not change), so they are
//! handled as [`SharedBytes`]: copied in and out, never borrowed. [`Sink`] and [`Source`] are what file systems,
//! pipes and terminals see of a `read` or a `write`: where the bytes go, where they come from, and how many are left.

use core::marker::PhantomData;

/// A view of memory that others may read and write at any time.
///
/// Every copy is a plain `memcpy`: a racing writer gives a mixture of old and new bytes, as on any POSIX system.
#[derive(Clone, Copy)]
pub struct SharedBytes<'a> {
    pointer: *mut u8,
    length: usize,
    lifetime: PhantomData<&'a mut [u8]>,
}

// SAFETY: the type only gives copies of the bytes, and its constructor's contract covers access from any hart.
unsafe impl Send for SharedBytes<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for SharedBytes<'_> {}

impl<'a> SharedBytes<'a> {
    /// A view of `length` bytes at `pointer`.
    ///
    /// # Safety
    /// For all of `'a` the bytes must be mapped, readable and writable, and no Rust reference to them may exist
    /// but to atomics.
    pub const unsafe fn new(pointer: *mut u8, length: usize) -> Self {
        Self { pointer, length, lifetime: PhantomData }
    }

    /// A view of memory that the caller has to itself, and lends.
    pub const fn from_mut(bytes: &'a mut [u8]) -> Self {
        Self { pointer: bytes.as_mut_ptr(), length: bytes.len(), lifetime: PhantomData }
    }

    /// Where the bytes are. Use it to name them (to a device, to their frame), not to reach them.
    pub const fn pointer(&self) -> *mut u8 {
        self.pointer
    }

    /// How many bytes there are.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The part from `offset`, `length` bytes long, cut to what there is.
    pub fn slice(&self, offset: usize, length: usize) -> SharedBytes<'a> {
        let offset = offset.min(self.length);
        let length = length.min(self.length - offset);
        Self { pointer: self.pointer.wrapping_add(offset), length, lifetime: PhantomData }
    }

    /// Copies out as many bytes as both sides have; returns how many.
    pub fn copy_to(&self, target: &mut [u8]) -> usize {
        let count = self.length.min(target.len());
        // SAFETY: both ranges are valid for `count` bytes (constructor; `target` is a slice) and do not overlap,
        // as no reference to shared bytes may exist.
        unsafe { core::ptr::copy_nonoverlapping(self.pointer, target.as_mut_ptr(), count) };
        count
    }

    /// Copies out the bytes before the first zero byte; returns how many. `None`: there is none as far as both sides go.
    pub fn copy_string_to(&self, target: &mut [u8]) -> Option<usize> {
        let count = self.length.min(target.len());
        for (index, place) in target[..count].iter_mut().enumerate() {
            // SAFETY: inside the view. Each byte is read once, as others may write it.
            let byte = unsafe { self.pointer.add(index).read_volatile() };
            if byte == 0 {
                return Some(index);
            }
            *place = byte;
        }
        None
    }

    /// Copies in as many bytes as both sides have; returns how many.
    pub fn copy_from(&self, source: &[u8]) -> usize {
        let count = self.length.min(source.len());
        // SAFETY: as in `copy_to`, the other way.
        unsafe { core::ptr::copy_nonoverlapping(source.as_ptr(), self.pointer, count) };
        count
    }

    /// Copies to another view as many bytes as both have; returns how many. The two may overlap.
    pub fn copy_to_shared(&self, target: SharedBytes<'_>) -> usize {
        let count = self.length.min(target.length);
        // SAFETY: both ranges are valid for `count` bytes; `copy` allows overlap.
        unsafe { core::ptr::copy(self.pointer, target.pointer, count) };
        count
    }

    /// Sets every byte to `value`.
    pub fn fill(&self, value: u8) {
        // SAFETY: the range is valid for writes (constructor).
        unsafe { core::ptr::write_bytes(self.pointer, value, self.length) };
    }
}

impl core::fmt::Debug for SharedBytes<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SharedBytes({:p}, {} bytes)", self.pointer, self.length)
    }
}

/// Where the bytes of a `read` go. Advances as it is filled.
#[derive(Debug)]
pub struct Sink<'a> {
    pieces: Pieces<'a>,
    remaining: usize,
    offset: usize,
}

/// Where the bytes of a `write` come from. Advances as they are taken.
#[derive(Debug)]
pub struct Source<'a> {
    pieces: Pieces<'a>,
    remaining: usize,
    offset: usize,
}

#[derive(Debug)]
enum Pieces<'a> {
    One(SharedBytes<'a>),
    Many(&'a [SharedBytes<'a>]),
}

impl<'a> Pieces<'a> {
    fn total(&self) -> usize {
        match self {
            Pieces::One(piece) => piece.len(),
            Pieces::Many(pieces) => pieces.iter().map(SharedBytes::len).sum(),
        }
    }

    /// What is left of the piece in which `offset` lies, at most `limit` bytes; steps over pieces that are used up.
    fn chunk(&mut self, offset: &mut usize, limit: usize) -> SharedBytes<'a> {
        match self {
            Pieces::One(piece) => piece.slice(*offset, limit),
            Pieces::Many(pieces) => {
                while let [first, rest @ ..] = *pieces
                    && *offset >= first.len()
                {
                    *offset -= first.len();
                    *pieces = rest;
                }
                match pieces.first() {
                    Some(piece) => piece.slice(*offset, limit),
                    None => SharedBytes { pointer: core::ptr::null_mut(), length: 0, lifetime: PhantomData },
                }
            }
        }
    }
}

impl<'a> Sink<'a> {
    /// A sink into kernel memory.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        let piece = SharedBytes::from_mut(bytes);
        Self { remaining: piece.len(), pieces: Pieces::One(piece), offset: 0 }
    }

    /// A sink into shared memory in one piece.
    #[inline]
    pub fn shared(piece: SharedBytes<'a>) -> Self {
        Self { remaining: piece.len(), pieces: Pieces::One(piece), offset: 0 }
    }

    /// A sink into shared memory, piece after piece.
    pub fn scattered(pieces: &'a [SharedBytes<'a>]) -> Self {
        let pieces = Pieces::Many(pieces);
        Self { remaining: pieces.total(), pieces, offset: 0 }
    }

    /// How many more bytes it takes.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Takes at most the first `length` bytes that remain, and no more.
    pub fn limit(&mut self, length: usize) {
        self.remaining = self.remaining.min(length);
    }

    fn advance(&mut self, count: usize) {
        self.offset += count;
        self.remaining -= count;
    }

    /// Puts as many of `bytes` as there is room for; returns how many.
    pub fn copy_from(&mut self, mut bytes: &[u8]) -> usize {
        let before = self.remaining;
        while !bytes.is_empty() && self.remaining > 0 {
            let count = self.pieces.chunk(&mut self.offset, self.remaining).copy_from(bytes);
            bytes = &bytes[count..];
            self.advance(count);
        }
        before - self.remaining
    }

    /// Puts as many of the shared `bytes` as there is room for; returns how many.
    pub fn copy_from_shared(&mut self, mut bytes: SharedBytes<'_>) -> usize {
        let before = self.remaining;
        while !bytes.is_empty() && self.remaining > 0 {
            let count = bytes.copy_to_shared(self.pieces.chunk(&mut self.offset, self.remaining));
            bytes = bytes.slice(count, usize::MAX);
            self.advance(count);
        }
        before - self.remaining
    }

    /// Puts `count` zero bytes, or as many as there is room for; returns how many.
    pub fn fill_zero(&mut self, mut count: usize) -> usize {
        let before = self.remaining;
        while count > 0 && self.remaining > 0 {
            let chunk = self.pieces.chunk(&mut self.offset, self.remaining.min(count));
            chunk.fill(0);
            count -= chunk.len();
            self.advance(chunk.len());
        }
        before - self.remaining
    }
}

impl<'a> Source<'a> {
    /// A source in kernel memory.
    pub fn new(bytes: &'a [u8]) -> Self {
        // A source is only ever read from, so that the pointer's mutability is never used.
        let piece =
            SharedBytes { pointer: bytes.as_ptr().cast_mut(), length: bytes.len(), lifetime: PhantomData };
        Self { remaining: piece.len(), pieces: Pieces::One(piece), offset: 0 }
    }

    /// A source in shared memory in one piece.
    #[inline]
    pub fn shared(piece: SharedBytes<'a>) -> Self {
        Self { remaining: piece.len(), pieces: Pieces::One(piece), offset: 0 }
    }

    /// A source in shared memory, piece after piece.
    pub fn gathered(pieces: &'a [SharedBytes<'a>]) -> Self {
        let pieces = Pieces::Many(pieces);
        Self { remaining: pieces.total(), pieces, offset: 0 }
    }

    /// How many more bytes it gives.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Gives at most the first `length` bytes that remain, and no more.
    pub fn limit(&mut self, length: usize) {
        self.remaining = self.remaining.min(length);
    }

    fn advance(&mut self, count: usize) {
        self.offset += count;
        self.remaining -= count;
    }

    /// Takes as many bytes as `target` has room for; returns how many.
    pub fn copy_to(&mut self, mut target: &mut [u8]) -> usize {
        let before = self.remaining;
        while !target.is_empty() && self.remaining > 0 {
            let count = self.pieces.chunk(&mut self.offset, self.remaining).copy_to(target);
            target = &mut target[count..];
            self.advance(count);
        }
        before - self.remaining
    }

    /// Takes as many bytes as the shared `target` has room for; returns how many.
    pub fn copy_to_shared(&mut self, mut target: SharedBytes<'_>) -> usize {
        let before = self.remaining;
        while !target.is_empty() && self.remaining > 0 {
            let count = self.pieces.chunk(&mut self.offset, self.remaining).copy_to_shared(target);
            target = target.slice(count, usize::MAX);
            self.advance(count);
        }
        before - self.remaining
    }

    /// Passes over `count` bytes, or as many as remain; returns how many.
    pub fn skip(&mut self, count: usize) -> usize {
        let count = count.min(self.remaining);
        self.advance(count);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_at_its_zero_byte() {
        let (mut source, mut target) = (*b"name\0rest", [9; 6]);
        let view = SharedBytes::from_mut(&mut source);
        assert_eq!(view.copy_string_to(&mut target), Some(4));
        assert_eq!(&target, b"name\x09\x09");
        assert_eq!(view.copy_string_to(&mut target[..4]), None);
        assert_eq!(view.slice(5, 4).copy_string_to(&mut target), None);
        assert_eq!(view.slice(4, 1).copy_string_to(&mut target), Some(0));
    }

    #[test]
    fn sink_fills_piece_after_piece() {
        let (mut a, mut b) = ([0u8; 3], [0u8; 5]);
        let pieces = [SharedBytes::from_mut(&mut a), SharedBytes::from_mut(&mut b)];
        let mut sink = Sink::scattered(&pieces);
        assert_eq!(sink.copy_from(b"abcd"), 4);
        assert_eq!(sink.fill_zero(1), 1);
        assert_eq!(sink.copy_from(b"xyzw"), 3);
        assert_eq!(sink.remaining(), 0);
        assert_eq!((&a, &b), (b"abc", b"d\0xyz"));
    }

    #[test]
    fn source_gives_piece_after_piece_up_to_its_limit() {
        let (mut a, mut b) = (*b"ab", *b"cdef");
        let pieces = [SharedBytes::from_mut(&mut a), SharedBytes::from_mut(&mut b)];
        let mut source = Source::gathered(&pieces);
        source.limit(5);
        let mut out = [0u8; 8];
        assert_eq!(source.skip(1), 1);
        assert_eq!(source.copy_to(&mut out), 4);
        assert_eq!(&out[..4], b"bcde");
        assert_eq!(source.remaining(), 0);
    }
}
