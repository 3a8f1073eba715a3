//! The names of sockets: paths, abstract names, and the table in which endpoints are found by them.

use super::endpoint::{Endpoint, Kind};
use super::in_flight::Flights;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::sync::SpinLock;
use base::{Error, Result};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use vfs::Inode;

/// Bytes of a path or an abstract name at most (`sun_path`).
pub const PATH_MAX: usize = 108;
/// Bytes of the family before it (`sun_family`).
pub const FAMILY_SIZE: usize = size_of::<u16>();
/// Numbers of five hexadecimal digits, from which [`Domain::bind_automatically`] chooses.
const AUTOMATIC_NAMES: u32 = 1 << 20;

/// An address as a caller gives it (`struct sockaddr_un` without its family).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// No name: to be bound to any.
    Unnamed,
    /// A file's path.
    Path(&'a [u8]),
    /// A name of no file.
    Abstract(&'a [u8]),
}

impl<'a> Address<'a> {
    /// Understands what follows the family.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is too long.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > PATH_MAX {
            return Err(Error::InvalidArgument);
        }
        match bytes {
            [] => Ok(Self::Unnamed),
            [0, name @ ..] => Ok(Self::Abstract(name)),
            path => {
                let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                Ok(Self::Path(&path[..end]))
            }
        }
    }
}

/// The name of a bound socket, which connections to it share.
pub struct Name {
    /// What `getsockname` gives behind the family: a path with its NUL, or a NUL and an abstract name.
    bytes: Box<[u8]>,
    /// The file at the path, which stays while the name does.
    inode: Option<Arc<dyn Inode>>,
}

impl Name {
    /// What an address says behind its family.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn key(inode: &Arc<dyn Inode>) -> usize {
    Arc::as_ptr(inode).cast::<()>().addr()
}

/// Names in use. An abstract name is one of a kind of socket.
#[derive(Default)]
pub(super) struct Names {
    abstracts: [BTreeMap<Box<[u8]>, Weak<Endpoint>>; 3],
    inodes: BTreeMap<usize, Weak<Endpoint>>,
}

/// Everything that the sockets of one machine share; one for the whole kernel.
pub struct Domain {
    pub(super) names: SpinLock<Names>,
    pub(super) flights: SpinLock<Flights>,
    pub(super) sockets: SpinLock<BTreeMap<u64, Weak<Endpoint>>>,
    next_automatic: AtomicU32,
    next_serial: AtomicU64,
}

impl Domain {
    /// No sockets.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            names: SpinLock::new(Names::default()),
            flights: SpinLock::new(Flights::default()),
            sockets: SpinLock::new(BTreeMap::new()),
            next_automatic: AtomicU32::new(0),
            next_serial: AtomicU64::new(1),
        })
    }

    pub(super) fn next_serial(&self) -> u64 {
        self.next_serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Every open endpoint, for `/proc/net/unix`.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.sockets.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// The endpoint that is bound to a socket's file.
    ///
    /// # Errors
    /// [`Error::ConnectionRefused`] when none is.
    pub fn find_inode(&self, inode: &Arc<dyn Inode>) -> Result<Arc<Endpoint>> {
        let found = self.names.lock().inodes.get(&key(inode)).and_then(Weak::upgrade);
        found.ok_or(Error::ConnectionRefused)
    }

    /// The endpoint of this kind with an abstract name.
    ///
    /// # Errors
    /// [`Error::ConnectionRefused`] when none has it.
    pub fn find_abstract(&self, kind: Kind, name: &[u8]) -> Result<Arc<Endpoint>> {
        let found = self.names.lock().abstracts[kind.index()].get(name).and_then(Weak::upgrade);
        found.ok_or(Error::ConnectionRefused)
    }

    /// Gives an endpoint an abstract name.
    ///
    /// # Errors
    /// [`Error::AddressInUse`]; [`Error::InvalidArgument`] when it has a name.
    pub fn bind_abstract(&self, endpoint: &Arc<Endpoint>, name: &[u8]) -> Result<()> {
        let mut names = self.names.lock();
        let table = &mut names.abstracts[endpoint.kind.index()];
        if table.get(name).is_some_and(|owner| owner.strong_count() > 0) {
            return Err(Error::AddressInUse);
        }
        let bytes = [&[0], name].concat().into_boxed_slice();
        endpoint.set_name(Arc::new(Name { bytes, inode: None }))?;
        table.insert(Box::from(name), Arc::downgrade(endpoint));
        Ok(())
    }

    /// Gives an endpoint the file of a socket that was made for it at `path`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it has a name.
    pub fn bind_inode(&self, endpoint: &Arc<Endpoint>, inode: Arc<dyn Inode>, path: &[u8]) -> Result<()> {
        let key = key(&inode);
        let bytes = [path, &[0]].concat().into_boxed_slice();
        let mut names = self.names.lock();
        endpoint.set_name(Arc::new(Name { bytes, inode: Some(inode) }))?;
        names.inodes.insert(key, Arc::downgrade(endpoint));
        Ok(())
    }

    /// Gives an endpoint some abstract name, unless it has a name already.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when every one is taken.
    pub fn bind_automatically(&self, endpoint: &Arc<Endpoint>) -> Result<()> {
        for _ in 0..AUTOMATIC_NAMES {
            if endpoint.name().is_some() {
                return Ok(());
            }
            let number = self.next_automatic.fetch_add(1, Ordering::Relaxed) % AUTOMATIC_NAMES;
            match self.bind_abstract(endpoint, format!("{number:05x}").as_bytes()) {
                Err(Error::AddressInUse) => {}
                // Bound by another thread in between.
                Err(Error::InvalidArgument) => return Ok(()),
                outcome => return outcome,
            }
        }
        Err(Error::NoSpace)
    }

    /// Takes the name of an endpoint that is closed out of the tables, if it is the one that was bound to it.
    pub(super) fn unbind(&self, endpoint: &Endpoint, name: &Name) {
        let is_own = |owner: &Weak<Endpoint>| core::ptr::eq(owner.as_ptr(), endpoint);
        let mut names = self.names.lock();
        match &name.inode {
            Some(inode) => {
                let key = key(inode);
                if names.inodes.get(&key).is_some_and(is_own) {
                    names.inodes.remove(&key);
                }
            }
            None => {
                let table = &mut names.abstracts[endpoint.kind.index()];
                if table.get(&name.bytes[1..]).is_some_and(is_own) {
                    table.remove(&name.bytes[1..]);
                }
            }
        }
    }
}
