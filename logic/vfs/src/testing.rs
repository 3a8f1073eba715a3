//! A small world for tests: a root on a tmpfs, somebody who acts in it, and shortcuts for the system calls.

use crate::environment::Environment;
use crate::flags::OpenFlags;
use crate::inode::RenameMode;
use crate::metadata::{FileKind, Metadata, Ownership};
use crate::mount::{Location, Mount, MountFlags};
use crate::namespace::{self, Context, Empty};
use crate::open_file::OpenFile;
use crate::path::{At, Follow};
use crate::tmpfs::{Options, Tmpfs};
use crate::{Credentials, Result};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::bytes::{Sink, Source};
use core::future::Future;
use core::ops::ControlFlow;
use core::pin::pin;
use core::task::{Context as TaskContext, Poll, Waker};
use std::string::String;
use std::task::Wake;
use std::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            return result;
        }
        thread::park();
    }
}

/// One poll.
pub fn poll_once<F: Future>(future: core::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

pub struct World {
    pub environment: Arc<Environment>,
    pub tmpfs: Arc<Tmpfs>,
    pub root: Location,
    pub cwd: Location,
    pub credentials: Credentials,
    pub umask: u16,
}

impl World {
    pub fn new() -> Self {
        Self::with(Options { root: Ownership { permissions: 0o755, uid: 0, gid: 0 }, ..Options::default() })
    }

    pub fn with(options: Options) -> Self {
        memory::frames::initialise_hosted();
        let environment = Environment::new();
        let tmpfs = Tmpfs::new(environment.clone(), options);
        let root = Mount::new(tmpfs.clone(), b"none", MountFlags::empty()).top();
        Self { environment, tmpfs, cwd: root.clone(), root, credentials: Credentials::root(), umask: 0o022 }
    }

    /// The same tree for somebody else.
    pub fn as_user(&self, uid: u32, gid: u32) -> Self {
        Self {
            environment: self.environment.clone(),
            tmpfs: self.tmpfs.clone(),
            root: self.root.clone(),
            cwd: self.cwd.clone(),
            credentials: Credentials::user(uid, gid),
            umask: self.umask,
        }
    }

    pub fn context(&self) -> Context<'_> {
        Context { root: &self.root, credentials: &self.credentials, umask: self.umask }
    }

    pub fn at<'a>(&'a self, path: &'a str) -> At<'a> {
        At::new(&self.cwd, path.as_bytes())
    }

    pub fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<OpenFile>> {
        block_on(namespace::open(&self.context(), self.at(path), flags, 0o666))
    }

    pub fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let file = self.open(path, OpenFlags::WRITE_ONLY | OpenFlags::CREATE | OpenFlags::TRUNCATE)?;
        let mut source = Source::new(content);
        while source.remaining() > 0 {
            block_on(file.write(&mut source))?;
        }
        Ok(())
    }

    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let file = self.open(path, OpenFlags::empty())?;
        read_all(&file)
    }

    pub fn mkdir(&self, path: &str) -> Result<()> {
        self.mkdir_mode(path, 0o777)
    }

    pub fn mkdir_mode(&self, path: &str, mode: u16) -> Result<()> {
        block_on(namespace::make_directory(&self.context(), self.at(path), mode))
    }

    pub fn mknod(&self, path: &str, kind: FileKind) -> Result<()> {
        block_on(namespace::make_node(&self.context(), self.at(path), kind, 0o666, crate::devfs::NULL))
    }

    pub fn symlink(&self, target: &str, path: &str) -> Result<()> {
        block_on(namespace::symlink(&self.context(), target.as_bytes(), self.at(path)))
    }

    pub fn link(&self, from: &str, to: &str) -> Result<()> {
        block_on(namespace::link(&self.context(), self.at(from), Follow::No, Empty::Refused, self.at(to)))
    }

    pub fn unlink(&self, path: &str) -> Result<()> {
        block_on(namespace::unlink(&self.context(), self.at(path)))
    }

    pub fn rmdir(&self, path: &str) -> Result<()> {
        block_on(namespace::remove_directory(&self.context(), self.at(path)))
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.rename_mode(from, to, RenameMode::Replace)
    }

    pub fn rename_mode(&self, from: &str, to: &str, mode: RenameMode) -> Result<()> {
        block_on(namespace::rename(&self.context(), self.at(from), self.at(to), mode))
    }

    pub fn resolve(&self, path: &str) -> Result<Location> {
        block_on(namespace::resolve(&self.context(), self.at(path), Follow::Yes))
    }

    pub fn resolve_link(&self, path: &str) -> Result<Location> {
        block_on(namespace::resolve(&self.context(), self.at(path), Follow::No))
    }

    pub fn stat(&self, path: &str) -> Result<Metadata> {
        block_on(namespace::metadata(&self.resolve(path)?))
    }

    pub fn lstat(&self, path: &str) -> Result<Metadata> {
        block_on(namespace::metadata(&self.resolve_link(path)?))
    }

    pub fn path_of(&self, path: &str) -> Result<String> {
        Ok(String::from_utf8(self.resolve(path)?.absolute_path(&self.root)).unwrap())
    }

    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        let file = self.open(path, OpenFlags::DIRECTORY)?;
        names(&file, usize::MAX)
    }
}

/// Up to `count` names from where the description's listing is.
pub fn names(file: &OpenFile, count: usize) -> Result<Vec<String>> {
    let mut names = Vec::new();
    block_on(file.list(&mut |entry| {
        if names.len() == count {
            return ControlFlow::Break(());
        }
        names.push(String::from_utf8(entry.name.to_vec()).unwrap());
        ControlFlow::Continue(())
    }))?;
    Ok(names)
}

pub fn read_all(file: &OpenFile) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        let count = block_on(file.read(&mut Sink::new(&mut buffer)))?;
        if count == 0 {
            return Ok(content);
        }
        content.extend_from_slice(&buffer[..count]);
    }
}
