//! Calls about who a process is: ids, users, groups, sessions, capabilities, and what `prctl` keeps.

use crate::process::{Identity, Process, TABLE, traits};
use crate::thread::Caller;
use ::process::capabilities::CapabilitySets;
use ::process::credentials::{ALL_CAPABILITIES, Capability, Credentials, GROUPS_MAX};
use ::process::signal::Signal;
use abi::linux::{general as number, prctl as option};
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::sync::atomic::Ordering;
use base::{Error, Result};

/// `getpid`
pub async fn getpid(caller: &Caller) -> Result<usize> {
    Ok(caller.thread.process.id as usize)
}

/// `getppid`
pub async fn getppid(caller: &Caller) -> Result<usize> {
    Ok(caller.thread.process.parent_id.load(Ordering::Relaxed) as usize)
}

/// `gettid`
pub async fn gettid(caller: &Caller) -> Result<usize> {
    Ok(caller.thread.id() as usize)
}

/// `set_tid_address`
pub async fn set_tid_address(caller: &Caller, address: usize) -> Result<usize> {
    caller.thread.clear_child_tid.store(address, Ordering::Relaxed);
    Ok(caller.thread.id() as usize)
}

/// `getuid`
pub async fn getuid(caller: &Caller) -> Result<usize> {
    Ok(caller.process().identity.lock().credentials.user.real as usize)
}

/// `geteuid`
pub async fn geteuid(caller: &Caller) -> Result<usize> {
    Ok(caller.process().identity.lock().credentials.user.effective as usize)
}

/// `getgid`
pub async fn getgid(caller: &Caller) -> Result<usize> {
    Ok(caller.process().identity.lock().credentials.group.real as usize)
}

/// `getegid`
pub async fn getegid(caller: &Caller) -> Result<usize> {
    Ok(caller.process().identity.lock().credentials.group.effective as usize)
}

/// Makes the caller's process somebody else. One who gives up or gets rights by that is not to be looked into, nor told
/// of its parent's end.
fn change<T>(caller: &Caller, action: impl FnOnce(&mut Credentials) -> Result<T>) -> Result<T> {
    let process = caller.process();
    let former = process.identity();
    let mut credentials = former.credentials.clone();
    let result = action(&mut credentials)?;
    if credentials == former.credentials {
        return Ok(result);
    }
    let acting = |credentials: &Credentials| {
        let (user, group) = (credentials.user, credentials.group);
        [user.effective, user.filesystem, group.effective, group.filesystem]
    };
    if acting(&credentials) != acting(&former.credentials) {
        process.set_trait(traits::DUMPABLE, false);
        process.death_signal.store(0, Ordering::Relaxed);
    }
    process.set_identity(Identity::new(credentials));
    Ok(result)
}

/// `setuid`
pub async fn setuid(caller: &Caller, id: usize) -> Result<usize> {
    change(caller, |credentials| credentials.set_user(id as u32)).map(|()| 0)
}

/// `setgid`
pub async fn setgid(caller: &Caller, id: usize) -> Result<usize> {
    change(caller, |credentials| credentials.set_group(id as u32)).map(|()| 0)
}

/// `setreuid`
pub async fn setreuid(caller: &Caller, real: usize, effective: usize) -> Result<usize> {
    change(caller, |credentials| credentials.set_real_effective_user(real as u32, effective as u32))
        .map(|()| 0)
}

/// `setregid`
pub async fn setregid(caller: &Caller, real: usize, effective: usize) -> Result<usize> {
    change(caller, |credentials| credentials.set_real_effective_group(real as u32, effective as u32))
        .map(|()| 0)
}

/// `setresuid`
pub async fn setresuid(caller: &Caller, ids: [usize; 3]) -> Result<usize> {
    change(caller, |credentials| credentials.set_all_users(ids.map(|id| id as u32))).map(|()| 0)
}

/// `setresgid`
pub async fn setresgid(caller: &Caller, ids: [usize; 3]) -> Result<usize> {
    change(caller, |credentials| credentials.set_all_groups(ids.map(|id| id as u32))).map(|()| 0)
}

/// `setfsuid`: answers the id before, whatever comes of it.
pub async fn setfsuid(caller: &Caller, id: usize) -> Result<usize> {
    change(caller, |credentials| Ok(credentials.set_filesystem_user(id as u32) as usize))
}

/// `setfsgid`, as [`setfsuid`].
pub async fn setfsgid(caller: &Caller, id: usize) -> Result<usize> {
    change(caller, |credentials| Ok(credentials.set_filesystem_group(id as u32) as usize))
}

async fn write_ids(caller: &Caller, ids: [u32; 3], addresses: [usize; 3]) -> Result<usize> {
    for (id, address) in ids.into_iter().zip(addresses) {
        caller.space.write_object(VirtualAddress::new(address), &id).await?;
    }
    Ok(0)
}

/// `getresuid`
pub async fn getresuid(caller: &Caller, addresses: [usize; 3]) -> Result<usize> {
    let user = caller.process().identity.lock().credentials.user;
    write_ids(caller, [user.real, user.effective, user.saved], addresses).await
}

