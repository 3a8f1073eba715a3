//! The allocator against counts that must come out exactly.

use super::testing::{exclusive, fail_after};
use super::*;
use std::vec::Vec;

#[test]
fn a_frame_is_zeroed_counted_and_comes_back() {
    let _turn = exclusive();
    let free = free_frames();
    let frame = Frame::zeroed().unwrap();
    assert_eq!(free_frames(), free - 1);
    let mut bytes = [1; PAGE_SIZE];
    frame.bytes().copy_to(&mut bytes);
    assert_eq!(bytes, [0; PAGE_SIZE]);
    frame.bytes().copy_from(b"text");
    let (second, copy) = (frame.clone(), frame.duplicate().unwrap());
    assert_eq!((frame.reference_count(), copy.reference_count()), (2, 1));
    drop(frame);
    assert_eq!(free_frames(), free - 2);
    copy.bytes().copy_to(&mut bytes);
    assert_eq!(&bytes[..5], b"text\0");
    assert_eq!(second.word(0).unwrap().load(Ordering::Relaxed), u32::from_le_bytes(*b"text"));
    assert!(second.word(2).is_none() && second.word(PAGE_SIZE).is_none());
    drop((second, copy));
    assert_eq!(free_frames(), free);
}

#[test]
fn everything_can_be_taken_and_joins_again() {
    let _turn = exclusive();
    drain_cache();
    let free = free_frames();
    let blocks = |order| {
        let taken: Vec<u32> = core::iter::from_fn(|| allocate_block(order, Use::General).ok()).collect();
        let count = taken.len();
        for number in taken {
            free_numbers(number, 1 << order);
        }
        count
    };
    let large = blocks(LARGE_ORDER);
    let frames: Vec<Frame> = core::iter::from_fn(|| Frame::uninitialised().ok()).collect();
    assert_eq!((frames.len(), free_frames()), (free, 0));
    assert_eq!(Frame::zeroed().err(), Some(Error::OutOfMemory));
    let mut numbers: Vec<u32> = frames.iter().map(Frame::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), free, "no frame is given twice");
    drop(frames);
    drain_cache();
    assert_eq!(free_frames(), free);
    assert_eq!(blocks(LARGE_ORDER), large, "single frames join to large ones again");
}

#[test]
fn a_large_frame_splits_while_it_is_shared() {
    let _turn = exclusive();
    let free = free_frames();
    let large = LargeFrame::zeroed().unwrap();
    assert!(large.is_exclusive() && large.address().is_aligned(PAGE_SIZE << LARGE_ORDER));
    let other = large.clone();
    assert!(!large.is_exclusive());
    let piece = other.piece(7);
    assert_eq!((piece.reference_count(), free_frames()), (2, free - 512));
    let start = large.split_into_raw();
    // SAFETY: each frame of the split was given up once.
    let pieces: Vec<Frame> =
        (0..512).map(|index| unsafe { Frame::from_raw(start + index * PAGE_SIZE) }).collect();
    assert_eq!((pieces[7].reference_count(), pieces[8].reference_count()), (3, 2));
    drop(pieces);
    assert_eq!((piece.reference_count(), free_frames()), (2, free - 512));
    drop(other);
    assert_eq!((piece.reference_count(), free_frames()), (1, free - 1));
    drop(piece);
    assert_eq!(free_frames(), free);
}

#[test]
fn an_exclusive_large_frame_becomes_single_frames() {
    let _turn = exclusive();
    let free = free_frames();
    let start = LargeFrame::uninitialised().unwrap().split_into_raw();
    for index in 0..512 {
        // SAFETY: each frame of the split was given up once.
        let frame = unsafe { Frame::from_raw(start + index * PAGE_SIZE) };
        assert_eq!(frame.reference_count(), 1);
    }
    assert_eq!(free_frames(), free);
}

#[test]
fn ranges_give_back_what_they_do_not_need() {
    let _turn = exclusive();
    drain_cache();
    let free = free_frames();
    let ranges: Vec<FrameRange> = [(1, 0), (3, 0), (4, 2), (5, 3), (600, 0)]
        .map(|(count, order)| FrameRange::zeroed(count, order).unwrap())
        .into();
    assert_eq!(free_frames(), free - 613);
    assert!(ranges[2].address().is_aligned(4 * PAGE_SIZE) && ranges[3].address().is_aligned(8 * PAGE_SIZE));
    assert_eq!(ranges[4].bytes().len(), 600 * PAGE_SIZE);
    assert!(FrameRange::zeroed(1 << 20, 0).is_err());
    drop(ranges);
    assert_eq!(free_frames(), free);
}

#[test]
fn failures_can_be_injected() {
    let _turn = exclusive();
    fail_after(Some(1));
    assert!(Frame::zeroed().is_ok() && Frame::zeroed().is_err() && LargeFrame::zeroed().is_err());
    fail_after(None);
    assert!(Frame::zeroed().is_ok());
}

#[test]
fn harts_take_and_give_at_the_same_time() {
    let _turn = exclusive();
    let free = free_frames();
    std::thread::scope(|scope| {
        for hart in 0..4 {
            scope.spawn(move || {
                base::hal::hosted::set_hart_index(hart);
                let mut held = Vec::new();
                for round in 0..20_000usize {
                    if round * 7919 % 3 == 0 && held.len() > 50 {
                        held.drain(..40);
                    }
                    let frame = Frame::uninitialised().unwrap();
                    assert_eq!(frame.reference_count(), 1);
                    held.push(frame);
                }
                drop(held);
                drain_cache();
            });
        }
    });
    assert_eq!(free_frames(), free);
}

#[test]
fn the_reserve_is_for_the_heap() {
    let _turn = exclusive();
    drain_cache();
    let free = free_frames();
    set_reserve(free - 10);
    let frames: Vec<Frame> = core::iter::from_fn(|| Frame::uninitialised().ok()).collect();
    assert_eq!(frames.len(), 10);
    assert!(LargeFrame::uninitialised().is_err() && FrameRange::uninitialised(2, 0).is_err());
    let (one, four) = (allocate_for_heap(1, 0).unwrap(), allocate_for_heap(4, 2).unwrap());
    free_numbers(one, 1);
    free_numbers(four, 4);
    set_reserve(0);
    drop(frames);
    assert_eq!(free_frames(), free);
}
