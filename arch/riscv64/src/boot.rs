//! From the firmware's jump to the kernel's first line of Rust.
//!
//! The image begins with the header of Linux's boot protocol (`Documentation/arch/riscv/boot-image-header.rst`), is
//! entered in supervisor mode without translation, `a0` the hart's id and `a1` the device tree, and runs from wherever
//! it was loaded, on a 2 MiB boundary. The assembly clears the zero-initialised data, builds a provisional page table
//! (physical memory from [`DIRECT_MAP`], the image where it is linked) and changes to it by letting the next fetch
//! fault into `stvec`, so that no identity mapping is needed. Harts that are started later come the same way.

use crate::hart::HartBlock;
use crate::paging::Root;
use base::address::PhysicalAddress;
use core::arch::{asm, naked_asm};
use core::mem::offset_of;

/// Where physical address 0 is mapped: the first address of the upper half.
pub const DIRECT_MAP: usize = 0xffff_ffc0_0000_0000;
/// Bytes of physical memory that are mapped there.
pub const DIRECT_MAP_SIZE: usize = 128 << 30;
/// Where the kernel's stacks are mapped, one page-table root entry.
pub const STACK_REGION: usize = 0xffff_ffe0_0000_0000;
/// Where the image is linked; its root entry is not shared with anything else.
pub const IMAGE_REGION: usize = 0xffff_ffff_8000_0000;

/// Bytes of the first stack: what boot finds out about the machine passes over it by value, and there is no guard yet.
const BOOT_STACK_SIZE: usize = 4 * crate::stack::SLOT_SIZE;

/// The first stack; its top has the shape that [`crate::stack`] asks for.
#[repr(C, align(65536))]
struct BootStack([u8; BOOT_STACK_SIZE]);

#[repr(C, align(4096))]
struct BootTable([usize; 512]);

#[unsafe(link_section = ".bss.boot")]
static mut BOOT_STACK: BootStack = BootStack([0; BOOT_STACK_SIZE]);
static mut BOOT_ROOT: BootTable = BootTable([0; 512]);
static mut BOOT_IMAGE_TABLE: BootTable = BootTable([0; 512]);
static mut BOOT_SATP: usize = 0;
/// Not zero: a hart boots. Not among the zero-initialised data, which that hart clears.
#[unsafe(link_section = ".data")]
static mut BOOT_CLAIMED: u32 = 0;
static mut BOOT_BLOCK: HartBlock = HartBlock::new();

/// What the firmware said, and where the image is.
#[derive(Clone, Copy, Debug)]
pub struct BootInformation {
    /// The hardware id of the hart that boots.
    pub hart_id: usize,
    /// Where the device tree is.
    pub device_tree: PhysicalAddress,
    /// Where the image was loaded.
    pub image_start: PhysicalAddress,
    /// The first address behind the image, its zero-initialised data included.
    pub image_end: PhysicalAddress,
}

/// The parts of the image, as addresses where it is linked, page aligned.
#[derive(Clone, Copy, Debug)]
pub struct ImageLayout {
    /// Code: from the start to here.
    pub text_end: usize,
    /// Constants: from the code's end to here.
    pub constants_end: usize,
    /// Data and zero-initialised data: from the constants' end to here.
    pub end: usize,
    /// Where the image starts.
    pub start: usize,
}

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __constants_end: u8;
    static __image_end: u8;
}

unsafe extern "Rust" {
    /// The kernel's first line: the boot hart, on the boot stack, interrupts masked.
    safe fn asyncos_boot(information: BootInformation) -> !;
    /// The first line of every other hart, on the stack named in its block, with the boot hart's translation.
    safe fn asyncos_boot_secondary() -> !;
}

/// Where the linker put the parts of the image.
pub fn image_layout() -> ImageLayout {
    ImageLayout {
        start: &raw const __image_start as usize,
        text_end: &raw const __text_end as usize,
        constants_end: &raw const __constants_end as usize,
        end: &raw const __image_end as usize,
    }
}