/// `getresgid`
pub async fn getresgid(caller: &Caller, addresses: [usize; 3]) -> Result<usize> {
    let group = caller.process().identity.lock().credentials.group;
    write_ids(caller, [group.real, group.effective, group.saved], addresses).await
}

/// `getgroups`
pub async fn getgroups(caller: &Caller, size: usize, address: usize) -> Result<usize> {
    let size = usize::try_from(size as u32 as i32).map_err(|_| Error::InvalidArgument)?;
    let identity = caller.process().identity();
    let groups = identity.credentials.groups();
    if size == 0 {
        return Ok(groups.len());
    }
    if size < groups.len() {
        return Err(Error::InvalidArgument);
    }
    caller.space.write_bytes(VirtualAddress::new(address), zerocopy::IntoBytes::as_bytes(groups)).await?;
    Ok(groups.len())
}

/// `setgroups`
pub async fn setgroups(caller: &Caller, size: usize, address: usize) -> Result<usize> {
    if !caller.process().identity().credentials.has(Capability::SetGroup) {
        return Err(Error::NotPermitted);
    }
    let size = size as u32 as usize;
    if size > GROUPS_MAX {
        return Err(Error::InvalidArgument);
    }
    let mut groups: Vec<u32> = Vec::new();
    groups.try_reserve_exact(size).map_err(|_| Error::OutOfMemory)?;
    groups.resize(size, 0);
    let bytes = zerocopy::IntoBytes::as_mut_bytes(&mut groups[..]);
    caller.space.read_bytes(VirtualAddress::new(address), bytes).await?;
    change(caller, |credentials| credentials.set_groups(groups)).map(|()| 0)
}

/// The process that a call is about: the caller's for 0.
fn named_process(caller: &Caller, id: usize) -> u32 {
    match id as u32 {
        0 => caller.process().id,
        id => id,
    }
}

/// `setpgid`
pub async fn setpgid(caller: &Caller, process: usize, group: usize) -> Result<usize> {
    let own = caller.process().id;
    TABLE.lock().identifiers.set_group(own, process as u32 as i32, group as u32 as i32).map(|()| 0)
}

/// `getpgid`
pub async fn getpgid(caller: &Caller, process: usize) -> Result<usize> {
    let group = TABLE.lock().identifiers.group(named_process(caller, process));
    group.map(|group| group as usize).ok_or(Error::NoSuchProcess)
}

/// `setsid`
pub async fn setsid(caller: &Caller) -> Result<usize> {
    TABLE.lock().identifiers.create_session(caller.process().id).map(|session| session as usize)
}

/// `getsid`
pub async fn getsid(caller: &Caller, process: usize) -> Result<usize> {
    let session = TABLE.lock().identifiers.session(named_process(caller, process));
    session.map(|session| session as usize).ok_or(Error::NoSuchProcess)
}

/// The versions of `struct __user_cap_header_struct` with one and with two words for each set.
const CAPABILITIES_NARROW: u32 = 0x1998_0330;
const CAPABILITIES_WIDE: [u32; 2] = [0x2007_1026, 0x2008_0522];

/// Reads the header of `capget` and `capset`: how many words each set has, and whose sets are meant.
async fn capability_header(caller: &Caller, header: usize) -> Result<(usize, u32)> {
    let place = VirtualAddress::new(header);
    let [version, process] = caller.space.read_object::<[u32; 2]>(place).await?;
    let words = match version {
        CAPABILITIES_NARROW => 1,
        version if CAPABILITIES_WIDE.contains(&version) => 2,
        _ => {
            caller.space.write_object(place, &CAPABILITIES_WIDE[1]).await?;
            return Err(Error::InvalidArgument);
        }
    };
    Ok((words, process))
}

/// `capget`
pub async fn capget(caller: &Caller, header: usize, data: usize) -> Result<usize> {
    let (words, process) = match capability_header(caller, header).await {
        // Without data only the version was asked for.
        Err(Error::InvalidArgument) if data == 0 => return Ok(0),
        other => other?,
    };
    if (process as i32) < 0 {
        return Err(Error::InvalidArgument);
    }
    let target = crate::process::find(named_process(caller, process as usize)).ok_or(Error::NoSuchProcess)?;
    let sets = target.identity().credentials.capabilities;
    let mut place = VirtualAddress::new(data);
    for word in 0..words {
        let parts = [sets.effective, sets.permitted, sets.inheritable].map(|set| (set >> (32 * word)) as u32);
        caller.space.write_object(place, &parts).await?;
        place = place.checked_add(12).ok_or(Error::BadAddress)?;
    }
    Ok(0)
}

/// `capset`: as the sets follow the effective user, only those that it has already can be set.
pub async fn capset(caller: &Caller, header: usize, data: usize) -> Result<usize> {
    let (words, process) = capability_header(caller, header).await?;
    if process != 0 && process != caller.process().id {
        return Err(Error::NotPermitted);
    }
    let mut sets = [0u64; 3];
    for word in 0..words {
        let place = VirtualAddress::new(data).checked_add(12 * word).ok_or(Error::BadAddress)?;
        let parts = caller.space.read_object::<[u32; 3]>(place).await?;
        for (set, part) in sets.iter_mut().zip(parts) {
            *set |= u64::from(part) << (32 * word);
        }
    }
    let [effective, permitted, inheritable] = sets;
    let wanted = CapabilitySets { effective, permitted, inheritable };
    change(caller, |credentials| credentials.capabilities.set(wanted)).map(|()| 0)
}

