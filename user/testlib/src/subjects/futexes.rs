//! Futexes: waiting, waking, requeueing, several at once, robust lists, and those with priority inheritance.

use crate::check::{equal, fails, holds, need, succeeds, within};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{Child, Ended, Errno, Mapping, in_child, now_ns, sleep_ns};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::thread::JoinHandle;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("arguments", arguments),
    test("wake", wake),
    test("time", time),
    test("bits", bits),
    test("requeue", requeue),
    test("wake-op", wake_op),
    test("shared", shared),
    test("several", several),
    test("robust", robust),
    test("inheritance", inheritance),
    test("inheritance-hand-over", inheritance_hand_over),
    test("inheritance-priority", inheritance_priority),
    test("inheritance-owner-ends", inheritance_owner_ends),
    test("inheritance-requeue", inheritance_requeue),
];

const MILLISECOND: u64 = 1_000_000;
const WAITERS: u32 = 0x8000_0000;
const OWNER_DIED: u32 = 0x4000_0000;
const LOCK_PI2: i32 = 13;

/// A word that threads share.
type Word = Arc<AtomicU32>;

fn word(value: u32) -> Word {
    Arc::new(AtomicU32::new(value))
}

fn address(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word) as usize
}

fn futex(word: &AtomicU32, operation: i32, value: u32) -> Result<usize, Errno> {
    call!(SYS_futex, address(word), operation, value, 0, 0, 0)
}

fn wait(word: &AtomicU32, value: u32, timeout_ms: u64) -> Result<usize, Errno> {
    let time = [timeout_ms / 1000, timeout_ms % 1000 * MILLISECOND];
    call!(SYS_futex, address(word), libc::FUTEX_WAIT, value, &time)
}

fn wake_up(word: &AtomicU32, count: i32) -> usize {
    need(futex(word, libc::FUTEX_WAKE, count as u32))
}

/// Repeats until `condition` holds, for at most five seconds; whether it does.
fn soon(mut condition: impl FnMut() -> bool) -> bool {
    let start = now_ns();
    while !condition() {
        if now_ns() - start > 5000 * MILLISECOND {
            return false;
        }
        sleep_ns(MILLISECOND);
    }
    true
}

fn thread_id() -> u32 {
    need(call!(SYS_gettid)) as u32
}

fn arguments() {
    let zero = AtomicU32::new(0);
    fails("another value", wait(&zero, 1, 1000), libc::EAGAIN);
    fails("not aligned", call!(SYS_futex, address(&zero) + 1, libc::FUTEX_WAIT, 0, 0), libc::EINVAL);
    fails("nothing there", call!(SYS_futex, 8, libc::FUTEX_WAIT, 0, 0), libc::EFAULT);
    fails("nobody's", call!(SYS_futex, 8, libc::FUTEX_WAKE, 1, 0), libc::EFAULT);
    fails("no such operation", futex(&zero, 99, 0), libc::ENOSYS);
    let time = [0u64, 1_000_000_000];
    fails("too many nanoseconds", call!(SYS_futex, address(&zero), libc::FUTEX_WAIT, 0, &time), libc::EINVAL);
    fails(
        "a negative time",
        call!(SYS_futex, address(&zero), libc::FUTEX_WAIT, 0, &[u64::MAX, 0]),
        libc::EINVAL,
    );
    fails(
        "a time that cannot be read",
        call!(SYS_futex, address(&zero), libc::FUTEX_WAIT, 0, 8),
        libc::EFAULT,
    );
    fails("no bits", call!(SYS_futex, address(&zero), libc::FUTEX_WAIT_BITSET, 0, 0, 0, 0), libc::EINVAL);
    fails(
        "waking no bits",
        call!(SYS_futex, address(&zero), libc::FUTEX_WAKE_BITSET, 1, 0, 0, 0),
        libc::EINVAL,
    );
    let by_clock = libc::FUTEX_WAKE | libc::FUTEX_CLOCK_REALTIME;
    fails("a clock for waking", futex(&zero, by_clock, 1), libc::ENOSYS);
    let requeue = call!(SYS_futex, address(&zero), libc::FUTEX_REQUEUE, -1, 0, address(&zero), 0);
    fails("a negative number to wake", requeue, libc::EINVAL);
    let other = AtomicU32::new(0);
    let changed = call!(SYS_futex, address(&zero), libc::FUTEX_CMP_REQUEUE, 1, 1, address(&other), 5);
    fails("a requeue of what has changed", changed, libc::EAGAIN);
    equal("nobody to wake", wake_up(&zero, 10), 0);
    let private = need(Mapping::anonymous(4096, asyncos_apps::system::Access::READ));
    equal(
        "reading is enough to wait for a private one",
        wait_at(private.address()),
        Err(Errno(libc::ETIMEDOUT)),
    );
}

