//! Calls that make sockets, name them and connect them.

use super::descriptor;
use super::descriptors::{limit, on_exec};
use super::names::Names;
use crate::file_systems;
use crate::thread::Caller;
use ::process::signal::action::Interruption;
use abi::linux::net as linux;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::hal::now_ns;
use base::sync::atomic::Ordering;
use base::sync::{Lazy, WaitQueue};
use base::{Error, Result};
use net::unix::address::FAMILY_SIZE;
use net::unix::{Address, Connecting, Credentials, Domain, Endpoint, Kind, Name, Shutdown, Socket};
use vfs::metadata::Ownership;
use vfs::namespace;
use vfs::{At, FileKind, OpenFile, OpenFlags};

/// `AF_UNSPEC`
const UNSPECIFIED: u16 = linux::AF_UNSPEC as u16;
const FAMILY_UNIX: u16 = linux::AF_UNIX as u16;
/// `SOCK_CLOEXEC`
const CLOSE_ON_EXEC: u32 = OpenFlags::CLOSE_ON_EXEC.bits();
/// `SOCK_NONBLOCK`
const NONBLOCK: u32 = OpenFlags::NONBLOCK.bits();
/// The low bits of a socket's type.
const TYPE_MASK: u32 = 0xf;
/// `SOCK_RAW`, which in this family is another name of datagrams.
const TYPE_RAW: u32 = 3;
/// One more than the greatest type.
const TYPES: u32 = 11;
/// Bytes of an address at most (`struct sockaddr_storage`).
const ADDRESS_MAX: usize = 128;

static DOMAIN: Lazy<Arc<Domain>> = Lazy::new(Domain::new);

/// What all sockets share.
pub fn domain() -> &'static Arc<Domain> {
    &DOMAIN
}

/// The socket that an open file is, if it is one of this machine.
#[inline]
pub fn of(file: &OpenFile) -> Option<&Socket> {
    if file.location().kind() != FileKind::Socket {
        return None;
    }
    file.file().downcast_ref::<Socket>()
}

/// Whether a file gives whole messages: a socket that is no stream.
#[inline]
pub fn has_messages(file: &OpenFile) -> bool {
    of(file).is_some_and(|socket| socket.endpoint().kind() != Kind::Stream)
}

/// Whether writing to a file that nobody reads raises `SIGPIPE`: of sockets only a stream does.
#[cold]
pub fn raises_broken_pipe(file: &OpenFile) -> bool {
    of(file).is_none_or(|socket| socket.endpoint().kind() == Kind::Stream)
}

/// An open file that is a socket.
pub struct SocketFile(pub Arc<OpenFile>);

impl SocketFile {
    /// The one of a descriptor in a register.
    ///
    /// # Errors
    /// `BadDescriptor`, `NotSocket`.
    #[inline]
    pub fn get(caller: &Caller, register: usize) -> Result<Self> {
        let file = caller.files.get(descriptor(register))?;
        if file.flags().contains(OpenFlags::PATH) {
            return Err(Error::BadDescriptor);
        }
        of(&file).ok_or(Error::NotSocket)?;
        Ok(Self(file))
    }

    /// What the socket is to its peers.
    #[inline]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        of(&self.0).expect("it was looked at when it was got").endpoint()
    }
}

/// Who the caller is to those that receive from it.
#[inline]
pub fn credentials(caller: &Caller) -> Credentials {
    let process = caller.process();
    let identity = process.identity.lock();
    let ids = &identity.credentials;
    Credentials { process: process.id, user: ids.user.real, group: ids.group.real }
}

/// Who the caller is to those it connects to: as whom it acts.
fn acting_credentials(caller: &Caller) -> Credentials {
    let process = caller.process();
    let identity = process.identity.lock();
    let ids = &identity.credentials;
    Credentials { process: process.id, user: ids.user.effective, group: ids.group.effective }
}

/// How a call on a socket waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    None,
    /// For ever, or until a time in nanoseconds since boot.
    Until(Option<u64>),
}

