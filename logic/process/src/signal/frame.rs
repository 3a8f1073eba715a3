//! The frame that a signal handler finds on its stack, and what `rt_sigreturn` takes back: riscv64's `rt_sigframe`.
//!
//! ```text
//! 0     siginfo                     128 bytes
//! 128   ucontext: flags, link       2 words
//! 144             stack             stack_t, 24 bytes
//! 168             signal mask       8 bytes, and 120 kept free for more
//! 304             machine context, aligned to 16:
//!                   pc, x1 to x31   32 words (user_regs_struct)
//! 560               f0 to f31       32 words, then fcsr (__riscv_d_ext_state), in the space of the Q state
//! 1076              0, and the end mark of the list of further states (magic 0, size 0)
//! 1088  the end
//! ```

use super::{AlternateStack, SigAction, SigInfo, SignalSet, action};
use abi::Error;
use base::Result;
use core::mem::offset_of;

/// The integer registers as `user_regs_struct` has them: the program counter in place of `x0`, then `x1` to `x31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct IntegerRegisters {
    /// Where the thread goes on.
    pub pc: u64,
    /// `x1` to `x31`.
    pub x: [u64; 31],
}

/// The state of the D extension, as `__riscv_d_ext_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct FloatRegisters {
    /// `f0` to `f31`.
    pub f: [u64; 32],
    /// The control and status register.
    pub fcsr: u32,
    padding: u32,
}

impl FloatRegisters {
    /// These registers.
    pub const fn new(f: [u64; 32], fcsr: u32) -> Self {
        Self { f, fcsr, padding: 0 }
    }
}

#[repr(C, align(16))]
struct FloatingSpace {
    d: FloatRegisters,
    unused: [u8; 516 - 264],
    reserved: u32,
    end_magic: u32,
    end_size: u32,
}

#[repr(C, align(16))]
struct MachineContext {
    registers: IntegerRegisters,
    floating: FloatingSpace,
}

#[repr(C)]
struct UserContext {
    flags: u64,
    link: u64,
    stack: AlternateStack,
    mask: SignalSet,
    unused: [u8; 1024 / 8 - SignalSet::SIZE],
    machine: MachineContext,
}

/// The layout alone; frames are built and read as bytes.
#[repr(C)]
struct SignalFrame {
    information: [u8; SigInfo::SIZE],
    context: UserContext,
}

const CONTEXT: usize = offset_of!(SignalFrame, context);
const STACK: usize = CONTEXT + offset_of!(UserContext, stack);
const MASK: usize = CONTEXT + offset_of!(UserContext, mask);
const REGISTERS: usize = CONTEXT + offset_of!(UserContext, machine);
const FLOATING: usize = REGISTERS + offset_of!(MachineContext, floating);
const FCSR: usize = FLOATING + offset_of!(FloatRegisters, fcsr);
const RESERVED: usize = FLOATING + offset_of!(FloatingSpace, reserved);

// Linux, arch/riscv/include/uapi/asm: ucontext.h, sigcontext.h, ptrace.h.
const _: () = assert!(size_of::<IntegerRegisters>() == 256);
const _: () = assert!(size_of::<FloatRegisters>() == 264);
const _: () = assert!(size_of::<FloatingSpace>() == 528);
const _: () = assert!(size_of::<MachineContext>() == 784);
const _: () = assert!(size_of::<UserContext>() == 960);
const _: () = assert!(offset_of!(UserContext, link) == 8);
const _: () = assert!(offset_of!(UserContext, stack) == 16);
const _: () = assert!(offset_of!(UserContext, mask) == 40);
const _: () = assert!(offset_of!(UserContext, unused) == 48);
const _: () = assert!(offset_of!(UserContext, machine) == 176);
const _: () = assert!(offset_of!(FloatingSpace, end_magic) == 520);
const _: () = assert!(offset_of!(FloatingSpace, end_size) == 524);
const _: () = assert!(FRAME_SIZE == 1088 && CONTEXT == 128 && REGISTERS == 304 && RESERVED == 1076);

/// Bytes of the whole frame; also `AT_MINSIGSTKSZ`.
pub const FRAME_SIZE: usize = size_of::<SignalFrame>();

/// What the frame keeps of a thread, to be restored when the handler returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadContext {
    /// The integer registers.
    pub registers: IntegerRegisters,
    /// The floating-point registers; zero for a thread that never used them.
    pub floating: FloatRegisters,
    /// What was blocked before.
    pub mask: SignalSet,
    /// The alternate stack, as it was reported to the thread.
    pub stack: AlternateStack,
}

/// Where a handler is entered: the registers that differ from the interrupted ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandlerEntry {
    /// The handler's address (`pc`).
    pub pc: u64,
    /// The frame's address, a multiple of 16 (`sp`, `x2`).
    pub stack_pointer: u64,
    /// The signal's number (`a0`, `x10`).
    pub signal: u64,
    /// The address of the `siginfo_t` (`a1`, `x11`).
    pub information: u64,
    /// The address of the `ucontext_t` (`a2`, `x12`).
    pub context: u64,
}

/// Where the frame of a handler for `action` goes.
///
/// # Errors
/// [`Error::BadAddress`] when it would leave the alternate stack that the thread is on, or wrap around: the thread then
/// gets `SIGSEGV`.
pub fn place(action: &SigAction, stack_pointer: u64, stack: &AlternateStack) -> Result<u64> {
    let size = FRAME_SIZE as u64;
    if stack.is_in_use(stack_pointer) && !stack.is_in_use(stack_pointer.wrapping_sub(size)) {
        return Err(Error::BadAddress);
    }
    let top = match stack.top_for_handler(stack_pointer) {
        Some(top) if action.has(action::SA_ONSTACK) => top,
        _ => stack_pointer,
    };
    top.checked_sub(size).map(|start| start & !15).ok_or(Error::BadAddress)
}

