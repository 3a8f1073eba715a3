//! The instruction that enters the kernel, and the one thread body that must not touch a stack it shares.

use core::arch::asm;

/// Makes system call `number`; the kernel's own return value, negative for an error.
///
/// # Safety
/// Whatever the call does to this process's memory (writing through its pointers, unmapping, changing protection) must be
/// harmless to Rust: it may only concern memory that no live reference or allocation uses.
#[inline(always)]
pub unsafe fn trap(number: usize, arguments: [usize; 6]) -> isize {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    let result: isize;
    // SAFETY: an ecall changes only a0 and what the call is documented to change, which the caller answers for.
    unsafe {
        asm!("ecall", inlateout("a0") first => result, in("a1") second, in("a2") third, in("a3") fourth,
             in("a4") fifth, in("a5") sixth, in("a7") number, options(nostack));
    }
    result
}

/// Makes the same system call `iterations` times (at least once) in a loop of five instructions beside the call's own work.
///
/// # Safety
/// As for [`trap`]; the calls are all alike.
#[inline(never)]
pub unsafe fn trap_loop(number: usize, arguments: [usize; 3], iterations: usize) -> isize {
    let [first, second, third] = arguments;
    let result: isize;
    // SAFETY: as in `trap`; the loop only counts a register of its own down.
    unsafe {
        asm!("2:", "mv a0, {first}", "ecall", "addi {left}, {left}, -1", "bnez {left}, 2b",
             first = in(reg) first, left = inout(reg) iterations.max(1) => _, lateout("a0") result,
             in("a1") second, in("a2") third, in("a3") 0, in("a4") 0, in("a5") 0, in("a7") number, options(nostack));
    }
    result
}

/// Starts a thread that waits on the futex word `gate` while it is zero, then ends; answers its id or a negated errno value.
///
/// The thread writes one word to its stack (so that the stack is real memory), runs no Rust code and uses no
/// thread-local storage. The kernel stores its id in `identity` and clears that word, with a futex wake, when it ends.
///
/// # Safety
/// `stack_top` must be the 16-byte aligned end of at least 16 writable bytes that nothing else uses until `identity` is
/// cleared; `gate` and `identity` must stay mapped and aligned that long.
pub unsafe fn clone_parked_thread(stack_top: usize, gate: usize, identity: usize) -> isize {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_PARENT_SETTID
        | libc::CLONE_CHILD_CLEARTID;
    let result: isize;
    // SAFETY: the new thread runs only the instructions below between `bnez` and label 3: they use its own stack, the gate
    // and system calls. The parent continues at label 3 with a0 changed, as after any system call.
    unsafe {
        asm!(
            "ecall",
            "bnez a0, 3f",
            "sd {gate}, -8(sp)",
            "2:",
            "mv a0, {gate}",
            "li a1, 128", // FUTEX_WAIT | FUTEX_PRIVATE_FLAG
            "li a2, 0",
            "li a3, 0",
            "li a7, 98", // futex
            "ecall",
            "lw t0, 0({gate})",
            "beqz t0, 2b",
            "li a0, 0",
            "li a7, 93", // exit
            "ecall",
            "3:",
            gate = in(reg) gate,
            inlateout("a0") flags as usize => result,
            inlateout("a1") stack_top => _,
            inlateout("a2") identity => _,
            inlateout("a3") 0usize => _,
            in("a4") identity,
            inlateout("a7") libc::SYS_clone as usize => _,
            out("t0") _,
        );
    }
    result
}

/// Starts a process that shares this one's memory and ends at once, while this one waits, as with `vfork`; answers its id or a
/// negated errno value.
pub fn vfork_and_exit() -> isize {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let result: isize;
    // SAFETY: the new process runs only the two instructions that end it, on no stack; the parent goes on at label 3 with
    // a0 changed, as after any system call.
    unsafe {
        asm!(
            "ecall",
            "bnez a0, 3f",
            "li a7, 93", // exit
            "ecall",
            "3:",
            inlateout("a0") flags as usize => result,
            in("a1") 0usize, in("a2") 0usize, in("a3") 0usize, in("a4") 0usize,
            inlateout("a7") libc::SYS_clone as usize => _,
            options(nostack),
        );
    }
    result
}
