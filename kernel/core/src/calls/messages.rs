//! Calls that send and receive: the families of `send` and `recv`.
//!
//! A message goes from the sender's memory straight into one that the kernel has for it, and from there into the
//! receiver's. As with files, user memory is pinned while it is copied, and no wait holds pins.

use super::areas::Areas;
use super::control::{self, Outgoing};
use super::file::raise_broken_pipe;
use super::socket::{
    Patience, SocketFile, address_bytes, credentials, domain, find, read_address, write_address,
};
use crate::thread::Caller;
use abi::linux::net as linux;
use abi::socket::{ManyMessageHeader, MessageHeader};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::bytes::{Sink, Source};
use base::sync::atomic::Ordering;
use base::{Error, Result};
use memory::space::Access;
use net::unix::receive::{Take, Tell};
use net::unix::{Ancillary, Endpoint, Kind, Payload, Received};
use vfs::OpenFile;

/// Messages that one `sendmmsg` or `recvmmsg` moves at most.
const MANY_MAX: usize = 1024;

fn send_patience(socket: &SocketFile, flags: u32) -> Patience {
    Patience::of(&socket.0, flags, socket.endpoint().options().send_timeout_ns.load(Ordering::Relaxed))
}

fn receive_patience(socket: &SocketFile, flags: u32) -> Patience {
    Patience::of(&socket.0, flags, socket.endpoint().options().receive_timeout_ns.load(Ordering::Relaxed))
}

/// `sendto` and `recvfrom` without an address, as far as they need no waiting but for the socket.
pub mod attempt {
    use super::*;
    use crate::calls::Attempt;
    use crate::calls::file::{Present, wait_or_full};
    use arch_riscv64::trap::register;
    use vfs::Readiness;

    /// Bytes that are moved so at most.
    const LENGTH_MAX: usize = 4096;
    /// Flags that make no difference here but for waiting.
    const FLAGS: u32 = linux::MSG_DONTWAIT | linux::MSG_NOSIGNAL;

    /// The socket, the memory and the flags, if there is nothing special about them.
    #[inline]
    fn plain(caller: &Caller, access: Access) -> Option<(SocketFile, Present, u32)> {
        let [file, address, count, flags, name, _] =
            core::array::from_fn(|index| caller.context.registers[register::A0 + index]);
        let flags = flags as u32;
        if count > LENGTH_MAX
            || count == 0
            || address > isize::MAX as usize
            || name != 0
            || flags & !FLAGS != 0
        {
            return None;
        }
        let socket = SocketFile::get(caller, file).ok()?;
        Some((socket, Present::pin(caller, address, count, access)?, flags))
    }

    fn wait(socket: SocketFile, flags: u32, interest: Readiness) -> Attempt {
        if flags & linux::MSG_DONTWAIT != 0 || !socket.0.may_wait() {
            return Attempt::Done(Err(Error::WouldBlock));
        }
        wait_or_full(socket.0, interest)
    }

    /// `sendto`: what is taken at a time.
    #[inline]
    pub fn send(caller: &Caller) -> Attempt {
        let Some((socket, memory, flags)) = plain(caller, Access::Read) else { return Attempt::InFull };
        let endpoint = socket.endpoint();
        if endpoint.kind() != Kind::Stream {
            return Attempt::InFull;
        }
        match endpoint.send_some(&mut memory.source(), credentials(caller), &mut None) {
            Err(Error::WouldBlock) => wait(socket, flags, Readiness::WRITABLE),
            Err(Error::BrokenPipe) => Attempt::InFull,
            outcome => Attempt::Done(outcome),
        }
    }

    /// `recvfrom`: what is there of a stream.
    #[inline]
    pub fn receive(caller: &Caller) -> Attempt {
        let Some((socket, memory, flags)) = plain(caller, Access::Write) else { return Attempt::InFull };
        let endpoint = socket.endpoint();
        if endpoint.kind() != Kind::Stream || endpoint.options().low_water.load(Ordering::Relaxed) > 1 {
            return Attempt::InFull;
        }
        match endpoint.receive_some(&mut memory.sink(), tell(endpoint), &mut Received::default()) {
            Err(Error::WouldBlock) => wait(socket, flags, Readiness::READABLE),
            outcome => Attempt::Done(outcome),
        }
    }
}