fn wait_at(address: usize) -> Result<usize, Errno> {
    let time = [0u64, MILLISECOND];
    call!(SYS_futex, address, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0, &time)
}

/// Threads that wait for a word, each adding to a count once it was woken.
fn sleepers(word: &Word, count: usize, bits: u32) -> (Vec<JoinHandle<Result<usize, Errno>>>, Arc<AtomicI32>) {
    let (ready, woken) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicI32::new(0)));
    let threads = (0..count).map(|_| {
        let (word, ready, woken) = (word.clone(), ready.clone(), woken.clone());
        std::thread::spawn(move || {
            ready.fetch_add(1, Ordering::SeqCst);
            let outcome = call!(
                SYS_futex,
                address(&word),
                libc::FUTEX_WAIT_BITSET,
                word.load(Ordering::SeqCst),
                0,
                0,
                bits
            );
            woken.fetch_add(1, Ordering::SeqCst);
            outcome
        })
    });
    let threads: Vec<_> = threads.collect();
    holds("they begin", soon(|| ready.load(Ordering::SeqCst) as usize == count));
    sleep_ns(30 * MILLISECOND);
    (threads, woken)
}

fn joined(threads: Vec<JoinHandle<Result<usize, Errno>>>) -> Vec<Result<usize, Errno>> {
    threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Errno(0)))).collect()
}

fn wake() {
    let word = word(7);
    let (threads, woken) = sleepers(&word, 3, u32::MAX);
    equal("one is woken", wake_up(&word, 1), 1);
    holds("and runs", soon(|| woken.load(Ordering::SeqCst) == 1));
    equal("0 counts as one", wake_up(&word, 0), 1);
    equal("no more than there are", wake_up(&word, 100), 1);
    equal("each is told that it was woken", joined(threads), vec![Ok(0); 3]);
    let (threads, _) = sleepers(&word, 2, u32::MAX);
    equal("negative numbers are many", futex(&word, libc::FUTEX_WAKE, i32::MAX as u32), Ok(2));
    joined(threads);
}

fn time() {
    let zero = AtomicU32::new(0);
    let before = now_ns();
    fails("nobody wakes", wait(&zero, 0, 20), libc::ETIMEDOUT);
    within("in time", now_ns() - before, 20 * MILLISECOND..=5000 * MILLISECOND);
    let mut moment = [0u64; 2];
    let bitset = |operation: i32, moment: &[u64; 2]| {
        call!(SYS_futex, address(&zero), operation, 0, moment, 0, u32::MAX)
    };
    need(call!(SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut moment));
    fails("a moment that is over", bitset(libc::FUTEX_WAIT_BITSET, &moment), libc::ETIMEDOUT);
    need(call!(SYS_clock_gettime, libc::CLOCK_REALTIME, &mut moment));
    moment[0] += 1;
    moment[1] = 0;
    let before = now_ns();
    fails(
        "a time of day",
        bitset(libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME, &moment),
        libc::ETIMEDOUT,
    );
    within("comes", now_ns() - before, 0..=5000 * MILLISECOND);
}

