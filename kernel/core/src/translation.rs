//! Which address space a hart translates by, and making other harts forget what changed.

use crate::hart::{self, Hart};
use alloc::sync::Arc;
use arch_riscv64 as arch;
use arch_riscv64::paging::Root;
use arch_riscv64::trap::Mode;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::sync::OnceCell;
use base::sync::atomic::{AtomicBool, Ordering};
use core::ops::Range;
use memory::space::{AddressSpace, Environment, NeedsFlush, SpaceId, Translation};

/// Above so many pages, all of a space's translations are dropped instead of one after the other.
const PAGES_BY_PAGE: usize = 16;

static KERNEL_ROOT: OnceCell<Root> = OnceCell::new();
static ENVIRONMENT: OnceCell<Environment> = OnceCell::new();
/// Some thread runs or ran in the isolated realm, so that second-stage translations must be dropped, too.
static ISOLATED_USED: AtomicBool = AtomicBool::new(false);

/// Says which root is the kernel's own, and prepares for address spaces.
///
/// # Errors
/// `OutOfMemory`.
pub fn initialise(root: Root) -> base::Result<()> {
    // ASIDs and VMIDs are one number here; a VMID has 14 bits at most.
    let bits = arch::paging::asid_bits().min(14);
    let environment = Environment::new(&KernelTranslation, root.address, (1 << bits) - 1)?;
    // Both are set once, at boot.
    let _ = (KERNEL_ROOT.set(root), ENVIRONMENT.set(environment));
    Ok(())
}

/// What all address spaces share.
pub fn environment() -> &'static Environment {
    ENVIRONMENT.get().expect("set at boot, before there are processes")
}

/// Translates by `space` from now on, for a thread that is entered in `mode`. Interrupts are masked.
#[inline]
pub fn enter_space(hart: &'static Hart, space: &Arc<AddressSpace>, mode: Mode) {
    let identity = Arc::as_ptr(space) as usize | (mode == Mode::Isolated) as usize;
    if hart.local.space.get() != identity {
        change_space(hart, space, mode, identity);
    }
}

#[cold]
fn change_space(hart: &'static Hart, space: &Arc<AddressSpace>, mode: Mode, identity: usize) {
    // The old space is dropped by whoever looks at the hart next without needing it: see `release_space`.
    let old = hart.local.active_space.replace(Some(space.clone()));
    if let Some(old) = &old {
        old.deactivate(hart.index());
    }
    let root = Root { address: space.root(), space: space.id().0 };
    if space.activate(hart.index()) == NeedsFlush::Yes {
        arch::paging::fence_space(root.space);
        if ISOLATED_USED.load(Ordering::Relaxed) {
            arch::paging::fence_guest_space(root.space);
        }
    }
    let kernel = *KERNEL_ROOT.get().expect("set at boot");
    // SAFETY: the space maps the kernel, and the hart keeps it alive until another is active.
    unsafe {
        match mode {
            Mode::Direct => arch::paging::activate(root),
            Mode::Isolated => {
                ISOLATED_USED.store(true, Ordering::Relaxed);
                arch::paging::activate(kernel);
                arch::paging::activate_guest(root);
            }
        }
    }
    hart.local.space.set(identity);
    drop_later(hart, old);
}

/// Keeps the last reference of a space from being dropped where interrupts are masked.
fn drop_later(hart: &'static Hart, old: Option<Arc<AddressSpace>>) {
    if let Some(old) = old
        && let Some(unneeded) = Arc::into_inner(old)
    {
        hart.local.unneeded_space.set(Some(unneeded));
        hart.local.has_unneeded_space.set(true);
    }
}

