//! Address spaces against a model, against exact counts, and with every allocation failing in turn.

use super::*;
use crate::frames::testing::{exclusive, fail_after};
use crate::frames::{self, Frame};
use crate::page_table::Flags;
use abi::linux::general as linux;
use base::address::LARGE_PAGE_SIZE;
use base::bytes::{Sink, Source};
use base::operation::Operation;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::Mutex as StdMutex;
use std::sync::MutexGuard;
use std::vec;
use std::vec::Vec;

const RW: Protection = Protection::READ.union(Protection::WRITE);
const PAGE: usize = PAGE_SIZE;

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
    }
    panic!("a future that waits for nobody");
}

fn at(address: usize) -> VirtualAddress {
    VirtualAddress::new(address)
}

/// Hardware that writes down what it is told.
#[derive(Default)]
struct Recorder {
    flushes: StdMutex<Vec<(u64, Option<Range<usize>>)>>,
    everything: AtomicUsize,
}

impl Recorder {
    fn take(&self) -> Vec<(u64, Option<Range<usize>>)> {
        core::mem::take(&mut self.flushes.lock().unwrap())
    }
}

impl Translation for Recorder {
    fn flush(&self, _: SpaceId, range: Range<VirtualAddress>, harts: u64) {
        self.flushes.lock().unwrap().push((harts, Some(range.start.value()..range.end.value())));
    }
    fn flush_all(&self, _: SpaceId, harts: u64) {
        self.flushes.lock().unwrap().push((harts, None));
    }
    fn flush_everything(&self) {
        self.everything.fetch_add(1, Ordering::Relaxed);
    }
    fn instructions_changed(&self, _: u64) {}
    fn hart_index(&self) -> usize {
        0
    }
}

/// A machine of its own for one test, with the frame allocator to itself.
struct Machine {
    environment: &'static Environment,
    recorder: &'static Recorder,
    free: usize,
    _kernel: Box<crate::page_table::kernel::KernelTable>,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    fn new() -> Self {
        Self::with_ids(100)
    }

    fn with_ids(largest: usize) -> Self {
        let turn = exclusive();
        let kernel = Box::new(crate::page_table::kernel::KernelTable::new().unwrap());
        let recorder: &Recorder = Box::leak(Box::default());
        let environment = Box::leak(Box::new(Environment::new(recorder, kernel.root(), largest).unwrap()));
        frames::drain_cache();
        Self { environment, recorder, free: frames::free_frames(), _kernel: kernel, _turn: turn }
    }

    fn space(&self) -> Arc<AddressSpace> {
        AddressSpace::new(self.environment, Limits::default(), randomise([0; 4], 8 << 20)).unwrap()
    }

    /// All frames that were free at the start are free again.
    #[track_caller]
    fn assert_nothing_lost(&self) {
        assert_eq!(frames::free_frames(), self.free, "frames were lost");
    }
}

impl AddressSpace {
    fn byte(&self, address: usize) -> Result<u8> {
        let mut byte = [0];
        run(self.read_bytes(at(address), &mut byte)).map(|()| byte[0])
    }

    fn set_byte(&self, address: usize, value: u8) -> Result<()> {
        run(self.write_bytes(at(address), &[value]))
    }

    fn anonymous(&self, length: usize) -> usize {
        run(self.map(MapRequest::anonymous(length, RW))).unwrap().value()
    }
}

/// A file whose pages are there after a few polls; page `n` is filled with `n + 1`.
struct File {
    pages: StdMutex<BTreeMap<u64, Frame>>,
    length: u64,
    waits: bool,
    writes: AtomicUsize,
}

impl File {
    fn new(length: u64, waits: bool) -> Arc<Self> {
        Arc::new(Self { pages: StdMutex::default(), length, waits, writes: AtomicUsize::new(0) })
    }

    fn load(&self, index: u64) -> Result<Frame> {
        let mut pages = self.pages.lock().unwrap();
        if let Some(frame) = pages.get(&index) {
            return Ok(frame.clone());
        }
        let frame = Frame::zeroed()?;
        frame.bytes().fill(index as u8 + 1);
        pages.insert(index, frame.clone());
        Ok(frame)
    }
}

