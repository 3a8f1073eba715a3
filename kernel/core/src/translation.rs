//! Which address space a hart translates by, and making other harts forget what changed.

use crate::hart::Hart;
use arch_riscv64 as arch;
use arch_riscv64::paging::Root;
use base::sync::OnceCell;

static KERNEL_ROOT: OnceCell<Root> = OnceCell::new();

/// Says which root is the kernel's own.
pub fn set_kernel_root(root: Root) {
    // Set once, at boot.
    let _ = KERNEL_ROOT.set(root);
}

/// Goes back to the kernel's own root, so that the address space that was active here can be freed.
pub fn leave_space(hart: &Hart) {
    if hart.local.space.replace(0) != 0
        && let Some(root) = KERNEL_ROOT.get()
    {
        // SAFETY: the kernel's root maps the kernel and lives for ever.
        unsafe { arch::paging::activate(*root) };
    }
}