fn bits() {
    let word = word(1);
    let (first, first_woken) = sleepers(&word, 1, 0b01);
    let (second, second_woken) = sleepers(&word, 1, 0b10);
    let wake = |bits: u32| need(call!(SYS_futex, address(&word), libc::FUTEX_WAKE_BITSET, 10, 0, 0, bits));
    equal("other bits wake nobody", wake(0b100), 0);
    equal("one of them", wake(0b110), 1);
    holds("is the second", soon(|| second_woken.load(Ordering::SeqCst) == 1));
    equal("not the first", first_woken.load(Ordering::SeqCst), 0);
    equal("plain waking is by all bits", wake_up(&word, 10), 1);
    joined(first);
    joined(second);
}

fn requeue() {
    let (from, to) = (word(3), word(0));
    let (threads, woken) = sleepers(&from, 5, u32::MAX);
    let moved = call!(SYS_futex, address(&from), libc::FUTEX_CMP_REQUEUE, 1, 2, address(&to), 3);
    equal("one is woken, two are moved", moved, Ok(3));
    holds("one runs", soon(|| woken.load(Ordering::SeqCst) == 1));
    equal("two wait there now", wake_up(&to, 10), 2);
    let moved = call!(SYS_futex, address(&from), libc::FUTEX_REQUEUE, 0, 10, address(&to), 0);
    equal("the other two are moved", moved, Ok(2));
    equal("none is left", wake_up(&from, 10), 0);
    equal("none has run", woken.load(Ordering::SeqCst) <= 3, true);
    equal("they are there", wake_up(&to, 10), 2);
    equal("all were woken", joined(threads), vec![Ok(0); 5]);
}

fn wake_op() {
    let (first, second) = (word(1), word(5));
    let operate = |operation: i32, operand: i32, comparison: i32, comparand: i32| {
        let word =
            (operation << 28 | comparison << 24 | (operand & 0xfff) << 12 | (comparand & 0xfff)) as u32;
        call!(SYS_futex, address(&first), libc::FUTEX_WAKE_OP, 1, 1, address(&second), word)
    };
    equal("set", operate(libc::FUTEX_OP_SET, 9, libc::FUTEX_OP_CMP_EQ, 5), Ok(0));
    equal("is set", second.load(Ordering::SeqCst), 9);
    need(operate(libc::FUTEX_OP_ADD, -2, libc::FUTEX_OP_CMP_EQ, 5));
    equal("a negative operand", second.load(Ordering::SeqCst), 7);
    need(operate(libc::FUTEX_OP_OR, 8, libc::FUTEX_OP_CMP_EQ, 5));
    equal("or", second.load(Ordering::SeqCst), 15);
    need(operate(libc::FUTEX_OP_ANDN, 3, libc::FUTEX_OP_CMP_EQ, 5));
    equal("and not", second.load(Ordering::SeqCst), 12);
    need(operate(libc::FUTEX_OP_XOR, 5, libc::FUTEX_OP_CMP_EQ, 5));
    equal("xor", second.load(Ordering::SeqCst), 9);
    need(operate(libc::FUTEX_OP_OR | 8, 4, libc::FUTEX_OP_CMP_EQ, 5));
    equal("a shift", second.load(Ordering::SeqCst), 9 | 16);
    fails("no such operation", operate(7, 0, 0, 0), libc::ENOSYS);
    let (threads, _) = sleepers(&first, 1, u32::MAX);
    let (others, other_woken) = sleepers(&second, 1, u32::MAX);
    equal("the first only", operate(libc::FUTEX_OP_ADD, 0, libc::FUTEX_OP_CMP_LT, 5), Ok(1));
    equal("not the second", other_woken.load(Ordering::SeqCst), 0);
    equal("the second, as it compares", operate(libc::FUTEX_OP_ADD, 0, libc::FUTEX_OP_CMP_GE, 25), Ok(1));
    joined(threads);
    joined(others);
}

