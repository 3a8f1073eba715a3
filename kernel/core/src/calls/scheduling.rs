//! Calls about scheduling: policies and their parameters, and memory barriers on other harts.

use super::resources::{apply_priority, may_be_nice, thread_named};
use crate::process::traits;
use crate::thread::{Caller, Thread};
use crate::{executor, translation};
use ::process::credentials::Capability;
use ::process::limits::Resource;
use abi::linux::general as number;
use alloc::sync::Arc;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::sync::atomic::{Ordering, fence};
use base::{Error, Result};

/// In a policy: children do not inherit what is privileged of it.
const RESET_ON_FORK: u32 = 0x4000_0000;

/// What a scheduling policy's parameter may be.
fn policy_range(policy: usize) -> Result<core::ops::RangeInclusive<i32>> {
    match policy as u32 {
        number::SCHED_FIFO | number::SCHED_RR => Ok(1..=99),
        number::SCHED_NORMAL | number::SCHED_BATCH | number::SCHED_IDLE | number::SCHED_DEADLINE => Ok(0..=0),
        _ => Err(Error::InvalidArgument),
    }
}

/// `sched_get_priority_max`
pub async fn sched_get_priority_max(_caller: &Caller, policy: usize) -> Result<usize> {
    policy_range(policy).map(|range| *range.end() as usize)
}

/// `sched_get_priority_min`
pub async fn sched_get_priority_min(_caller: &Caller, policy: usize) -> Result<usize> {
    policy_range(policy).map(|range| *range.start() as usize)
}

/// A thread as the calls about scheduling name it, where negative numbers are invalid.
fn scheduled_thread(caller: &Caller, id: usize) -> Result<Arc<Thread>> {
    if (id as u32 as i32) < 0 { Err(Error::InvalidArgument) } else { thread_named(caller, id) }
}

/// `sched_getscheduler`
pub async fn sched_getscheduler(caller: &Caller, id: usize) -> Result<usize> {
    let thread = scheduled_thread(caller, id)?;
    let reset = if thread.resets_on_fork() { RESET_ON_FORK } else { 0 };
    Ok((thread.policy().0 | reset) as usize)
}

/// `sched_getparam`
pub async fn sched_getparam(caller: &Caller, id: usize, address: usize) -> Result<usize> {
    if address == 0 {
        return Err(Error::InvalidArgument);
    }
    let priority = scheduled_thread(caller, id)?.policy().1;
    caller.space.write_object(VirtualAddress::new(address), &priority).await.map(|()| 0)
}

/// `sched_setscheduler`
pub async fn sched_setscheduler(caller: &Caller, id: usize, policy: usize, address: usize) -> Result<usize> {
    if address == 0 || (policy as u32 as i32) < 0 {
        return Err(Error::InvalidArgument);
    }
    set_policy(caller, id, Some(policy), address).await
}

/// `sched_setparam`
pub async fn sched_setparam(caller: &Caller, id: usize, address: usize) -> Result<usize> {
    if address == 0 {
        return Err(Error::InvalidArgument);
    }
    set_policy(caller, id, None, address).await
}

async fn set_policy(caller: &Caller, id: usize, policy: Option<usize>, address: usize) -> Result<usize> {
    let priority = caller.space.read_object::<i32>(VirtualAddress::new(address)).await?;
    let thread = scheduled_thread(caller, id)?;
    let kept = (thread.policy().0, thread.resets_on_fork());
    let (policy, resets_on_fork) =
        policy.map_or(kept, |policy| (policy as u32 & !RESET_ON_FORK, policy as u32 & RESET_ON_FORK != 0));
    let wanted = Scheduling { policy, priority, resets_on_fork, nice: None };
    wanted.apply(caller, &thread)
}

/// How a thread is to be scheduled.
struct Scheduling {
    policy: u32,
    priority: i32,
    resets_on_fork: bool,
    /// `None`: as nice as it is.
    nice: Option<i32>,
}

