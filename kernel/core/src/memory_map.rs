//! What physical memory is used for at boot, and the kernel's own mappings.
//!
//! | addresses | what | access |
//! |---|---|---|
//! | [`DIRECT_MAP`] | physical memory and devices, in leaves of 1 GiB where possible | read, write; the image's code and constants read only |
//! | [`STACK_REGION`] | kernel stacks, each above an unmapped guard | read, write |
//! | [`IMAGE_REGION`](arch_riscv64::boot::IMAGE_REGION) | the image: code, constants, data | execute; read; read and write |

use crate::stacks::{self, StackTop};
use crate::translation;
use arch_riscv64 as arch;
use arch_riscv64::boot::{BootInformation, DIRECT_MAP, DIRECT_MAP_SIZE, STACK_REGION, image_layout};
use arch_riscv64::paging::Root;
use arch_riscv64::stack::SLOT_SIZE;
use base::Result;
use base::address::{PAGE_SIZE, PhysicalAddress, VirtualAddress};
use base::sync::SpinLock;
use core::ops::Range;
use drivers::machine::Machine;
use memory::page_table::Flags;
use memory::page_table::kernel::KernelTable;
use memory::{FrameRange, frames};

/// The most pieces that free memory may be in at boot.
const MAX_PIECES: usize = 64;

static TABLE: SpinLock<Option<KernelTable>> = SpinLock::new(None);

const READ_ONLY: Flags = Flags::READ.union(Flags::GLOBAL);
const READ_WRITE: Flags = Flags::READ.union(Flags::WRITE).union(Flags::GLOBAL);
const EXECUTE: Flags = Flags::READ.union(Flags::EXECUTE).union(Flags::GLOBAL);

/// Free memory at boot: what the machine has, less what is in use.
struct FreeMemory {
    pieces: [Range<PhysicalAddress>; MAX_PIECES],
    count: usize,
}

impl FreeMemory {
    fn new() -> Self {
        let nothing = PhysicalAddress::new(0)..PhysicalAddress::new(0);
        Self { pieces: core::array::from_fn(|_| nothing.clone()), count: 0 }
    }

    fn add(&mut self, piece: Range<PhysicalAddress>) {
        if piece.start < piece.end && self.count < MAX_PIECES {
            self.pieces[self.count] = piece;
            self.count += 1;
        }
    }

    fn remove(&mut self, used: Range<PhysicalAddress>) {
        let start = used.start.align_down(PAGE_SIZE);
        let end = used.end.align_up(PAGE_SIZE).unwrap_or(used.end);
        for index in 0..self.count {
            let piece = self.pieces[index].clone();
            if piece.start >= end || piece.end <= start {
                continue;
            }
            self.pieces[index] = piece.start..piece.start.max(start);
            self.add(end.min(piece.end)..piece.end);
        }
    }
}

/// Gives the frame allocator all memory that is free: not the firmware's, the image, the device tree or the root image.
///
/// # Errors
/// `OutOfMemory` when there is not even room for the allocator's records.
pub fn initialise_frames(machine: &Machine, information: &BootInformation, tree_size: usize) -> Result<()> {
    let mut free = FreeMemory::new();
    let mut span = PhysicalAddress::new(usize::MAX)..PhysicalAddress::new(0);
    for region in &machine.memory {
        let end = region.start + region.size.min(DIRECT_MAP_SIZE.saturating_sub(region.start.value()));
        free.add(region.start..end);
        span = span.start.min(region.start)..span.end.max(end);
    }
    for region in machine.reserved.iter().chain(&machine.chosen.initial_ram_disk) {
        free.remove(region.start..region.start + region.size);
    }
    free.remove(information.image_start..information.image_end);
    free.remove(information.device_tree..information.device_tree + tree_size);
    // SAFETY: what is left is memory that nobody was given, and lies in the direct map.
    unsafe { frames::initialise(span, &free.pieces[..free.count]) }
}

/// Builds the kernel's page table and translates by it.
///
/// # Errors
/// `OutOfMemory`.
pub fn initialise_translation(information: &BootInformation) -> Result<()> {
    let layout = image_layout();
    let mut table = KernelTable::new()?;
    let stack_region =
        VirtualAddress::new(STACK_REGION)..VirtualAddress::new(STACK_REGION + stacks::MAX_STACKS * SLOT_SIZE);
    table.map(VirtualAddress::new(DIRECT_MAP), PhysicalAddress::new(0), DIRECT_MAP_SIZE, READ_WRITE)?;
    let constant = information.image_start.value()
        ..information.image_start.value() + (layout.constants_end - layout.start);
    table.protect(
        VirtualAddress::new(DIRECT_MAP + constant.start)..VirtualAddress::new(DIRECT_MAP + constant.end),
        READ_ONLY,
    )?;
    let parts = [
        (layout.start..layout.text_end, EXECUTE),
        (layout.text_end..layout.constants_end, READ_ONLY),
        (layout.constants_end..layout.end, READ_WRITE),
    ];
    for (part, flags) in parts {
        let physical = information.image_start + (part.start - layout.start);
        table.map(VirtualAddress::new(part.start), physical, part.len(), flags)?;
    }
    table.reserve(stack_region)?;
    let root = Root { address: table.root(), space: 0 };
    // SAFETY: the table maps all that the provisional one did and that is used, and is kept for ever.
    unsafe {
        arch::boot::set_secondary_root(root);
        arch::paging::activate(root);
    }
    arch::paging::fence_all();
    translation::initialise(root)?;
    *TABLE.lock() = Some(table);
    Ok(())
}

/// A new kernel stack.
///
/// # Errors
/// `OutOfMemory`.
pub fn make_stack() -> Result<StackTop> {
    stacks::make(|start, length| {
        let mut table = TABLE.lock();
        let table = table.as_mut().ok_or(base::Error::OutOfMemory)?;
        for offset in (0..length).step_by(PAGE_SIZE) {
            // Stacks are never freed.
            let frame = core::mem::ManuallyDrop::new(FrameRange::zeroed(1, 0)?);
            table.map(start + offset, frame.address(), PAGE_SIZE, READ_WRITE)?;
        }
        Ok(())
    })
}

/// The root of the kernel's own page table.
pub fn kernel_root() -> Option<PhysicalAddress> {
    TABLE.lock().as_ref().map(KernelTable::root)
}