/// The first instruction, and the header that boot loaders read.
///
/// # Safety
/// Only the firmware jumps here, once, without translation.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.entry")]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        ".option push",
        ".option norvc",
        "j 1f",
        "nop",
        ".option pop",
        ".dword 0x200000", // where the image wants to be, from the start of memory
        ".dword __image_end - __image_start",
        ".dword 0", // little endian
        ".word 2",  // header version 0.2
        ".word 0",
        ".dword 0",
        ".ascii \"RISCV\\0\\0\\0\"",
        ".ascii \"RSC\\x05\"",
        ".word 0",
        ".balign 4",
        "1: csrw sie, zero",
        "mv s0, a0",
        "mv s1, a1",
        // Only one hart boots. OpenSBI 1.1 can let a hart that was asked to start elsewhere begin here, when it looks before its
        // entry has been written: it stops again, and is asked once more (`start_harts`).
        "lla t0, {claimed}",
        "li t1, 1",
        ".option push",
        ".option arch, +a",
        "amoswap.w.aqrl t1, t1, (t0)",
        ".option pop",
        "beqz t1, 9f",
        "8: li a7, 0x48534d",
        "li a6, 1",
        "ecall",
        "j 8b",
        "9: lla t0, __zeroed_start",
        "lla t1, __image_end",
        "2: sd zero, 0(t0)",
        "sd zero, 8(t0)",
        "addi t0, t0, 16",
        "bltu t0, t1, 2b",
        // 128 leaves of 1 GiB, valid, readable, writable, global, accessed, dirty, from root entry 256.
        "lla s2, {root}",
        "li t0, 2048",
        "add t0, s2, t0",
        "li t1, 0xe7",
        "li t2, 128",
        "li t3, 1 << 28",
        "3: sd t1, 0(t0)",
        "add t1, t1, t3",
        "addi t0, t0, 8",
        "addi t2, t2, -1",
        "bnez t2, 3b",
        // Root entry 510 leads to 512 leaves of 2 MiB, executable too, from 2 MiB below the image.
        "lla s3, {image_table}",
        "srli t1, s3, 2",
        "ori t1, t1, 1",
        "li t0, 4080",
        "add t0, s2, t0",
        "sd t1, 0(t0)",
        "lla t1, _start",
        "li t2, 0x200000",
        "sub t1, t1, t2",
        "srli t1, t1, 2",
        "ori t1, t1, 0xef",
        "li t2, 512",
        "li t3, 1 << 19",
        "4: sd t1, 0(s3)",
        "add t1, t1, t3",
        "addi s3, s3, 8",
        "addi t2, t2, -1",
        "bnez t2, 4b",
        "srli t0, s2, 12",
        "li t1, 8 << 60",
        "or t0, t0, t1",
        "lla t2, {satp}",
        "sd t0, 0(t2)",
        "lla s4, _start",
        "lla t2, 6f",
        "ld t1, 0(t2)",
        "csrw stvec, t1",
        "sfence.vma",
        "csrw satp, t0",
        "nop",
        ".balign 4",
        "5: lla sp, {stack}",
        "li t0, {stack_size}",
        "add sp, sp, t0",
        "lla tp, {block}",
        "csrw sscratch, zero",
        "mv a0, s0",
        "mv a1, s1",
        "mv a2, s4",
        "mv s0, zero",
        "call {enter}",
        "unimp",
        ".balign 8",
        "6: .dword 5b",
        claimed = sym BOOT_CLAIMED,
        root = sym BOOT_ROOT,
        image_table = sym BOOT_IMAGE_TABLE,
        satp = sym BOOT_SATP,
        stack = sym BOOT_STACK,
        stack_size = const size_of::<BootStack>(),
        block = sym BOOT_BLOCK,
        enter = sym enter,
    )
}

extern "C" fn enter(hart_id: usize, device_tree: usize, image_start: usize) -> ! {
    let layout = image_layout();
    asyncos_boot(BootInformation {
        hart_id,
        device_tree: PhysicalAddress::new(device_tree),
        image_start: PhysicalAddress::new(image_start),
        image_end: PhysicalAddress::new(image_start + (layout.end - layout.start)),
    })
}

/// What a secondary hart needs before it can run Rust; lives as long as the kernel.
#[repr(C)]
pub struct SecondaryStart {
    /// The hart's block, already identified.
    pub block: *mut HartBlock,
    /// The top of its stack.
    pub stack_top: usize,
}

/// Where harts that are started later begin, as a physical address.
pub fn secondary_entry(information: &BootInformation) -> usize {
    information.image_start.value() + (secondary_start as *const () as usize - image_layout().start)
}

/// Begins like `_start`, with translation already built: `a0` the hart's id, `a1` its [`SecondaryStart`].
///
/// # Safety
/// Only the firmware jumps here, once for each hart that was started.
#[unsafe(naked)]
unsafe extern "C" fn secondary_start() -> ! {
    naked_asm!(
        "csrw sie, zero",
        "lla t2, {satp}",
        "ld t0, 0(t2)",
        "lla t2, 6f",
        "ld t1, 0(t2)",
        "csrw stvec, t1",
        "sfence.vma",
        "csrw satp, t0",
        "nop",
        ".balign 4",
        "5: ld tp, {block}(a1)",
        "ld sp, {stack_top}(a1)",
        "csrw sscratch, zero",
        "mv s0, zero",
        "call {enter}",
        "unimp",
        ".balign 8",
        "6: .dword 5b",
        satp = sym BOOT_SATP,
        block = const offset_of!(SecondaryStart, block),
        stack_top = const offset_of!(SecondaryStart, stack_top),
        enter = sym enter_secondary,
    )
}

extern "C" fn enter_secondary() -> ! {
    asyncos_boot_secondary()
}

/// Makes `block` what `tp` points to on this hart.
///
/// # Safety
/// The block is this hart's alone and lives as long as the kernel; no guard is held.
pub unsafe fn adopt_block(block: *mut HartBlock) {
    // SAFETY: the caller's contract.
    unsafe { asm!("mv tp, {}", in(reg) block, options(nostack)) };
}

/// The translation that every hart starts with becomes `root`, for harts that start from now on.
///
/// # Safety
/// `root` maps the kernel as the provisional table does, and lives as long as the kernel.
pub unsafe fn set_secondary_root(root: Root) {
    const MODE_SV39: usize = 8 << 60;
    // SAFETY: written by the boot hart before it starts others.
    unsafe { (&raw mut BOOT_SATP).write(MODE_SV39 | root.address.page_number()) };
}

/// The physical page table that the boot assembly built, for as long as the kernel has no better one.
pub fn provisional_root_entries() -> *const [usize; 512] {
    (&raw const BOOT_ROOT).cast()
}