impl Scheduling {
    fn apply(&self, caller: &Caller, thread: &Arc<Thread>) -> Result<usize> {
        // Deadlines are not implemented; see docs/status.md.
        if self.policy == number::SCHED_DEADLINE
            || !policy_range(self.policy as usize)?.contains(&self.priority)
        {
            return Err(Error::InvalidArgument);
        }
        may_be_nice(caller, thread, i32::MAX)?;
        let privileged = caller.process().identity().credentials.has(Capability::Nice);
        let allowed = thread.process.limits.lock().soft(Resource::RealTimePriority);
        let former = thread.policy();
        let raises = self.priority > 0 && (former.0 != self.policy || self.priority > former.1);
        let denied = (raises && self.priority as u64 > allowed)
            || (thread.resets_on_fork() && !self.resets_on_fork)
            || self.nice.is_some_and(|nice| may_be_nice(caller, thread, nice).is_err());
        if denied && !privileged {
            return Err(Error::NotPermitted);
        }
        thread.set_policy(self.policy, self.priority);
        thread.set_reset_on_fork(self.resets_on_fork);
        if let Some(nice) = self.nice {
            thread.nice.store(nice, Ordering::Relaxed);
        }
        apply_priority(thread);
        Ok(0)
    }
}

/// Words of `struct sched_attr`.
const ATTRIBUTE_WORDS: usize = 14;
/// Bytes of the first one.
const ATTRIBUTES_MIN: usize = 48;
/// Bytes of the one that this kernel knows.
const ATTRIBUTES_SIZE: usize = ATTRIBUTE_WORDS * 4;
/// In its flags: `SCHED_FLAG_RESET_ON_FORK`
const FLAG_RESET_ON_FORK: u64 = 1;
/// `SCHED_FLAG_KEEP_POLICY`
const FLAG_KEEP_POLICY: u64 = 8;
/// `SCHED_FLAG_KEEP_PARAMS`
const FLAG_KEEP_PARAMETERS: u64 = 16;

/// `sched_setattr`
pub async fn sched_setattr(caller: &Caller, id: usize, address: usize, flags: usize) -> Result<usize> {
    if address == 0 || (id as u32 as i32) < 0 || flags as u32 != 0 {
        return Err(Error::InvalidArgument);
    }
    let words = read_attributes(caller, VirtualAddress::new(address)).await?;
    let flags = u64::from(words[2]) | u64::from(words[3]) << 32;
    if flags & !(FLAG_RESET_ON_FORK | FLAG_KEEP_POLICY | FLAG_KEEP_PARAMETERS) != 0 {
        return Err(Error::InvalidArgument);
    }
    if (words[1] as i32) < 0 {
        return Err(Error::InvalidArgument);
    }
    let thread = thread_named(caller, id)?;
    let former = thread.policy();
    let policy = if flags & FLAG_KEEP_POLICY != 0 { former.0 } else { words[1] };
    let keeps = flags & FLAG_KEEP_PARAMETERS != 0;
    let ordinary = [number::SCHED_NORMAL, number::SCHED_BATCH].contains(&policy);
    let wanted = Scheduling {
        policy,
        priority: if keeps { former.1 } else { words[5] as i32 },
        resets_on_fork: flags & FLAG_RESET_ON_FORK != 0,
        nice: (ordinary && !keeps).then_some((words[4] as i32).clamp(-20, 19)),
    };
    wanted.apply(caller, &thread)
}

/// Reads a `struct sched_attr` of whatever length it says it has.
async fn read_attributes(caller: &Caller, address: VirtualAddress) -> Result<[u32; ATTRIBUTE_WORDS]> {
    let size = match caller.space.read_object::<u32>(address).await? as usize {
        0 => ATTRIBUTES_MIN,
        size => size,
    };
    let mut fits = (ATTRIBUTES_MIN..=PAGE_SIZE).contains(&size);
    let mut at = ATTRIBUTES_SIZE;
    while fits && at < size {
        fits = caller.space.read_object::<u8>(address + at).await? == 0;
        at += 1;
    }
    if !fits {
        // How long it may be is told.
        caller.space.write_object(address, &(ATTRIBUTES_SIZE as u32)).await?;
        return Err(Error::ArgumentListTooLong);
    }
    let mut words = [0u32; ATTRIBUTE_WORDS];
    let known = size.min(ATTRIBUTES_SIZE);
    caller.space.read_bytes(address, &mut zerocopy::IntoBytes::as_mut_bytes(&mut words)[..known]).await?;
    Ok(words)
}

