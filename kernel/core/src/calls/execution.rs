//! Calls that begin, replace, end and wait for processes and threads.

use crate::exec::{self, Loader, Replacement};
use crate::fork::{self, Flags};
use crate::process::{Place, traits};
use crate::thread::{ATTENTION_EXIT, Caller};
use crate::wait::{self, Found, Report};
use ::process::limits::Resource;
use ::process::signal::SigInfo;
use ::process::stack::{STRING_MAX, Strings};
use ::process::wait::{Change, NOTHING_WAITED, Options, Target};
use abi::linux::general as number;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::{Error, Result};
use vfs::path::Follow;
use vfs::{At, Context, FileKind, Location, namespace};

/// `clone`
pub async fn clone(caller: &mut Caller, arguments: [usize; 5]) -> Result<usize> {
    let [flags, stack_pointer, parent_tid, tls, child_tid] = arguments;
    // The low byte is the signal; what does not fit into 32 bits does not belong to this call.
    let flags = flags as u32;
    let exit_signal = flags & number::CSIGNAL;
    let flags = Flags::from_bits(u64::from(flags & !number::CSIGNAL)).ok_or(Error::InvalidArgument)?;
    if flags.contains(Flags::PROCESS_DESCRIPTOR) && flags.intersects(Flags::SET_PARENT_TID | Flags::DETACHED)
    {
        // Both would be stored at one address.
        return Err(Error::InvalidArgument);
    }
    let descriptor = parent_tid;
    let request = fork::Request { flags, exit_signal, stack_pointer, tls, parent_tid, child_tid, descriptor };
    fork::clone(caller, &request).await.map(|id| id as usize)
}

/// The size of the first `struct clone_args`.
const CLONE_ARGUMENTS_MIN: usize = 64;
/// The words of the structure that this kernel knows: up to `cgroup`.
const CLONE_WORDS: usize = 11;

/// `clone3`
pub async fn clone3(caller: &mut Caller, address: usize, size: usize) -> Result<usize> {
    if size > PAGE_SIZE {
        return Err(Error::ArgumentListTooLong);
    }
    if size < CLONE_ARGUMENTS_MIN {
        return Err(Error::InvalidArgument);
    }
    let request = read_clone_arguments(caller, VirtualAddress::new(address), size).await?;
    fork::clone(caller, &request).await.map(|id| id as usize)
}

async fn read_clone_arguments(
    caller: &Caller,
    address: VirtualAddress,
    size: usize,
) -> Result<fork::Request> {
    let mut words = [0u64; CLONE_WORDS];
    let known = size.min(size_of_val(&words));
    caller.space.read_bytes(address, &mut zerocopy::IntoBytes::as_mut_bytes(&mut words)[..known]).await?;
    let mut at = known;
    while at < size {
        if caller.space.read_object::<u8>(address + at).await? != 0 {
            return Err(Error::ArgumentListTooLong);
        }
        at += 1;
    }
    let [
        flags,
        descriptor,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
        set_tid,
        set_tid_size,
        cgroup,
    ] = words;
    let _ = cgroup;
    if (set_tid == 0) != (set_tid_size == 0) || set_tid_size != 0 {
        // Chosen ids are for restoring processes, which is not done here.
        return Err(Error::InvalidArgument);
    }
    if exit_signal > 64 || flags & u64::from(number::CSIGNAL) != 0 {
        return Err(Error::InvalidArgument);
    }
    let flags = Flags::from_bits(flags)
        .filter(|flags| !flags.contains(Flags::DETACHED))
        .ok_or(Error::InvalidArgument)?;
    if flags.intersects(Flags::THREAD | Flags::SIBLING) && exit_signal != 0 {
        return Err(Error::InvalidArgument);
    }
    if (stack == 0) != (stack_size == 0) {
        return Err(Error::InvalidArgument);
    }
    let top = stack.checked_add(stack_size).filter(|top| *top <= memory::space::USER_END as u64);
    let stack_pointer = top.ok_or(Error::InvalidArgument)? as usize;
    Ok(fork::Request {
        flags,
        exit_signal: exit_signal as u32,
        stack_pointer,
        tls: tls as usize,
        parent_tid: parent_tid as usize,
        child_tid: child_tid as usize,
        descriptor: descriptor as usize,
    })
}