fn shared() {
    let memory = need(Mapping::shared(4096));
    let child = need(in_child(|| i32::from(wait(memory.word(0), 0, 5000) == Ok(0))));
    holds("another process is woken", soon(|| wake_up(memory.word(0), 1) == 1));
    equal("and knows", child.wait(), Ok(Ended::Exited(1)));
    let child = need(in_child(|| {
        let private = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        let time = [0u64, 50 * MILLISECOND];
        let outcome = call!(SYS_futex, memory.address(), private, 0, &time);
        i32::from(outcome == Err(Errno(libc::ETIMEDOUT)))
    }));
    sleep_ns(20 * MILLISECOND);
    equal("not one who waits for his own", wake_up(memory.word(0), 1), 0);
    equal("he waits in vain", child.wait(), Ok(Ended::Exited(1)));
    let file = need(call!(SYS_memfd_create, c"words", 0));
    need(call!(SYS_ftruncate, file, 4096));
    let map = || {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        Mapping::adopt(need(call!(SYS_mmap, 0, 4096, access, libc::MAP_SHARED, file, 0)), 4096)
    };
    let (here, there) = (map(), map());
    let place = here.address() + 64;
    let waiter = std::thread::spawn(move || call!(SYS_futex, place, libc::FUTEX_WAIT, 0, &[5u64, 0]));
    holds("one word at two addresses", soon(|| wake_up(there.word(64), 1) == 1));
    equal("is one futex", waiter.join().unwrap_or(Err(Errno(0))), Ok(0));
}

