//! Kernel stacks: their shape, and changing from one to another.
//!
//! Each stack fills the upper half of a slot of twice its size, aligned to the slot; the lower half is never mapped.
//! So the bit at [`STACK_SHIFT`] of a stack pointer tells at once whether it has run into the guard.

use core::arch::naked_asm;
use core::ops::Range;

/// log2 of [`STACK_SIZE`].
pub const STACK_SHIFT: usize = 15;
/// Bytes in a kernel stack.
pub const STACK_SIZE: usize = 1 << STACK_SHIFT;
/// Bytes from one stack to the next: the guard and the stack.
pub const SLOT_SIZE: usize = 2 * STACK_SIZE;

/// Leaves this stack and calls `entry(argument)` at the top of another.
///
/// # Safety
/// `top` is the upper end of a stack that nobody uses. Nothing returns to the stack that is left.
#[unsafe(naked)]
pub unsafe extern "C" fn start(top: usize, argument: usize, entry: extern "C" fn(usize) -> !) -> ! {
    naked_asm!("mv sp, a0", "mv a0, a1", "mv s0, zero", "mv ra, zero", "jr a2")
}

/// As [`start`], but this stack is kept: its registers are saved on it and its stack pointer in `saved`, for
/// [`resume`]. Returns when somebody has resumed it, with the value given there.
///
/// # Safety
/// As for [`start`]; nobody may resume before the new stack runs, which must be arranged by whoever publishes `saved`.
#[unsafe(naked)]
pub unsafe extern "C" fn suspend_and_start(
    saved: *mut usize,
    top: usize,
    argument: usize,
    entry: extern "C" fn(usize) -> !,
) -> usize {
    naked_asm!(
        "addi sp, sp, -112",
        "sd ra, 0(sp)",
        "sd s0, 8(sp)",
        "sd s1, 16(sp)",
        "sd s2, 24(sp)",
        "sd s3, 32(sp)",
        "sd s4, 40(sp)",
        "sd s5, 48(sp)",
        "sd s6, 56(sp)",
        "sd s7, 64(sp)",
        "sd s8, 72(sp)",
        "sd s9, 80(sp)",
        "sd s10, 88(sp)",
        "sd s11, 96(sp)",
        "sd sp, 0(a0)",
        "mv sp, a1",
        "mv a0, a2",
        "mv s0, zero",
        "mv ra, zero",
        "jr a3",
    )
}

/// Leaves this stack for good and goes on where [`suspend_and_start`] saved `stack_pointer`, returning `value` there.
///
/// # Safety
/// `stack_pointer` was saved by [`suspend_and_start`] and is resumed once. Nothing returns to the stack that is left.
#[unsafe(naked)]
pub unsafe extern "C" fn resume(stack_pointer: usize, value: usize) -> ! {
    naked_asm!(
        "mv sp, a0",
        "mv a0, a1",
        "ld ra, 0(sp)",
        "ld s0, 8(sp)",
        "ld s1, 16(sp)",
        "ld s2, 24(sp)",
        "ld s3, 32(sp)",
        "ld s4, 40(sp)",
        "ld s5, 48(sp)",
        "ld s6, 56(sp)",
        "ld s7, 64(sp)",
        "ld s8, 72(sp)",
        "ld s9, 80(sp)",
        "ld s10, 88(sp)",
        "ld s11, 96(sp)",
        "addi sp, sp, 112",
        "ret",
    )
}

/// The stack pointer.
#[inline(always)]
pub fn stack_pointer() -> usize {
    let value;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mv {}, sp", out(reg) value, options(nomem, nostack)) };
    value
}

/// What looks like return addresses on a stack, the innermost first: words that point behind a call in the kernel's code.
/// Some may be left over from calls that have returned. (Frame pointers would tell them apart and cost every function two
/// instructions.)
pub struct Backtrace {
    place: usize,
    text: Range<usize>,
}

impl Backtrace {
    /// Of the stack that this pointer lies on, from there up.
    pub fn from(stack_pointer: usize) -> Self {
        let image = crate::boot::image_layout();
        Self { place: stack_pointer, text: image.start..image.text_end }
    }

    /// Whether the instruction before `address` is a call: `jal ra` or `jalr ra` in four bytes, or `c.jalr` in two.
    fn is_behind_call(&self, address: usize) -> bool {
        if !address.is_multiple_of(2) || !self.text.contains(&address) || address - self.text.start < 4 {
            return false;
        }
        // SAFETY: both lie in the kernel's code, which is mapped and never written; halfwords are aligned.
        let [first, second] = [4, 2].map(|back| unsafe { ((address - back) as *const u16).read() });
        let wide = matches!(first & 0xfff, 0x0ef | 0x0e7);
        let compressed = second & 0xf07f == 0x9002 && second & 0x0f80 != 0;
        wide || compressed
    }
}

impl Iterator for Backtrace {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        // In the upper half of a slot, which is a stack; its end is the slot's.
        while self.place.is_multiple_of(8) && self.place >> STACK_SHIFT & 1 == 1 {
            let stacks = crate::boot::STACK_REGION..crate::boot::STACK_REGION + BACKTRACE_REGION;
            if !stacks.contains(&self.place) && self.place < crate::boot::IMAGE_REGION {
                return None;
            }
            // SAFETY: inside a mapped stack, as far as anybody can tell after a panic.
            let word = unsafe { (self.place as *const usize).read() };
            self.place += 8;
            if self.is_behind_call(word) {
                return Some(word);
            }
        }
        None
    }
}

const BACKTRACE_REGION: usize = 256 * SLOT_SIZE;
