//! Sockets of one machine, in the shortest form that the tests can say what they mean in.

use crate::check::need;
use asyncos_apps::call;
use asyncos_apps::system::{Child, Ended, Errno, close};

/// `struct sockaddr_un`, and how much of it counts.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Name {
    family: u16,
    path: [u8; 108],
    /// Not part of the structure.
    length: u32,
}

impl Name {
    /// A path, or an abstract name that begins with NUL.
    pub fn new(path: &[u8]) -> Name {
        let mut name = Name { family: libc::AF_UNIX as u16, path: [0; 108], length: 2 + path.len() as u32 };
        name.path[..path.len()].copy_from_slice(path);
        name
    }

    /// The family only.
    pub fn none() -> Name {
        Name::new(b"")
    }

    /// Nothing at all: the sender of a datagram who has no name.
    pub fn nobody() -> Name {
        Name { length: 0, ..Name::none() }
    }

    /// Its length in bytes.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The same with the length that a call gave.
    pub fn cut(self, length: u32) -> Name {
        Name { length, ..self }
    }

    /// What stands behind the family.
    pub fn path(&self) -> &[u8] {
        &self.path[..(self.length as usize).saturating_sub(2).min(108)]
    }

    /// The name of a socket.
    pub fn of(end: i32) -> Result<Name, Errno> {
        let (mut name, mut length) = (Name::none(), 110u32);
        call!(SYS_getsockname, end, &mut name, &mut length)?;
        Ok(name.cut(length))
    }

    /// The name of whom a socket is connected to.
    pub fn of_peer(end: i32) -> Result<Name, Errno> {
        let (mut name, mut length) = (Name::none(), 110u32);
        call!(SYS_getpeername, end, &mut name, &mut length)?;
        Ok(name.cut(length))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.length == other.length && self.path() == other.path()
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?} ({} bytes)", String::from_utf8_lossy(self.path()), self.length)
    }
}

/// A new socket; `kind` may have `SOCK_NONBLOCK`.
#[track_caller]
pub fn socket(kind: i32) -> i32 {
    need(call!(SYS_socket, libc::AF_UNIX, kind, 0)) as i32
}

/// Two that are connected.
#[track_caller]
pub fn pair(kind: i32) -> (i32, i32) {
    let mut ends = [0i32; 2];
    need(call!(SYS_socketpair, libc::AF_UNIX, kind, 0, &mut ends));
    (ends[0], ends[1])
}

/// Gives a socket a name.
pub fn bind(end: i32, name: &Name) -> Result<usize, Errno> {
    call!(SYS_bind, end, name, name.length())
}

/// Connects to the socket with a name.
pub fn connect(end: i32, name: &Name) -> Result<usize, Errno> {
    call!(SYS_connect, end, name, name.length())
}

/// Takes connections.
pub fn listen(end: i32, backlog: i32) -> Result<usize, Errno> {
    call!(SYS_listen, end, backlog)
}

/// Takes one connection.
pub fn accept(end: i32, flags: i32) -> Result<i32, Errno> {
    call!(SYS_accept4, end, 0, 0, flags).map(|end| end as i32)
}

/// Shuts down one way or both.
pub fn shut_down(end: i32, how: i32) -> Result<usize, Errno> {
    call!(SYS_shutdown, end, how)
}

/// Sends bytes.
pub fn send(end: i32, bytes: &[u8], flags: i32) -> Result<usize, Errno> {
    call!(SYS_sendto, end, bytes, bytes.len(), flags, 0, 0)
}

/// Receives bytes.
pub fn receive(end: i32, bytes: &mut [u8], flags: i32) -> Result<usize, Errno> {
    let length = bytes.len();
    call!(SYS_recvfrom, end, bytes, length, flags, 0, 0)
}

/// An option of one word at the level of sockets.
pub fn option(end: i32, option: i32) -> Result<i32, Errno> {
    let (mut value, mut length) = (0i32, 4i32);
    call!(SYS_getsockopt, end, libc::SOL_SOCKET, option, &mut value, &mut length)?;
    Ok(value)
}

/// Sets such an option.
pub fn set_option(end: i32, option: i32, value: i32) -> Result<usize, Errno> {
    call!(SYS_setsockopt, end, libc::SOL_SOCKET, option, &value, 4)
}

/// What of `events` is so now, and what is always told.
#[track_caller]
pub fn poll(descriptor: i32, events: i16) -> i16 {
    let mut entry = libc::pollfd { fd: descriptor, events, revents: 0 };
    need(call!(SYS_ppoll, &mut entry, 1, &[0u64; 2], 0, 8));
    entry.revents
}

/// Closes descriptors that must be open.
#[track_caller]
pub fn close_all(descriptors: &[i32]) {
    descriptors.iter().for_each(|descriptor| need(close(*descriptor)));
}

/// How a child ended.
#[track_caller]
pub fn ended(child: Result<Child, Errno>) -> Ended {
    need(child.and_then(Child::wait))
}
