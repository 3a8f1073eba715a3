//! Memory: mapping, protecting, moving, sharing, copying on write, files as memory, the heap's end and the stack.

use std::process::ExitCode;

use asyncos_apps::system::{
    Access, Child, Ended, Errno, Mapping, PAGE_BYTES, close, in_child, open, read, write,
};
use asyncos_apps::{Report, call};

fn main() -> ExitCode {
    let mut report = Report::new();
    anonymous(&mut report);
    refused(&mut report);
    protection(&mut report);
    holes(&mut report);
    resizing(&mut report);
    program_break(&mut report);
    forking(&mut report);
    files(&mut report);
    large(&mut report);
    advice(&mut report);
    stack(&mut report);
    report.finish()
}

/// How a child ends that does this.
fn outcome(body: impl FnOnce() -> i32) -> Result<Ended, Errno> {
    in_child(body).and_then(Child::wait)
}

const FAULT: Result<Ended, Errno> = Ok(Ended::Killed(libc::SIGSEGV));

fn anonymous(report: &mut Report) {
    let memory = Mapping::anonymous(10 * PAGE_BYTES, Access::WRITE).expect("ten pages");
    report.equal("page aligned", memory.address() % PAGE_BYTES, 0);
    report.holds("new memory is zero", memory.load(0, memory.length()).iter().all(|byte| *byte == 0));
    memory.set_byte(5 * PAGE_BYTES + 7, 42);
    report.equal("it keeps what is written", memory.byte(5 * PAGE_BYTES + 7), 42);
    let fixed = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let over = call!(SYS_mmap, memory.address() + 5 * PAGE_BYTES, PAGE_BYTES, 3, fixed, -1, 0);
    report.equal("MAP_FIXED replaces", over, Ok(memory.address() + 5 * PAGE_BYTES));
    report.equal("with new zeroes", memory.byte(5 * PAGE_BYTES + 7), 0);
    let keep = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    report.fails(
        "MAP_FIXED_NOREPLACE does not",
        call!(SYS_mmap, memory.address(), PAGE_BYTES, 3, keep, -1, 0),
        libc::EEXIST,
    );
}

fn refused(report: &mut Report) {
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    report.fails("no length", call!(SYS_mmap, 0, 0, 3, private, -1, 0), libc::EINVAL);
    report.fails(
        "neither shared nor private",
        call!(SYS_mmap, 0, PAGE_BYTES, 3, libc::MAP_ANONYMOUS, -1, 0),
        libc::EINVAL,
    );
    report.fails("no descriptor", call!(SYS_mmap, 0, PAGE_BYTES, 3, libc::MAP_PRIVATE, 999, 0), libc::EBADF);
    report.fails("an odd offset", call!(SYS_mmap, 0, PAGE_BYTES, 3, private, -1, 100), libc::EINVAL);
    report.fails("too much", call!(SYS_mmap, 0, 1usize << 46, 3, private, -1, 0), libc::ENOMEM);
    report.fails(
        "an odd fixed address",
        call!(SYS_mmap, 0x1234_5001, PAGE_BYTES, 3, private | libc::MAP_FIXED, -1, 0),
        libc::EINVAL,
    );
    report.fails("unmapping an odd address", call!(SYS_munmap, 0x1234_5001, PAGE_BYTES), libc::EINVAL);
    report.fails("unmapping nothing", call!(SYS_munmap, 0x1234_5000, 0), libc::EINVAL);
    report.fails(
        "protecting what is not there",
        call!(SYS_mprotect, 0x1234_5000, PAGE_BYTES, 3),
        libc::ENOMEM,
    );
    let kernel = 0xffff_ffc0_0000_0000usize;
    let taken = call!(SYS_mmap, kernel, PAGE_BYTES, 3, private | libc::MAP_FIXED, -1, 0);
    report.fails("the kernel's addresses", taken, libc::ENOMEM);
    report.equal(
        "touching the kernel's memory",
        outcome(|| i32::from(Mapping::adopt(kernel, PAGE_BYTES).byte(0))),
        FAULT,
    );
    report.equal("touching address 0", outcome(|| i32::from(Mapping::adopt(0, PAGE_BYTES).byte(8))), FAULT);
}

