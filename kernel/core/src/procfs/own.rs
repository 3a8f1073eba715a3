//! `/proc/asyncos`: what only this kernel has to tell, a `name value` in each line.

use super::{Builder, line};
use crate::calls::unimplemented;
use crate::{boot, executor, hart, process, stacks};
use ::process::system_calls;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::Result;
use base::sync::atomic::Ordering;
use memory::frames;
use vfs::synthetic::SyntheticDirectory;

/// The directory.
///
/// # Errors
/// `AlreadyExists` when two entries have one name.
pub fn directory(builder: &Builder<'_>) -> Result<Arc<SyntheticDirectory>> {
    let directory = builder.directory();
    directory.insert("memory", builder.text(memory))?;
    directory.insert("unimplemented", builder.text(unimplemented))?;
    directory.insert("sched", builder.text(scheduling))?;
    directory.insert("boot", builder.text(boot_cost))?;
    Ok(directory)
}

/// What memory is used for. Frames in the harts' caches count as free.
fn memory(text: &mut Vec<u8>) {
    let (total, free) = (frames::total_frames(), frames::free_frames());
    let (stacks, stacks_free) = stacks::counts();
    let (threads, processes) = process::counts();
    line!(text, "frames_total {total}");
    line!(text, "frames_free {free}");
    line!(text, "frames_used {}", total - free);
    let heap_frames = boot::heap().frames_taken();
    line!(text, "frames_beside_heap {}", (total - free).saturating_sub(heap_frames));
    line!(text, "heap_frames {heap_frames}");
    line!(text, "heap_bytes {}", boot::heap().bytes_in_use());
    line!(text, "kernel_stacks {stacks}");
    line!(text, "kernel_stacks_free {stacks_free}");
    line!(text, "coroutines {}", executor::live_coroutines());
    line!(text, "threads {threads}");
    line!(text, "processes {processes}");
    line!(text, "page_table_frames {}", page_table_frames());
}

/// Frames that the page tables of all processes take.
pub fn page_table_frames() -> usize {
    process::spaces().iter().map(|space| space.table_frames()).sum()
}

/// The system calls that were asked for and are not there: number, name, how often.
fn unimplemented(text: &mut Vec<u8>) {
    for (number, count) in unimplemented::counts() {
        line!(text, "{number} {} {count}", system_calls::name(number).unwrap_or("-"));
    }
}

/// What each hart counted.
fn scheduling(text: &mut Vec<u8>) {
    for hart in hart::online() {
        let counters = &hart.counters;
        for (name, counter) in [
            ("polls", &counters.polls),
            ("preemptions", &counters.preemptions),
            ("steals", &counters.steals),
            ("interrupts", &counters.interrupts),
            ("notifications", &counters.notifications),
        ] {
            line!(text, "hart{}_{name} {}", hart.index(), counter.load(Ordering::Relaxed));
        }
        line!(text, "hart{}_idle_ns {}", hart.index(), hart.idle_ns());
        line!(text, "hart{}_ready {}", hart.index(), hart.view().ready_count);
    }
}

/// What it took from the kernel's first instruction to the first one of process 1.
fn boot_cost(text: &mut Vec<u8>) {
    let cost = boot::cost_to_first_program();
    line!(text, "ns {}", cost.ns);
    if let Some(instructions) = cost.instructions {
        line!(text, "instructions {instructions}");
    }
}
