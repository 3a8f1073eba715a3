//! Calls about what processes may use and have used: limits, usage, priorities, harts.

use crate::process::{self, Process, TABLE};
use crate::thread::{Caller, Thread};
use crate::{cpu_limit, exec, executor, futex_inheritance, hart};
use ::process::credentials::Capability;
use ::process::limits::{Limit, Raising, Resource};
use ::process::stack::CLOCK_TICKS;
use ::process::wait::Usage;
use abi::linux::general as number;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::hal::now_ns;
use base::sync::atomic::Ordering;
use base::{Error, Result};

/// The most descriptors that a process may be allowed (`fs.nr_open`).
const OPEN_FILES_MAX: u64 = 1 << 20;
const NS_PER_TICK: u64 = 1_000_000_000 / CLOCK_TICKS;

/// The process with this id, or the caller's for 0.
fn process_named(caller: &Caller, id: usize) -> Result<Arc<Process>> {
    match id as u32 {
        0 => Ok(caller.process().clone()),
        id => process::find(id)
            .or_else(|| process::find_thread(id).map(|thread| thread.process.clone()))
            .ok_or(Error::NoSuchProcess),
    }
}

/// The thread with this id, or the caller for 0.
///
/// # Errors
/// `NoSuchProcess`
pub fn thread_named(caller: &Caller, id: usize) -> Result<Arc<Thread>> {
    match id as u32 as i32 {
        0 => Ok(caller.thread.clone()),
        id if id < 0 => Err(Error::NoSuchProcess),
        id => process::find_thread(id as u32).ok_or(Error::NoSuchProcess),
    }
}

/// `prlimit64`
pub async fn prlimit64(caller: &Caller, arguments: [usize; 4]) -> Result<usize> {
    let [id, resource, new, old] = arguments;
    let limit = match new {
        0 => None,
        _ => {
            let mut bytes = [0; Limit::SIZE];
            caller.space.read_bytes(VirtualAddress::new(new), &mut bytes).await?;
            Some(Limit::from_bytes(&bytes))
        }
    };
    let target = process_named(caller, id)?;
    if target.id != caller.process().id {
        let (own, other) = (caller.process().identity(), target.identity());
        if !own.credentials.may_limit(&other.credentials) {
            return Err(Error::NotPermitted);
        }
    }
    let former = change_limit(caller, &target, resource, limit).await?;
    if old != 0 {
        caller.space.write_bytes(VirtualAddress::new(old), &former.to_bytes()).await?;
    }
    Ok(0)
}

/// Sets a limit, if there is one to set; returns the former one.
async fn change_limit(
    caller: &Caller,
    target: &Arc<Process>,
    resource: usize,
    limit: Option<Limit>,
) -> Result<Limit> {
    let resource = Resource::new(resource as u32)?;
    let raising = match caller.process().identity().credentials.has(Capability::Resource) {
        true => Raising::Allowed,
        false => Raising::Forbidden,
    };
    let (former, limits) = {
        let mut limits = target.limits.lock();
        let former = limits.get(resource);
        let Some(limit) = limit else { return Ok(former) };
        limits.set(resource, limit, raising, OPEN_FILES_MAX)?;
        (former, limits.clone())
    };
    if resource == Resource::CpuTime {
        cpu_limit::watch(target);
    }
    if let Some(space) = target.space() {
        space.set_limits(exec::memory_limits(&limits)).await;
    }
    Ok(former)
}

/// `getrlimit`
pub async fn getrlimit(caller: &Caller, resource: usize, address: usize) -> Result<usize> {
    let limit = change_limit(caller, caller.process(), resource, None).await?;
    caller.space.write_bytes(VirtualAddress::new(address), &limit.to_bytes()).await.map(|()| 0)
}

/// `setrlimit`
pub async fn setrlimit(caller: &Caller, resource: usize, address: usize) -> Result<usize> {
    let mut bytes = [0; Limit::SIZE];
    caller.space.read_bytes(VirtualAddress::new(address), &mut bytes).await?;
    change_limit(caller, caller.process(), resource, Some(Limit::from_bytes(&bytes))).await.map(|_| 0)
}