/// `sendto`
pub async fn sendto(caller: &mut Caller, arguments: [usize; 6]) -> Result<usize> {
    let [file, address, count, flags, name, name_length] = arguments;
    let areas = Areas::one(address, count)?;
    let socket = SocketFile::get(caller, file)?;
    let name = match name {
        0 => Vec::new(),
        _ => read_address(caller, name, name_length).await?,
    };
    let outgoing = Outgoing { credentials: credentials(caller), rights: None };
    send(caller, &socket, areas, outgoing, &name, flags as u32).await
}

/// `sendmsg`
pub async fn sendmsg(caller: &mut Caller, file: usize, message: usize, flags: usize) -> Result<usize> {
    let socket = SocketFile::get(caller, file)?;
    let header = caller.space.read_object(VirtualAddress::new(message)).await?;
    send_header(caller, &socket, &header, flags as u32).await
}

async fn send_header(
    caller: &mut Caller,
    socket: &SocketFile,
    header: &MessageHeader,
    flags: u32,
) -> Result<usize> {
    let name = match (header.name, header.name_length) {
        (_, ..0) => return Err(Error::InvalidArgument),
        (0, _) => Vec::new(),
        // As on Linux, what is too long for any address is cut.
        (name, length) => read_address(caller, name, (length as usize).min(128)).await?,
    };
    if header.area_count > abi::linux::general::UIO_MAXIOV as usize {
        return Err(Error::MessageTooLong);
    }
    let areas = Areas::vector(caller, header.areas, header.area_count).await?;
    let outgoing = control::read(caller, header.control, header.control_length).await?;
    send(caller, socket, areas, outgoing, &name, flags).await
}

/// Sends as `flags` say, to an address if there is one.
async fn send(
    caller: &mut Caller,
    socket: &SocketFile,
    areas: Areas,
    outgoing: Outgoing,
    name: &[u8],
    flags: u32,
) -> Result<usize> {
    if flags & linux::MSG_OOB != 0 {
        return Err(Error::NotSupported);
    }
    let endpoint = socket.endpoint();
    match endpoint.kind() {
        Kind::Stream if name.is_empty() => send_stream(caller, socket, areas, outgoing, flags).await,
        Kind::Stream if endpoint.is_connected() => Err(Error::AlreadyConnected),
        Kind::Stream => Err(Error::NotSupported),
        // A connection has one other end, whatever the address says.
        Kind::SequencedPacket if !endpoint.is_connected() => Err(Error::NotConnected),
        Kind::SequencedPacket => send_message(caller, socket, areas, outgoing, &[], flags).await,
        Kind::Datagram => send_message(caller, socket, areas, outgoing, name, flags).await,
    }
}