fn protection(report: &mut Report) {
    let memory = Mapping::anonymous(3 * PAGE_BYTES, Access::WRITE).expect("three pages");
    memory.fill(0, 3 * PAGE_BYTES, 1);
    report.succeeds("mprotect", memory.protect_range(PAGE_BYTES, PAGE_BYTES, Access::READ));
    report.equal("a read-only page can be read", memory.byte(PAGE_BYTES), 1);
    let written = outcome(|| {
        memory.set_byte(PAGE_BYTES, 2);
        0
    });
    report.equal("but not written", written, FAULT);
    let neighbours = outcome(|| {
        memory.set_byte(PAGE_BYTES - 1, 2);
        memory.set_byte(2 * PAGE_BYTES, 2);
        7
    });
    report.equal("its neighbours can", neighbours, Ok(Ended::Exited(7)));
    report.succeeds("no access", memory.protect_range(0, PAGE_BYTES, Access::NONE));
    report.equal("reading it", outcome(|| i32::from(memory.byte(0))), FAULT);
    report.succeeds("access again", memory.protect(Access::WRITE));
    report.equal("nothing was lost", memory.byte(0), 1);
    let executed = outcome(|| {
        // SAFETY: calling a page that is not executable can only fault, which is what is asked for.
        unsafe { std::mem::transmute::<usize, extern "C" fn()>(memory.address())() };
        0
    });
    report.equal("data is not executed", executed, FAULT);
    let code = [0x02a0_0513u32, 0x0000_8067].map(u32::to_le_bytes).concat();
    memory.store(0, &code);
    report.succeeds("executable", memory.protect(Access(libc::PROT_READ | libc::PROT_EXEC)));
    let executed = outcome(|| {
        // SAFETY: the page holds `li a0, 42; ret`, and the fence makes the hart fetch it anew.
        unsafe {
            std::arch::asm!("fence.i");
            std::mem::transmute::<usize, extern "C" fn() -> i32>(memory.address())()
        }
    });
    report.equal("code is", executed, Ok(Ended::Exited(42)));
}

fn holes(report: &mut Report) {
    let memory = Mapping::anonymous(5 * PAGE_BYTES, Access::WRITE).expect("five pages");
    memory.fill(0, 5 * PAGE_BYTES, 9);
    report.succeeds("unmapping the middle", memory.unmap_range(2 * PAGE_BYTES, PAGE_BYTES));
    report.equal("what is left", (memory.byte(2 * PAGE_BYTES - 1), memory.byte(3 * PAGE_BYTES)), (9, 9));
    report.equal("the hole", outcome(|| i32::from(memory.byte(2 * PAGE_BYTES))), FAULT);
    report.fails("protecting over a hole", memory.protect(Access::READ), libc::ENOMEM);
    let _ = memory.protect(Access::WRITE);
    report.succeeds("unmapping over a hole", memory.unmap_range(0, 5 * PAGE_BYTES));
}

fn resizing(report: &mut Report) {
    let mut memory = Mapping::anonymous(2 * PAGE_BYTES, Access::WRITE).expect("two pages");
    memory.store(PAGE_BYTES, b"moved");
    report.succeeds("growing", memory.resize(500 * PAGE_BYTES, libc::MREMAP_MAYMOVE));
    report.equal("the content went along", memory.load(PAGE_BYTES, 5), b"moved".to_vec());
    report.equal("the new part is zero", memory.byte(499 * PAGE_BYTES), 0);
    report.succeeds("shrinking", memory.resize(2 * PAGE_BYTES, 0));
    let (old, beyond) = (memory.address(), memory.address() + 2 * PAGE_BYTES);
    report.equal("the rest is gone", outcome(|| i32::from(Mapping::adopt(beyond, 1).byte(0))), FAULT);
    let blocker = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let blocked =
        Mapping::adopt(call!(SYS_mmap, beyond, PAGE_BYTES, 3, blocker, -1, 0).expect("a page"), PAGE_BYTES);
    report.fails("no room and no moving", memory.resize(4 * PAGE_BYTES, 0), libc::ENOMEM);
    report.equal("a refusal changes nothing", memory.load(PAGE_BYTES, 5), b"moved".to_vec());
    report.succeeds("moving", memory.resize(4 * PAGE_BYTES, libc::MREMAP_MAYMOVE));
    report.holds("it moved", memory.address() != old && memory.load(PAGE_BYTES, 5) == b"moved");
    report.fails("of nothing", call!(SYS_mremap, 0x1234_5000, PAGE_BYTES, 2 * PAGE_BYTES, 1), libc::EFAULT);
    drop(blocked);
}

