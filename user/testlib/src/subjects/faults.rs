//! What an instruction does that cannot be carried out, and what a handler can make of it.

use crate::check::{equal, holds, need};
use crate::handling::{Action, ignore, set, set_mask};
use crate::runner::{Test, test};
use asyncos_apps::call;
use asyncos_apps::system::{Access, Ended, Mapping, SignalSet, in_child, pipe, write};
use std::arch::asm;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("memory", memory),
    test("file-mapping", file_mapping),
    test("instructions", instructions),
    test("no-escape", no_escape),
    test("stack", stack),
    test("registers", registers),
    test("frame", frame),
    test("broken-frame", broken_frame),
    test("broken-pipe", broken_pipe),
];

static SIGNAL: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);
static PLACE: AtomicUsize = AtomicUsize::new(0);

/// Where the program counter stands in `ucontext_t`: behind flags, link, stack and the set of signals with its reserve.
const PROGRAM_COUNTER: usize = 22;

/// Notes what happened and goes on behind the instruction.
extern "C" fn skip(signal: i32, information: *const i32, context: *mut usize) {
    SIGNAL.store(signal, Ordering::SeqCst);
    // SAFETY: the kernel gives a whole `siginfo_t` and `ucontext_t`; where the program counter points, an instruction was
    // just tried, unless it is the program counter itself that is wrong.
    unsafe {
        CODE.store(*information.add(2), Ordering::SeqCst);
        ADDRESS.store(*information.add(4).cast::<usize>(), Ordering::SeqCst);
        let counter = context.add(PROGRAM_COUNTER);
        PLACE.store(*counter, Ordering::SeqCst);
        if *counter == ADDRESS.load(Ordering::SeqCst) && signal == libc::SIGSEGV {
            // A jump to nowhere: back to where it came from.
            *counter = *context.add(PROGRAM_COUNTER + 1);
        } else {
            let compressed = *(*counter as *const u16) & 3 != 3;
            *counter += if compressed { 2 } else { 4 };
        }
    }
}

fn catch(signal: i32) {
    let flags = libc::SA_SIGINFO as u64;
    need(set(signal, &Action { handler: skip as *const () as usize, flags, mask: 0 }));
}

/// Signal, code and address of what happened since this was asked last.
fn happened() -> (i32, i32, usize) {
    (SIGNAL.swap(0, Ordering::SeqCst), CODE.swap(0, Ordering::SeqCst), ADDRESS.swap(0, Ordering::SeqCst))
}

fn load(address: usize) {
    // SAFETY: the handler goes on behind the load; what it would have loaded is not used.
    unsafe { asm!("lb zero, 0({})", in(reg) address) };
}

fn store(address: usize) {
    // SAFETY: the tests give addresses that no Rust object has.
    unsafe { asm!("sb zero, 0({})", in(reg) address) };
}

fn jump(address: usize) {
    // SAFETY: nothing is there that could run: the handler comes back to behind the call.
    unsafe { asm!("jalr {}", in(reg) address, out("ra") _, clobber_abi("C")) };
}

fn memory() {
    catch(libc::SIGSEGV);
    load(0x10);
    equal("a load from nowhere", happened(), (libc::SIGSEGV, 1, 0x10));
    store(0x18);
    equal("a store to nowhere", happened(), (libc::SIGSEGV, 1, 0x18));
    let readable = need(Mapping::anonymous(4096, Access::READ));
    load(readable.address());
    equal("reading what may be read", happened().0, 0);
    store(readable.address() + 5);
    equal("a store to what is only readable", happened(), (libc::SIGSEGV, 2, readable.address() + 5));
    let none = need(Mapping::anonymous(4096, Access::NONE));
    load(none.address() + 7);
    equal("a load from what may not be touched", happened(), (libc::SIGSEGV, 2, none.address() + 7));
    jump(readable.address());
    equal("to run what is no code", happened(), (libc::SIGSEGV, 2, readable.address()));
    jump(0x1000);
    equal("to run nothing", happened(), (libc::SIGSEGV, 1, 0x1000));
    load(usize::MAX - 0xfff);
    let (signal, _, address) = happened();
    equal("a load from the kernel's half", (signal, address), (libc::SIGSEGV, usize::MAX - 0xfff));
    load(1 << 40);
    equal("from beyond all that can be", happened().0, libc::SIGSEGV);
    let child = need(in_child(|| {
        need(set(libc::SIGSEGV, &Action::default()));
        load(0x10);
        0
    }));
    equal("without a handler it is the end", child.wait(), Ok(Ended::Killed(libc::SIGSEGV)));
}

