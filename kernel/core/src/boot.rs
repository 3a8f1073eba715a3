//! Boot, as a table of contents.

use crate::command_line::Options;
use crate::{
    console, executor, hart, init, interrupts, log, memory_map, power, selftest, stacks, time, trace,
};
use arch_riscv64 as arch;
use arch_riscv64::boot::{BootInformation, SecondaryStart};
use base::sync::OnceCell;
use base::sync::atomic::{AtomicUsize, Ordering};
use base::task::Priority;
use base::{Error, Result};
use drivers::finisher::Finisher;
use drivers::machine::{Extensions, Machine};
use drivers::mmio::{self, DeviceSpace};

/// What the kernel knows of the machine after boot.
pub struct System {
    /// The machine, as the device tree describes it.
    pub machine: Machine,
    /// Where its devices are.
    pub devices: DeviceSpace,
    /// What the command line says.
    pub options: Options,
    /// Every hart has the hypervisor extension, so that programs can run in the isolated realm.
    pub isolated_realm: bool,
}

static SYSTEM: OnceCell<System> = OnceCell::new();
static STARTED: AtomicUsize = AtomicUsize::new(1);

/// What it took to get from the kernel's first line to process 1.
#[derive(Clone, Copy, Debug)]
pub struct BootCost {
    /// Time.
    pub ns: u64,
    /// Instructions of the boot hart; nothing where another hart started process 1.
    pub instructions: Option<u64>,
}

/// Instructions that the boot hart had executed at the kernel's first line.
static FIRST_INSTRUCTION: AtomicUsize = AtomicUsize::new(0);
const STACKS_PER_HART: usize = 4;
const TIMERS_PER_HART: usize = 16;

static BOOT_COST: OnceCell<BootCost> = OnceCell::new();

/// Notes what boot took; called right before process 1 runs.
pub fn note_first_program() {
    let guard = base::hal::PreemptGuard::new();
    let executed = arch::hart::instructions() - FIRST_INSTRUCTION.load(Ordering::Relaxed) as u64;
    let instructions = (guard.hart_index() == 0).then_some(executed);
    // Set once, at boot.
    let _ = BOOT_COST.set(BootCost { ns: time::since_boot_ns(), instructions });
}

/// What [`note_first_program`] noted.
pub fn cost_to_first_program() -> BootCost {
    BOOT_COST.get().copied().unwrap_or(BootCost { ns: 0, instructions: None })
}

struct KernelHardware;

impl base::hal::Hardware for KernelHardware {
    #[inline(always)]
    fn preempt_disable() {
        arch::hart::preempt_disable();
    }
    #[inline(always)]
    fn preempt_enable() {
        arch::hart::preempt_enable();
    }
    #[inline(always)]
    fn hart_index() -> usize {
        arch::hart::index()
    }
    #[inline(always)]
    fn now_ns() -> u64 {
        time::since_boot_ns()
    }
    #[inline(always)]
    fn direct_map(address: base::address::PhysicalAddress) -> *mut u8 {
        (arch::boot::DIRECT_MAP + address.value()) as *mut u8
    }
}

base::set_hardware!(KernelHardware);

#[cfg(target_os = "none")]
#[global_allocator]
static HEAP: memory::KernelHeap = memory::KernelHeap::new();

/// The kernel's heap, for its counters.
#[cfg(target_os = "none")]
pub fn heap() -> &'static memory::KernelHeap {
    &HEAP
}

/// The system, once it has booted so far.
pub fn system() -> &'static System {
    SYSTEM.get().expect("set before anything asks")
}

/// The kernel's first line of Rust.
#[unsafe(no_mangle)]
fn asyncos_boot(information: BootInformation) -> ! {
    let boot_ticks = arch::timer::ticks();
    FIRST_INSTRUCTION.store(arch::hart::instructions() as usize, Ordering::Relaxed);
    match boot(&information, boot_ticks) {
        Ok(stack) => {
            // SAFETY: the stack is new; the boot stack is never needed again.
            unsafe { arch::stack::start(stack.value(), 0, boot_on_own_stack) }
        }
        Err(error) => panic!("the machine cannot be used: {error}"),
    }
}

