//! What the firmware (SBI) does for the kernel: starting harts, timers, fences, power.

/// Starts the hart with this hardware id at a physical address, with `opaque` in its `a1`.
/// The error is the SBI's code.
pub fn start_hart(hart_id: usize, entry: usize, opaque: usize) -> Result<(), usize> {
    let result = sbi_rt::hart_start(hart_id, entry, opaque);
    if result.error == 0 { Ok(()) } else { Err(result.error) }
}

/// The vendor of the harts (`mvendorid`).
pub fn vendor() -> usize {
    sbi_rt::get_mvendorid()
}

/// The harts' microarchitecture (`marchid`).
pub fn architecture() -> usize {
    sbi_rt::get_marchid()
}

/// The version of the harts' implementation (`mimpid`).
pub fn implementation() -> usize {
    sbi_rt::get_mimpid()
}

/// Interrupts the hart with this hardware id through the firmware.
pub fn send_software_interrupt(hart_id: usize) {
    let sent = sbi_rt::send_ipi(sbi_rt::HartMask::from_mask_base(1, hart_id));
    debug_assert_eq!(sent.error, 0, "the firmware refused an inter-processor interrupt");
}

/// Powers the machine off, or resets it, as far as the firmware can; returns when it cannot.
pub fn power_off() {
    sbi_rt::system_reset(sbi_rt::Shutdown, sbi_rt::NoReason);
}

/// Resets the machine; returns when the firmware cannot.
pub fn restart() {
    sbi_rt::system_reset(sbi_rt::ColdReboot, sbi_rt::NoReason);
}

/// Makes the harts of `hart_mask` (hardware ids counted from `base`) drop their translations of a range of one
/// address space, for both stages; returns when they have.
pub fn remote_fence(hart_mask: usize, base: usize, start: usize, length: usize, space: usize) {
    let harts = sbi_rt::HartMask::from_mask_base(hart_mask, base);
    let result = sbi_rt::remote_sfence_vma_asid(harts, start, length, space);
    debug_assert_eq!(result.error, 0, "the firmware refused a remote fence");
}

/// As [`remote_fence`], for the second stage of translation (the isolated realm).
pub fn remote_guest_fence(hart_mask: usize, base: usize, start: usize, length: usize, space: usize) {
    let harts = sbi_rt::HartMask::from_mask_base(hart_mask, base);
    let result = sbi_rt::remote_hfence_gvma_vmid(harts, start, length, space);
    debug_assert_eq!(result.error, 0, "the firmware refused a remote fence");
}

/// Makes the harts of `hart_mask` drop all translations of all address spaces; with `guest`, of both stages.
pub fn remote_fence_all(hart_mask: usize, guest: bool) {
    let harts = sbi_rt::HartMask::from_mask_base(hart_mask, 0);
    let mut result = sbi_rt::remote_sfence_vma(harts, 0, usize::MAX);
    debug_assert_eq!(result.error, 0, "the firmware refused a remote fence");
    if guest {
        result = sbi_rt::remote_hfence_gvma(harts, 0, usize::MAX);
        debug_assert_eq!(result.error, 0, "the firmware refused a remote fence");
    }
}

/// Makes the harts of `hart_mask` see instructions that were written to memory before.
pub fn remote_fence_instructions(hart_mask: usize) {
    let result = sbi_rt::remote_fence_i(sbi_rt::HartMask::from_mask_base(hart_mask, 0));
    debug_assert_eq!(result.error, 0, "the firmware refused a remote fence");
}

/// Whether the firmware says that the hart with this hardware id is stopped.
pub fn hart_is_stopped(hart_id: usize) -> bool {
    const STOPPED: usize = 1;
    let status = sbi_rt::hart_get_status(hart_id);
    status.error == 0 && status.value == STOPPED
}