fn file_mapping() {
    catch(libc::SIGBUS);
    catch(libc::SIGSEGV);
    let file = need(call!(SYS_memfd_create, c"mapped", 0));
    need(call!(SYS_ftruncate, file, 4096));
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let address = need(call!(SYS_mmap, 0, 8192, access, libc::MAP_SHARED, file, 0));
    load(address);
    equal("what the file has", happened().0, 0);
    load(address + 4096 + 3);
    equal("a load behind the end of the file", happened(), (libc::SIGBUS, 2, address + 4096 + 3));
    store(address + 4096);
    equal("a store behind it", happened(), (libc::SIGBUS, 2, address + 4096));
    need(call!(SYS_ftruncate, file, 0));
    load(address);
    equal("when the file has become shorter", happened(), (libc::SIGBUS, 2, address));
    need(call!(SYS_ftruncate, file, 8192));
    load(address + 4096);
    equal("and longer", happened().0, 0);
}

fn instructions() {
    catch(libc::SIGILL);
    catch(libc::SIGTRAP);
    // SAFETY: the handler goes on behind the instruction, which does nothing else.
    unsafe { asm!(".word 0x0000007f | 0x7ffff000") };
    let (signal, code, address) = happened();
    equal("no such instruction", (signal, code), (libc::SIGILL, 1));
    equal("its address", address, PLACE.load(Ordering::SeqCst));
    // SAFETY: as above: a register that only the kernel may read.
    unsafe { asm!("csrr zero, sstatus") };
    equal("one of the kernel's", happened().0, libc::SIGILL);
    // SAFETY: as above: an instruction that only the kernel may carry out.
    unsafe { asm!(".word 0x10500073", ".word 0x12000073") };
    let last = happened().0;
    equal("and another", last, libc::SIGILL);
    // SAFETY: as above.
    unsafe { asm!("ebreak") };
    let (signal, code, address) = happened();
    equal("a breakpoint", (signal, code), (libc::SIGTRAP, 1));
    equal("where it is", address, PLACE.load(Ordering::SeqCst));
}

fn no_escape() {
    let dies = |prepare: fn()| {
        let child = need(in_child(|| {
            prepare();
            load(0x10);
            0
        }));
        child.wait()
    };
    equal("a fault that is ignored kills", dies(|| ignore(libc::SIGSEGV)), Ok(Ended::Killed(libc::SIGSEGV)));
    let blocked = dies(|| {
        catch(libc::SIGSEGV);
        set_mask(SignalSet::of(&[libc::SIGSEGV]).0);
    });
    equal("one that is blocked, too", blocked, Ok(Ended::Killed(libc::SIGSEGV)));
    let nested = dies(|| {
        let handler = fault_again as *const () as usize;
        need(set(libc::SIGSEGV, &Action { handler, flags: 0, mask: 0 }));
    });
    equal("and one in its own handler", nested, Ok(Ended::Killed(libc::SIGSEGV)));
}

extern "C" fn fault_again(_signal: i32) {
    load(0x20);
}

fn stack() {
    let child = need(in_child(|| {
        catch(libc::SIGSEGV);
        // SAFETY: the stack pointer is put back before anything uses it.
        unsafe {
            asm!("mv {saved}, sp", "li sp, 64", "lb zero, 0(zero)", "mv sp, {saved}", saved = out(reg) _);
        }
        0
    }));
    equal("no room for the frame is the end", child.wait(), Ok(Ended::Killed(libc::SIGSEGV)));
    let child = need(in_child(|| {
        catch(libc::SIGSEGV);
        let action = Action {
            handler: skip as *const () as usize,
            flags: (libc::SA_SIGINFO | libc::SA_ONSTACK) as u64,
            mask: 0,
        };
        need(set(libc::SIGSEGV, &action));
        let memory = need(Mapping::shared(65536));
        need(call!(SYS_sigaltstack, &[memory.address(), 0, 65536], 0));
        // SAFETY: as above; the handler has a stack of its own.
        unsafe {
            asm!("mv {saved}, sp", "li sp, 64", "lb zero, 0(zero)", "mv sp, {saved}", saved = out(reg) _);
        }
        i32::from(happened().0 == libc::SIGSEGV)
    }));
    equal("unless there is another stack", child.wait(), Ok(Ended::Exited(1)));
}

static FLOATS: AtomicU64 = AtomicU64::new(0);

/// Uses every kind of register.
extern "C" fn clobber(_signal: i32) {
    // SAFETY: registers that the call is told of; whoever was interrupted has them saved.
    unsafe {
        asm!(
            "fcvt.d.w fs0, {one}", "fcvt.d.w ft0, {one}", "fcvt.d.w fa7, {one}", "fsflags {one}",
            "li t6, -1", "li a7, -1", "li t0, -1",
            one = in(reg) 1, out("fs0") _, out("ft0") _, out("fa7") _, out("t6") _, out("a7") _, out("t0") _
        );
    }
    FLOATS.fetch_add(1, Ordering::SeqCst);
}