fn boot(information: &BootInformation, boot_ticks: u64) -> Result<stacks::StackTop> {
    // SAFETY: the boot hart is hart 0 and runs with its provisional block.
    unsafe {
        hart::identify(0, information.hart_id, 0);
        hart::adopt(0);
    }
    // SAFETY: the firmware handed the tree over, and nobody writes to it.
    let tree = unsafe { mmio::device_tree(information.device_tree)? };
    let machine = Machine::parse(tree)?;
    let extensions = machine.common_extensions();
    time::initialise(machine.timebase_hz, extensions.contains(Extensions::SSTC), boot_ticks);
    // SAFETY: the tree describes this machine, and the direct map reaches all of it.
    let devices = unsafe { DeviceSpace::new(&machine) };
    if let Some(uart) = &machine.uart {
        console::initialise(uart, &devices)?;
    }
    if let Some(finisher) = &machine.finisher {
        power::set_finisher(Finisher::new(finisher, &devices)?);
    }
    memory_map::initialise_frames(&machine, information, tree.len())?;
    memory_map::initialise_translation(information)?;
    let options = Options::parse(&machine.chosen.boot_arguments);
    log::set_mode(options.log);
    log!("AsyncOS {} on {} harts", env!("CARGO_PKG_VERSION"), machine.harts.len());
    for word in &options.unknown {
        log!("the option {word} means nothing");
    }
    let hart_count = identify_harts(&machine, information.hart_id)?;
    interrupts::initialise(&machine, &devices, hart_count)?;
    let isolated_realm = extensions.contains(Extensions::H);
    arch::hart::initialise(isolated_realm);
    interrupts::initialise_hart();
    let system = System { machine, devices, options, isolated_realm };
    SYSTEM.set(system).map_err(|_| Error::AlreadyExists)?;
    start_harts(information, hart_count)?;
    stock_harts()?;
    trace::initialise(self::system().options.trace_records)?;
    memory_map::make_stack()
}

/// Gives every hart that the kernel can run its dense index; the boot hart has 0. Returns how many.
fn identify_harts(machine: &Machine, boot_hart_id: usize) -> Result<usize> {
    let mut count = 1;
    let emergency_stack = memory_map::make_stack()?;
    // SAFETY: this hart's own block, before anything faults.
    unsafe { hart::identify(0, boot_hart_id, emergency_stack.value()) };
    for found in machine.harts.iter().filter(|found| found.id != boot_hart_id) {
        if count == hart::MAX_HARTS {
            log!("hart {} is not used: there can be {}", found.id, hart::MAX_HARTS);
            continue;
        }
        let emergency_stack = memory_map::make_stack()?;
        // SAFETY: the hart has not started.
        unsafe { hart::identify(count, found.id, emergency_stack.value()) };
        count += 1;
    }
    Ok(count)
}

/// Starts all harts but this one, and waits until each runs, so that their number is settled.
fn start_harts(information: &BootInformation, hart_count: usize) -> Result<()> {
    let entry = arch::boot::secondary_entry(information);
    for index in 1..hart_count {
        let hart = hart::by_index(index);
        let stack_top = memory_map::make_stack()?.value();
        let start = SecondaryStart { block: hart.block(), stack_top };
        let ask = || arch::firmware::start_hart(hart.hart_id(), entry, &raw const start as usize);
        ask().map_err(|_| Error::NoDevice)?;
        // It reads `start` from this stack, and is waited for; it is up within microseconds. One that the firmware let begin in the
        // wrong place has stopped itself (`arch::boot`), and is asked again.
        while STARTED.load(Ordering::Acquire) == index {
            core::hint::spin_loop();
            if arch::firmware::hart_is_stopped(hart.hart_id()) {
                // It may have been asked already and be about to start; then this is refused, which does no harm.
                let _ = ask();
            }
        }
    }
    hart::set_online(hart_count);
    Ok(())
}

/// What every hart is given before it runs anything: stacks for coroutines that are preempted in the kernel, and room for
/// its first timers.
fn stock_harts() -> Result<()> {
    for hart in hart::online() {
        for _ in 0..STACKS_PER_HART {
            stacks::put(memory_map::make_stack()?);
        }
        hart.timers.lock().reserve(TIMERS_PER_HART)?;
    }
    Ok(())
}

extern "C" fn boot_on_own_stack(_: usize) -> ! {
    let started = if system().options.selftest {
        executor::spawn(Priority::NORMAL, selftest::run())
    } else {
        executor::spawn(Priority::NORMAL, init::run())
    };
    started.expect("memory for the first coroutine");
    executor::run()
}

/// The first line of every other hart.
#[unsafe(no_mangle)]
fn asyncos_boot_secondary() -> ! {
    arch::hart::initialise(system().isolated_realm);
    interrupts::initialise_hart();
    STARTED.fetch_add(1, Ordering::Release);
    executor::run()
}