/// `personality`: kept, and handed on; it changes nothing.
pub async fn personality(caller: &Caller, value: usize) -> Result<usize> {
    let personality = &caller.process().personality;
    let former = match value as u32 {
        u32::MAX => personality.load(Ordering::Relaxed),
        value => personality.swap(value, Ordering::Relaxed),
    };
    Ok(former as usize)
}

async fn write_word(caller: &Caller, address: usize, value: u32) -> Result<usize> {
    caller.space.write_object(VirtualAddress::new(address), &value).await?;
    Ok(0)
}

/// `prctl`
pub async fn prctl(caller: &Caller, arguments: [usize; 5]) -> Result<usize> {
    let [wanted, value, second, third, fourth] = arguments;
    let process: &Process = caller.process();
    let unused = [second, third, fourth] == [0; 3];
    match wanted as u32 {
        option::PR_SET_PDEATHSIG => {
            if value > Signal::LAST.into() {
                return Err(Error::InvalidArgument);
            }
            process.death_signal.store(value as u32, Ordering::Relaxed);
            Ok(0)
        }
        option::PR_GET_PDEATHSIG => {
            write_word(caller, value, process.death_signal.load(Ordering::Relaxed)).await
        }
        option::PR_GET_DUMPABLE => Ok(process.has(traits::DUMPABLE).into()),
        option::PR_SET_DUMPABLE if value <= 1 => {
            process.set_trait(traits::DUMPABLE, value == 1);
            Ok(0)
        }
        option::PR_SET_NAME => set_name(caller, value).await,
        option::PR_GET_NAME => {
            let name = *caller.thread.name.lock();
            caller.space.write_bytes(VirtualAddress::new(value), &name).await.map(|()| 0)
        }
        option::PR_SET_CHILD_SUBREAPER => {
            process.set_trait(traits::SUBREAPER, value != 0);
            Ok(0)
        }
        option::PR_GET_CHILD_SUBREAPER => {
            write_word(caller, value, process.has(traits::SUBREAPER).into()).await
        }
        option::PR_SET_NO_NEW_PRIVS if value == 1 && unused => {
            process.set_trait(traits::NO_NEW_PRIVILEGES, true);
            Ok(0)
        }
        option::PR_GET_NO_NEW_PRIVS if value == 0 && unused => {
            Ok(process.has(traits::NO_NEW_PRIVILEGES).into())
        }
        option::PR_CAPBSET_READ if value < 64 && ALL_CAPABILITIES >> value & 1 == 1 => Ok(1),
        // What never is otherwise: exact timing, no filter of system calls, no secure bits, no capabilities kept.
        option::PR_GET_TIMING
        | option::PR_GET_SECCOMP
        | option::PR_GET_SECUREBITS
        | option::PR_GET_KEEPCAPS => Ok(0),
        option::PR_SET_TIMING | option::PR_SET_KEEPCAPS if value == 0 => Ok(0),
        _ => Err(Error::InvalidArgument),
    }
}

/// `PR_SET_NAME`: up to 15 bytes count.
async fn set_name(caller: &Caller, address: usize) -> Result<usize> {
    let mut name = [0; 16];
    for (index, byte) in name[..15].iter_mut().enumerate() {
        let place = VirtualAddress::new(address).checked_add(index).ok_or(Error::BadAddress)?;
        *byte = caller.space.read_object::<u8>(place).await?;
        if *byte == 0 {
            break;
        }
    }
    *caller.thread.name.lock() = name;
    Ok(0)
}

/// `unshare`: what threads and processes can be made to share otherwise; there are no namespaces to leave.
pub async fn unshare(caller: &mut Caller, flags: usize) -> Result<usize> {
    let flags = flags as u32;
    let alone = caller.process().state.lock().threads.len() == 1;
    let of_threads = number::CLONE_THREAD | number::CLONE_SIGHAND | number::CLONE_VM;
    let known = of_threads | number::CLONE_FS | number::CLONE_FILES | number::CLONE_SYSVSEM;
    // Root and current directory belong to the process here: one thread of several cannot leave them.
    if flags & !known != 0 || (flags & (of_threads | number::CLONE_FS) != 0 && !alone) {
        return Err(Error::InvalidArgument);
    }
    if flags & number::CLONE_FS != 0 {
        let process = caller.process();
        let place = process.place();
        let former = core::mem::replace(
            &mut *process.place.lock(),
            alloc::sync::Arc::new(base::sync::SpinLock::new(place)),
        );
        drop(former);
    }
    if flags & number::CLONE_FILES != 0 {
        let files = alloc::sync::Arc::new(caller.files.duplicate());
        let former = match alone {
            true => caller.process().state.lock().files.replace(files.clone()),
            false => None,
        };
        drop((former, core::mem::replace(&mut caller.files, files)));
    }
    Ok(0)
}