impl Patience {
    /// How a call with these flags waits on a file, for as long as the socket's option (in nanoseconds, 0: for ever) says.
    #[inline]
    pub fn of(file: &OpenFile, flags: u32, limit_ns: u64) -> Self {
        if flags & linux::MSG_DONTWAIT != 0 || !file.may_wait() {
            return Self::None;
        }
        Self::Until((limit_ns != 0).then(|| now_ns().saturating_add(limit_ns)))
    }

    /// Waits until `check` holds.
    ///
    /// # Errors
    /// `WouldBlock` when it may not wait, or not so long; `Interrupted`.
    pub async fn wait(
        self,
        caller: &mut Caller,
        queue: &WaitQueue,
        mut check: impl FnMut() -> bool,
    ) -> Result<()> {
        let Self::Until(deadline_ns) = self else { return Err(Error::WouldBlock) };
        if deadline_ns.is_some() {
            // What is left of the time is not known to a call that begins again.
            caller.call.interruption = Interruption::Never;
        }
        let wait = queue.wait_until(|| check().then_some(()));
        match caller.interruptible_until(wait, deadline_ns).await {
            Err(Error::TimedOut) => Err(Error::WouldBlock),
            outcome => outcome,
        }
    }
}

/// The kind of socket that `socket` and `socketpair` are asked for, and the flags of its descriptor.
fn kind_of(family: usize, kind: usize, protocol: usize) -> Result<(Kind, OpenFlags)> {
    let (family, kind, protocol) = (family as u32, kind as u32, protocol as u32);
    let flags = kind & !TYPE_MASK;
    if flags & !(CLOSE_ON_EXEC | NONBLOCK) != 0 {
        return Err(Error::InvalidArgument);
    }
    if family >= linux::AF_MAX {
        return Err(Error::AddressFamilyUnsupported);
    }
    if kind & TYPE_MASK >= TYPES {
        return Err(Error::InvalidArgument);
    }
    if family != linux::AF_UNIX {
        return Err(Error::AddressFamilyUnsupported);
    }
    if protocol != 0 && protocol != linux::AF_UNIX {
        return Err(Error::ProtocolUnsupported);
    }
    let kind = match kind & TYPE_MASK {
        linux::SOCK_STREAM => Kind::Stream,
        linux::SOCK_DGRAM | TYPE_RAW => Kind::Datagram,
        linux::SOCK_SEQPACKET => Kind::SequencedPacket,
        _ => return Err(Error::SocketTypeUnsupported),
    };
    Ok((kind, OpenFlags::from_bits_retain(flags)))
}

/// An open file for an endpoint.
fn open(caller: &Caller, endpoint: Arc<Endpoint>, flags: OpenFlags) -> Arc<OpenFile> {
    let owner = credentials(caller);
    let (uid, gid) = (owner.user, owner.group);
    let ownership = Ownership { permissions: 0o777, uid, gid };
    let location = file_systems::anonymous().place_for(FileKind::Socket, "", ownership);
    endpoint.set_inode(location.inode().number());
    let flags = OpenFlags::READ_WRITE | flags & OpenFlags::NONBLOCK;
    OpenFile::from_file(Socket::new(endpoint, owner), location, flags)
}

/// `socket`
pub async fn socket(caller: &Caller, family: usize, kind: usize, protocol: usize) -> Result<usize> {
    let (kind, flags) = kind_of(family, kind, protocol)?;
    let file = open(caller, Endpoint::new(domain(), kind), flags);
    let on_exec = on_exec(flags.contains(OpenFlags::CLOSE_ON_EXEC));
    Ok(caller.files.insert(file, on_exec, limit(caller))? as usize)
}

/// `socketpair`
pub async fn socketpair(
    caller: &Caller,
    family: usize,
    kind: usize,
    protocol: usize,
    ends: usize,
) -> Result<usize> {
    let (kind, flags) = kind_of(family, kind, protocol)?;
    let pair = Endpoint::pair(domain(), kind, acting_credentials(caller));
    let pair = pair.map(|endpoint| open(caller, endpoint, flags));
    let on_exec = on_exec(flags.contains(OpenFlags::CLOSE_ON_EXEC));
    let descriptors = caller.files.insert_pair(pair, on_exec, limit(caller))?;
    if let Err(error) = caller.space.write_object(VirtualAddress::new(ends), &descriptors).await {
        for descriptor in descriptors {
            // Another thread may have closed it already.
            drop(caller.files.remove(descriptor));
        }
        return Err(error);
    }
    Ok(0)
}

