//! `memcpy` and its kind, which the compiler calls and every `read` and `write` ends in.
//!
//! Whole words in unrolled rounds wherever the addresses allow it: two instructions for eight bytes, where the compiler's
//! own versions take five. Every access is volatile, so that the loops stay loops and do not become calls of themselves.

const WORD: usize = size_of::<u64>();
/// Words in one round of an unrolled loop.
const ROUND: usize = 8;

/// Copies `count` bytes from low to high addresses, one after the other.
///
/// # Safety
/// Both ranges are valid; the target does not begin inside the source.
#[inline(always)]
unsafe fn copy_bytes(target: *mut u8, source: *const u8, count: usize) {
    for index in 0..count {
        // SAFETY: as the caller promises.
        unsafe { target.add(index).write_volatile(source.add(index).read_volatile()) };
    }
}

/// # Safety
/// As for [`copy_bytes`], in words; both are aligned.
#[inline(always)]
unsafe fn copy_words(target: *mut u64, source: *const u64, count: usize) {
    let rounds = count / ROUND;
    for round in 0..rounds {
        // SAFETY: as the caller promises.
        let (target, source) = unsafe { (target.add(round * ROUND), source.add(round * ROUND)) };
        for word in 0..ROUND {
            // SAFETY: as the caller promises.
            unsafe { target.add(word).write_volatile(source.add(word).read_volatile()) };
        }
    }
    for word in rounds * ROUND..count {
        // SAFETY: as the caller promises.
        unsafe { target.add(word).write_volatile(source.add(word).read_volatile()) };
    }
}

/// Copies words to an aligned target from a source that is not: each is put together from two aligned ones.
///
/// # Safety
/// As for [`copy_words`], but for the source's alignment. The aligned words around the source's ends are readable, which they
/// are because no page ends inside one.
#[inline(never)]
unsafe fn copy_shifted(target: *mut u64, source: *const u8, count: usize) {
    let offset = source.addr() % WORD;
    let (low, high) = (offset as u32 * 8, 64 - offset as u32 * 8);
    // SAFETY: inside the allocation's first word, which is readable as a whole.
    let aligned = unsafe { source.sub(offset).cast::<u64>() };
    // SAFETY: as the caller promises.
    let mut before = unsafe { aligned.read_volatile() };
    for word in 0..count {
        // SAFETY: as the caller promises.
        let after = unsafe { aligned.add(word + 1).read_volatile() };
        // SAFETY: as the caller promises.
        unsafe { target.add(word).write_volatile(before >> low | after << high) };
        before = after;
    }
}

/// # Safety
/// As for [`copy_bytes`].
#[inline(always)]
unsafe fn copy_forward(mut target: *mut u8, mut source: *const u8, mut count: usize) {
    // SAFETY: each part is within the ranges that the caller vouches for.
    unsafe {
        if count >= WORD {
            let head = target.addr().wrapping_neg() % WORD;
            copy_bytes(target, source, head);
            (target, source, count) = (target.add(head), source.add(head), count - head);
            let words = count / WORD;
            if source.addr().is_multiple_of(WORD) {
                copy_words(target.cast(), source.cast(), words);
            } else if words > 0 {
                copy_shifted(target.cast(), source, words);
            }
            let done = words * WORD;
            (target, source, count) = (target.add(done), source.add(done), count - done);
        }
        copy_bytes(target, source, count);
    }
}

/// Copies from high to low addresses.
///
/// # Safety
/// Both ranges are valid; the target does not end inside the source.
#[inline(never)]
unsafe fn copy_backward(target: *mut u8, source: *const u8, mut count: usize) {
    // SAFETY: each part is within the ranges that the caller vouches for.
    unsafe {
        if (target.addr() ^ source.addr()).is_multiple_of(WORD) {
            while count > 0 && !(target.addr() + count).is_multiple_of(WORD) {
                count -= 1;
                target.add(count).write_volatile(source.add(count).read_volatile());
            }
            while count >= WORD {
                count -= WORD;
                let word = source.add(count).cast::<u64>().read_volatile();
                target.add(count).cast::<u64>().write_volatile(word);
            }
        }
        while count > 0 {
            count -= 1;
            target.add(count).write_volatile(source.add(count).read_volatile());
        }
    }
}

/// Copies `count` bytes between ranges that do not overlap; gives the target.
///
/// # Safety
/// As the C library says: the ranges are valid and do not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the C library's contract.
    unsafe { copy_forward(target, source, count) };
    target
}

/// Copies `count` bytes between ranges that may overlap; gives the target.
///
/// # Safety
/// As the C library says: the ranges are valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the C library's contract; the direction is chosen so that nothing is overwritten before it is read.
    unsafe {
        if target.addr().wrapping_sub(source.addr()) >= count {
            copy_forward(target, source, count);
        } else {
            copy_backward(target, source, count);
        }
    }
    target
}

/// Sets `count` bytes to the low eight bits of `value`; gives the target.
///
/// # Safety
/// As the C library says: the ranges are valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(target: *mut u8, value: i32, count: usize) -> *mut u8 {
    let (byte, mut done) = (value as u8, 0);
    // SAFETY: each store is within the range that the caller vouches for, and words are aligned.
    unsafe {
        if count >= WORD {
            while !target.add(done).addr().is_multiple_of(WORD) {
                target.add(done).write_volatile(byte);
                done += 1;
            }
            let pattern = u64::from(byte) * 0x0101_0101_0101_0101;
            while count - done >= ROUND * WORD {
                let words = target.add(done).cast::<u64>();
                for word in 0..ROUND {
                    words.add(word).write_volatile(pattern);
                }
                done += ROUND * WORD;
            }
            while count - done >= WORD {
                target.add(done).cast::<u64>().write_volatile(pattern);
                done += WORD;
            }
        }
        while done < count {
            target.add(done).write_volatile(byte);
            done += 1;
        }
    }
    target
}
