//! What stands at the top of `/proc`, about the system as a whole.

use super::process_files::TICK_NS;
use super::{Builder, Writer, line, own, part, subject};
use crate::calls::system::{KERNEL_NAME, RELEASE, VERSION};
use crate::file_systems::{self, Storage};
use crate::hart::Hart;
use crate::{boot, hart, load_average, process, stacks, time};
use alloc::string::String;
use alloc::vec::Vec;
use arch_riscv64::firmware;
use base::Result;
use base::address::PAGE_SIZE;
use base::hal::now_ns;
use base::sync::atomic::Ordering;
use drivers::machine::Extensions;
use memory::frames;
use vfs::synthetic::SyntheticDirectory;
use vfs::tmpfs::Tmpfs;

const SECOND_NS: u64 = 1_000_000_000;

/// Puts the files into the root.
///
/// # Errors
/// `AlreadyExists` when two entries have one name.
pub fn insert(builder: &Builder<'_>, root: &SyntheticDirectory) -> Result<()> {
    let files: [(&str, Writer); 15] = [
        ("meminfo", memory_information),
        ("vmstat", memory_counters),
        ("cpuinfo", hart_information),
        ("uptime", uptime),
        ("version", version),
        ("stat", statistics),
        ("loadavg", load),
        ("filesystems", kinds_of_file_systems),
        ("cmdline", command_line),
        ("devices", devices),
        ("partitions", |text| line!(text, "major minor  #blocks  name\n")),
        ("swaps", |text| {
            line!(text, "{:<40}{:<16}{:<8}{:<8}{:<8}", "Filename", "Type", "Size", "Used", "Priority")
        }),
        ("interrupts", interrupts),
        ("modules", |_| {}),
        ("diskstats", |_| {}),
    ];
    files.into_iter().try_for_each(|(name, content)| root.insert(name, builder.text(content)))
}

/// Pages that files in memory have, of all file systems that the asking process sees.
fn file_pages() -> usize {
    let Ok(process) = subject::current_process() else { return 0 };
    let mut seen = Vec::new();
    let mut pages = 0;
    for (mount, _) in super::mounts::visible(&process) {
        let file_system = mount.file_system().clone();
        if seen.contains(&file_system.device()) {
            continue;
        }
        seen.push(file_system.device());
        let any: &dyn core::any::Any = &*file_system;
        pages += any.downcast_ref::<Tmpfs>().map_or(0, |tmpfs| tmpfs.pages_used() as usize);
    }
    pages
}

/// `/proc/vmstat`: pages by use. Nothing is ever swapped or paged, as there is neither a disk nor a swap.
fn memory_counters(text: &mut Vec<u8>) {
    for (name, value) in [
        ("nr_free_pages", frames::free_frames()),
        ("nr_file_pages", file_pages()),
        ("nr_shmem", file_pages()),
        ("nr_page_table_pages", own::page_table_frames()),
        ("pgpgin", 0),
        ("pgpgout", 0),
        ("pswpin", 0),
        ("pswpout", 0),
    ] {
        line!(text, "{name} {value}");
    }
}

