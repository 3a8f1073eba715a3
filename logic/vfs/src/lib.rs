//! Files: names, mounts, open descriptions, and the file systems that live in memory.
//!
//! From the bottom up: [`inode`] says what a file system provides; [`dentry`] caches its names and [`mount`] joins
//! trees into one; [`path`] walks it; [`namespace`] has the operations of `open(2)`, `rename(2)` and their kind;
//! [`open_file`] and [`file_table`] are what descriptors stand for. [`tmpfs`], [`pipe`], [`synthetic`] and [`devfs`]
//! provide files, [`cpio`] unpacks the first ones.
//!
//! An operation that can wait is an `async fn` or returns [`base::operation::Operation`]; what lives in memory answers
//! at once and allocates nothing on the way.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod anonymous;
pub mod clock;
pub mod cpio;
pub mod credentials;
pub mod dentry;
pub mod devfs;
pub mod environment;
pub mod event_counter;
pub mod extended;
pub mod file_table;
pub mod flags;
pub mod inode;
pub mod locks;
pub mod metadata;
pub mod mount;
pub mod name;
pub mod namespace;
pub mod open_file;
pub mod pages;
pub mod path;
pub mod pipe;
pub mod radix;
pub mod synthetic;
#[cfg(test)]
mod testing;
pub mod tmpfs;

pub use base::{Error, Result};
pub use clock::WallClock;
pub use credentials::{Capabilities, Credentials};
pub use dentry::Dentry;
pub use environment::Environment;
pub use file_table::FileTable;
pub use flags::OpenFlags;
pub use inode::{File, FileSystem, Inode, LinkTarget, Readiness};
pub use metadata::{FileKind, Metadata, MetadataChange};
pub use mount::{Location, Mount};
pub use namespace::Context;
pub use open_file::OpenFile;
pub use path::At;