/// The bytes of the address that a caller gives.
///
/// # Errors
/// `InvalidArgument` for an impossible length, `BadAddress`.
pub async fn read_address(caller: &Caller, address: usize, length: usize) -> Result<Vec<u8>> {
    let length = length as i32;
    if length < 0 || length as usize > ADDRESS_MAX {
        return Err(Error::InvalidArgument);
    }
    let mut bytes = alloc::vec![0; length as usize];
    caller.space.read_bytes(VirtualAddress::new(address), &mut bytes).await?;
    Ok(bytes)
}

/// The family of an address, if that is all there; 0 else.
fn family(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(UNSPECIFIED, |family| u16::from_ne_bytes(*family))
}

/// Understands an address of this family that says something.
fn parse(bytes: &[u8]) -> Result<Address<'_>> {
    if bytes.len() <= FAMILY_SIZE || family(bytes) != FAMILY_UNIX {
        return Err(Error::InvalidArgument);
    }
    Address::parse(&bytes[FAMILY_SIZE..])
}

/// The endpoint that a caller's address names, for sockets of this kind.
///
/// # Errors
/// Those of the walk; `AccessDenied` without the right to write to its file, `ConnectionRefused`.
pub async fn find(caller: &Caller, kind: Kind, bytes: &[u8]) -> Result<Arc<Endpoint>> {
    match parse(bytes)? {
        Address::Abstract(name) => domain().find_abstract(kind, name),
        Address::Path(path) => {
            let names = Names::of(caller);
            let location = names.locate_from_current(path).await?;
            names.context().credentials.check(
                vfs::credentials::Permission::WRITE,
                location.kind(),
                &location.inode().ownership(),
            )?;
            if location.kind() != FileKind::Socket {
                return Err(Error::ConnectionRefused);
            }
            domain().find_inode(location.inode())
        }
        Address::Unnamed => Err(Error::InvalidArgument),
    }
}

/// Writes an address where a caller wants it, as much as there is room for, and its whole length.
///
/// # Errors
/// `InvalidArgument` for an impossible length, `BadAddress`.
pub async fn write_address(
    caller: &Caller,
    name: Option<&Name>,
    address: usize,
    length: usize,
) -> Result<()> {
    let length = VirtualAddress::new(length);
    let room = caller.space.read_object::<i32>(length).await?;
    let room = usize::try_from(room).map_err(|_| Error::InvalidArgument)?;
    let bytes = address_bytes(name);
    let count = bytes.len().min(room);
    caller.space.write_bytes(VirtualAddress::new(address), &bytes[..count]).await?;
    caller.space.write_object(length, &(bytes.len() as u32)).await
}

/// A name as `struct sockaddr_un`; one without bytes for a socket without name.
pub fn address_bytes(name: Option<&Name>) -> Vec<u8> {
    let mut bytes = FAMILY_UNIX.to_ne_bytes().to_vec();
    bytes.extend_from_slice(name.map_or(&[], Name::bytes));
    bytes
}

/// `bind`
pub async fn bind(caller: &Caller, file: usize, address: usize, length: usize) -> Result<usize> {
    let socket = SocketFile::get(caller, file)?;
    let endpoint = socket.endpoint();
    let bytes = read_address(caller, address, length).await?;
    if bytes.len() == FAMILY_SIZE && family(&bytes) == FAMILY_UNIX {
        domain().bind_automatically(endpoint)?;
        return Ok(0);
    }
    match parse(&bytes)? {
        Address::Abstract(name) => domain().bind_abstract(endpoint, name)?,
        Address::Path(path) => {
            // Looked at before the file is made, as one that cannot be bound shall leave none.
            if endpoint.name().is_some() {
                return Err(Error::InvalidArgument);
            }
            let names = Names::of(caller);
            let permissions = 0o777;
            let made =
                namespace::make_socket(&names.context(), At::new(&names.place.current, path), permissions)
                    .await;
            let inode = made.map_err(|error| match error {
                Error::AlreadyExists => Error::AddressInUse,
                error => error,
            })?;
            domain().bind_inode(endpoint, inode, path)?;
        }
        Address::Unnamed => return Err(Error::InvalidArgument),
    }
    Ok(0)
}

