//! Calls about extended attributes. Which there are and who may use them goes by the first part of their names.

use super::descriptor;
use super::names::{Names, path};
use crate::thread::Caller;
use abi::linux::general as linux;
use alloc::vec;
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::{Error, Result};
use vfs::credentials::Permission;
use vfs::extended::{ExtendedAttributes, NAME_MAX, Setting, VALUE_MAX};
use vfs::{Capabilities, FileKind, Location, OpenFlags};

/// Of what a call speaks.
pub enum Subject {
    /// The file at a path, behind symbolic links.
    Path(usize),
    /// The file at a path, or the link that is there.
    Link(usize),
    /// That of a descriptor.
    Descriptor(usize),
}

impl Subject {
    async fn locate(&self, caller: &Caller, names: &Names) -> Result<Location> {
        let (address, flags) = match *self {
            Self::Path(address) => (address, 0),
            Self::Link(address) => (address, linux::AT_SYMLINK_NOFOLLOW),
            Self::Descriptor(register) => {
                let file = caller.files.get(descriptor(register))?;
                if file.flags().contains(OpenFlags::PATH) {
                    return Err(Error::BadDescriptor);
                }
                return Ok(file.location().clone());
            }
        };
        let path = path(caller, address).await?;
        names.locate(caller, linux::AT_FDCWD as usize, &path, flags).await
    }
}

/// What is done with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Read,
    Change,
}

/// The name of an attribute in user memory.
async fn read_name(caller: &Caller, address: usize) -> Result<Vec<u8>> {
    match caller.space.read_c_string(VirtualAddress::new(address), NAME_MAX + 1).await {
        Ok(name) if name.is_empty() => Err(Error::Range),
        Err(Error::NameTooLong) => Err(Error::Range),
        outcome => outcome,
    }
}

/// Checks that the caller may do this with an attribute of this name.
fn check(names: &Names, location: &Location, name: &[u8], deed: Deed) -> Result<()> {
    let credentials = names.credentials();
    if deed == Deed::Change {
        location.mount.check_writable()?;
    }
    let denied = if deed == Deed::Read { Error::NoData } else { Error::NotPermitted };
    let administrator = credentials.capable(Capabilities::SYS_ADMIN);
    if name.starts_with(b"security.") {
        return if deed == Deed::Read || administrator { Ok(()) } else { Err(Error::NotPermitted) };
    }
    if name.starts_with(b"trusted.") {
        return if administrator { Ok(()) } else { Err(denied) };
    }
    let kind = location.kind();
    let ownership = location.inode().ownership();
    if name.starts_with(b"user.") {
        if !matches!(kind, FileKind::Regular | FileKind::Directory) {
            return Err(denied);
        }
        let sticky = kind == FileKind::Directory && ownership.permissions & vfs::metadata::STICKY != 0;
        if deed == Deed::Change && sticky && !credentials.is_owner(&ownership) {
            return Err(Error::NotPermitted);
        }
    }
    let wanted = if deed == Deed::Read { Permission::READ } else { Permission::WRITE };
    credentials.check(wanted, kind, &ownership)
}

/// The attributes of a file, if it can have one of this name.
fn attributes<'a>(location: &'a Location, name: &[u8]) -> Result<&'a ExtendedAttributes> {
    let known = [&b"user."[..], b"trusted.", b"security."];
    let Some(space) = known.into_iter().find(|space| name.starts_with(space)) else {
        return Err(Error::NotSupported);
    };
    let attributes = location.inode().extended_attributes().ok_or(Error::NotSupported)?;
    if name.len() == space.len() { Err(Error::InvalidArgument) } else { Ok(attributes) }
}

/// `setxattr` and its kind
pub async fn set(
    caller: &Caller,
    subject: Subject,
    name: usize,
    value: usize,
    size: usize,
    flags: usize,
) -> Result<usize> {
    let setting = match flags as u32 {
        0 => Setting::Any,
        linux::XATTR_CREATE => Setting::Create,
        linux::XATTR_REPLACE => Setting::Replace,
        _ => return Err(Error::InvalidArgument),
    };
    let names = Names::of(caller);
    // As on Linux, a descriptor is looked at first, a path last.
    let known = match &subject {
        Subject::Descriptor(_) => Some(subject.locate(caller, &names).await?),
        _ => None,
    };
    let name = read_name(caller, name).await?;
    if size > VALUE_MAX {
        return Err(Error::ArgumentListTooLong);
    }
    let mut bytes = vec![0; size];
    caller.space.read_bytes(VirtualAddress::new(value), &mut bytes).await?;
    let location = match known {
        Some(location) => location,
        None => subject.locate(caller, &names).await?,
    };
    check(&names, &location, &name, Deed::Change)?;
    attributes(&location, &name)?.set(&name, bytes.into_boxed_slice(), setting)?;
    Ok(0)
}

/// `getxattr` and its kind
pub async fn get(caller: &Caller, subject: Subject, name: usize, value: usize, size: usize) -> Result<usize> {
    let names = Names::of(caller);
    let (location, name) = locate_named(caller, &names, &subject, name).await?;
    check(&names, &location, &name, Deed::Read)?;
    let bytes = attributes(&location, &name)?.get(&name)?;
    give(caller, &bytes, value, size).await
}

/// `listxattr` and its kind
pub async fn list(caller: &Caller, subject: Subject, address: usize, size: usize) -> Result<usize> {
    let names = Names::of(caller);
    let location = subject.locate(caller, &names).await?;
    let administrator = names.credentials().capable(Capabilities::SYS_ADMIN);
    let shown = |name: &[u8]| administrator || !name.starts_with(b"trusted.");
    let all = location.inode().extended_attributes().map(|attributes| attributes.list(shown));
    give(caller, &all.ok_or(Error::NotSupported)?, address, size).await
}

/// `removexattr` and its kind
pub async fn remove(caller: &Caller, subject: Subject, name: usize) -> Result<usize> {
    let names = Names::of(caller);
    let (location, name) = locate_named(caller, &names, &subject, name).await?;
    check(&names, &location, &name, Deed::Change)?;
    attributes(&location, &name)?.remove(&name)?;
    Ok(0)
}

/// The file and the name, in the order in which Linux looks at them.
async fn locate_named(
    caller: &Caller,
    names: &Names,
    subject: &Subject,
    name: usize,
) -> Result<(Location, Vec<u8>)> {
    if let Subject::Descriptor(_) = subject {
        let location = subject.locate(caller, names).await?;
        return Ok((location, read_name(caller, name).await?));
    }
    let name = read_name(caller, name).await?;
    Ok((subject.locate(caller, names).await?, name))
}

/// Gives bytes to a caller who has room for `size`, or for none and wants to know how many there are.
async fn give(caller: &Caller, bytes: &[u8], address: usize, size: usize) -> Result<usize> {
    if size > 0 {
        if bytes.len() > size {
            return Err(Error::Range);
        }
        caller.space.write_bytes(VirtualAddress::new(address), bytes).await?;
    }
    Ok(bytes.len())
}