fn several() {
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Awaited {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    const SIZE_32: u32 = 2;
    let words = [word(1), word(2), word(3)];
    let awaited: Vec<Awaited> = words
        .iter()
        .zip(1..)
        .map(|(word, value)| Awaited { value, address: address(word) as u64, flags: SIZE_32, reserved: 0 })
        .collect();
    let wait = |list: &[Awaited], flags: i32, moment: &[u64; 2]| {
        call!(SYS_futex_waitv, list.as_ptr() as usize, list.len(), flags, moment, libc::CLOCK_MONOTONIC)
    };
    let mut moment = [0u64; 2];
    need(call!(SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut moment));
    fails("a moment that is over", wait(&awaited, 0, &moment), libc::ETIMEDOUT);
    let later = [moment[0] + 5, 0];
    fails("flags", wait(&awaited, 1, &later), libc::EINVAL);
    fails("none", wait(&[], 0, &later), libc::EINVAL);
    fails("too many", wait(&vec![awaited[0]; 129], 0, &later), libc::EINVAL);
    let changed = [awaited[0], Awaited { value: 9, ..awaited[1] }];
    fails("one that has changed", wait(&changed, 0, &later), libc::EAGAIN);
    let sized = [Awaited { flags: 1, ..awaited[0] }];
    fails("words of another size", wait(&sized, 0, &later), libc::EINVAL);
    let reserved = [Awaited { reserved: 1, ..awaited[0] }];
    fails("what is reserved", wait(&reserved, 0, &later), libc::EINVAL);
    let nowhere = [Awaited { address: 8, ..awaited[0] }];
    fails("nothing there", wait(&nowhere, 0, &later), libc::EFAULT);
    let clock = call!(SYS_futex_waitv, awaited.as_ptr() as usize, 3, 0, &later, libc::CLOCK_BOOTTIME);
    fails("another clock", clock, libc::EINVAL);
    for index in [2, 0, 1] {
        let list = awaited.clone();
        let waiter = std::thread::spawn(move || {
            call!(SYS_futex_waitv, list.as_ptr() as usize, 3, 0, 0, libc::CLOCK_MONOTONIC)
        });
        holds("somebody waits", soon(|| wake_up(&words[index], 1) == 1));
        equal(&format!("for {index}, too"), waiter.join().unwrap_or(Err(Errno(0))), Ok(index));
        let rest: usize = words.iter().map(|word| wake_up(word, 10)).sum();
        equal("and for nothing afterwards", rest, 0);
    }
}

/// `struct robust_list_head` with one entry, and the word behind it.
#[repr(C)]
struct Robust {
    head: usize,
    offset: isize,
    pending: usize,
    entry: usize,
    word: AtomicU32,
}

fn robust() {
    fails("another size", call!(SYS_set_robust_list, 0, 23), libc::EINVAL);
    let memory = need(Mapping::shared(4096));
    let base = memory.address();
    let word = memory.word(32);
    let run = |extra: u32, pending: bool| {
        need(in_child(|| {
            word.store(thread_id() | extra, Ordering::SeqCst);
            // SAFETY: the mapping is zeroed, large enough and aligned; nobody else looks at these words.
            unsafe {
                let list = &mut *(base as *mut Robust);
                list.entry = base;
                list.offset = std::mem::offset_of!(Robust, word) as isize
                    - std::mem::offset_of!(Robust, entry) as isize;
                let entry = base + std::mem::offset_of!(Robust, entry);
                (list.head, list.pending) = if pending { (base, entry) } else { (entry, 0) };
            }
            need(call!(SYS_set_robust_list, base, 24));
            0
        }))
    };
    need(run(0, false).wait());
    equal("a lock of one who ended says so", word.load(Ordering::SeqCst), OWNER_DIED);
    let child = run(WAITERS, false);
    need(child.wait());
    equal("and that somebody waits", word.load(Ordering::SeqCst), OWNER_DIED | WAITERS);
    need(run(0, true).wait());
    equal("one that was just being taken, too", word.load(Ordering::SeqCst), OWNER_DIED);
    let waiter = need(in_child(|| {
        let start = now_ns();
        while word.load(Ordering::SeqCst) & OWNER_DIED != 0 && now_ns() - start < 5000 * MILLISECOND {
            sleep_ns(MILLISECOND);
        }
        let seen = word.load(Ordering::SeqCst);
        let outcome = wait(word, seen, 5000);
        i32::from(outcome == Ok(0) || outcome == Err(Errno(libc::EAGAIN)))
    }));
    let holder = need(in_child(|| {
        word.store(thread_id() | WAITERS, Ordering::SeqCst);
        // SAFETY: as above.
        unsafe {
            let list = &mut *(base as *mut Robust);
            (list.head, list.pending) = (base + std::mem::offset_of!(Robust, entry), 0);
        }
        need(call!(SYS_set_robust_list, base, 24));
        sleep_ns(50 * MILLISECOND);
        0
    }));
    need(holder.wait());
    equal("who waits is woken", waiter.wait(), Ok(Ended::Exited(1)));
    word.store(1 | WAITERS, Ordering::SeqCst);
    let stranger = need(in_child(|| {
        // SAFETY: as above.
        unsafe {
            let list = &mut *(base as *mut Robust);
            (list.head, list.pending) = (base + std::mem::offset_of!(Robust, entry), 0);
        }
        need(call!(SYS_set_robust_list, base, 24));
        0
    }));
    need(stranger.wait());
    equal("another's lock is left alone", word.load(Ordering::SeqCst), 1 | WAITERS);
    let mut found = [0usize; 2];
    let (head, length) = found.split_at_mut(1);
    need(call!(SYS_get_robust_list, 0, &mut head[0], &mut length[0]));
    equal("the list's length is told", found[1], 24);
    fails("of nobody", call!(SYS_get_robust_list, 4_000_000, base, base), libc::ESRCH);
}

fn inheritance() {
    let free = AtomicU32::new(0);
    let own = thread_id();
    succeeds("a free one", futex(&free, libc::FUTEX_LOCK_PI, 0));
    equal("is its owner's", free.load(Ordering::SeqCst), own);
    fails("who cannot take it twice", futex(&free, libc::FUTEX_LOCK_PI, 0), libc::EDEADLK);
    fails("nor try to", futex(&free, libc::FUTEX_TRYLOCK_PI, 0), libc::EDEADLK);
    succeeds("he can release it", futex(&free, libc::FUTEX_UNLOCK_PI, 0));
    equal("then it is free", free.load(Ordering::SeqCst), 0);
    fails("and not his to release", futex(&free, libc::FUTEX_UNLOCK_PI, 0), libc::EPERM);
    succeeds("trying takes it", futex(&free, libc::FUTEX_TRYLOCK_PI, 0));
    need(futex(&free, libc::FUTEX_UNLOCK_PI, 0));
    succeeds("the other way to lock", futex(&free, LOCK_PI2, 0));
    need(futex(&free, libc::FUTEX_UNLOCK_PI, 0));
    free.store(1, Ordering::SeqCst);
    fails("another's is not ours to release", futex(&free, libc::FUTEX_UNLOCK_PI, 0), libc::EPERM);
    fails("nor to take by trying", futex(&free, libc::FUTEX_TRYLOCK_PI, 0), libc::EAGAIN);
    free.store(4_000_000, Ordering::SeqCst);
    fails("one of nobody", futex(&free, libc::FUTEX_LOCK_PI, 0), libc::ESRCH);
    free.store(OWNER_DIED, Ordering::SeqCst);
    succeeds("one whose owner died", futex(&free, libc::FUTEX_LOCK_PI, 0));
    equal("says that still", free.load(Ordering::SeqCst), own | OWNER_DIED);
    fails("not aligned", call!(SYS_futex, address(&free) + 2, libc::FUTEX_LOCK_PI, 0, 0), libc::EINVAL);
    fails("nothing there", call!(SYS_futex, 8, libc::FUTEX_LOCK_PI, 0, 0), libc::EFAULT);
}

fn inheritance_hand_over() {
    let word = word(0);
    need(futex(&word, libc::FUTEX_LOCK_PI, 0));
    let own = thread_id();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let lockers: Vec<_> = (0..3)
        .map(|number| {
            let (word, order) = (word.clone(), order.clone());
            let locker = std::thread::spawn(move || {
                let taken = futex(&word, libc::FUTEX_LOCK_PI, 0);
                if let Ok(mut order) = order.lock() {
                    order.push(number);
                }
                let is_ours = word.load(Ordering::SeqCst) & !WAITERS & !OWNER_DIED == thread_id();
                sleep_ns(5 * MILLISECOND);
                taken.and(futex(&word, libc::FUTEX_UNLOCK_PI, 0)).map(|_| usize::from(is_ours))
            });
            sleep_ns(30 * MILLISECOND);
            locker
        })
        .collect();
    equal("the word says that somebody waits", word.load(Ordering::SeqCst), own | WAITERS);
    fails(
        "nobody else may release it",
        std::thread::scope(|scope| {
            scope.spawn(|| futex(&word, libc::FUTEX_UNLOCK_PI, 0)).join().unwrap_or(Ok(0))
        }),
        libc::EPERM,
    );
    need(futex(&word, libc::FUTEX_UNLOCK_PI, 0));
    equal("each has it in turn", joined(lockers), vec![Ok(1); 3]);
    equal(
        "in the order in which they came",
        order.lock().map(|order| order.clone()).unwrap_or_default(),
        vec![0, 1, 2],
    );
    equal("in the end it is free", word.load(Ordering::SeqCst), 0);
    need(futex(&word, libc::FUTEX_LOCK_PI, 0));
    let late = word.clone();
    let waiter = std::thread::spawn(move || {
        let mut moment = [0u64; 2];
        need(call!(SYS_clock_gettime, libc::CLOCK_REALTIME, &mut moment));
        let moment = [
            moment[0] + (moment[1] + 30 * MILLISECOND) / 1_000_000_000,
            (moment[1] + 30 * MILLISECOND) % 1_000_000_000,
        ];
        call!(SYS_futex, address(&late), libc::FUTEX_LOCK_PI, 0, &moment)
    });
    equal("waiting ends in time", waiter.join().unwrap_or(Ok(0)), Err(Errno(libc::ETIMEDOUT)));
    succeeds("and the owner can release it", futex(&word, libc::FUTEX_UNLOCK_PI, 0));
    equal("to nobody", word.load(Ordering::SeqCst), 0);
    deadlock();
}

fn deadlock() {
    let (first, second) = (word(0), word(0));
    need(futex(&first, libc::FUTEX_LOCK_PI, 0));
    let other = {
        let (first, second) = (first.clone(), second.clone());
        std::thread::spawn(move || {
            need(futex(&second, libc::FUTEX_LOCK_PI, 0));
            let outcome = futex(&first, libc::FUTEX_LOCK_PI, 0);
            let _ = futex(&first, libc::FUTEX_UNLOCK_PI, 0);
            let _ = futex(&second, libc::FUTEX_UNLOCK_PI, 0);
            outcome
        })
    };
    holds("the other waits for ours", soon(|| first.load(Ordering::SeqCst) & WAITERS != 0));
    fails("so we cannot wait for the other's", futex(&second, libc::FUTEX_LOCK_PI, 0), libc::EDEADLK);
    need(futex(&first, libc::FUTEX_UNLOCK_PI, 0));
    equal("which goes on", other.join().unwrap_or(Err(Errno(0))), Ok(0));
}

/// The priority that the kernel shows for a thread of ours: real-time ones are negative.
fn shown_priority(thread: u32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split(' ').nth(15).and_then(|field| field.parse().ok()).unwrap_or(i32::MAX)
}

/// A thread that is neither the most nor the least important, and computes from `go` on for seconds unless `stop` is set.
fn between(go: &Word, stop: &Word) -> JoinHandle<Result<usize, Errno>> {
    let (go, stop) = (go.clone(), stop.clone());
    std::thread::spawn(move || {
        need(call!(SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &30i32));
        while go.load(Ordering::SeqCst) == 0 {
            sleep_ns(MILLISECOND);
        }
        let start = now_ns();
        while stop.load(Ordering::SeqCst) == 0 && now_ns() - start < 3000 * MILLISECOND {}
        Ok(usize::from(stop.load(Ordering::SeqCst) != 0))
    })
}

fn inheritance_priority() {
    // Three threads on one processor: the lowest holds a lock, the highest wants it, the one in between computes.
    need(call!(SYS_sched_setaffinity, 0, 8, &1u64));
    need(call!(SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &50i32));
    let (lock, stop, held) = (word(0), word(0), word(0));
    let low = {
        let (lock, held) = (lock.clone(), held.clone());
        std::thread::spawn(move || {
            need(call!(SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &10i32));
            need(futex(&lock, libc::FUTEX_LOCK_PI, 0));
            held.store(thread_id(), Ordering::SeqCst);
            // Until somebody more important waits, and then some more.
            while lock.load(Ordering::SeqCst) & WAITERS == 0 {
                sleep_ns(MILLISECOND);
            }
            let start = now_ns();
            while now_ns() - start < 20 * MILLISECOND {}
            futex(&lock, libc::FUTEX_UNLOCK_PI, 0)
        })
    };
    holds("the lowest has the lock", soon(|| held.load(Ordering::SeqCst) != 0));
    let go = word(0);
    let middle = between(&go, &stop);
    sleep_ns(10 * MILLISECOND);
    let before = now_ns();
    go.store(1, Ordering::SeqCst);
    succeeds("the highest gets it", futex(&lock, libc::FUTEX_LOCK_PI, 0));
    within("and does not wait for the one in between", now_ns() - before, 0..=1500 * MILLISECOND);
    stop.store(1, Ordering::SeqCst);
    need(futex(&lock, libc::FUTEX_UNLOCK_PI, 0));
    equal("which was kept from computing", joined(vec![low, middle]), vec![Ok(0), Ok(1)]);
    equal("our own is what it was", shown_priority(thread_id()), -51);
}

fn inheritance_owner_ends() {
    let word = word(0);
    let owner = {
        let word = word.clone();
        std::thread::spawn(move || {
            need(futex(&word, libc::FUTEX_LOCK_PI, 0));
            let waits = soon(|| word.load(Ordering::SeqCst) & WAITERS != 0);
            Ok(usize::from(waits))
        })
    };
    holds("somebody has it", soon(|| word.load(Ordering::SeqCst) != 0));
    let taken = futex(&word, libc::FUTEX_LOCK_PI, 0);
    equal("when he ends who waits inherits it", taken, Ok(0));
    equal("and is told", word.load(Ordering::SeqCst) & !WAITERS, thread_id() | OWNER_DIED);
    succeeds("it is as good as any", futex(&word, libc::FUTEX_UNLOCK_PI, 0));
    joined(vec![owner]);
    let memory = need(Mapping::shared(4096));
    let word = memory.word(0);
    let child = need(in_child(|| {
        need(futex(word, libc::FUTEX_LOCK_PI, 0));
        soon(|| word.load(Ordering::SeqCst) & WAITERS != 0);
        0
    }));
    holds("another process has it", soon(|| word.load(Ordering::SeqCst) != 0));
    equal("and ends", futex(word, libc::FUTEX_LOCK_PI, 0), Ok(0));
    equal("leaving it", word.load(Ordering::SeqCst) & !WAITERS, thread_id() | OWNER_DIED);
    equal("as if it were nothing", Child::wait(child), Ok(Ended::Exited(0)));
}

fn inheritance_requeue() {
    let (condition, lock) = (word(4), word(0));
    let requeue = |wake: u32, limit: usize, expected: u32| {
        call!(
            SYS_futex,
            address(&condition),
            libc::FUTEX_CMP_REQUEUE_PI,
            wake,
            limit,
            address(&lock),
            expected
        )
    };
    fails("the condition has changed", requeue(1, 1, 5), libc::EAGAIN);
    fails("more than one", requeue(2, 1, 4), libc::EINVAL);
    equal("nobody waits", requeue(1, 10, 4), Ok(0));
    let same = call!(SYS_futex, address(&lock), libc::FUTEX_CMP_REQUEUE_PI, 1, 1, address(&lock), 0);
    fails("from a futex to itself", same, libc::EINVAL);
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let (condition, lock) = (condition.clone(), lock.clone());
            std::thread::spawn(move || {
                let outcome =
                    call!(SYS_futex, address(&condition), libc::FUTEX_WAIT_REQUEUE_PI, 4, 0, address(&lock));
                let is_ours = lock.load(Ordering::SeqCst) & !WAITERS == thread_id();
                sleep_ns(5 * MILLISECOND);
                outcome.and(futex(&lock, libc::FUTEX_UNLOCK_PI, 0)).map(|_| usize::from(is_ours))
            })
        })
        .collect();
    sleep_ns(50 * MILLISECOND);
    need(futex(&lock, libc::FUTEX_LOCK_PI, 0));
    equal("all three go over", requeue(1, 10, 4), Ok(3));
    equal("and wait there", lock.load(Ordering::SeqCst), thread_id() | WAITERS);
    need(futex(&lock, libc::FUTEX_UNLOCK_PI, 0));
    equal("each has the lock in turn", joined(waiters), vec![Ok(1); 3]);
    equal("which is free in the end", lock.load(Ordering::SeqCst), 0);
    let timed = {
        let mut moment = [0u64; 2];
        need(call!(SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut moment));
        call!(SYS_futex, address(&condition), libc::FUTEX_WAIT_REQUEUE_PI, 4, &moment, address(&lock))
    };
    fails("waiting ends in time", timed, libc::ETIMEDOUT);
    let changed = call!(SYS_futex, address(&condition), libc::FUTEX_WAIT_REQUEUE_PI, 9, 0, address(&lock));
    fails("or does not begin", changed, libc::EAGAIN);
}