/// Goes back to the kernel's own root, so that the address space that was active here can be freed; frees it if this was
/// its last use. Called where interrupts may come and no guard is held.
pub fn leave_space() {
    let old = hart::with(|hart| {
        let old = hart.local.active_space.replace(None);
        if let Some(space) = &old {
            let kernel = *KERNEL_ROOT.get().expect("set at boot");
            // SAFETY: the kernel's root maps the kernel and lives for ever.
            unsafe { arch::paging::activate(kernel) };
            space.deactivate(hart.index());
            hart.local.space.set(0);
        }
        (old, hart.local.unneeded_space.take())
    });
    drop(old);
}

/// As [`leave_space`], if nobody else uses the space that is active here: before the hart goes idle.
pub fn leave_unused_space() {
    let unused = hart::with(|hart| {
        let active = hart.local.active_space.take();
        let unused = active.as_ref().is_some_and(|space| Arc::strong_count(space) == 1);
        hart.local.active_space.set(active);
        unused
    });
    if unused {
        leave_space();
    }
}

/// Frees the space that this hart was the last to use, if there is one. As for [`leave_space`].
#[inline]
pub fn release_unneeded() {
    let unneeded = hart::with(|hart| {
        if hart.local.has_unneeded_space.replace(false) { hart.local.unneeded_space.take() } else { None }
    });
    drop(unneeded);
}

/// Makes every hart fence, and returns when all have.
pub fn fence_harts() {
    KernelTranslation.instructions_changed(u64::MAX);
}

struct KernelTranslation;

impl KernelTranslation {
    /// Splits a set of harts into the executing one and the hardware ids of the others, as a mask.
    fn split(harts: u64, here: usize) -> (bool, usize) {
        let mut others = 0;
        for hart in hart::online() {
            if harts >> hart.index() & 1 == 1 && hart.index() != here {
                others |= 1 << hart.hart_id();
            }
        }
        (harts >> here & 1 == 1, others)
    }

    fn flush_part(&self, space: SpaceId, range: Option<Range<VirtualAddress>>, harts: u64) {
        hart::with(|hart| {
            let (here, others) = Self::split(harts, hart.index());
            let isolated = ISOLATED_USED.load(Ordering::Relaxed);
            let (start, length) = match &range {
                Some(range) => (range.start.value(), range.end - range.start),
                None => (0, usize::MAX),
            };
            if here {
                fence_here(space.0, range);
                if isolated {
                    arch::paging::fence_guest_space(space.0);
                }
            }
            if others != 0 {
                arch::firmware::remote_fence(others, 0, start, length, space.0.into());
                if isolated {
                    arch::firmware::remote_guest_fence(others, 0, start, length, space.0.into());
                }
            }
        });
    }
}

fn fence_here(space: u16, range: Option<Range<VirtualAddress>>) {
    match range {
        Some(range) if range.end - range.start <= PAGES_BY_PAGE * PAGE_SIZE => {
            for address in (range.start.value()..range.end.value()).step_by(PAGE_SIZE) {
                arch::paging::fence_page(address, space);
            }
        }
        _ => arch::paging::fence_space(space),
    }
}

impl Translation for KernelTranslation {
    fn flush(&self, space: SpaceId, range: Range<VirtualAddress>, harts: u64) {
        self.flush_part(space, Some(range), harts);
    }

    fn flush_all(&self, space: SpaceId, harts: u64) {
        self.flush_part(space, None, harts);
    }

    fn flush_everything(&self) {
        hart::with(|hart| {
            let (_, others) = Self::split(u64::MAX, hart.index());
            arch::paging::fence_all();
            if crate::boot::system().isolated_realm {
                arch::paging::fence_guest_all();
            }
            if others != 0 {
                arch::firmware::remote_fence_all(others, crate::boot::system().isolated_realm);
            }
        });
    }

    fn instructions_changed(&self, harts: u64) {
        hart::with(|hart| {
            let (here, others) = Self::split(harts, hart.index());
            if here {
                arch::paging::fence_instructions();
            }
            if others != 0 {
                arch::firmware::remote_fence_instructions(others);
            }
        });
    }

    fn hart_index(&self) -> usize {
        hart::with(|hart| hart.index())
    }
}
