//! The tree by itself: levels, splits, copies, and what it leaves behind.

use super::kernel::KernelTable;
use super::*;
use crate::frames::testing::{exclusive, fail_after};
use base::address::LARGE_PAGE_SIZE;

const READ_WRITE: Flags = Flags::USER.union(Flags::READ).union(Flags::WRITE);

fn at(address: usize) -> VirtualAddress {
    VirtualAddress::new(address)
}

#[test]
fn the_root_serves_both_formats() {
    let _turn = exclusive();
    let free = frames::free_frames();
    let mut kernel = KernelTable::new().unwrap();
    let start = at(0xffff_ffc0_0000_0000);
    kernel.map(start, PhysicalAddress::new(0), 3 << 30, Flags::READ | Flags::WRITE | Flags::GLOBAL).unwrap();
    let tree = PageTable::new(Some(kernel.root())).unwrap();
    assert!(tree.root().is_aligned(4 * PAGE_SIZE));
    let root = tree.root_table();
    assert!((0..256).all(|index| root.load(index).is_empty()));
    assert!((256..259).all(|index| root.load(index).is_leaf()), "leaves of 1 GiB");
    for page in 1..4 {
        assert!(kernel::root_table(tree.root() + page * PAGE_SIZE).load(0).is_empty());
    }
    drop((tree, kernel));
    assert_eq!(frames::free_frames(), free);
}

#[test]
fn the_kernel_s_mappings_use_the_largest_leaves_and_split_them() {
    let _turn = exclusive();
    let free = frames::free_frames();
    let mut kernel = KernelTable::new().unwrap();
    let (start, from) = (at(0xffff_ffd0_0000_0000), PhysicalAddress::new(0x4000_0000));
    let flags = Flags::READ | Flags::WRITE | Flags::GLOBAL;
    kernel.map(start, from, (1 << 30) + LARGE_PAGE_SIZE + 3 * PAGE_SIZE, flags).unwrap();
    assert_eq!(frames::free_frames(), free - 3, "root, one table of 2 MiB, one of 4 KiB");
    let (physical, found) = kernel.translate(start + (1 << 30) + LARGE_PAGE_SIZE + PAGE_SIZE + 5).unwrap();
    assert_eq!(physical, from + (1 << 30) + LARGE_PAGE_SIZE + PAGE_SIZE + 5);
    assert!(found.contains(flags));
    assert!(kernel.translate(start + (1 << 30) + LARGE_PAGE_SIZE + 3 * PAGE_SIZE).is_none());
    let guard = start + 5 * LARGE_PAGE_SIZE + 7 * PAGE_SIZE;
    kernel.unmap(guard..guard + PAGE_SIZE).unwrap();
    assert!(kernel.translate(guard).is_none());
    assert_eq!(kernel.translate(guard + PAGE_SIZE).unwrap().0, from + 5 * LARGE_PAGE_SIZE + 8 * PAGE_SIZE);
    assert_eq!(kernel.translate(guard - 1).unwrap().0, from + 5 * LARGE_PAGE_SIZE + 7 * PAGE_SIZE - 1);
    kernel.protect(guard + PAGE_SIZE..guard + 3 * PAGE_SIZE, Flags::READ | Flags::EXECUTE).unwrap();
    let (_, code) = kernel.translate(guard + PAGE_SIZE).unwrap();
    assert!(code.contains(Flags::EXECUTE) && !code.contains(Flags::WRITE));
    assert_eq!(kernel.map(start, from, PAGE_SIZE, flags), Err(Error::AlreadyExists));
    drop(kernel);
    assert_eq!(frames::free_frames(), free);
}

#[test]
fn empty_tables_leave_with_the_last_leaf() {
    let _turn = exclusive();
    let free = frames::free_frames();
    let mut tree = PageTable::new(None).unwrap();
    for place in [0x1000, 0x20_0000, 0x20_1000, 0x3f_0000_0000] {
        tree.insert(at(place), Frame::zeroed().unwrap(), READ_WRITE).unwrap();
    }
    assert_eq!((tree.pages(), tree.table_frames()), (4, 6));
    assert_eq!(tree.insert(at(0x1000), Frame::zeroed().unwrap(), READ_WRITE), Err(Error::AlreadyExists));
    let mut removed = Removed::default();
    assert_eq!(tree.remove(at(0x20_0000)..at(0x40_0000), &mut removed), at(0x40_0000));
    assert!(removed.tables);
    assert_eq!((removed.pages, tree.pages(), tree.table_frames()), (2, 2, 5));
    let held = frames::free_frames();
    drop(removed);
    assert_eq!(frames::free_frames(), held + 3);
    let mut removed = Removed::default();
    tree.remove(at(0)..at(0x40_0000_0000), &mut removed);
    assert_eq!((tree.pages(), tree.table_frames()), (0, 1));
    drop((removed, tree));
    assert_eq!(frames::free_frames(), free);
}