/// `getrusage`
pub async fn getrusage(caller: &Caller, who: usize, address: usize) -> Result<usize> {
    const SELF: i32 = 0;
    const CHILDREN: i32 = -1;
    const THREAD: i32 = 1;
    let process = caller.process();
    let mut usage = match who as u32 as i32 {
        SELF => process.usage(),
        CHILDREN => process.state.lock().children_usage,
        THREAD => {
            let (user_ns, system_ns) = caller.thread.times();
            Usage { user_ns, system_ns, ..Usage::default() }
        }
        _ => return Err(Error::InvalidArgument),
    };
    if who as u32 as i32 != CHILDREN {
        usage.resident_peak_kib = usage.resident_peak_kib.max(caller.space.peak_resident_pages() as u64 * 4);
    }
    caller.space.write_bytes(VirtualAddress::new(address), &usage.to_bytes()).await.map(|()| 0)
}

/// `times`
pub async fn times(caller: &Caller, address: usize) -> Result<usize> {
    if address != 0 {
        let own = caller.process().usage();
        let children = caller.process().state.lock().children_usage;
        let times = [own.user_ns, own.system_ns, children.user_ns, children.system_ns];
        caller.space.write_object(VirtualAddress::new(address), &times.map(|ns| ns / NS_PER_TICK)).await?;
    }
    Ok((now_ns() / NS_PER_TICK) as usize)
}

/// Whom `getpriority` and `setpriority` are about.
fn threads_of(caller: &Caller, kind: usize, id: usize) -> Result<Vec<Arc<Thread>>> {
    let table = TABLE.lock();
    let of_processes = |wanted: &dyn Fn(&Process) -> bool| {
        let processes = table.processes.values().filter(|process| wanted(process));
        processes.flat_map(|process| process.state.lock().threads.clone()).collect::<Vec<_>>()
    };
    let found = match kind as u32 {
        number::PRIO_PROCESS if id as u32 == 0 => alloc::vec![caller.thread.clone()],
        number::PRIO_PROCESS => table.threads.get(&(id as u32)).cloned().into_iter().collect(),
        number::PRIO_PGRP => {
            let own = || table.identifiers.group(caller.process().id).unwrap_or(0);
            let group = if id as u32 == 0 { own() } else { id as u32 };
            of_processes(&|process| table.identifiers.group(process.id) == Some(group))
        }
        number::PRIO_USER => {
            let user = if id as u32 == 0 { caller.process().user() } else { id as u32 };
            of_processes(&|process| process.user() == user)
        }
        _ => return Err(Error::InvalidArgument),
    };
    if found.is_empty() { Err(Error::NoSuchProcess) } else { Ok(found) }
}

/// `getpriority`: 20 minus the least nice value among them.
pub async fn getpriority(caller: &Caller, kind: usize, id: usize) -> Result<usize> {
    let threads = threads_of(caller, kind, id)?;
    let least = threads.iter().map(|thread| thread.nice.load(Ordering::Relaxed)).min().unwrap_or(0);
    Ok((20 - least) as usize)
}

/// `setpriority`
pub async fn setpriority(caller: &Caller, kind: usize, id: usize, nice: usize) -> Result<usize> {
    let nice = (nice as u32 as i32).clamp(-20, 19);
    let threads = threads_of(caller, kind, id)?;
    let mut outcome = Ok(0);
    for thread in threads {
        if let Err(error) = may_be_nice(caller, &thread, nice) {
            outcome = Err(error);
            continue;
        }
        thread.nice.store(nice, Ordering::Relaxed);
        apply_priority(&thread);
    }
    outcome
}