async fn send_stream(
    caller: &mut Caller,
    socket: &SocketFile,
    mut areas: Areas,
    outgoing: Outgoing,
    flags: u32,
) -> Result<usize> {
    let endpoint = socket.endpoint();
    let patience = send_patience(socket, flags);
    let mut rights = outgoing.rights;
    let mut done = 0;
    loop {
        let outcome = match areas.pin(&caller.space, Access::Read).await {
            Ok(pinned) => {
                let mut storage = Vec::new();
                let mut source = Source::gathered(pinned.pieces(&mut storage));
                endpoint.send_some(&mut source, outgoing.credentials, &mut rights)
            }
            Err(error) => Err(error),
        };
        let outcome = match outcome {
            Ok(count) => {
                done += count;
                areas.advance(count);
                if areas.remaining() == 0 {
                    return Ok(done);
                }
                continue;
            }
            Err(Error::WouldBlock) => {
                let writable =
                    || endpoint.readiness().intersects(vfs::Readiness::OUT | vfs::Readiness::ALWAYS);
                patience.wait(caller, endpoint.writers(), writable).await
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {}
            Err(_) if done > 0 => return Ok(done),
            Err(error) => {
                if flags & linux::MSG_NOSIGNAL == 0 {
                    raise_broken_pipe(caller, error);
                }
                return Err(error);
            }
        }
    }
}

async fn send_message(
    caller: &mut Caller,
    socket: &SocketFile,
    mut areas: Areas,
    outgoing: Outgoing,
    name: &[u8],
    flags: u32,
) -> Result<usize> {
    let endpoint = socket.endpoint();
    if endpoint.options().passes_credentials() && endpoint.kind() == Kind::Datagram {
        domain().bind_automatically(endpoint)?;
    }
    let named = match name {
        [] => None,
        name => Some(find(caller, endpoint.kind(), name).await?),
    };
    let patience = send_patience(socket, flags);
    let length = areas.remaining();
    let target = loop {
        match endpoint.prepare_message(named.as_ref(), length) {
            Err(Error::WouldBlock) => {
                let possible = || endpoint.need_not_wait_to_send(named.as_ref());
                patience.wait(caller, endpoint.writers(), possible).await?;
            }
            outcome => break outcome?,
        }
    };
    let mut payload = Payload::new(length)?;
    let mut filled = 0;
    while filled < length {
        let pinned = areas.pin(&caller.space, Access::Read).await?;
        let mut storage = Vec::new();
        let count = payload.fill(filled, &mut Source::gathered(pinned.pieces(&mut storage)));
        filled += count;
        areas.advance(count);
    }
    let ancillary = Ancillary { credentials: outgoing.credentials, rights: outgoing.rights };
    endpoint.send_message(&target, payload, ancillary)?;
    Ok(length)
}

/// `write` and its kind on a socket.
pub async fn write(caller: &mut Caller, file: Arc<OpenFile>, areas: Areas) -> Result<usize> {
    let outgoing = Outgoing { credentials: credentials(caller), rights: None };
    send(caller, &SocketFile(file), areas, outgoing, &[], 0).await
}

#[inline]
fn tell(endpoint: &Endpoint) -> Tell {
    if endpoint.options().passes_credentials() { Tell::Credentials } else { Tell::Nothing }
}

/// What a receiver got.
struct Incoming {
    /// What the call returns.
    count: usize,
    received: Received,
    /// `MSG_TRUNC`, if the message was longer.
    flags: u32,
}

/// `recvfrom`
pub async fn recvfrom(caller: &mut Caller, arguments: [usize; 6]) -> Result<usize> {
    let [file, address, count, flags, name, name_length] = arguments;
    let areas = Areas::one(address, count)?;
    let socket = SocketFile::get(caller, file)?;
    let incoming = receive(caller, &socket, areas, flags as u32).await?;
    if name != 0 {
        match sender_of(&socket, &incoming.received) {
            None => caller.space.write_object(VirtualAddress::new(name_length), &0u32).await?,
            sender => write_address(caller, sender.as_deref(), name, name_length).await?,
        }
    }
    Ok(incoming.count)
}

/// The name of whoever sent what was received.
fn sender_of(socket: &SocketFile, received: &Received) -> Option<Arc<net::unix::Name>> {
    if socket.endpoint().kind().is_connected() {
        return socket.endpoint().peer_name().ok().flatten();
    }
    received.sender.clone()
}

/// `recvmsg`
pub async fn recvmsg(caller: &mut Caller, file: usize, message: usize, flags: usize) -> Result<usize> {
    let socket = SocketFile::get(caller, file)?;
    let mut header = caller.space.read_object(VirtualAddress::new(message)).await?;
    let count = receive_header(caller, &socket, &mut header, flags as u32).await?;
    caller.space.write_object(VirtualAddress::new(message), &header).await?;
    Ok(count)
}

/// Receives into what a header describes; what is to be told stands there afterwards.
async fn receive_header(
    caller: &mut Caller,
    socket: &SocketFile,
    header: &mut MessageHeader,
    flags: u32,
) -> Result<usize> {
    if header.name_length < 0 {
        return Err(Error::InvalidArgument);
    }
    if header.area_count > abi::linux::general::UIO_MAXIOV as usize {
        return Err(Error::MessageTooLong);
    }
    let areas = Areas::vector(caller, header.areas, header.area_count).await?;
    let mut incoming = receive(caller, socket, areas, flags).await?;
    let name_length = match sender_of(socket, &incoming.received) {
        Some(sender) if header.name != 0 => {
            let bytes = address_bytes(Some(&sender));
            let count = bytes.len().min(header.name_length as usize);
            caller.space.write_bytes(VirtualAddress::new(header.name), &bytes[..count]).await?;
            bytes.len()
        }
        _ => 0,
    };
    if header.name != 0 {
        header.name_length = name_length as i32;
    }
    let tells = tell(socket.endpoint()) == Tell::Credentials;
    let written = control::write(caller, header, &mut incoming.received, tells, flags).await?;
    header.flags = incoming.flags | written | flags & linux::MSG_CMSG_CLOEXEC;
    Ok(incoming.count)
}

/// Receives as `flags` say.
async fn receive(caller: &mut Caller, socket: &SocketFile, areas: Areas, flags: u32) -> Result<Incoming> {
    if flags & linux::MSG_OOB != 0 {
        let stream = socket.endpoint().kind() == Kind::Stream;
        return Err(if stream { Error::InvalidArgument } else { Error::NotSupported });
    }
    match socket.endpoint().kind() {
        Kind::Stream => receive_stream(caller, socket, areas, flags).await,
        _ => receive_message(caller, socket, areas, flags).await,
    }
}

async fn receive_stream(
    caller: &mut Caller,
    socket: &SocketFile,
    mut areas: Areas,
    flags: u32,
) -> Result<Incoming> {
    let endpoint = socket.endpoint();
    let patience = receive_patience(socket, flags);
    let tell = tell(endpoint);
    let looks = flags & linux::MSG_PEEK != 0;
    let wanted = match flags & linux::MSG_WAITALL {
        0 => endpoint.options().low_water.load(Ordering::Relaxed).min(areas.remaining()),
        _ => areas.remaining(),
    };
    let mut received = Received::default();
    let mut done = 0;
    loop {
        let outcome = match areas.pin(&caller.space, Access::Write).await {
            Ok(pinned) => {
                let mut storage = Vec::new();
                let mut sink = Sink::scattered(pinned.pieces(&mut storage));
                if looks {
                    endpoint.peek_some(&mut sink, tell, &mut received)
                } else {
                    endpoint.receive_some(&mut sink, tell, &mut received)
                }
            }
            // An error only if there is something to receive.
            Err(error) if endpoint.has_something() => Err(error),
            Err(_) => Err(Error::WouldBlock),
        };
        match outcome {
            Ok(count) => {
                if looks {
                    let more = wanted > count && patience != Patience::None;
                    if !more || endpoint.has_bytes(wanted) != Some(false) {
                        return Ok(Incoming { count, received, flags: 0 });
                    }
                    received = Received::default();
                    let enough = || endpoint.has_bytes(wanted) != Some(false);
                    patience.wait(caller, endpoint.readers(), enough).await?;
                    continue;
                }
                done += count;
                areas.advance(count);
                if count == 0 || areas.remaining() == 0 || done >= wanted || !received.rights.is_empty() {
                    return Ok(Incoming { count: done, received, flags: 0 });
                }
            }
            Err(Error::WouldBlock) => {
                if let Err(error) =
                    patience.wait(caller, endpoint.readers(), || endpoint.has_something()).await
                {
                    return if done > 0 {
                        Ok(Incoming { count: done, received, flags: 0 })
                    } else {
                        Err(error)
                    };
                }
            }
            Err(_) if done > 0 => return Ok(Incoming { count: done, received, flags: 0 }),
            Err(error) => return Err(error),
        }
    }
}

async fn receive_message(
    caller: &mut Caller,
    socket: &SocketFile,
    mut areas: Areas,
    flags: u32,
) -> Result<Incoming> {
    let endpoint = socket.endpoint();
    let patience = receive_patience(socket, flags);
    let take = if flags & linux::MSG_PEEK != 0 { Take::Look } else { Take::Out };
    let taken = loop {
        match endpoint.receive_message(take) {
            Err(Error::WouldBlock) => {
                patience.wait(caller, endpoint.readers(), || endpoint.has_something()).await?;
            }
            // Who does not wait is not told the end of what is no connection.
            Ok(None) if endpoint.kind() == Kind::Datagram && patience == Patience::None => {
                return Err(Error::WouldBlock);
            }
            outcome => break outcome?,
        }
    };
    let Some((message, rights)) = taken else {
        return Ok(Incoming { count: 0, received: Received::default(), flags: 0 });
    };
    let length = message.payload().len();
    let mut copied = 0;
    while copied < length && areas.remaining() > 0 {
        let pinned = areas.pin(&caller.space, Access::Write).await?;
        let mut storage = Vec::new();
        let mut sink = Sink::scattered(pinned.pieces(&mut storage));
        let count = message.payload().copy_to(copied, length, &mut sink);
        copied += count;
        areas.advance(count);
    }
    let received = Received { credentials: Some(message.credentials()), rights, sender: message.sender() };
    let count = if flags & linux::MSG_TRUNC != 0 { length } else { copied };
    Ok(Incoming { count, received, flags: if copied < length { linux::MSG_TRUNC } else { 0 } })
}

/// `sendmmsg`
pub async fn sendmmsg(
    caller: &mut Caller,
    file: usize,
    messages: usize,
    count: usize,
    flags: usize,
) -> Result<usize> {
    let socket = SocketFile::get(caller, file)?;
    let mut done = 0;
    while done < (count as u32 as usize).min(MANY_MAX) {
        let address = VirtualAddress::new(messages.wrapping_add(done * size_of::<ManyMessageHeader>()));
        let outcome = send_many_step(caller, &socket, address, flags as u32).await;
        match outcome {
            Ok(()) => done += 1,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

async fn send_many_step(
    caller: &mut Caller,
    socket: &SocketFile,
    address: VirtualAddress,
    flags: u32,
) -> Result<()> {
    let message: ManyMessageHeader = caller.space.read_object(address).await?;
    let sent = send_header(caller, socket, &message.header, flags).await?;
    caller
        .space
        .write_object(address + core::mem::offset_of!(ManyMessageHeader, length), &(sent as u32))
        .await
}

/// `recvmmsg`: the time is looked at after each message, as on Linux.
pub async fn recvmmsg(caller: &mut Caller, arguments: [usize; 5]) -> Result<usize> {
    /// `MSG_WAITFORONE`
    const WAIT_FOR_ONE: u32 = 0x1_0000;
    let [file, messages, count, flags, timeout] = arguments;
    let timeout = super::poll::Timeout::read(caller, timeout).await?;
    let socket = SocketFile::get(caller, file)?;
    let mut flags = flags as u32;
    let mut done = 0;
    let mut failure = Error::WouldBlock;
    while done < (count as u32 as usize).min(MANY_MAX) {
        let address = VirtualAddress::new(messages.wrapping_add(done * size_of::<ManyMessageHeader>()));
        match receive_many_step(caller, &socket, address, flags & !WAIT_FOR_ONE).await {
            Ok(()) => done += 1,
            Err(error) => {
                failure = error;
                break;
            }
        }
        if flags & WAIT_FOR_ONE != 0 {
            flags |= linux::MSG_DONTWAIT;
        }
        if timeout.is_over() {
            break;
        }
    }
    if done == 0 && count as u32 != 0 {
        return Err(failure);
    }
    timeout.tell_rest(caller).await;
    Ok(done)
}

async fn receive_many_step(
    caller: &mut Caller,
    socket: &SocketFile,
    address: VirtualAddress,
    flags: u32,
) -> Result<()> {
    let mut message: ManyMessageHeader = caller.space.read_object(address).await?;
    message.length = receive_header(caller, socket, &mut message.header, flags).await? as u32;
    caller.space.write_object(address, &message).await
}