/// `execve`
pub async fn execve(caller: &mut Caller, path: usize, arguments: usize, environment: usize) -> Result<usize> {
    let path = read_path(caller, path).await?;
    let identity = caller.process().identity();
    let place = caller.process().place();
    let context = Context { root: &place.root, credentials: &identity.files, umask: place.umask };
    let location = namespace::resolve(&context, At::new(&place.current, &path), Follow::Yes).await?;
    run_program(caller, &place, location, path, [arguments, environment]).await
}

/// `execveat`
pub async fn execveat(caller: &mut Caller, arguments: [usize; 5]) -> Result<usize> {
    let [directory, path, arguments, environment, flags] = arguments;
    let flags = flags as u32;
    if flags & !(number::AT_EMPTY_PATH | number::AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Error::InvalidArgument);
    }
    let path = read_path(caller, path).await?;
    let empty = match flags & number::AT_EMPTY_PATH {
        0 => namespace::Empty::Refused,
        _ => namespace::Empty::NamesBase,
    };
    let identity = caller.process().identity();
    let place = caller.process().place();
    let from_current = directory as u32 as i32 == number::AT_FDCWD || path.starts_with(b"/");
    let base = match from_current {
        true => place.current.clone(),
        false => caller.files.get(super::descriptor(directory))?.location().clone(),
    };
    let context = Context { root: &place.root, credentials: &identity.files, umask: place.umask };
    let follow = if flags & number::AT_SYMLINK_NOFOLLOW == 0 { Follow::Yes } else { Follow::No };
    let location = namespace::resolve_or_base(&context, At::new(&base, &path), follow, empty).await?;
    if location.kind() == FileKind::SymbolicLink {
        return Err(Error::TooManySymbolicLinks);
    }
    let shown = match (from_current, path.is_empty()) {
        (true, _) => path,
        (false, true) => alloc::format!("/dev/fd/{}", directory as u32).into_bytes(),
        (false, false) => [alloc::format!("/dev/fd/{}/", directory as u32).as_bytes(), &path].concat(),
    };
    run_program(caller, &place, location, shown, [arguments, environment]).await
}

async fn read_path(caller: &Caller, address: usize) -> Result<alloc::vec::Vec<u8>> {
    caller.space.read_c_string(VirtualAddress::new(address), number::PATH_MAX as usize).await
}

/// Reads the strings that a null-terminated array of pointers names, each handed to `push`.
async fn read_strings(
    caller: &Caller,
    array: usize,
    strings: &mut Strings,
    push: fn(&mut Strings, alloc::vec::Vec<u8>) -> Result<()>,
) -> Result<()> {
    if array == 0 {
        return Ok(());
    }
    let mut place = VirtualAddress::new(array);
    loop {
        let pointer = caller.space.read_object::<usize>(place).await?;
        if pointer == 0 {
            return Ok(());
        }
        let text = caller.space.read_c_string(VirtualAddress::new(pointer), STRING_MAX).await;
        // A string without an end in sight is too long, and no name.
        let text = text
            .map_err(|error| if error == Error::NameTooLong { Error::ArgumentListTooLong } else { error })?;
        push(strings, text)?;
        if caller.thread.must_exit() {
            return Err(Error::Interrupted);
        }
        place = place.checked_add(size_of::<usize>()).ok_or(Error::BadAddress)?;
    }
}

/// Loads a program and makes the caller run it. Nothing of the caller changes before everything is loaded.
async fn run_program(
    caller: &mut Caller,
    place: &Place,
    location: Location,
    path: alloc::vec::Vec<u8>,
    [arguments, environment]: [usize; 2],
) -> Result<usize> {
    let process = caller.process().clone();
    let identity = process.identity();
    let limits = process.limits.lock().clone();
    let loader = Loader {
        place,
        credentials: &identity.files,
        identity: &identity.credentials,
        no_new_privileges: process.has(traits::NO_NEW_PRIVILEGES),
        limits: exec::memory_limits(&limits),
    };
    let program = loader.open(location).await?;
    let mut strings = Strings::new(limits.soft(Resource::Stack));
    read_strings(caller, arguments, &mut strings, Strings::push_argument).await?;
    read_strings(caller, environment, &mut strings, Strings::push_environment).await?;
    let loaded = loader.load(program, &path, strings).await?;
    exec::become_only_thread(caller).await?;
    exec::replace_program(caller, Replacement { loaded, former: &identity }).await;
    Ok(0)
}