/// Checks that the caller may make a thread so nice; `i32::MAX` asks whether it may schedule it at all.
///
/// # Errors
/// `NotPermitted`, `AccessDenied`.
pub fn may_be_nice(caller: &Caller, thread: &Thread, nice: i32) -> Result<()> {
    let (own, other) = (caller.process().identity(), thread.process.identity());
    let acting = own.credentials.user.effective;
    let privileged = own.credentials.has(Capability::Nice);
    if ![other.credentials.user.real, other.credentials.user.effective].contains(&acting) && !privileged {
        return Err(Error::NotPermitted);
    }
    let floor = 20 - thread.process.limits.lock().soft(Resource::Nice).min(40) as i32;
    if nice < thread.nice.load(Ordering::Relaxed) && nice < floor && !privileged {
        return Err(Error::AccessDenied);
    }
    Ok(())
}

/// What a thread inherits counts with its own priority.
pub fn apply_priority(thread: &Arc<Thread>) {
    futex_inheritance::apply_priority(thread);
}

/// `sched_yield`
pub async fn sched_yield(_caller: &Caller) -> Result<usize> {
    executor::yield_now().await;
    Ok(0)
}

/// The harts that there are, as a set.
fn online_harts() -> u64 {
    (1 << hart::online().len()) - 1
}

/// `sched_getaffinity`
pub async fn sched_getaffinity(caller: &Caller, id: usize, length: usize, address: usize) -> Result<usize> {
    let length = length as u32 as usize;
    if length * 8 < hart::online().len() || !length.is_multiple_of(size_of::<u64>()) {
        return Err(Error::InvalidArgument);
    }
    let thread = thread_named(caller, id)?;
    let harts = thread.task().map_or(u64::MAX, |task| task.allowed_harts()) & online_harts();
    caller.space.write_object(VirtualAddress::new(address), &harts).await?;
    Ok(size_of::<u64>())
}

/// `sched_setaffinity`
pub async fn sched_setaffinity(caller: &Caller, id: usize, length: usize, address: usize) -> Result<usize> {
    let mut bytes = [0; 8];
    let length = (length as u32 as usize).min(bytes.len());
    caller.space.read_bytes(VirtualAddress::new(address), &mut bytes[..length]).await?;
    let thread = thread_named(caller, id)?;
    may_be_nice(caller, &thread, i32::MAX)?;
    let harts = u64::from_le_bytes(bytes) & online_harts();
    if harts == 0 {
        return Err(Error::InvalidArgument);
    }
    if let Some(task) = thread.task() {
        task.set_allowed_harts(harts);
    }
    if Arc::ptr_eq(&thread, &caller.thread) {
        // It goes on where it may.
        executor::yield_now().await;
    }
    Ok(0)
}

/// `getcpu`: there is one node.
pub async fn getcpu(caller: &Caller, cpu: usize, node: usize) -> Result<usize> {
    let index = hart::with(|hart| hart.index()) as u32;
    for (address, value) in [(cpu, index), (node, 0)].into_iter().filter(|(address, _)| *address != 0) {
        caller.space.write_object(VirtualAddress::new(address), &value).await?;
    }
    Ok(0)
}

/// `set_robust_list`
pub async fn set_robust_list(caller: &Caller, head: usize, length: usize) -> Result<usize> {
    if length != crate::futex::ROBUST_HEAD_SIZE {
        return Err(Error::InvalidArgument);
    }
    caller.thread.robust_list.store(head, Ordering::Relaxed);
    Ok(0)
}

/// `get_robust_list`
pub async fn get_robust_list(caller: &Caller, id: usize, head: usize, length: usize) -> Result<usize> {
    let thread = thread_named(caller, id)?;
    let (own, other) = (caller.process().identity(), thread.process.identity());
    if thread.process.id != caller.process().id && !own.credentials.may_limit(&other.credentials) {
        return Err(Error::NotPermitted);
    }
    let size = crate::futex::ROBUST_HEAD_SIZE;
    caller.space.write_object(VirtualAddress::new(length), &size).await?;
    let list = thread.robust_list.load(Ordering::Relaxed);
    caller.space.write_object(VirtualAddress::new(head), &list).await.map(|()| 0)
}