fn program_break(report: &mut Report) {
    let end = call!(SYS_brk, 0).expect("brk never fails");
    let grown = call!(SYS_brk, end + 5 * PAGE_BYTES);
    report.equal("brk grows", grown, Ok(end + 5 * PAGE_BYTES));
    let heap = std::mem::ManuallyDrop::new(Mapping::adopt(end, 5 * PAGE_BYTES));
    report.equal("with zeroes", heap.byte(5 * PAGE_BYTES - 1), 0);
    heap.set_byte(5 * PAGE_BYTES - 1, 1);
    report.equal("brk shrinks", call!(SYS_brk, end), Ok(end));
    report.equal("brk below the start is refused", call!(SYS_brk, 1), Ok(end));
}

fn forking(report: &mut Report) {
    let private = Mapping::anonymous(64 * PAGE_BYTES, Access::WRITE).expect("memory");
    let shared = Mapping::shared(PAGE_BYTES).expect("memory");
    private.fill(0, 64 * PAGE_BYTES, 1);
    let child = outcome(|| {
        let seen = private.byte(63 * PAGE_BYTES);
        private.fill(0, 64 * PAGE_BYTES, 2);
        shared.set_byte(0, private.byte(63 * PAGE_BYTES));
        i32::from(seen)
    });
    report.equal("a child sees its parent's memory", child, Ok(Ended::Exited(1)));
    report.equal("what it writes is its own", private.byte(63 * PAGE_BYTES), 1);
    report.equal("shared memory is both's", shared.byte(0), 2);
    let writers = Mapping::shared(PAGE_BYTES).expect("memory");
    let children: Vec<_> = (0..4)
        .map(|_| {
            in_child(|| {
                for _ in 0..1000 {
                    writers.word(0).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                0
            })
        })
        .collect();
    let fine = children.into_iter().all(|child| child.and_then(Child::wait) == Ok(Ended::Exited(0)));
    let count = writers.word(0).load(std::sync::atomic::Ordering::SeqCst);
    report.equal("four processes count together", (fine, count), (true, 4000));
    let grandchild = outcome(|| {
        private.set_byte(0, 5);
        match outcome(|| i32::from(private.byte(0)) + i32::from(private.byte(PAGE_BYTES))) {
            Ok(Ended::Exited(status)) => status,
            _ => -1,
        }
    });
    report.equal("copies of copies", grandchild, Ok(Ended::Exited(6)));
}

fn files(report: &mut Report) {
    let path = c"/tmp/memory-basic-file";
    let file = open(path, libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC).expect("a file");
    let _ = write(file, &[b'a'; PAGE_BYTES + 100]);
    let private = Mapping::new(3 * PAGE_BYTES, Access::WRITE, libc::MAP_PRIVATE, file, 0).expect("private");
    let shared = Mapping::new(2 * PAGE_BYTES, Access::WRITE, libc::MAP_SHARED, file, 0).expect("shared");
    report.equal("the file's bytes", private.byte(PAGE_BYTES + 99), b'a');
    report.equal("zeroes behind its end", private.byte(PAGE_BYTES + 100), 0);
    report.equal(
        "no page behind its end",
        outcome(|| i32::from(private.byte(2 * PAGE_BYTES))),
        Ok(Ended::Killed(libc::SIGBUS)),
    );
    shared.set_byte(1, b'S');
    private.set_byte(2, b'P');
    let mut bytes = [0; 4];
    let _ = asyncos_apps::system::seek(file, 0, libc::SEEK_SET);
    report.equal(
        "shared writes reach the file, private ones do not",
        read(file, &mut bytes).map(|_| bytes),
        Ok(*b"aSaa"),
    );
    let _ = call!(SYS_pwrite64, file, c"W", 1, 3);
    report.equal("writes to the file reach shared memory", shared.byte(3), b'W');
    report.succeeds("msync", call!(SYS_msync, shared.address(), PAGE_BYTES, libc::MS_SYNC));
    let offset = Mapping::new(PAGE_BYTES, Access::READ, libc::MAP_SHARED, file, PAGE_BYTES as i64)
        .expect("at an offset");
    report.equal("an offset", (offset.byte(99), offset.byte(100)), (b'a', 0));
    let _ = call!(SYS_ftruncate, file, 10);
    report.equal(
        "pages cut off the file",
        outcome(|| i32::from(shared.byte(PAGE_BYTES))),
        Ok(Ended::Killed(libc::SIGBUS)),
    );
    let reader = open(path, libc::O_RDONLY).expect("it is there");
    let refused = Mapping::new(PAGE_BYTES, Access::WRITE, libc::MAP_SHARED, reader, 0).err();
    report.equal("shared writing of a read-only file", refused, Some(Errno(libc::EACCES)));
    let allowed = Mapping::new(PAGE_BYTES, Access::WRITE, libc::MAP_PRIVATE, reader, 0);
    report.holds("private writing of it", allowed.is_ok());
    let _ = (close(file), close(reader), call!(SYS_unlinkat, libc::AT_FDCWD, path, 0));
    report.equal("a mapping outlives its name", shared.byte(0), b'a');
}

fn large(report: &mut Report) {
    let size = 16 << 20;
    let memory = Mapping::anonymous(size, Access::WRITE).expect("16 MiB");
    for offset in (0..size).step_by(PAGE_BYTES) {
        memory.set_byte(offset, (offset / PAGE_BYTES % 251) as u8);
    }
    let intact = |memory: &Mapping| {
        (0..memory.length())
            .step_by(PAGE_BYTES)
            .all(|offset| memory.byte(offset) == (offset / PAGE_BYTES % 251) as u8)
    };
    report.holds("16 MiB keep what is written", intact(&memory));
    report.succeeds(
        "a small page in a large one is protected",
        memory.protect_range(5 << 20, PAGE_BYTES, Access::READ),
    );
    report.holds("without harm", intact(&memory));
    let child = outcome(|| {
        memory.set_byte((5 << 20) + PAGE_BYTES, 77);
        i32::from(memory.byte(6 << 20)) + 1
    });
    report.equal("a child's copy", child, Ok(Ended::Exited((6 << 20) / 4096 % 251 + 1)));
    report.holds("a child changes nothing", intact(&memory));
    report.succeeds("a hole in a large page", memory.unmap_range(9 << 20, 3 * PAGE_BYTES));
    report.equal(
        "beside the hole",
        memory.byte((9 << 20) + 3 * PAGE_BYTES),
        (((9 << 20) / 4096 + 3) % 251) as u8,
    );
    report.equal("in the hole", outcome(|| i32::from(memory.byte((9 << 20) + PAGE_BYTES))), FAULT);
}

fn advice(report: &mut Report) {
    let memory = Mapping::anonymous(4 * PAGE_BYTES, Access::WRITE).expect("memory");
    memory.fill(0, 4 * PAGE_BYTES, 3);
    report.succeeds("MADV_DONTNEED", call!(SYS_madvise, memory.address(), PAGE_BYTES, libc::MADV_DONTNEED));
    report.equal("it is zero again, its neighbour is not", (memory.byte(0), memory.byte(PAGE_BYTES)), (0, 3));
    report.fails("unknown advice", call!(SYS_madvise, memory.address(), PAGE_BYTES, 9999), libc::EINVAL);
    report.fails(
        "an odd address",
        call!(SYS_madvise, memory.address() + 1, PAGE_BYTES, libc::MADV_DONTNEED),
        libc::EINVAL,
    );
}

fn stack(report: &mut Report) {
    #[inline(never)]
    fn descend(depth: usize) -> usize {
        let room = std::hint::black_box([depth as u8; 4096]);
        if depth == 0 { 0 } else { descend(depth - 1) + usize::from(room[100] == depth as u8) }
    }
    report.equal("the stack grows to 4 MiB", descend(1000), 1000);
    let overflow = outcome(|| {
        let _ = asyncos_apps::system::default_signal(libc::SIGSEGV);
        descend(100_000) as i32
    });
    report.equal("and ends at its limit", overflow, FAULT);
}
