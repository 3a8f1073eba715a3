//! `getsockopt` and `setsockopt`.

use super::socket::SocketFile;
use crate::thread::Caller;
use ::process::credentials::Capability;
use abi::linux::net as linux;
use abi::socket::UserCredentials;
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::sync::atomic::Ordering;
use base::{Error, Result};
use net::unix::{Endpoint, Kind};
use zerocopy::IntoBytes;

/// Switches that are remembered and mean nothing between processes of one machine; their numbers are below 32.
const SWITCHES: [u32; 8] = [
    linux::SO_DEBUG,
    linux::SO_REUSEADDR,
    linux::SO_DONTROUTE,
    linux::SO_BROADCAST,
    linux::SO_KEEPALIVE,
    linux::SO_OOBINLINE,
    linux::SO_REUSEPORT,
    linux::SO_NO_CHECK,
];
const SECOND_NS: u64 = 1_000_000_000;
const MICROSECOND_NS: u64 = 1_000;
const MICROSECONDS: i64 = 1_000_000;

/// `setsockopt`
pub async fn setsockopt(
    caller: &Caller,
    file: usize,
    level: usize,
    option: usize,
    address: usize,
    length: usize,
) -> Result<usize> {
    let socket = SocketFile::get(caller, file)?;
    let length = usize::try_from(length as i32).map_err(|_| Error::InvalidArgument)?;
    if level as u32 != linux::SOL_SOCKET {
        return Err(Error::NotSupported);
    }
    if length < size_of::<i32>() {
        return Err(Error::InvalidArgument);
    }
    let address = VirtualAddress::new(address);
    let value = caller.space.read_object::<i32>(address).await?;
    let (endpoint, option) = (socket.endpoint(), option as u32);
    let options = endpoint.options();
    match option {
        linux::SO_PASSCRED => options.pass_credentials.store(value != 0, Ordering::Relaxed),
        linux::SO_SNDBUF => options.set_send_buffer(value as u32 as usize),
        linux::SO_RCVBUF => options.set_receive_buffer(value as u32 as usize),
        linux::SO_SNDBUFFORCE | linux::SO_RCVBUFFORCE => {
            if !caller.process().identity().credentials.has(Capability::NetworkAdministration) {
                return Err(Error::NotPermitted);
            }
            if option == linux::SO_SNDBUFFORCE {
                options.set_send_buffer(value.max(0) as usize);
            } else {
                options.set_receive_buffer(value.max(0) as usize);
            }
        }
        linux::SO_RCVLOWAT => {
            let bytes = if value < 0 { i32::MAX as usize } else { (value as usize).max(1) };
            options.low_water.store(bytes, Ordering::Relaxed);
        }
        linux::SO_RCVTIMEO_OLD | linux::SO_SNDTIMEO_OLD => {
            if length < size_of::<[i64; 2]>() {
                return Err(Error::InvalidArgument);
            }
            let limit_ns = timeout_ns(caller.space.read_object(address).await?)?;
            let field = if option == linux::SO_RCVTIMEO_OLD {
                &options.receive_timeout_ns
            } else {
                &options.send_timeout_ns
            };
            field.store(limit_ns, Ordering::Relaxed);
        }
        linux::SO_LINGER => {
            if length < size_of::<[i32; 2]>() {
                return Err(Error::InvalidArgument);
            }
            // Nothing lingers between processes of one machine: what was sent has arrived.
        }
        linux::SO_TYPE
        | linux::SO_ERROR
        | linux::SO_PROTOCOL
        | linux::SO_DOMAIN
        | linux::SO_ACCEPTCONN
        | linux::SO_PEERCRED
        | linux::SO_SNDLOWAT
        | linux::SO_PEERSEC => return Err(Error::ProtocolOptionUnavailable),
        option if SWITCHES.contains(&option) => set_switch(endpoint, option, value != 0),
        _ => return Err(Error::ProtocolOptionUnavailable),
    }
    Ok(0)
}