/// `sched_getattr`
pub async fn sched_getattr(caller: &Caller, arguments: [usize; 4]) -> Result<usize> {
    /// What a policy without deadlines lets a thread use of a hart: nothing at least, everything at most.
    const USABLE: [u32; 2] = [0, 1024];
    let [id, address, size, flags] = arguments;
    let size = size as u32 as usize;
    if address == 0
        || (id as u32 as i32) < 0
        || flags as u32 != 0
        || !(ATTRIBUTES_MIN..=PAGE_SIZE).contains(&size)
    {
        return Err(Error::InvalidArgument);
    }
    let thread = thread_named(caller, id)?;
    let (policy, priority) = thread.policy();
    let known = size.min(ATTRIBUTES_SIZE);
    let mut words = [0u32; ATTRIBUTE_WORDS];
    (words[0], words[1]) = (known as u32, policy);
    words[2] = u32::from(thread.resets_on_fork());
    words[5] = priority as u32;
    if priority == 0 {
        words[4] = thread.nice.load(Ordering::Relaxed) as u32;
    }
    words[12..].copy_from_slice(&USABLE);
    caller
        .space
        .write_bytes(VirtualAddress::new(address), &zerocopy::IntoBytes::as_bytes(&words)[..known])
        .await?;
    Ok(0)
}

/// `sched_rr_get_interval`
pub async fn sched_rr_get_interval(caller: &Caller, id: usize, address: usize) -> Result<usize> {
    scheduled_thread(caller, id)?;
    caller.space.write_object(VirtualAddress::new(address), &[0, executor::TIME_SLICE_NS]).await.map(|()| 0)
}

/// `membarrier`
pub async fn membarrier(caller: &Caller, command: usize, flags: usize) -> Result<usize> {
    const QUERY: u32 = 0;
    const GLOBAL: u32 = 1;
    const GLOBAL_EXPEDITED: u32 = 1 << 1;
    const REGISTER_GLOBAL_EXPEDITED: u32 = 1 << 2;
    const PRIVATE_EXPEDITED: u32 = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: u32 = 1 << 4;
    const PRIVATE_INSTRUCTIONS: u32 = 1 << 5;
    const REGISTER_PRIVATE_INSTRUCTIONS: u32 = 1 << 6;
    const GET_REGISTRATIONS: u32 = 1 << 9;
    const REGISTRATIONS: [(u32, u32); 3] = [
        (REGISTER_GLOBAL_EXPEDITED, traits::GLOBAL_BARRIERS),
        (REGISTER_PRIVATE_EXPEDITED, traits::EXPEDITED_BARRIERS),
        (REGISTER_PRIVATE_INSTRUCTIONS, traits::INSTRUCTION_BARRIERS),
    ];
    if flags as u32 != 0 {
        return Err(Error::InvalidArgument);
    }
    let process = caller.process();
    match command as u32 {
        QUERY => {
            let barriers = GLOBAL | GLOBAL_EXPEDITED | PRIVATE_EXPEDITED | PRIVATE_INSTRUCTIONS;
            let all = REGISTRATIONS.iter().fold(barriers, |all, (command, _)| all | command);
            Ok((all | GET_REGISTRATIONS) as usize)
        }
        GET_REGISTRATIONS => {
            let made = REGISTRATIONS.iter().filter(|(_, bit)| process.has(*bit));
            Ok(made.fold(0, |all, (command, _)| all | command) as usize)
        }
        PRIVATE_EXPEDITED if !process.has(traits::EXPEDITED_BARRIERS) => Err(Error::NotPermitted),
        PRIVATE_INSTRUCTIONS if !process.has(traits::INSTRUCTION_BARRIERS) => Err(Error::NotPermitted),
        GLOBAL | GLOBAL_EXPEDITED | PRIVATE_EXPEDITED | PRIVATE_INSTRUCTIONS => {
            // Every other hart takes an interrupt and fences, data and instructions, before this goes on.
            fence(Ordering::SeqCst);
            translation::fence_harts();
            fence(Ordering::SeqCst);
            Ok(0)
        }
        command => {
            let known = REGISTRATIONS.iter().find(|(registration, _)| *registration == command);
            let (_, bit) = known.ok_or(Error::InvalidArgument)?;
            process.set_trait(*bit, true);
            Ok(0)
        }
    }
}
