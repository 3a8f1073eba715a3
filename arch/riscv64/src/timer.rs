//! The hart's clock and its one deadline, in ticks of the timebase.

use crate::csr;

/// The timebase's count now.
#[inline(always)]
pub fn ticks() -> u64 {
    csr::read::<{ csr::TIME }>() as u64
}

/// Asks for a timer interrupt when the count reaches `deadline`; `u64::MAX` asks for none.
/// `sstc`: the hart has `stimecmp`; otherwise the firmware is asked.
#[inline]
pub fn set_deadline(deadline: u64, sstc: bool) {
    if sstc {
        // SAFETY: a deadline affects nothing but when the timer interrupts.
        unsafe { csr::write::<{ csr::STIMECMP }>(deadline as usize) };
    } else {
        sbi_rt::set_timer(deadline);
    }
}
