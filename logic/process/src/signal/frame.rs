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
use zerocopy::IntoBytes;

/// The integer registers as `user_regs_struct` has them: the program counter in place of `x0`, then `x1` to `x31`.
#[repr(C)]
struct IntegerRegisters {
    pc: u64,
    x: [u64; 31],
}

/// The state of the D extension, as `__riscv_d_ext_state`.
#[repr(C)]
struct FloatRegisters {
    f: [u64; 32],
    fcsr: u32,
    padding: u32,
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
#[derive(Clone, Copy, Debug)]
pub struct ThreadContext<'a> {
    /// The program counter, then `x1` to `x31`, in a row.
    pub registers: &'a [usize; 32],
    /// The floating-point registers and their status; none for a thread that never used them, which finds zeros.
    pub floating: Option<(&'a [u64; 32], u32)>,
    /// What was blocked before.
    pub mask: SignalSet,
    /// The alternate stack, as it was reported to the thread.
    pub stack: AlternateStack,
}

/// What a frame says beside the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// What is to be blocked; what cannot be is taken out.
    pub mask: SignalSet,
    /// A request: hand it to [`AlternateStack::set`] and disregard its errors, as Linux does.
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

/// Writes a frame, by `put` which is given offsets and bytes. What Linux does not write either stays as it was.
#[inline]
pub fn write(information: &SigInfo, thread: &ThreadContext<'_>, mut put: impl FnMut(usize, &[u8])) {
    put(0, &information.to_bytes());
    let [base, state, size] = thread.stack.to_words();
    put(CONTEXT, [0, 0, base, state, size, thread.mask.bits()].as_bytes());
    put(REGISTERS, thread.registers.as_bytes());
    match thread.floating {
        Some((registers, status)) => {
            put(FLOATING, registers.as_bytes());
            put(FCSR, u64::from(status).as_bytes());
        }
        None => put(FLOATING, &[0; size_of::<FloatRegisters>()]),
    }
    put(RESERVED, &[0; FRAME_SIZE - RESERVED]);
}

/// Reads what a frame says beside the registers, by `get` which is given offsets and fills bytes.
///
/// # Errors
/// [`Error::InvalidArgument`] when the frame claims state that the system does not have: the thread then gets `SIGSEGV`.
#[inline]
pub fn read(mut get: impl FnMut(usize, &mut [u8])) -> Result<Saved> {
    let mut end = [0; FRAME_SIZE - RESERVED];
    get(RESERVED, &mut end);
    if end != [0; FRAME_SIZE - RESERVED] {
        return Err(Error::InvalidArgument);
    }
    let mut words = [0u64; 4];
    get(STACK, words.as_mut_bytes());
    let [base, state, size, mask] = words;
    let stack = AlternateStack::new(base, state as u32 as i32, size);
    Ok(Saved { mask: SignalSet::mask_from_bits(mask), stack })
}

/// Reads the integer registers as [`ThreadContext`] has them. Any value in them is the program's own affair.
#[inline]
pub fn read_registers(mut get: impl FnMut(usize, &mut [u8]), registers: &mut [usize; 32]) {
    get(REGISTERS, registers.as_mut_bytes());
}

/// Reads the floating-point registers; gives their status.
#[inline]
pub fn read_floating(mut get: impl FnMut(usize, &mut [u8]), registers: &mut [u64; 32]) -> u32 {
    get(FLOATING, registers.as_mut_bytes());
    let mut status = 0u32;
    get(FCSR, status.as_mut_bytes());
    status
}

#[cfg(test)]
mod tests {
    use super::super::Signal;
    use super::*;

    const FLOATS: [u64; 32] = [0xffff_0000_0000_0005; 32];

    fn registers() -> [usize; 32] {
        core::array::from_fn(|index| if index == 0 { 0x1000 } else { index })
    }

    fn build(information: &SigInfo) -> [u8; FRAME_SIZE] {
        let stack = AlternateStack::new(0x7000, 0, 0x4000);
        let mask = SignalSet::of(&[Signal::USR1]);
        let thread = ThreadContext { registers: &registers(), floating: Some((&FLOATS, 0x1f)), mask, stack };
        let mut bytes = [0xee; FRAME_SIZE];
        write(information, &thread, |offset, part| {
            bytes[offset..offset + part.len()].copy_from_slice(part);
        });
        bytes
    }

    fn reader(bytes: &[u8; FRAME_SIZE]) -> impl FnMut(usize, &mut [u8]) {
        |offset, part| part.copy_from_slice(&bytes[offset..offset + part.len()])
    }

    #[test]
    fn fields_stand_where_the_c_library_reads_them() {
        let bytes = build(&SigInfo::kill(Signal::INT, 1, 2));
        let word = |offset| crate::word_at(&bytes, offset);
        assert_eq!([word(304), word(312), word(304 + 31 * 8)], [0x1000, 1, 31]);
        assert_eq!([word(128), word(136), word(144), word(160), word(168)], [0, 0, 0x7000, 0x4000, 1 << 9]);
        assert_eq!([word(560), word(560 + 256)], [FLOATS[0], 0x1f]);
        assert_eq!(bytes[1076..], [0; 12]);
        let (mut read_back, mut floats) = ([0; 32], [0; 32]);
        read_registers(reader(&bytes), &mut read_back);
        assert_eq!(read_floating(reader(&bytes), &mut floats), 0x1f);
        assert_eq!((read_back, floats), (registers(), FLOATS));
        let saved = read(reader(&bytes)).unwrap();
        assert_eq!(saved.mask, SignalSet::of(&[Signal::USR1]));
        assert_eq!(saved.stack, AlternateStack::new(0x7000, 0, 0x4000));
    }

    #[test]
    fn claims_of_other_state_are_refused() {
        for offset in [1076, 1080, 1084] {
            let mut bytes = build(&SigInfo::kernel(Signal::INT));
            bytes[offset] = 1;
            assert_eq!(read(reader(&bytes)), Err(Error::InvalidArgument));
        }
        let mut bytes = build(&SigInfo::kernel(Signal::INT));
        bytes[168..176].fill(0xff);
        assert!(!read(reader(&bytes)).unwrap().mask.contains(Signal::KILL));
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