impl MappedObject for File {
    fn page(&self, index: u64, access: Access) -> Operation<'_, Result<Frame>> {
        if access == Access::Write {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        if !self.waits {
            return Operation::Ready(self.load(index));
        }
        let mut polls = 0;
        Operation::pending(async move {
            core::future::poll_fn(|_| {
                polls += 1;
                if polls > 3 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            self.load(index)
        })
    }
    fn length(&self) -> u64 {
        self.length
    }
    fn cached_page(&self, index: u64) -> Option<Frame> {
        self.pages.lock().unwrap().get(&index).cloned()
    }
    fn identity(&self) -> (u64, u64) {
        (3, 44)
    }
    fn name(&self, text: &mut dyn core::fmt::Write) -> core::fmt::Result {
        text.write_str("/file")
    }
}

fn file_map(
    file: &Arc<File>,
    offset: u64,
    length: usize,
    protection: Protection,
    sharing: Sharing,
) -> MapRequest {
    MapRequest::object(file.clone(), offset, length, protection, sharing)
}

#[test]
fn zeros_appear_on_demand_and_go_with_the_space() {
    let machine = Machine::new();
    let space = machine.space();
    let start = space.anonymous(10 * PAGE);
    assert_eq!(space.resident_pages(), 0);
    assert_eq!(space.byte(start + 5), Ok(0));
    let zero = space.tables.lock().find(at(start)).unwrap();
    assert_eq!(zero.entry.address(), machine.environment.zero.address());
    space.set_byte(start + 5, 7).unwrap();
    assert_eq!((space.byte(start + 5), space.byte(start + 6)), (Ok(7), Ok(0)));
    assert_eq!(space.resident_pages(), 1);
    assert_eq!(space.byte(start + 10 * PAGE), Err(Error::BadAddress));
    assert_eq!(run(space.fault(at(start - 1), Access::Read)), Err(FaultError::NotMapped));
    assert_eq!(run(space.fault(at(start), Access::Execute)), Err(FaultError::Denied));
    run(space.unmap(at(start), 10 * PAGE)).unwrap();
    assert_eq!((space.resident_pages(), space.table_frames()), (0, 4));
    drop(space);
    machine.assert_nothing_lost();
}

#[test]
fn mmap_answers_as_linux_does() {
    let machine = Machine::new();
    let space = machine.space();
    let map = |request| run(space.map(request));
    let plain = |length| MapRequest::anonymous(length, RW);
    assert_eq!(map(plain(0)), Err(Error::InvalidArgument));
    assert_eq!(map(plain(usize::MAX)), Err(Error::OutOfMemory));
    assert_eq!(map(plain(USER_END + 1)), Err(Error::OutOfMemory));
    assert_eq!(map(plain(PAGE).at(Placement::Fixed(at(0x1001)))), Err(Error::InvalidArgument));
    assert_eq!(map(plain(PAGE).at(Placement::Fixed(at(0)))), Err(Error::NotPermitted));
    assert_eq!(map(plain(PAGE).at(Placement::Fixed(at(USER_END)))), Err(Error::OutOfMemory));
    assert_eq!(map(plain(PAGE).at(Placement::Fixed(at(USER_END - PAGE)))), Ok(at(USER_END - PAGE)));
    let here = at(0x7000_0000);
    assert_eq!(map(plain(PAGE).at(Placement::Hint(here + 5))), Ok(here));
    assert_eq!(map(plain(PAGE).at(Placement::FixedNoReplace(here))), Err(Error::AlreadyExists));
    assert_ne!(map(plain(PAGE).at(Placement::Hint(here))), Ok(here));
    space.set_byte(here.value(), 1).unwrap();
    assert_eq!(map(plain(1).at(Placement::Fixed(here))), Ok(here));
    assert_eq!(space.byte(here.value()), Ok(0), "replaced");
    let file = File::new(100, false);
    let odd = file_map(&file, 5, PAGE, RW, Sharing::Shared);
    assert_eq!(map(odd), Err(Error::InvalidArgument));
    let far = file_map(&file, i64::MAX as u64 & !0xfff, 2 * PAGE, RW, Sharing::Shared);
    assert_eq!(map(far), Err(Error::Overflow));
    let mut read_only = file_map(&file, 0, PAGE, RW, Sharing::Shared);
    read_only.maximum = Protection::READ;
    assert_eq!(map(read_only), Err(Error::AccessDenied));

    let unmap = |start, length| run(space.unmap(at(start), length));
    assert_eq!(unmap(1, PAGE), Err(Error::InvalidArgument));
    assert_eq!(unmap(0x1000, 0), Err(Error::InvalidArgument));
    assert_eq!(unmap(USER_END, PAGE), Err(Error::InvalidArgument));
    assert_eq!(unmap(0x1000, USER_END - 0x1000), Ok(()));
    let protect = |start, length| run(space.protect(at(start), length, RW));
    assert_eq!((protect(1, PAGE), protect(PAGE, 0)), (Err(Error::InvalidArgument), Ok(())));
    assert_eq!(protect(PAGE, PAGE), Err(Error::OutOfMemory));
    let advise = |start, advice| run(space.advise(at(start), PAGE, advice));
    assert_eq!(advise(1, linux::MADV_DONTNEED), Err(Error::InvalidArgument));
    assert_eq!(advise(PAGE, 12345), Err(Error::InvalidArgument));
    assert_eq!(advise(PAGE, linux::MADV_DONTNEED), Err(Error::OutOfMemory));
    drop((space, file));
    machine.assert_nothing_lost();
}

#[test]
fn limits_are_kept() {
    let machine = Machine::new();
    let space = machine.space();
    let limits = Limits { address_space: 10 * PAGE, data: 4 * PAGE, ..Limits::default() };
    run(space.set_limits(limits));
    let map = |length, protection| run(space.map(MapRequest::anonymous(length, protection)));
    assert_eq!(map(5 * PAGE, RW), Err(Error::OutOfMemory));
    let start = map(6 * PAGE, Protection::READ).unwrap();
    assert_eq!(run(space.protect(start, 5 * PAGE, RW)), Err(Error::OutOfMemory));
    assert_eq!(run(space.protect(start, 4 * PAGE, RW)), Ok(()));
    assert_eq!(map(5 * PAGE, Protection::READ), Err(Error::OutOfMemory));
    assert_eq!(map(4 * PAGE, Protection::READ).map(|_| ()), Ok(()));
    assert_eq!(run(space.mapped_bytes()), (10 * PAGE, 4 * PAGE));
    assert_eq!(run(space.remap(start, 6 * PAGE, 7 * PAGE, Remap::MayMove)), Err(Error::BadAddress));
    assert_eq!(run(space.remap(start, 4 * PAGE, 5 * PAGE, Remap::MayMove)), Err(Error::OutOfMemory));
}

#[test]
fn the_heap_grows_and_shrinks_to_the_byte() {
    let machine = Machine::new();
    let space = machine.space();
    run(space.set_heap_start(at(0x10_0000)));
    let set = |end| run(space.set_break(at(end))).value();
    assert_eq!(set(0), 0x10_0000);
    assert_eq!(set(0x10_0801), 0x10_0801);
    space.set_byte(0x10_0fff, 1).unwrap();
    assert_eq!(set(0x10_3000), 0x10_3000);
    assert_eq!(run(space.mappings()).unwrap().len(), 1);
    assert_eq!(run(space.mappings()).unwrap()[0].name, "[heap]");
    space.set_byte(0x10_2fff, 1).unwrap();
    assert_eq!(set(0x10_1000), 0x10_1000);
    assert_eq!(space.byte(0x10_1000), Err(Error::BadAddress));
    assert_eq!(space.byte(0x10_0fff), Ok(1));
    run(space.map(MapRequest::anonymous(PAGE, RW).at(Placement::Fixed(at(0x10_4000))))).unwrap();
    assert_eq!(set(0x10_5000), 0x10_1000);
    assert_eq!(set(0x10_4000), 0x10_4000);
    assert_eq!(set(USER_END + 1), 0x10_4000);
    drop(space);
    machine.assert_nothing_lost();
}

#[test]
fn a_stack_grows_within_its_limit_and_keeps_its_distance() {
    let machine = Machine::new();
    let space = machine.space();
    let top = 0x3f_0000_0000;
    let mut stack = MapRequest::anonymous(2 * PAGE, RW).at(Placement::Fixed(at(top - 2 * PAGE)));
    stack.attributes = Attributes::GROWS_DOWN | Attributes::STACK;
    run(space.map(stack)).unwrap();
    space.set_byte(top - 5 * PAGE, 3).unwrap();
    assert_eq!(run(space.mappings()).unwrap()[0].range, top - 5 * PAGE..top);
    space.set_byte(top - (8 << 20), 3).unwrap();
    assert_eq!(space.set_byte(top - (8 << 20) - 1, 3), Err(Error::BadAddress));
    run(space.unmap(at(top - (8 << 20)), 4 << 20)).unwrap();
    let below = top - (6 << 20);
    run(space.map(MapRequest::anonymous(PAGE, RW).at(Placement::Fixed(at(below - PAGE))))).unwrap();
    assert_eq!(space.set_byte(below + STACK_GUARD - 1, 3), Err(Error::BadAddress));
    space.set_byte(below + STACK_GUARD, 3).unwrap();
    drop(space);
    machine.assert_nothing_lost();
}

#[test]
fn fork_copies_on_write_and_shares_what_is_shared() {
    let machine = Machine::new();
    let parent = machine.space();
    let private = parent.anonymous(4 * PAGE);
    let mut request = MapRequest::anonymous(4 * PAGE, RW);
    request.sharing = Sharing::Shared;
    let shared = run(parent.map(request)).unwrap().value();
    for (address, value) in [(private, 1), (private + PAGE, 2), (shared, 3)] {
        parent.set_byte(address, value).unwrap();
    }
    let before = frames::free_frames();
    let child = run(parent.fork()).unwrap();
    assert!(before - frames::free_frames() <= 4 + 2 + 2, "only tables");
    assert_eq!((child.byte(private), child.byte(shared)), (Ok(1), Ok(3)));
    let frame =
        |space: &AddressSpace, address| space.tables.lock().find(at(address)).unwrap().entry.address();
    assert_eq!(frame(&parent, private), frame(&child, private));
    child.set_byte(private, 10).unwrap();
    parent.set_byte(private + PAGE, 20).unwrap();
    child.set_byte(shared, 30).unwrap();
    parent.set_byte(shared + 1, 31).unwrap();
    let bytes =
        |space: &AddressSpace| [private, private + PAGE, shared, shared + 1].map(|a| space.byte(a).unwrap());
    assert_eq!((bytes(&parent), bytes(&child)), ([1, 20, 30, 31], [10, 2, 30, 31]));
    // The other one has the page to itself now: no second copy.
    let alone = frame(&parent, private);
    let before = frames::free_frames();
    parent.set_byte(private, 5).unwrap();
    assert_eq!((frame(&parent, private), frames::free_frames()), (alone, before));
    let grandchild = run(child.fork()).unwrap();
    drop((parent, child));
    assert_eq!(bytes(&grandchild), [10, 2, 30, 31]);
    drop(grandchild);
    machine.assert_nothing_lost();
}

#[test]
fn large_pages_come_split_and_survive_a_fork() {
    let machine = Machine::new();
    let space = machine.space();
    let start = space.anonymous(3 * LARGE_PAGE_SIZE);
    assert!(start.is_multiple_of(LARGE_PAGE_SIZE));
    space.set_byte(start + LARGE_PAGE_SIZE + PAGE, 1).unwrap();
    assert_eq!(space.resident_pages(), 1, "not touched from its start");
    space.set_byte(start, 2).unwrap();
    assert_eq!(space.usage(start..start + LARGE_PAGE_SIZE).large, 512);
    space.set_byte(start + 100 * PAGE, 3).unwrap();
    assert_eq!(space.resident_pages(), 513);
    let child = run(space.fork()).unwrap();
    child.set_byte(start + 100 * PAGE, 4).unwrap();
    assert_eq!((space.byte(start + 100 * PAGE), child.byte(start + 100 * PAGE)), (Ok(3), Ok(4)));
    assert_eq!(child.usage(start..start + LARGE_PAGE_SIZE).large, 0, "the child's is split");
    assert_eq!(space.usage(start..start + LARGE_PAGE_SIZE).large, 512, "ours is not");
    drop(child);
    space.set_byte(start + 7 * PAGE, 9).unwrap();
    assert_eq!(space.usage(start..start + LARGE_PAGE_SIZE).large, 512, "whole and writable again");
    run(space.protect(at(start + 50 * PAGE), PAGE, Protection::empty())).unwrap();
    assert_eq!(space.byte(start + 50 * PAGE), Err(Error::BadAddress));
    assert_eq!(space.byte(start + 100 * PAGE), Ok(3));
    run(space.protect(at(start + 50 * PAGE), PAGE, RW)).unwrap();
    assert_eq!(space.byte(start + 50 * PAGE), Ok(0));
    run(space.unmap(at(start + 8 * PAGE), 8 * PAGE)).unwrap();
    assert_eq!((space.byte(start), space.byte(start + 7 * PAGE)), (Ok(2), Ok(9)));
    assert_eq!(space.byte(start + 8 * PAGE), Err(Error::BadAddress));
    assert_eq!(space.resident_pages(), 513 - 8);
    drop(space);
    machine.assert_nothing_lost();
}

#[test]
fn advice_empties_and_marks() {
    let machine = Machine::new();
    let space = machine.space();
    let start = space.anonymous(LARGE_PAGE_SIZE);
    space.set_byte(start, 1).unwrap();
    run(space.advise(at(start + PAGE), 2 * PAGE, linux::MADV_DONTNEED)).unwrap();
    assert_eq!(space.resident_pages(), 510);
    run(space.advise(at(start), PAGE, linux::MADV_WIPEONFORK)).unwrap();
    run(space.advise(at(start + PAGE), PAGE, linux::MADV_DONTFORK)).unwrap();
    space.set_byte(start + 3 * PAGE, 5).unwrap();
    let child = run(space.fork()).unwrap();
    assert_eq!((child.byte(start), child.byte(start + 3 * PAGE)), (Ok(0), Ok(5)));
    assert_eq!(child.byte(start + PAGE), Err(Error::BadAddress));
    run(space.advise(at(start + 4 * PAGE), 4 * PAGE, linux::MADV_NOHUGEPAGE)).unwrap();
    assert_eq!(run(space.mappings()).unwrap().len(), 5);
    run(space.lock(at(start + 4 * PAGE), PAGE, LockMode::Now)).unwrap();
    let locked = run(space.advise(at(start), LARGE_PAGE_SIZE, linux::MADV_DONTNEED));
    assert_eq!(locked, Err(Error::InvalidArgument));
    run(space.unlock(at(start), LARGE_PAGE_SIZE)).unwrap();
    run(space.advise(at(start), LARGE_PAGE_SIZE, linux::MADV_FREE)).unwrap();
    assert_eq!(space.resident_pages(), 0);
    let mut pages = Vec::new();
    run(space.populate(at(start + PAGE), PAGE, Access::Write)).unwrap();
    run(space.resident(at(start), 3 * PAGE, |present| pages.push(present))).unwrap();
    assert_eq!(pages, [false, true, false]);
    drop((space, child));
    machine.assert_nothing_lost();
}

#[test]
fn files_are_mapped_private_and_shared() {
    for waits in [false, true] {
        let machine = Machine::new();
        let space = machine.space();
        let file = File::new(3 * PAGE as u64 + 10, waits);
        let map =
            |sharing| run(space.map(file_map(&file, PAGE as u64, 4 * PAGE, RW, sharing))).unwrap().value();
        let (private, shared) = (map(Sharing::Private), map(Sharing::Shared));
        assert_eq!((space.byte(private), space.byte(shared + PAGE)), (Ok(2), Ok(3)));
        assert_eq!(space.byte(shared + 2 * PAGE + 11), Ok(4));
        assert_eq!(run(space.fault(at(shared + 3 * PAGE), Access::Read)), Err(FaultError::BeyondEnd));
        assert_eq!(file.writes.load(Ordering::Relaxed), 0);
        space.set_byte(shared, 99).unwrap();
        assert_eq!(file.writes.load(Ordering::Relaxed), 1, "the first store is noticed");
        assert_eq!(space.byte(private), Ok(99), "not copied yet");
        space.set_byte(private, 50).unwrap();
        assert_eq!((space.byte(private), space.byte(shared)), (Ok(50), Ok(99)));
        assert_eq!(file.writes.load(Ordering::Relaxed), 1);
        let info = run(space.mappings()).unwrap();
        assert_eq!(
            (info[0].name.as_str(), info[0].offset, info[0].identity),
            ("/file", PAGE as u64, (3, 44))
        );
        assert!(
            matches!(run(space.futex_key(at(shared + 8))), Ok(FutexKey::File { identity: (3, 44), offset }) if offset == PAGE as u64 + 8)
        );
        assert_eq!(run(space.futex_key(at(private + 8))), Ok(space.private_futex_key(at(private + 8))));
        run(space.sync(at(shared), 4 * PAGE)).unwrap();
        drop((space, file));
        machine.assert_nothing_lost();
    }
}

#[test]
fn a_read_brings_the_neighbours_that_are_at_hand() {
    let machine = Machine::new();
    let space = machine.space();
    let file = File::new(64 * PAGE as u64, false);
    for index in 0..40 {
        file.load(index).unwrap();
    }
    let request = file_map(&file, 0, 64 * PAGE, Protection::READ | Protection::EXECUTE, Sharing::Private);
    let start = run(space.map(request.at(Placement::Fixed(at(0x40_0000))))).unwrap().value();
    run(space.fault(at(start + 5 * PAGE), Access::Execute)).unwrap();
    assert_eq!(space.resident_pages(), 16);
    run(space.fault(at(start + 35 * PAGE), Access::Read)).unwrap();
    assert_eq!(space.resident_pages(), 24);
    drop((space, file));
    machine.assert_nothing_lost();
}

#[test]
fn a_pin_survives_what_happens_to_the_mapping() {
    let machine = Machine::new();
    let space = machine.space();
    let start = space.anonymous(100 * PAGE);
    run(space.write_bytes(at(start + PAGE - 4), b"across the border")).unwrap();
    let pinned = run(space.pin(at(start + PAGE - 4), 17, Access::Read)).unwrap();
    assert_eq!((pinned.len(), pinned.pieces().len()), (17, 2));
    run(space.unmap(at(start), PAGE * 2)).unwrap();
    let mut text = [0; 17];
    assert_eq!(Source::gathered(pinned.pieces()).copy_to(&mut text), 17);
    assert_eq!(&text, b"across the border");
    drop(pinned);
    let many = run(space.pin(at(start + 2 * PAGE + 1), 98 * PAGE - 1, Access::Write)).unwrap();
    assert_eq!((many.len(), many.frames().count()), (64 * PAGE - 1, 64));
    assert_eq!(Sink::scattered(many.pieces()).copy_from(&[7; 9000]), 9000);
    assert_eq!((space.byte(start + 2 * PAGE), space.byte(start + 2 * PAGE + 9000)), (Ok(0), Ok(7)));
    let end = run(space.pin(at(start + 99 * PAGE), 5 * PAGE, Access::Write)).unwrap();
    let after = space.byte(start + 100 * PAGE).is_ok();
    assert!(after || end.len() == PAGE, "as far as it goes");
    assert_eq!(run(space.pin(at(start), 1, Access::Read)).err(), Some(Error::BadAddress));
    assert_eq!(run(space.pin(at(start), 0, Access::Read)).map(|pinned| pinned.len()), Ok(0));
    assert_eq!(run(space.pin(at(usize::MAX - 5), 100, Access::Read)).err(), Some(Error::BadAddress));
    drop((many, end, space));
    machine.assert_nothing_lost();
}

#[test]
fn what_is_written_in_flight_arrives_in_the_parent() {
    let machine = Machine::new();
    let space = machine.space();
    let start = space.anonymous(2 * LARGE_PAGE_SIZE);
    for address in [start + LARGE_PAGE_SIZE + PAGE, start] {
        space.set_byte(address, 1).unwrap();
    }
    assert_eq!(space.usage(start..start + LARGE_PAGE_SIZE).large, 512);
    for address in [start + LARGE_PAGE_SIZE + PAGE, start + 5 * PAGE] {
        let pinned = run(space.pin(at(address), 10, Access::Write)).unwrap();
        let (physical, length) = pinned.physical().next().unwrap();
        let leaf = space.tables.lock().find(at(address)).unwrap();
        assert_eq!((physical, length), (PageTable::physical(leaf, at(address)), 10));
        let child = run(space.fork()).unwrap();
        space.set_byte(address + 20, 2).unwrap();
        assert_eq!(Sink::scattered(pinned.pieces()).copy_from(&[9; 10]), 10);
        assert_eq!((space.byte(address + 5), space.byte(address + 20)), (Ok(9), Ok(2)));
        assert_eq!((child.byte(address + 5), child.byte(address + 20)), (Ok(0), Ok(0)));
        assert_eq!(child.byte(start), Ok(1));
    }
    drop(space);
    machine.assert_nothing_lost();
}

#[test]
fn pages_of_a_shortened_object_go() {
    let machine = Machine::new();
    let space = machine.space();
    let file = File::new(8 * PAGE as u64, false);
    let map =
        |offset, sharing| run(space.map(file_map(&file, offset, 4 * PAGE, RW, sharing))).unwrap().value();
    let (shared, private) = (map(0, Sharing::Shared), map(2 * PAGE as u64, Sharing::Private));
    for page in 0..4 {
        space.byte(shared + page * PAGE).unwrap();
        space.set_byte(private + page * PAGE, 77).unwrap();
    }
    let object: Arc<dyn MappedObject> = file.clone();
    run(space.forget_object(&object, 3 * PAGE as u64..u64::MAX));
    let present =
        |start| [0, 1, 2, 3].map(|page| space.tables.lock().find(at(start + page * PAGE)).is_some());
    assert_eq!(present(shared), [true, true, true, false]);
    assert_eq!(present(private), [true, false, false, false]);
    drop((space, file, object));
    machine.assert_nothing_lost();
}

#[test]
fn user_memory_is_read_and_written_with_its_rights() {
    let machine = Machine::new();
    let space = machine.space();
    let start = run(space.map(MapRequest::anonymous(3 * PAGE, RW).at(Placement::Fixed(at(0x10_0000)))))
        .unwrap()
        .value();
    run(space.write_object(at(start + PAGE - 3), &0x1122_3344_5566_7788u64)).unwrap();
    assert_eq!(run(space.read_object::<u64>(at(start + PAGE - 3))), Ok(0x1122_3344_5566_7788));
    assert_eq!(space.try_read_object::<u64>(at(start + PAGE - 3)), Some(0x1122_3344_5566_7788));
    assert_eq!(space.try_read_object::<u64>(at(start + 2 * PAGE)), None);
    run(space.write_bytes(at(start + 3 * PAGE - 6), b"hello\0")).unwrap();
    assert_eq!(run(space.read_c_string(at(start + 3 * PAGE - 6), 100)).unwrap(), b"hello");
    assert_eq!(run(space.read_c_string(at(start + 3 * PAGE - 6), 5)), Err(Error::NameTooLong));
    space.set_byte(start + 3 * PAGE - 1, b'x').unwrap();
    assert_eq!(run(space.read_c_string(at(start + 3 * PAGE - 6), 100)), Err(Error::BadAddress));
    run(space.fill_zero(at(start + PAGE), 2 * PAGE)).unwrap();
    assert_eq!(space.byte(start + 3 * PAGE - 1), Ok(0));
    assert_eq!(run(space.load_u32(at(start + 2))), Err(Error::InvalidArgument));
    assert_eq!(run(space.compare_exchange_u32(at(start), 0, 5)), Ok(Ok(0)));
    assert_eq!(run(space.compare_exchange_u32(at(start), 0, 6)), Ok(Err(5)));
    assert_eq!(run(space.fetch_update_u32(at(start), |value| Some(value + 1))), Ok(Ok(5)));
    assert_eq!((run(space.load_u32(at(start))), space.try_load_u32(at(start))), (Ok(6), Some(6)));
    run(space.protect(at(start), PAGE, Protection::READ)).unwrap();
    assert_eq!(space.set_byte(start, 1), Err(Error::BadAddress));
    assert_eq!(run(space.compare_exchange_u32(at(start), 6, 7)), Err(Error::BadAddress));
    assert_eq!(run(space.load_u32(at(start))), Ok(6));
    run(space.protect(at(start), PAGE, Protection::empty())).unwrap();
    assert_eq!(space.byte(start), Err(Error::BadAddress));
    for address in [0, USER_END - 1, USER_END, usize::MAX - 2, 0xffff_ffc0_0000_0000] {
        assert_eq!(run(space.read_object::<u64>(at(address))), Err(Error::BadAddress), "{address:#x}");
        assert_eq!(run(space.write_bytes(at(address), &[0; 8])), Err(Error::BadAddress), "{address:#x}");
    }
    drop(space);
    machine.assert_nothing_lost();
}

#[test]
fn remap_grows_shrinks_and_moves_with_the_pages() {
    let machine = Machine::new();
    let space = machine.space();
    let fixed = |place: usize, pages: usize| {
        run(space.map(MapRequest::anonymous(pages * PAGE, RW).at(Placement::Fixed(at(place)))))
            .unwrap()
            .value()
    };
    let remap = |old: usize, from: usize, to: usize, how| {
        run(space.remap(at(old), from * PAGE, to * PAGE, how)).map(VirtualAddress::value)
    };
    let start = fixed(0x100_0000, 4);
    (0..4).for_each(|page| space.set_byte(start + page * PAGE, page as u8 + 1).unwrap());
    assert_eq!(remap(start, 4, 6, Remap::InPlace), Ok(start));
    assert_eq!(run(space.mappings()).unwrap().len(), 1);
    assert_eq!(remap(start, 6, 3, Remap::InPlace), Ok(start));
    assert_eq!(space.byte(start + 3 * PAGE), Err(Error::BadAddress));
    fixed(start + 3 * PAGE, 1);
    run(space.protect(at(start + 3 * PAGE), PAGE, Protection::READ)).unwrap();
    assert_eq!(remap(start, 3, 5, Remap::InPlace), Err(Error::OutOfMemory));
    let moved = remap(start, 3, 5, Remap::MayMove).unwrap();
    assert_ne!(moved, start);
    assert_eq!([0, 1, 2, 3, 4].map(|page| space.byte(moved + page * PAGE).unwrap()), [1, 2, 3, 0, 0]);
    assert_eq!(space.byte(start), Err(Error::BadAddress));
    assert_eq!(remap(moved, 5, 2, Remap::To(at(0x200_0000))), Ok(0x200_0000));
    assert_eq!((space.byte(0x200_1000), space.byte(0x200_2000)), (Ok(2), Err(Error::BadAddress)));
    assert_eq!(space.byte(moved + 4 * PAGE), Err(Error::BadAddress));
    assert_eq!(remap(0x200_0000, 2, 2, Remap::To(at(0x200_1000))), Err(Error::InvalidArgument));
    assert_eq!(remap(0x200_0000, 2, 0, Remap::MayMove), Err(Error::InvalidArgument));
    assert_eq!(remap(0x200_0000, 0, 2, Remap::MayMove), Err(Error::InvalidArgument));
    assert_eq!(remap(0x200_0000, 3, 9, Remap::MayMove), Err(Error::BadAddress));
    assert_eq!(remap(0x300_0000, 1, 2, Remap::MayMove), Err(Error::BadAddress));
    let large = space.anonymous(2 * LARGE_PAGE_SIZE);
    space.set_byte(large, 77).unwrap();
    let target = 0x30_0000_0000;
    assert_eq!(remap(large, 1024, 1024, Remap::To(at(target))), Ok(target));
    assert_eq!((space.byte(target), space.usage(target..target + PAGE).large), (Ok(77), 1));
    let file = File::new(8 * PAGE as u64, false);
    let shared = run(space.map(file_map(&file, 0, 2 * PAGE, RW, Sharing::Shared))).unwrap().value();
    space.set_byte(shared, 5).unwrap();
    let second = remap(shared, 0, 4, Remap::MayMove).unwrap();
    assert_eq!(
        (space.byte(second), space.byte(shared), space.byte(second + 3 * PAGE)),
        (Ok(5), Ok(5), Ok(4))
    );
    drop((space, file));
    machine.assert_nothing_lost();
}

#[test]
fn only_harts_that_may_remember_are_flushed() {
    let machine = Machine::new();
    let space = machine.space();
    let start = space.anonymous(4 * PAGE);
    space.set_byte(start, 1).unwrap();
    run(space.protect(at(start), PAGE, Protection::READ)).unwrap();
    assert_eq!(machine.recorder.take(), [], "no hart ever used it");
    assert_eq!(space.activate(0), NeedsFlush::No);
    assert_eq!(space.activate(2), NeedsFlush::No);
    space.deactivate(2);
    run(space.protect(at(start), PAGE, RW)).unwrap();
    space.set_byte(start + PAGE, 1).unwrap();
    assert_eq!(machine.recorder.take(), [], "only added");
    run(space.protect(at(start), PAGE, Protection::READ)).unwrap();
    assert_eq!(machine.recorder.take(), [(1, Some(start..start + PAGE))]);
    assert_eq!(space.activate(2), NeedsFlush::Yes);
    space.deactivate(2);
    assert_eq!(space.activate(2), NeedsFlush::No);
    run(space.unmap(at(start), 4 * PAGE)).unwrap();
    assert_eq!(machine.recorder.take(), [(0b101, None)], "tables went too");
    let start = space.anonymous(4 * PAGE);
    space.set_byte(start, 1).unwrap();
    let child = run(space.fork()).unwrap();
    assert_eq!(machine.recorder.take().len(), 1, "the parent's rights");
    child.set_byte(start, 1).unwrap();
    assert_eq!(machine.recorder.take(), [], "nobody remembers the child's pages");
    run(space.fault(at(start), Access::Read)).unwrap();
    assert_eq!(machine.recorder.take(), [(1, Some(start..start + PAGE))], "a fault for nothing");
}

#[test]
fn ids_are_used_once_between_two_flushes_of_everything() {
    let machine = Machine::with_ids(3);
    let mut spaces: Vec<_> = (0..3).map(|_| machine.space()).collect();
    let ids: Vec<u16> = spaces.iter().map(|space| space.id().0).collect();
    assert_eq!(ids, [1, 2, 3]);
    let none = machine.space();
    assert_eq!((none.id(), none.activate(0)), (SpaceId(0), NeedsFlush::Yes));
    assert_eq!(none.activate(0), NeedsFlush::Yes);
    let flushed = machine.recorder.everything.load(Ordering::Relaxed);
    spaces.remove(1);
    assert_eq!(machine.space().id(), SpaceId(2));
    assert_eq!(machine.recorder.everything.load(Ordering::Relaxed), flushed + 1);
    let without = Machine::with_ids;
    drop((none, spaces, machine));
    assert_eq!(without(0).space().id(), SpaceId(0));
}

/// What one page of the model is: its protection, and its first byte if it was written.
type Model = BTreeMap<usize, (Protection, u8)>;

struct Random(u64);

impl Random {
    fn next(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

const PROTECTIONS: [Protection; 4] = [RW, Protection::READ, Protection::empty(), RW];

/// One random operation on the space and on the model. The ground is 2048 pages, so that large pages appear too.
fn step(space: &AddressSpace, model: &mut Model, random: &mut Random, ground: usize) {
    let pages = 1 + if random.next(4) == 0 { random.next(1200) } else { random.next(12) };
    let first = random.next(2048 - pages.min(2047));
    let (start, range) = (ground + first * PAGE, first..(first + pages).min(2048));
    let length = range.len() * PAGE;
    let protection = PROTECTIONS[random.next(4)];
    match random.next(9) {
        0 | 1 => {
            let request = MapRequest::anonymous(length, protection).at(Placement::Fixed(at(start)));
            assert_eq!(run(space.map(request)), Ok(at(start)));
            model.extend(range.map(|page| (page, (protection, 0))));
        }
        2 => {
            run(space.unmap(at(start), length)).unwrap();
            model.retain(|page, _| !range.contains(page));
        }
        3 => {
            let hole = range.clone().find(|page| !model.contains_key(page));
            let expected = if hole.is_some() { Err(Error::OutOfMemory) } else { Ok(()) };
            assert_eq!(run(space.protect(at(start), length, protection)), expected);
            for page in range.start..hole.unwrap_or(range.end) {
                model.get_mut(&page).unwrap().0 = protection;
            }
        }
        4 => {
            let _ = run(space.advise(at(start), length, linux::MADV_DONTNEED));
            model.range_mut(range).for_each(|(_, page)| page.1 = 0);
        }
        5 => {
            let target = random.next(2048 - range.len() + 1);
            let apart = target >= range.end || target + range.len() <= range.start;
            let result = run(space.remap(at(start), length, length, Remap::To(at(ground + target * PAGE))));
            assert!(apart || result == Err(Error::InvalidArgument));
            if result.is_ok() {
                let moved: Vec<_> = range.clone().map(|page| model.remove(&page).unwrap()).collect();
                for (offset, page) in moved.into_iter().enumerate() {
                    model.insert(target + offset, page);
                }
            }
        }
        _ => {
            let value = random.next(255) as u8 + 1;
            for page in range.step_by(1 + random.next(3)) {
                let writable = model.get(&page).is_some_and(|page| page.0.contains(Protection::WRITE));
                assert_eq!(space.set_byte(ground + page * PAGE, value).is_ok(), writable);
                if writable {
                    model.get_mut(&page).unwrap().1 = value;
                }
            }
        }
    }
}

#[track_caller]
fn check(space: &AddressSpace, model: &Model, ground: usize) {
    for page in 0..2048 {
        let expected = match model.get(&page) {
            Some((protection, value)) if !protection.is_empty() => Ok(*value),
            _ => Err(Error::BadAddress),
        };
        assert_eq!(space.byte(ground + page * PAGE), expected, "page {page}");
    }
    let mut mapped = 0;
    let (mut last, areas) = (0, run(space.mappings()).unwrap());
    for area in &areas {
        assert!(area.range.start >= last && area.range.start < area.range.end, "areas in order");
        mapped += area.range.len();
        last = area.range.end;
    }
    assert_eq!((mapped, run(space.mapped_bytes()).0), (model.len() * PAGE, model.len() * PAGE));
}

#[test]
fn random_operations_agree_with_the_model() {
    for seed in 0..12 {
        let machine = Machine::new();
        let (mut random, ground) = (Random(seed), 0x1000_0000);
        let mut worlds = vec![(machine.space(), Model::new())];
        assert_eq!(worlds[0].0.activate(0), NeedsFlush::No);
        for _ in 0..250 {
            let index = random.next(worlds.len());
            let alone = worlds.len() == 1;
            let (space, model) = &mut worlds[index];
            if random.next(25) == 0 {
                let copy = (run(space.fork()).unwrap(), model.clone());
                worlds.push(copy);
            } else if random.next(40) == 0 && !alone {
                worlds.swap_remove(index);
            } else {
                step(space, model, &mut random, ground);
            }
        }
        for (space, model) in &worlds {
            check(space, model, ground);
        }
        drop(worlds);
        machine.assert_nothing_lost();
    }
}

/// Operations under memory that runs out: each either happens or changes nothing that can be seen.
#[test]
fn every_operation_survives_every_failing_allocation() {
    let machine = Machine::new();
    let ground = 0x1000_0000;
    type Operation = fn(&AddressSpace, usize) -> Result<()>;
    let operations: [Operation; 9] = [
        |space, ground| run(space.unmap(at(ground + 3 * PAGE), 4 * PAGE)),
        |space, ground| run(space.protect(at(ground + 3 * PAGE), 4 * PAGE, Protection::READ)),
        |space, ground| run(space.advise(at(ground + 3 * PAGE), 4 * PAGE, linux::MADV_DONTNEED)),
        |space, ground| run(space.advise(at(ground + 3 * PAGE), 4 * PAGE, linux::MADV_NOHUGEPAGE)),
        |space, ground| run(space.fork()).map(|child| assert_eq!(child.byte(ground), Ok(1))),
        |space, ground| {
            run(space.remap(at(ground + PAGE), 4 * PAGE, 9 * PAGE, Remap::To(at(0x20_0000_0000)))).map(|_| ())
        },
        |space, ground| space.set_byte(ground + (2 << 20) + (1 << 30), 1),
        |space, ground| {
            run(space.map(MapRequest::anonymous(PAGE, RW).at(Placement::Fixed(at(ground + PAGE)))))
                .map(|_| ())
        },
        |space, ground| {
            run(space.pin(at(ground + (3 << 20)), 20 * PAGE, Access::Write)).map(|pinned| {
                assert!(!pinned.is_empty());
            })
        },
    ];
    for operation in operations {
        let mut failures = 0;
        loop {
            let space = machine.space();
            let request = MapRequest::anonymous(2 << 30, RW);
            run(space.map(request.at(Placement::Fixed(at(ground))))).unwrap();
            for page in 0..10 {
                space.set_byte(ground + page * PAGE, page as u8 + 1).unwrap();
            }
            assert_eq!(space.usage(ground..ground + PAGE).large, 1);
            let other = run(space.fork()).unwrap();
            fail_after(Some(failures));
            let result = operation(&space, ground);
            fail_after(None);
            if result.is_err() {
                assert_eq!(result, Err(Error::OutOfMemory));
                for page in 0..10 {
                    assert_eq!(space.byte(ground + page * PAGE), Ok(page as u8 + 1));
                    space.set_byte(ground + page * PAGE, 50).unwrap();
                }
            }
            assert_eq!(other.byte(ground + 5 * PAGE), Ok(6));
            drop((space, other));
            machine.assert_nothing_lost();
            if result.is_ok() {
                break;
            }
            failures += 1;
        }
        assert!(failures < 40);
    }
}

#[test]
fn spaces_cannot_be_made_without_memory() {
    let machine = Machine::new();
    fail_after(Some(0));
    let space = AddressSpace::new(machine.environment, Limits::default(), randomise([0; 4], 0));
    fail_after(None);
    assert_eq!(space.err(), Some(Error::OutOfMemory));
    machine.assert_nothing_lost();
}

#[test]
fn threads_fault_copy_and_unmap_at_the_same_time() {
    let machine = Machine::new();
    let space = machine.space();
    let start = space.anonymous(256 * PAGE);
    std::thread::scope(|scope| {
        for hart in 0..3 {
            let space = &space;
            scope.spawn(move || {
                base::hal::hosted::set_hart_index(hart);
                assert_eq!(space.activate(hart), NeedsFlush::No);
                let mut random = Random(hart as u64);
                for _ in 0..3000 {
                    let page = start + random.next(256) * PAGE;
                    let ours = page + 8 * hart;
                    let spin = |mut done: Box<dyn FnMut() -> bool>| while !done() {};
                    spin(Box::new(move || {
                        space.try_write_bytes(at(ours), &[hart as u8; 8]) == 8 || {
                            let _ = space.try_fault(at(ours), Access::Write);
                            false
                        }
                    }));
                    if let Some(pinned) = space.try_pin(at(ours), 8, Access::Read) {
                        let mut bytes = [0; 8];
                        Source::gathered(pinned.pieces()).copy_to(&mut bytes);
                        assert!(bytes == [hart as u8; 8] || bytes == [0; 8]);
                    }
                    if random.next(20) == 0
                        && let Some(mut layout) = space.layout.try_lock()
                    {
                        let range = page..page + PAGE;
                        space.clear(&range);
                        let _ = &mut layout;
                    }
                }
                frames::drain_cache();
            });
        }
    });
    assert_eq!(space.tables.lock().find(at(0)).map(|leaf| leaf.entry.flags()), None::<Flags>);
    drop(space);
    machine.assert_nothing_lost();
}