/// `exit`: ends this thread; the process, if it is the last one.
pub async fn exit(caller: &mut Caller, status: usize) -> Result<usize> {
    let process = caller.process();
    if caller.thread.id() == process.id {
        process.state.lock().leader_status = Some(status as u8);
    }
    caller.thread.notify_self(ATTENTION_EXIT);
    Ok(0)
}

/// `exit_group`: ends the process.
pub async fn exit_group(caller: &mut Caller, status: usize) -> Result<usize> {
    caller.process().end(Change::Exited(status as u8));
    Ok(0)
}

/// Waits for a child as the request says; `None` when it says not to wait and there is nothing to tell.
async fn wait_for(caller: &Caller, request: wait::Request) -> Result<Option<Report>> {
    let process = caller.process();
    let look = || match wait::look(process, &request) {
        Found::NotYet => None,
        found => Some(found),
    };
    let found = match look() {
        Some(found) => found,
        None if request.options.contains(Options::NO_HANG) => return Ok(None),
        None => caller.interruptible(process.children_changed.wait_until(look)).await?,
    };
    match found {
        Found::Report(report, _) => Ok(Some(report)),
        Found::NotYet | Found::NoChild => Err(Error::NoChild),
    }
}

fn own_group(caller: &Caller) -> u32 {
    let table = crate::process::TABLE.lock();
    table.identifiers.group(caller.process().id).unwrap_or(0)
}

/// `wait4`
pub async fn wait4(
    caller: &Caller,
    process: usize,
    status: usize,
    options: usize,
    usage: usize,
) -> Result<usize> {
    let options = Options::for_wait4(options as u32)?;
    let target = Target::for_wait4(process as u32 as i32, own_group(caller))?;
    let request = wait::Request { target, options, thread: caller.thread.id() };
    let Some(report) = wait_for(caller, request).await? else { return Ok(0) };
    // As on Linux, a child is gone even if its status cannot be stored.
    if status != 0 {
        caller.space.write_object(VirtualAddress::new(status), &report.change.status()).await?;
    }
    if usage != 0 {
        caller.space.write_bytes(VirtualAddress::new(usage), &report.usage.to_bytes()).await?;
    }
    Ok(report.pid as usize)
}

/// `waitid`
pub async fn waitid(caller: &Caller, arguments: [usize; 5]) -> Result<usize> {
    let [kind, id, information, options, usage] = arguments;
    let outcome = wait_by_kind(caller, kind, id, options).await;
    let mut bytes = NOTHING_WAITED;
    if let Ok(Some(report)) = &outcome {
        if usage != 0 {
            caller.space.write_bytes(VirtualAddress::new(usage), &report.usage.to_bytes()).await?;
        }
        bytes = SigInfo::waited(&report.change.report(report.pid, report.user, &report.usage)).to_bytes();
    }
    if information != 0 && !matches!(outcome, Err(Error::Interrupted)) {
        // Only these fields; what lies between and behind them is the program's own.
        let place = VirtualAddress::new(information);
        caller.space.write_bytes(place, &bytes[..12]).await?;
        caller.space.write_bytes(place.checked_add(16).ok_or(Error::BadAddress)?, &bytes[16..28]).await?;
    }
    outcome.map(|_| 0)
}

async fn wait_by_kind(caller: &Caller, kind: usize, id: usize, options: usize) -> Result<Option<Report>> {
    /// `P_PIDFD`
    const BY_DESCRIPTOR: u32 = 3;
    let mut options = Options::for_waitid(options as u32)?;
    let (target, may_wait) = match kind as u32 {
        BY_DESCRIPTOR => {
            let (process, may_wait) = super::process_files::awaited(caller, id)?;
            (Target::Process(process), may_wait)
        }
        kind => (Target::for_waitid(kind, id as u32 as i32, own_group(caller))?, true),
    };
    let asks_only = options.contains(Options::NO_HANG);
    options.set(Options::NO_HANG, asks_only || !may_wait);
    let found = wait_for(caller, wait::Request { target, options, thread: caller.thread.id() }).await?;
    // A descriptor that is not to be waited for says so by an error.
    if found.is_none() && !asks_only { Err(Error::WouldBlock) } else { Ok(found) }
}