/// `listen`
pub async fn listen(caller: &Caller, file: usize, backlog: usize) -> Result<usize> {
    let socket = SocketFile::get(caller, file)?;
    // A negative number is a great one.
    socket.endpoint().listen(backlog as u32 as usize, acting_credentials(caller))?;
    Ok(0)
}

/// `connect`
pub async fn connect(caller: &mut Caller, file: usize, address: usize, length: usize) -> Result<usize> {
    let socket = SocketFile::get(caller, file)?;
    let endpoint = socket.endpoint();
    let bytes = read_address(caller, address, length).await?;
    if bytes.len() < FAMILY_SIZE {
        return Err(Error::InvalidArgument);
    }
    if endpoint.kind() == Kind::Datagram && family(&bytes) == UNSPECIFIED {
        endpoint.connect_datagrams(None)?;
        return Ok(0);
    }
    parse(&bytes)?;
    if endpoint.options().passes_credentials() {
        domain().bind_automatically(endpoint)?;
    }
    let target = find(caller, endpoint.kind(), &bytes).await?;
    if endpoint.kind() == Kind::Datagram {
        endpoint.connect_datagrams(Some(&target))?;
        return Ok(0);
    }
    let limit_ns = endpoint.options().send_timeout_ns.load(Ordering::Relaxed);
    let patience = Patience::of(&socket.0, 0, limit_ns);
    let credentials = acting_credentials(caller);
    while endpoint.connect(&target, credentials)? == Connecting::Full {
        patience.wait(caller, target.writers(), || target.takes_connections()).await?;
    }
    Ok(0)
}

/// `accept` and `accept4`
pub async fn accept4(
    caller: &mut Caller,
    file: usize,
    address: usize,
    length: usize,
    flags: usize,
) -> Result<usize> {
    let flags = super::names::check_flags(flags, CLOSE_ON_EXEC | NONBLOCK)?;
    let flags = OpenFlags::from_bits_retain(flags);
    let socket = SocketFile::get(caller, file)?;
    let endpoint = socket.endpoint();
    caller.files.check_room(limit(caller))?;
    let limit_ns = endpoint.options().receive_timeout_ns.load(Ordering::Relaxed);
    let patience = Patience::of(&socket.0, 0, limit_ns);
    let accepted = loop {
        match endpoint.accept() {
            Err(Error::WouldBlock) => {
                patience.wait(caller, endpoint.readers(), || endpoint.has_something()).await?;
            }
            outcome => break outcome?,
        }
    };
    let name = accepted.peer_name().ok().flatten();
    let file = open(caller, accepted, flags);
    if address != 0 {
        write_address(caller, name.as_deref(), address, length).await?;
    }
    let on_exec = on_exec(flags.contains(OpenFlags::CLOSE_ON_EXEC));
    Ok(caller.files.insert(file, on_exec, limit(caller))? as usize)
}

/// `getsockname`
pub async fn getsockname(caller: &Caller, file: usize, address: usize, length: usize) -> Result<usize> {
    let name = SocketFile::get(caller, file)?.endpoint().name();
    write_address(caller, name.as_deref(), address, length).await?;
    Ok(0)
}

/// `getpeername`
pub async fn getpeername(caller: &Caller, file: usize, address: usize, length: usize) -> Result<usize> {
    let name = SocketFile::get(caller, file)?.endpoint().peer_name()?;
    write_address(caller, name.as_deref(), address, length).await?;
    Ok(0)
}

/// `shutdown`
pub async fn shutdown(caller: &Caller, file: usize, how: usize) -> Result<usize> {
    let socket = SocketFile::get(caller, file)?;
    let how = match how as u32 {
        linux::SHUT_RD => Shutdown::RECEIVE,
        linux::SHUT_WR => Shutdown::SEND,
        linux::SHUT_RDWR => Shutdown::all(),
        _ => return Err(Error::InvalidArgument),
    };
    socket.endpoint().shut_down(how);
    Ok(0)
}