fn registers() {
    need(set(libc::SIGUSR1, &Action { handler: clobber as *const () as usize, flags: 0, mask: 0 }));
    let (process, thread) = (std::process::id(), need(call!(SYS_gettid)));
    let (f1, f2, f3, flags, t6, result): (u64, u64, u64, u64, u64, isize);
    // SAFETY: a system call, and registers that are told.
    unsafe {
        asm!(
            "fmv.d.x fs0, {value}", "fmv.d.x ft0, {value}", "fmv.d.x fa7, {value}", "fsflags {mark}", "mv t6, {value}",
            "ecall",
            "fmv.x.d {f1}, fs0", "fmv.x.d {f2}, ft0", "fmv.x.d {f3}, fa7", "frflags {flags}", "mv {t6}, t6",
            value = in(reg) 0x4009_21fb_5444_2d18u64, mark = in(reg) 0x15u64,
            f1 = lateout(reg) f1, f2 = lateout(reg) f2, f3 = lateout(reg) f3, flags = lateout(reg) flags,
            t6 = lateout(reg) t6,
            in("a7") libc::SYS_tgkill, inlateout("a0") process as isize => result, in("a1") thread,
            in("a2") libc::SIGUSR1,
            out("fs0") _, out("ft0") _, out("fa7") _, out("t6") _
        );
    }
    equal("the handler ran", FLOATS.load(Ordering::SeqCst), 1);
    equal("the call's result came through", result, 0);
    equal("floating-point registers come back", [f1, f2, f3], [0x4009_21fb_5444_2d18; 3]);
    equal("with their flags", flags, 0x15);
    equal("and the others", t6, 0x4009_21fb_5444_2d18);
}

static FRAME: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

/// Looks at the frame and changes the mask and a register in it.
extern "C" fn change_frame(_signal: i32, information: usize, context: *mut usize) {
    // SAFETY: a whole `ucontext_t`: flags, link, stack (three words), mask, reserve, then the registers.
    unsafe {
        FRAME[0].store(*context.add(5), Ordering::SeqCst);
        FRAME[1].store(information, Ordering::SeqCst);
        FRAME[2].store(context as usize, Ordering::SeqCst);
        *context.add(5) |= 1 << (libc::SIGUSR2 - 1) | 1 << (libc::SIGKILL - 1);
        // a0, which is where the call that was interrupted has its result.
        *context.add(PROGRAM_COUNTER + 10) = 77;
    }
}

fn frame() {
    let flags = libc::SA_SIGINFO as u64;
    need(set(libc::SIGUSR1, &Action { handler: change_frame as *const () as usize, flags, mask: 0 }));
    set_mask(1 << (libc::SIGHUP - 1));
    let raised = call!(SYS_tgkill, std::process::id(), need(call!(SYS_gettid)), libc::SIGUSR1);
    equal("a handler can change a register", raised, Ok(77));
    equal("the frame has the mask of before", FRAME[0].load(Ordering::SeqCst), 1 << (libc::SIGHUP - 1));
    let changed = 1 << (libc::SIGHUP - 1) | 1 << (libc::SIGUSR2 - 1);
    equal("which a handler can change, but for SIGKILL", crate::handling::mask(), changed);
    let (information, context) = (FRAME[1].load(Ordering::SeqCst), FRAME[2].load(Ordering::SeqCst));
    equal("the frame is the information, then the context", context - information, 128);
    holds("on a stack that is aligned", information.is_multiple_of(16));
}

fn broken_frame() {
    let child = need(in_child(|| {
        need(set(libc::SIGUSR1, &Action { handler: lose_frame as *const () as usize, flags: 0, mask: 0 }));
        crate::handling::raise(libc::SIGUSR1);
        0
    }));
    equal("to return to a frame that is none is the end", child.wait(), Ok(Ended::Killed(libc::SIGSEGV)));
}

extern "C" fn lose_frame(_signal: i32) {
    // SAFETY: does not come back: there is no frame at address 64.
    unsafe { asm!("li sp, 64", "li a7, 139", "ecall", options(noreturn)) };
}

fn broken_pipe() {
    let (reading, writing) = need(pipe(0));
    need(asyncos_apps::system::close(reading));
    let child = need(in_child(|| {
        let _ = write(writing, b"x");
        0
    }));
    equal("a write that nobody reads is the end", child.wait(), Ok(Ended::Killed(libc::SIGPIPE)));
    ignore(libc::SIGPIPE);
    crate::check::fails("or an error", write(writing, b"x"), libc::EPIPE);
    crate::handling::note_signal(libc::SIGPIPE, 0);
    crate::check::fails("or both", write(writing, b"x"), libc::EPIPE);
    equal("the signal", (crate::handling::handled(), crate::handling::last().0), (1, libc::SIGPIPE));
    equal("is from oneself", crate::handling::last().2 as u32, std::process::id());
    equal("nothing is written of nothing", write(writing, b""), Ok(0));
}
