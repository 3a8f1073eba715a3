//! Control messages: who sends, and descriptors on their way.

use super::descriptors::{limit, on_exec};
use super::socket::{credentials, domain};
use crate::thread::Caller;
use ::process::credentials::Capability;
use ::process::limits::{INFINITY, Resource};
use abi::linux::net as linux;
use abi::socket::{ControlHeader, MessageHeader, UserCredentials};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::{Error, Result};
use net::unix::in_flight::{RIGHTS_MAX, Rights};
use net::unix::{Credentials, Received};
use vfs::OpenFile;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of control messages that one call sends at most (`net.core.optmem_max`).
const CONTROL_MAX: usize = 20_480;
const HEADER: usize = size_of::<ControlHeader>();
const DESCRIPTOR: usize = size_of::<i32>();

/// What a sender sends beside bytes.
pub struct Outgoing {
    /// Who sends, as it says.
    pub credentials: Credentials,
    /// Descriptors.
    pub rights: Option<Box<Rights>>,
}

/// Reads the control messages at `address` in user memory.
///
/// # Errors
/// `InvalidArgument`, `NoBufferSpace`, `BadDescriptor`, `NotPermitted` for somebody else's credentials,
/// `TooManyReferences`, `BadAddress`.
pub async fn read(caller: &Caller, address: usize, length: usize) -> Result<Outgoing> {
    let mut outgoing = Outgoing { credentials: credentials(caller), rights: None };
    if address == 0 || length == 0 {
        return Ok(outgoing);
    }
    if length > CONTROL_MAX {
        return Err(Error::NoBufferSpace);
    }
    let mut bytes = alloc::vec![0; length];
    caller.space.read_bytes(VirtualAddress::new(address), &mut bytes).await?;
    let mut files = Vec::new();
    let mut rest = &bytes[..];
    while rest.len() >= HEADER {
        let (header, _) = ControlHeader::read_from_prefix(rest).map_err(|_| Error::InvalidArgument)?;
        if header.length < HEADER || header.length > rest.len() {
            return Err(Error::InvalidArgument);
        }
        let content = &rest[HEADER..header.length];
        if header.level == linux::SOL_SOCKET {
            match header.kind {
                linux::SCM_RIGHTS => collect(caller, content, &mut files)?,
                linux::SCM_CREDENTIALS => outgoing.credentials = check_credentials(caller, content)?,
                _ => return Err(Error::InvalidArgument),
            }
        }
        let step = header.length.next_multiple_of(size_of::<usize>());
        rest = rest.get(step..).unwrap_or_default();
    }
    if !files.is_empty() {
        outgoing.rights = Some(depart(caller, files)?);
    }
    Ok(outgoing)
}

fn collect(caller: &Caller, content: &[u8], files: &mut Vec<Arc<OpenFile>>) -> Result<()> {
    let count = content.len() / DESCRIPTOR;
    if files.len() + count > RIGHTS_MAX {
        return Err(Error::InvalidArgument);
    }
    for descriptor in content.chunks_exact(DESCRIPTOR) {
        let descriptor = u32::read_from_bytes(descriptor).map_err(|_| Error::InvalidArgument)?;
        files.push(caller.files.get(descriptor)?);
    }
    Ok(())
}

fn depart(caller: &Caller, files: Vec<Arc<OpenFile>>) -> Result<Box<Rights>> {
    let identity = caller.process().identity();
    let privileged = identity.credentials.has(Capability::Resource)
        || identity.credentials.has(Capability::SystemAdministration);
    let limit = if privileged { INFINITY } else { caller.process().limits.lock().soft(Resource::OpenFiles) };
    Rights::depart(domain(), files, identity.credentials.user.real, limit)
}

/// Who the caller says it is, if it may.
fn check_credentials(caller: &Caller, content: &[u8]) -> Result<Credentials> {
    let said = UserCredentials::read_from_bytes(content).map_err(|_| Error::InvalidArgument)?;
    let identity = caller.process().identity();
    let own = &identity.credentials;
    let is_one_of =
        |ids: &::process::credentials::Identity, id: u32| [ids.real, ids.effective, ids.saved].contains(&id);
    let allowed = (said.process == caller.process().id || own.has(Capability::SystemAdministration))
        && (is_one_of(&own.user, said.user) || own.has(Capability::SetUser))
        && (is_one_of(&own.group, said.group) || own.has(Capability::SetGroup));
    if !allowed {
        return Err(Error::NotPermitted);
    }
    Ok(Credentials { process: said.process, user: said.user, group: said.group })
}

/// Writes control messages where a receiver wants them.
struct Writer {
    address: usize,
    room: usize,
    flags: u32,
}

impl Writer {
    /// Writes one message, cut if there is no room for all of it.
    async fn put(&mut self, caller: &Caller, kind: u32, content: &[u8]) -> Result<()> {
        if self.address == 0 || self.room < HEADER {
            self.flags |= linux::MSG_CTRUNC;
            return Ok(());
        }
        let mut length = HEADER + content.len();
        if length > self.room {
            self.flags |= linux::MSG_CTRUNC;
            length = self.room;
        }
        let header = ControlHeader { length, level: linux::SOL_SOCKET, kind };
        let address = VirtualAddress::new(self.address);
        caller.space.write_bytes(address + HEADER, &content[..length - HEADER]).await?;
        caller.space.write_bytes(address, header.as_bytes()).await?;
        let space = length.next_multiple_of(size_of::<usize>()).min(self.room);
        self.address += space;
        self.room -= space;
        Ok(())
    }
}

/// Writes what a receiver is told beside the bytes to where `header` says, and there how much that was; descriptors are
/// taken out of `received`. Returns `MSG_CTRUNC` or 0.
///
/// # Errors
/// `BadAddress`
pub async fn write(
    caller: &Caller,
    header: &mut MessageHeader,
    received: &mut Received,
    tells_credentials: bool,
    flags: u32,
) -> Result<u32> {
    let room = if header.control == 0 { 0 } else { header.control_length };
    let mut writer = Writer { address: header.control, room, flags: 0 };
    if tells_credentials && let Some(sender) = received.credentials {
        let sender = UserCredentials { process: sender.process, user: sender.user, group: sender.group };
        writer.put(caller, linux::SCM_CREDENTIALS, sender.as_bytes()).await?;
    }
    let files = core::mem::take(&mut received.rights);
    if !files.is_empty() {
        let fitting = writer.room.saturating_sub(HEADER) / DESCRIPTOR;
        let on_exec = on_exec(flags & linux::MSG_CMSG_CLOEXEC != 0);
        let wanted = files.len();
        let mut descriptors = Vec::new();
        for file in files.into_iter().take(fitting) {
            match caller.files.insert(file, on_exec, limit(caller)) {
                Ok(descriptor) => descriptors.push(descriptor),
                Err(_) => break,
            }
        }
        if descriptors.len() < wanted {
            writer.flags |= linux::MSG_CTRUNC;
        }
        if !descriptors.is_empty()
            && let Err(error) = writer.put(caller, linux::SCM_RIGHTS, descriptors.as_slice().as_bytes()).await
        {
            descriptors.iter().for_each(|descriptor| drop(caller.files.remove(*descriptor)));
            return Err(error);
        }
    }
    header.control_length = room - writer.room;
    Ok(writer.flags)
}