fn memory_information(text: &mut Vec<u8>) {
    let kib = |pages: usize| pages * (PAGE_SIZE / 1024);
    let free = kib(frames::free_frames());
    let files = kib(file_pages());
    let heap = boot::heap().bytes_in_use() / 1024;
    let (stacks, _) = stacks::counts();
    for (name, value) in [
        ("MemTotal", kib(frames::total_frames())),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", files),
        ("SwapCached", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("Shmem", files),
        ("KReclaimable", 0),
        ("Slab", heap),
        ("SReclaimable", 0),
        ("SUnreclaim", heap),
        ("KernelStack", stacks * arch_riscv64::stack::STACK_SIZE / 1024),
        ("PageTables", kib(own::page_table_frames())),
    ] {
        let label = alloc::format!("{name}:");
        line!(text, "{label:<16}{value:>8} kB");
    }
}

/// The extensions as a device tree writes them.
fn isa(extensions: Extensions) -> String {
    let mut isa = String::from("rv64ima");
    for (extension, letter) in [(Extensions::F, 'f'), (Extensions::D, 'd')] {
        if extensions.contains(extension) {
            isa.push(letter);
        }
    }
    isa.push('c');
    for (extension, letter) in [(Extensions::V, 'v'), (Extensions::H, 'h')] {
        if extensions.contains(extension) {
            isa.push(letter);
        }
    }
    isa.push_str("_zicntr_zicsr_zifencei");
    for (name, extension) in extensions.iter_names() {
        if name.len() > 1 && extensions.contains(extension) {
            isa.push('_');
            isa.push_str(&name.to_ascii_lowercase());
        }
    }
    isa
}

fn hart_information(text: &mut Vec<u8>) {
    let machine = &boot::system().machine;
    for hart in hart::online() {
        let extensions = machine.hart(hart.hart_id()).map_or(Extensions::empty(), |hart| hart.extensions);
        line!(text, "processor\t: {}\nhart\t\t: {}", hart.index(), hart.hart_id());
        line!(text, "isa\t\t: {}\nmmu\t\t: sv39", isa(extensions));
        line!(text, "mvendorid\t: {:#x}\nmarchid\t\t: {:#x}", firmware::vendor(), firmware::architecture());
        line!(text, "mimpid\t\t: {:#x}\n", firmware::implementation());
    }
}

fn uptime(text: &mut Vec<u8>) {
    let idle: u64 = hart::online().iter().map(Hart::idle_ns).sum();
    let parts = |ns: u64| (ns / SECOND_NS, ns % SECOND_NS / 10_000_000);
    let ((up, up_part), (idle, idle_part)) = (parts(now_ns()), parts(idle));
    line!(text, "{up}.{up_part:02} {idle}.{idle_part:02}");
}

fn version(text: &mut Vec<u8>) {
    line!(text, "{KERNEL_NAME} version {RELEASE} (AsyncOS {}) {VERSION}", env!("CARGO_PKG_VERSION"));
}

/// How a hart spent its time: in programs, in the kernel, idle. Idle time is measured for each hart; what is left is shared
/// out by how all programs together spent theirs.
fn hart_times(hart: &Hart, user_ns: u64, system_ns: u64) -> [u64; 3] {
    let idle = hart.idle_ns();
    let busy = now_ns().saturating_sub(idle);
    let all = u128::from(user_ns) + u128::from(system_ns);
    let user = (u128::from(busy) * u128::from(user_ns)).checked_div(all).unwrap_or(0) as u64;
    [user, busy - user, idle]
}

fn statistics(text: &mut Vec<u8>) {
    let (user_ns, system_ns) = process::total_times();
    let harts: Vec<[u64; 3]> =
        hart::online().iter().map(|hart| hart_times(hart, user_ns, system_ns)).collect();
    let sum = |index: usize| harts.iter().map(|times| times[index]).sum::<u64>();
    let mut write = |label: &str, [user, system, idle]: [u64; 3]| {
        line!(text, "{label} {} 0 {} {} 0 0 0 0 0 0", user / TICK_NS, system / TICK_NS, idle / TICK_NS);
    };
    write("cpu ", [sum(0), sum(1), sum(2)]);
    for (index, times) in harts.iter().enumerate() {
        write(&alloc::format!("cpu{index}"), *times);
    }
    let counted = |counter: fn(&Hart) -> u64| hart::online().iter().map(counter).sum::<u64>();
    line!(text, "intr {}", counted(|hart| hart.counters.interrupts.load(Ordering::Relaxed)));
    line!(text, "ctxt {}", counted(|hart| hart.counters.polls.load(Ordering::Relaxed)));
    line!(text, "btime {}", (time::realtime_ns() - now_ns() as i64) / SECOND_NS as i64);
    line!(text, "processes {}", process::TABLE.lock().identifiers.last());
    line!(text, "procs_running {}\nprocs_blocked 0", load_average::ready());
}

fn load(text: &mut Vec<u8>) {
    for average in load_average::averages() {
        let hundredths = average.hundredths();
        part!(text, "{}.{:02} ", hundredths / 100, hundredths % 100);
    }
    let (threads, _) = process::counts();
    line!(text, "{}/{threads} {}", load_average::ready(), process::TABLE.lock().identifiers.last());
}

fn kinds_of_file_systems(text: &mut Vec<u8>) {
    for kind in file_systems::types() {
        line!(text, "{}\t{}", if kind.storage == Storage::None { "nodev" } else { "" }, kind.name);
    }
}

fn command_line(text: &mut Vec<u8>) {
    line!(text, "{}", &*boot::system().machine.chosen.boot_arguments);
}

/// The drivers that have device numbers.
fn devices(text: &mut Vec<u8>) {
    line!(text, "Character devices:\n  1 mem\n  4 ttyS\n  5 /dev/tty\n  5 /dev/console\n\nBlock devices:");
}

fn interrupts(text: &mut Vec<u8>) {
    text.extend_from_slice(b"     ");
    for hart in hart::online() {
        part!(text, "{:>11}", alloc::format!("CPU{}", hart.index()));
    }
    text.push(b'\n');
    type Counter = fn(&Hart) -> u64;
    let rows: [(&str, Counter, &str); 2] = [
        ("ALL", |hart| hart.counters.interrupts.load(Ordering::Relaxed), "All interrupts taken"),
        ("IPO", |hart| hart.counters.notifications.load(Ordering::Relaxed), "Interrupts sent to other harts"),
    ];
    for (label, count, meaning) in rows {
        part!(text, "{label:>4}:");
        for hart in hart::online() {
            part!(text, "{:>11}", count(hart));
        }
        line!(text, "   {meaning}");
    }
}

/// Appends a set of harts as a list of ranges, such as `0-2,5`.
pub fn write_set(set: u64, text: &mut Vec<u8>) {
    let mut index = 0;
    let mut separator = "";
    while index < u64::BITS {
        let length = (set >> index).trailing_ones();
        match length {
            0 => {}
            1 => part!(text, "{separator}{index}"),
            _ => part!(text, "{separator}{index}-{}", index + length - 1),
        }
        separator = if length > 0 { "," } else { separator };
        index += length.max(1);
    }
}
