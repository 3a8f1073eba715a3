//! Which address space the hart translates with, in each realm, and the fences.

use crate::csr;
use base::address::PhysicalAddress;
use core::arch::asm;

const MODE_SV39: usize = 8 << 60;
const ASID_SHIFT: usize = 44;
const VMID_SHIFT: usize = 44;

/// Both realms' translation from one root: `satp` for the direct one, `hgatp` for the isolated one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// The page-table root, 16 KiB aligned when it serves as `hgatp`.
    pub address: PhysicalAddress,
    /// ASID and VMID, the same number.
    pub space: u16,
}

impl Root {
    const fn satp(self) -> usize {
        MODE_SV39 | (self.space as usize) << ASID_SHIFT | self.address.page_number()
    }

    const fn hgatp(self) -> usize {
        MODE_SV39 | (self.space as usize) << VMID_SHIFT | self.address.page_number()
    }
}

/// Translates by this root from now on.
///
/// # Safety
/// The root must map the kernel as it is mapped now, and live until another is activated on this hart.
#[inline]
pub unsafe fn activate(root: Root) {
    // SAFETY: the caller's contract.
    unsafe { csr::write::<{ csr::SATP }>(root.satp()) };
}

/// Translates what runs in the isolated realm by this root from now on.
///
/// # Safety
/// The root must live until another is activated, and map nothing that its threads must not reach.
#[inline]
pub unsafe fn activate_guest(root: Root) {
    // SAFETY: the caller's contract.
    unsafe { csr::write::<{ csr::HGATP }>(root.hgatp()) };
}

/// How many bits of an ASID this hart keeps; found by writing ones.
pub fn asid_bits() -> u32 {
    let before = csr::read::<{ csr::SATP }>();
    // SAFETY: only the ASID changes, for three instructions that use global mappings, and is put back.
    let kept = unsafe {
        csr::write::<{ csr::SATP }>(before | 0xffff << ASID_SHIFT);
        let kept = csr::read::<{ csr::SATP }>() >> ASID_SHIFT & 0xffff;
        csr::write::<{ csr::SATP }>(before);
        kept
    };
    kept.count_ones()
}

/// Drops all translations of this hart.
#[inline]
pub fn fence_all() {
    // SAFETY: dropping cached translations is always allowed.
    unsafe { asm!("sfence.vma", options(nostack)) };
}

/// Drops this hart's translations of one address space.
#[inline]
pub fn fence_space(space: u16) {
    // SAFETY: as in `fence_all`.
    unsafe { asm!("sfence.vma zero, {}", in(reg) space as usize, options(nostack)) };
}

/// Drops this hart's translation of one page of one address space.
#[inline]
pub fn fence_page(address: usize, space: u16) {
    // SAFETY: as in `fence_all`.
    unsafe { asm!("sfence.vma {}, {}", in(reg) address, in(reg) space as usize, options(nostack)) };
}

/// Drops this hart's second-stage translations of one address space (`hfence.gvma x0, rs2`).
#[inline]
pub fn fence_guest_space(space: u16) {
    // SAFETY: as in `fence_all`; only called where H is present.
    unsafe { asm!(".insn r 0x73, 0, 0x31, x0, x0, {}", in(reg) space as usize, options(nostack)) };
}

/// Drops this hart's second-stage translations of all address spaces.
#[inline]
pub fn fence_guest_all() {
    // SAFETY: as in `fence_all`; only called where H is present.
    unsafe { asm!(".insn r 0x73, 0, 0x31, x0, x0, x0", options(nostack)) };
}

/// Settings of the H extension that hold for every thread of the isolated realm (`DESIGN`, section 3): no first stage
/// (`vsatp` bare), nothing delegated but the VS-level interrupts, each thread its own timer.
///
/// # Safety
/// The hart must have the H extension, and nothing isolated may run yet.
pub(crate) unsafe fn initialise_guest_stage() {
    const VS_INTERRUPTS: usize = 0x444;
    const HENVCFG_STCE: usize = 1 << 63;
    // SAFETY: the caller's contract; the registers exist.
    unsafe {
        csr::write::<{ csr::VSATP }>(0);
        csr::write::<{ csr::HGATP }>(0);
        csr::write::<{ csr::HEDELEG }>(0);
        csr::write::<{ csr::HIDELEG }>(VS_INTERRUPTS);
        csr::write::<{ csr::HCOUNTEREN }>(0b111);
        csr::write::<{ csr::HTIMEDELTA }>(0);
        csr::write::<{ csr::HENVCFG }>(HENVCFG_STCE);
        csr::write::<{ csr::HSTATUS }>(csr::HSTATUS_VSXL_64 | csr::HSTATUS_VTVM | csr::HSTATUS_VTW);
        // The floating-point unit of the isolated realm follows `sstatus.FS` alone.
        csr::write::<{ csr::VSSTATUS }>(csr::SSTATUS_FS | csr::SSTATUS_UXL_64);
        fence_guest_all();
    }
}

/// Makes this hart see instructions that were written to memory before.
#[inline]
pub fn fence_instructions() {
    // SAFETY: only synchronises the instruction stream.
    unsafe { asm!("fence.i", options(nostack)) };
}
