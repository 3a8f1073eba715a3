//! The file system that lives in memory: the root, /tmp, /dev/shm, and what has no name.

mod directory;
mod inode;
pub mod seals;
#[cfg(test)]
mod tests;
pub use inode::TmpfsInode;

use crate::environment::Environment;
use crate::inode::{FileSystem, Inode};
use crate::metadata::{DeviceNumber, FileKind, NewNode, Ownership, Statistics};
use crate::name::NAME_MAX;
use crate::pages::Quota;
use crate::{Error, Result};
use alloc::boxed::Box;
use alloc::sync::Arc;
use base::address::PAGE_SIZE;
use base::operation::Operation;
use core::sync::atomic::{AtomicU64, Ordering};

/// `TMPFS_MAGIC`.
const MAGIC: u64 = 0x0102_1994;
/// What an inode takes of the quota of inodes beside its content.
const INODES_UNLIMITED: u64 = u64::MAX;

/// How a tmpfs is set up: what `mount -o` can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// At most this many bytes of content, in whole pages.
    pub size: Option<u64>,
    /// At most this many inodes.
    pub inodes: Option<u64>,
    /// Of the root directory.
    pub root: Ownership,
}

impl Default for Options {
    fn default() -> Self {
        Self { size: None, inodes: None, root: Ownership { permissions: 0o1777, uid: 0, gid: 0 } }
    }
}

impl Options {
    /// Reads `size=10m,nr_inodes=1k,mode=755,uid=0,gid=0`; a size may be a share of `memory` bytes (`50%`).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is not understood.
    pub fn parse(text: &[u8], memory: u64) -> Result<Self> {
        let mut options = Self::default();
        for option in text.split(|byte| *byte == b',').filter(|option| !option.is_empty()) {
            let option = core::str::from_utf8(option).map_err(|_| Error::InvalidArgument)?;
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let number = |radix| u32::from_str_radix(value, radix).map_err(|_| Error::InvalidArgument);
            match key {
                "size" => options.size = limit(size(value, memory)?),
                "nr_blocks" => options.size = limit(size(value, memory)?.saturating_mul(PAGE_SIZE as u64)),
                "nr_inodes" => options.inodes = limit(size(value, memory)?),
                "mode" => options.root.permissions = number(8)? as u16 & 0o7777,
                "uid" => options.root.uid = number(10)?,
                "gid" => options.root.gid = number(10)?,
                // How pages are spread and swapped: nothing of that here, and no promise in it.
                "huge" | "mpol" | "noswap" | "inode64" | "inode32" => {}
                _ => return Err(Error::InvalidArgument),
            }
        }
        Ok(options)
    }
}

/// A limit of 0 means none.
fn limit(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

fn size(text: &str, memory: u64) -> Result<u64> {
    if let Some(share) = text.strip_suffix('%') {
        let share: u64 = share.parse().map_err(|_| Error::InvalidArgument)?;
        return Ok((memory / 100).saturating_mul(share));
    }
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return Err(Error::InvalidArgument),
    };
    let value: u64 = digits.parse().map_err(|_| Error::InvalidArgument)?;
    value.checked_mul(1 << shift).ok_or(Error::InvalidArgument)
}

/// What all inodes of one tmpfs share.
pub(crate) struct Shared {
    environment: Arc<Environment>,
    device: DeviceNumber,
    pages: Arc<Quota>,
    inodes: AtomicU64,
    inode_limit: u64,
    next_number: AtomicU64,
}

impl Shared {
    fn now_ns(&self) -> i64 {
        self.environment.clock.now_ns()
    }

    fn take_inode(&self) -> Result<u64> {
        if self.inodes.fetch_add(1, Ordering::Relaxed) >= self.inode_limit {
            self.inodes.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::NoSpace);
        }
        Ok(self.next_number.fetch_add(1, Ordering::Relaxed))
    }
}

/// A tmpfs.
pub struct Tmpfs {
    name: &'static str,
    options: Options,
    shared: Arc<Shared>,
    root: Arc<TmpfsInode>,
}

impl Tmpfs {
    /// An empty tmpfs.
    pub fn new(environment: Arc<Environment>, options: Options) -> Arc<Self> {
        Self::named("tmpfs", environment, options)
    }

    /// An empty tmpfs that goes by another name (`rootfs`, `devtmpfs`).
    pub fn named(name: &'static str, environment: Arc<Environment>, options: Options) -> Arc<Self> {
        let limit = options.size.map_or(u64::MAX >> 1, |size| size.div_ceil(PAGE_SIZE as u64));
        let shared = Arc::new(Shared {
            device: environment.next_file_system(),
            environment,
            pages: Arc::new(Quota::new(limit)),
            inodes: AtomicU64::new(1),
            inode_limit: options.inodes.unwrap_or(INODES_UNLIMITED),
            next_number: AtomicU64::new(2),
        });
        let node = NewNode {
            kind: FileKind::Directory,
            ownership: options.root,
            special_device: Default::default(),
        };
        let root = TmpfsInode::root(shared.clone(), node);
        Arc::new(Self { name, options, shared, root })
    }

    /// A regular file without a name, for a shared anonymous mapping or `memfd_create`.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub fn unnamed_file(&self, ownership: Ownership) -> Result<Arc<TmpfsInode>> {
        let node = NewNode { kind: FileKind::Regular, ownership, special_device: Default::default() };
        let inode = TmpfsInode::new(self.shared.clone(), node)?;
        inode.forget_name();
        Ok(inode)
    }

    /// Pages that its files have now.
    pub fn pages_used(&self) -> u64 {
        self.shared.pages.used()
    }

    /// Inodes that there are now.
    pub fn inodes_used(&self) -> u64 {
        self.shared.inodes.load(Ordering::Relaxed)
    }
}

impl FileSystem for Tmpfs {
    fn name(&self) -> &'static str {
        self.name
    }

    fn device(&self) -> DeviceNumber {
        self.shared.device
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn statistics(&self) -> Operation<'_, Result<Statistics>> {
        let pages = &self.shared.pages;
        let blocks = self.options.size.map_or(0, |_| pages.limit());
        let files = self.options.inodes.unwrap_or(0);
        Operation::Ready(Ok(Statistics {
            magic: MAGIC,
            block_size: PAGE_SIZE as u32,
            blocks,
            blocks_free: blocks.saturating_sub(pages.used()),
            files,
            files_free: files.saturating_sub(self.inodes_used()),
            name_length: NAME_MAX as u32,
        }))
    }

    fn options(&self) -> Box<[u8]> {
        use core::fmt::Write;
        let mut text = alloc::string::String::new();
        let written = (|| {
            if let Some(size) = self.options.size {
                write!(text, ",size={}k", size.div_ceil(PAGE_SIZE as u64) * (PAGE_SIZE as u64 >> 10))?;
            }
            if let Some(inodes) = self.options.inodes {
                write!(text, ",nr_inodes={inodes}")?;
            }
            if self.options.root.permissions != 0o1777 {
                write!(text, ",mode={:o}", self.options.root.permissions)?;
            }
            Ok::<(), core::fmt::Error>(())
        })();
        written.expect("writing to a string does not fail");
        text.into_bytes().into()
    }
}
