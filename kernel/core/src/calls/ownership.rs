//! The commands of `fcntl` about who is told when a file is ready: `F_SETOWN`, `F_SETSIG` and their kind, and `O_ASYNC`.

use crate::process::TABLE;
use crate::readiness_signal::{Owner, ReadinessSignal};
use crate::thread::Caller;
use ::process::signal::Signal;
use abi::linux::general as linux;
use alloc::sync::Arc;
use base::address::VirtualAddress;
use base::{Error, Result};
use vfs::{OpenFile, OpenFlags};

/// Whether `command` is one of those here.
pub fn is_about_ownership(command: u32) -> bool {
    matches!(
        command,
        linux::F_SETOWN
            | linux::F_GETOWN
            | linux::F_SETOWN_EX
            | linux::F_GETOWN_EX
            | linux::F_SETSIG
            | linux::F_GETSIG
    )
}

/// `fcntl` with one of the commands here.
///
/// # Errors
/// `NoSuchProcess`, `InvalidArgument`, `BadAddress`.
pub async fn control(caller: &Caller, file: &OpenFile, command: u32, argument: usize) -> Result<usize> {
    let place = VirtualAddress::new(argument);
    match command {
        linux::F_SETOWN => {
            let owner = match argument as u32 as i32 {
                0 => Owner::Nobody,
                i32::MIN => return Err(Error::InvalidArgument),
                group if group < 0 => Owner::Group(group.unsigned_abs()),
                process => Owner::Process(process as u32),
            };
            set_owner(caller, file, owner)
        }
        linux::F_GETOWN => Ok(match ReadinessSignal::owner(file) {
            Owner::Nobody => 0,
            Owner::Thread(id) | Owner::Process(id) => id as usize,
            Owner::Group(id) => (id as usize).wrapping_neg(),
        }),
        linux::F_SETOWN_EX => {
            let [kind, id] = caller.space.read_object::<[u32; 2]>(place).await?;
            let owner = match (kind, id) {
                (linux::F_OWNER_TID | linux::F_OWNER_PID | linux::F_OWNER_PGRP, 0) => Owner::Nobody,
                (linux::F_OWNER_TID, id) => Owner::Thread(id),
                (linux::F_OWNER_PID, id) => Owner::Process(id),
                (linux::F_OWNER_PGRP, id) => Owner::Group(id),
                _ => return Err(Error::InvalidArgument),
            };
            set_owner(caller, file, owner)
        }
        linux::F_GETOWN_EX => {
            let words = match ReadinessSignal::owner(file) {
                Owner::Nobody => [linux::F_OWNER_TID, 0],
                Owner::Thread(id) => [linux::F_OWNER_TID, id],
                Owner::Process(id) => [linux::F_OWNER_PID, id],
                Owner::Group(id) => [linux::F_OWNER_PGRP, id],
            };
            caller.space.write_object(place, &words).await.map(|()| 0)
        }
        linux::F_SETSIG => {
            let signal = match argument {
                0 => None,
                number if number > Signal::LAST.into() => return Err(Error::InvalidArgument),
                number => Some(Signal::new(number as u32).ok_or(Error::InvalidArgument)?),
            };
            ReadinessSignal::of(file).set_signal(signal);
            Ok(0)
        }
        linux::F_GETSIG => Ok(ReadinessSignal::signal(file).map_or(0, |signal| signal.number().into())),
        _ => Err(Error::InvalidArgument),
    }
}

fn set_owner(caller: &Caller, file: &OpenFile, owner: Owner) -> Result<usize> {
    let exists = {
        let table = TABLE.lock();
        match owner {
            Owner::Nobody => true,
            Owner::Thread(id) => table.threads.contains_key(&id),
            Owner::Process(id) => table.processes.contains_key(&id),
            Owner::Group(id) => !table.identifiers.members(id).is_empty(),
        }
    };
    if !exists {
        return Err(Error::NoSuchProcess);
    }
    let asked_by = caller.process().identity().credentials.clone();
    ReadinessSignal::of(file).set_owner(owner, asked_by);
    Ok(0)
}

/// Makes a file tell its owner, or not any more (`O_ASYNC`). Files of other kinds than those that do pass over it.
///
/// # Errors
/// `OutOfMemory`
pub fn set_telling(file: &Arc<OpenFile>, descriptor: u32, wanted: OpenFlags) -> Result<OpenFlags> {
    let was = file.flags().contains(OpenFlags::ASYNC);
    let tells = match (was, wanted.contains(OpenFlags::ASYNC)) {
        (false, true) => ReadinessSignal::of(file).begin(file, descriptor)?,
        (true, false) => {
            ReadinessSignal::of(file).end();
            false
        }
        (same, _) => same,
    };
    let mut flags = wanted;
    flags.set(OpenFlags::ASYNC, tells);
    Ok(flags)
}