#[test]
fn a_large_leaf_splits_where_a_range_ends() {
    let _turn = exclusive();
    let free = frames::free_frames();
    let mut tree = PageTable::new(None).unwrap();
    let start = at(4 * LARGE_PAGE_SIZE);
    let frame = LargeFrame::zeroed().unwrap();
    let physical = frame.address();
    tree.insert_large(start, frame, READ_WRITE).unwrap();
    assert!(tree.find(start + 5).unwrap().large && !tree.is_large_empty(start));
    let border = start + 9 * PAGE_SIZE;
    fail_after(Some(0));
    assert_eq!(tree.split_at(border), Err(Error::OutOfMemory));
    fail_after(None);
    assert!(tree.find(start).unwrap().large);
    tree.split_at(border).unwrap();
    let leaf = tree.find(border + 3).unwrap();
    assert_eq!(PageTable::physical(leaf, border + 3), physical + 9 * PAGE_SIZE + 3);
    assert!(!leaf.large && PageTable::is_exclusive(leaf));
    let mut removed = Removed::default();
    let mut next = start;
    while next < border {
        next = tree.remove(next..border, &mut removed);
    }
    drop(removed);
    assert_eq!((tree.pages(), frames::free_frames()), (503, free - 503 - 3));
    drop(tree);
    assert_eq!(frames::free_frames(), free);
}

#[test]
fn a_copy_shares_frames_and_takes_the_right_to_write() {
    let _turn = exclusive();
    let free = frames::free_frames();
    let mut tree = PageTable::new(None).unwrap();
    tree.insert(at(0x5000), Frame::zeroed().unwrap(), READ_WRITE).unwrap();
    tree.insert_large(at(LARGE_PAGE_SIZE), LargeFrame::zeroed().unwrap(), READ_WRITE).unwrap();
    let used = free - frames::free_frames();
    let mut copy = PageTable::new(None).unwrap();
    let range = at(0)..at(1 << 38);
    let (end, changed) = tree.copy_range(&mut copy, range.clone(), Copying::CopyOnWrite, usize::MAX).unwrap();
    assert!(changed && end == range.end);
    assert_eq!(free - frames::free_frames(), used + 3, "only tables");
    for tree in [&tree, &copy] {
        for place in [0x5000, LARGE_PAGE_SIZE] {
            let leaf = tree.find(at(place)).unwrap();
            assert!(!leaf.entry.allows(Flags::WRITE) && leaf.entry.flags().contains(Flags::COPY_ON_WRITE));
            assert!(!PageTable::is_exclusive(leaf));
        }
    }
    drop(tree);
    assert!(PageTable::is_exclusive(copy.find(at(LARGE_PAGE_SIZE)).unwrap()));
    drop(copy);
    assert_eq!(frames::free_frames(), free);
}

#[test]
fn leaves_move_whole_or_in_pieces() {
    let _turn = exclusive();
    let free = frames::free_frames();
    let mut tree = PageTable::new(None).unwrap();
    tree.insert_large(at(LARGE_PAGE_SIZE), LargeFrame::zeroed().unwrap(), READ_WRITE).unwrap();
    let physical = tree.find(at(LARGE_PAGE_SIZE)).unwrap().entry.address();
    let end = tree.relocate(at(LARGE_PAGE_SIZE)..at(2 * LARGE_PAGE_SIZE), at(8 * LARGE_PAGE_SIZE), 512);
    assert_eq!(end, Ok(at(2 * LARGE_PAGE_SIZE)));
    assert!(tree.find(at(8 * LARGE_PAGE_SIZE)).unwrap().large && tree.find(at(LARGE_PAGE_SIZE)).is_none());
    let target = at(20 * LARGE_PAGE_SIZE + PAGE_SIZE);
    let mut next = at(8 * LARGE_PAGE_SIZE);
    let end = next + LARGE_PAGE_SIZE;
    while next < end {
        next = tree.relocate(next..end, target + (next - at(8 * LARGE_PAGE_SIZE)), 100).unwrap();
    }
    let leaf = tree.find(target + 5 * PAGE_SIZE).unwrap();
    assert_eq!((leaf.large, leaf.entry.address()), (false, physical + 5 * PAGE_SIZE));
    assert_eq!(tree.pages(), 512);
    drop(tree);
    assert_eq!(frames::free_frames(), free);
}