fn set_switch(endpoint: &Endpoint, option: u32, on: bool) {
    let (switches, bit) = (&endpoint.options().switches, 1 << option);
    if on {
        switches.fetch_or(bit, Ordering::Relaxed);
    } else {
        switches.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// A `struct timeval` as nanoseconds; 0 stands for no limit. A negative time is over at once.
fn timeout_ns([seconds, microseconds]: [i64; 2]) -> Result<u64> {
    if !(0..MICROSECONDS).contains(&microseconds) {
        return Err(Error::Domain);
    }
    if seconds < 0 {
        return Ok(1);
    }
    Ok((seconds as u64).saturating_mul(SECOND_NS).saturating_add(microseconds as u64 * MICROSECOND_NS))
}

/// `getsockopt`
pub async fn getsockopt(
    caller: &Caller,
    file: usize,
    level: usize,
    option: usize,
    address: usize,
    length: usize,
) -> Result<usize> {
    let socket = SocketFile::get(caller, file)?;
    if level as u32 != linux::SOL_SOCKET {
        return Err(Error::NotSupported);
    }
    let length = VirtualAddress::new(length);
    let room = caller.space.read_object::<i32>(length).await?;
    let room = usize::try_from(room).map_err(|_| Error::InvalidArgument)?;
    let value = value(socket.endpoint(), option as u32)?;
    let count = value.len().min(room);
    caller.space.write_bytes(VirtualAddress::new(address), &value[..count]).await?;
    caller.space.write_object(length, &(count as u32)).await?;
    Ok(0)
}

/// What an option is, as its bytes.
fn value(endpoint: &Endpoint, option: u32) -> Result<Vec<u8>> {
    let options = endpoint.options();
    let number = match option {
        linux::SO_TYPE => match endpoint.kind() {
            Kind::Stream => linux::SOCK_STREAM,
            Kind::Datagram => linux::SOCK_DGRAM,
            Kind::SequencedPacket => linux::SOCK_SEQPACKET,
        },
        linux::SO_DOMAIN => linux::AF_UNIX,
        linux::SO_PROTOCOL => 0,
        linux::SO_ERROR => endpoint.take_error().map_or(0, |error| u32::from(error.number())),
        linux::SO_ACCEPTCONN => u32::from(endpoint.is_listening()),
        linux::SO_PASSCRED => u32::from(options.passes_credentials()),
        linux::SO_SNDBUF => options.send_buffer.load(Ordering::Relaxed) as u32,
        linux::SO_RCVBUF => options.receive_buffer.load(Ordering::Relaxed) as u32,
        linux::SO_RCVLOWAT => options.low_water.load(Ordering::Relaxed) as u32,
        linux::SO_SNDLOWAT => 1,
        linux::SO_PEERCRED => {
            let nobody = UserCredentials { process: 0, user: u32::MAX, group: u32::MAX };
            let peer = endpoint.peer_credentials().map_or(nobody, |peer| UserCredentials {
                process: peer.process,
                user: peer.user,
                group: peer.group,
            });
            return Ok(peer.as_bytes().to_vec());
        }
        linux::SO_RCVTIMEO_OLD => return Ok(time_value(options.receive_timeout_ns.load(Ordering::Relaxed))),
        linux::SO_SNDTIMEO_OLD => return Ok(time_value(options.send_timeout_ns.load(Ordering::Relaxed))),
        linux::SO_LINGER => return Ok([0u32; 2].as_bytes().to_vec()),
        option if SWITCHES.contains(&option) => options.switches.load(Ordering::Relaxed) >> option & 1,
        _ => return Err(Error::ProtocolOptionUnavailable),
    };
    Ok(number.to_ne_bytes().to_vec())
}

fn time_value(limit_ns: u64) -> Vec<u8> {
    [limit_ns / SECOND_NS, limit_ns % SECOND_NS / MICROSECOND_NS].as_bytes().to_vec()
}