/// How the handler for `action` is entered with its frame at `frame`.
pub fn entry(action: &SigAction, information: &SigInfo, frame: u64) -> HandlerEntry {
    HandlerEntry {
        pc: action.handler,
        stack_pointer: frame,
        signal: information.signal().map_or(0, |signal| u64::from(signal.number())),
        information: frame,
        context: frame + CONTEXT as u64,
    }
}

/// The bytes of the frame.
pub fn build(information: &SigInfo, thread: &ThreadContext) -> [u8; FRAME_SIZE] {
    let mut bytes = [0; FRAME_SIZE];
    bytes[..SigInfo::SIZE].copy_from_slice(&information.to_bytes());
    bytes[STACK..STACK + AlternateStack::SIZE].copy_from_slice(&thread.stack.to_bytes());
    let mut put = |offset: usize, words: &[u64]| {
        for (chunk, word) in bytes[offset..].chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
    };
    put(MASK, &[thread.mask.bits()]);
    put(REGISTERS, &[thread.registers.pc]);
    put(REGISTERS + 8, &thread.registers.x);
    put(FLOATING, &thread.floating.f);
    put(FCSR, &[u64::from(thread.floating.fcsr)]);
    bytes
}

/// Reads a frame back. Any value in a register is the program's own affair; what the mask cannot hold is taken out.
/// The stack is a request: hand it to [`AlternateStack::set`] and disregard its errors, as Linux does.
///
/// # Errors
/// [`Error::InvalidArgument`] when the frame claims state that the system does not have: the thread then gets `SIGSEGV`.
pub fn parse(bytes: &[u8; FRAME_SIZE]) -> Result<ThreadContext> {
    if bytes[RESERVED..].iter().any(|byte| *byte != 0) {
        return Err(Error::InvalidArgument);
    }
    let word = |offset: usize| crate::word_at(bytes, offset);
    let mut registers = IntegerRegisters { pc: word(REGISTERS), ..IntegerRegisters::default() };
    for (index, register) in registers.x.iter_mut().enumerate() {
        *register = word(REGISTERS + 8 + index * 8);
    }
    let mut floating = FloatRegisters { fcsr: word(FCSR) as u32, ..FloatRegisters::default() };
    for (index, register) in floating.f.iter_mut().enumerate() {
        *register = word(FLOATING + index * 8);
    }
    let mut stack = [0; AlternateStack::SIZE];
    stack.copy_from_slice(&bytes[STACK..STACK + AlternateStack::SIZE]);
    Ok(ThreadContext {
        registers,
        floating,
        mask: SignalSet::mask_from_bits(word(MASK)),
        stack: AlternateStack::from_bytes(&stack),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Signal;
    use super::*;

    fn thread() -> ThreadContext {
        let registers = IntegerRegisters { pc: 0x1000, x: core::array::from_fn(|index| index as u64 + 1) };
        let f = core::array::from_fn(|index| 0xffff_0000_0000_0000 | index as u64);
        ThreadContext {
            registers,
            floating: FloatRegisters::new(f, 0x1f),
            mask: SignalSet::of(&[Signal::USR1]),
            stack: AlternateStack::new(0x7000, 0, 0x4000),
        }
    }

    #[test]
    fn fields_stand_where_the_c_library_reads_them() {
        let bytes = build(&SigInfo::kill(Signal::INT, 1, 2), &thread());
        let word = |offset| crate::word_at(&bytes, offset);
        assert_eq!([word(304), word(312), word(304 + 31 * 8)], [0x1000, 1, 31]);
        assert_eq!([word(144), word(160), word(168)], [0x7000, 0x4000, 1 << 9]);
        assert_eq!([word(560), word(560 + 256)], [0xffff_0000_0000_0000, 0x1f]);
        assert_eq!(parse(&bytes), Ok(thread()));
    }

    #[test]
    fn claims_of_other_state_are_refused() {
        for offset in [1076, 1080, 1084] {
            let mut bytes = build(&SigInfo::kernel(Signal::INT), &thread());
            bytes[offset] = 1;
            assert_eq!(parse(&bytes), Err(Error::InvalidArgument));
        }
        let mut bytes = build(&SigInfo::kernel(Signal::INT), &thread());
        bytes[168..176].fill(0xff);
        assert!(!parse(&bytes).unwrap().mask.contains(Signal::KILL));
    }

    #[test]
    fn frames_go_where_linux_puts_them() {
        let plain = SigAction { handler: 0x5000, ..SigAction::default() };
        let on_stack = SigAction { flags: action::SA_ONSTACK, ..plain };
        let stack = AlternateStack::new(0x10_0000, 0, 0x4000);
        assert_eq!(place(&plain, 0x8000_0008, &stack), Ok((0x8000_0008 - 1088) & !15));
        assert_eq!(place(&on_stack, 0x8000_0008, &stack), Ok(0x10_4000 - 1088));
        assert_eq!(place(&on_stack, 0x10_3000, &stack), Ok(0x10_3000 - 1088));
        assert_eq!(place(&on_stack, 0x10_0100, &stack), Err(Error::BadAddress));
        assert_eq!(place(&on_stack, 0x8000_0000, &AlternateStack::DISABLED), Ok(0x8000_0000 - 1088));
        assert_eq!(place(&plain, 100, &stack), Err(Error::BadAddress));
        assert_eq!(place(&on_stack, 100, &stack), Ok(0x10_4000 - 1088));
        let entry = entry(&plain, &SigInfo::kernel(Signal::INT), 0x9000);
        assert_eq!((entry.pc, entry.signal, entry.information, entry.context), (0x5000, 2, 0x9000, 0x9080));
    }
}
