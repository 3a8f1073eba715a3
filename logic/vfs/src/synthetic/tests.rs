//! Synthetic files and /dev, mounted and used by path.

use super::*;
use crate::devfs::{self, Devfs, Entropy};
use crate::mount::{Mount, MountFlags};
use crate::namespace;
use crate::testing::{World, block_on, names};
use std::format;
use std::vec;

struct Processes {
    origin: Arc<Origin>,
    alive: SpinLock<Vec<u64>>,
}

impl Entries for Arc<Processes> {
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let number =
            core::str::from_utf8(name).ok().and_then(|name| name.parse().ok()).ok_or(Error::NotFound)?;
        if !self.alive.lock().contains(&number) {
            return Err(Error::NotFound);
        }
        let ownership = Ownership { permissions: 0o555, uid: 0, gid: 0 };
        let directory = SyntheticDirectory::new(self.origin.node_with(number << 16, ownership));
        let text = move |text: &mut Vec<u8>| {
            text.extend_from_slice(format!("process {number}\n").as_bytes());
            Ok(())
        };
        directory.insert("status", SyntheticFile::new(self.origin.node(0o444), text))?;
        Ok(directory)
    }

    fn list(&self, cookie: u64, visitor: &mut EntryVisitor<'_>) {
        let first = cookie - FIRST_DYNAMIC_COOKIE;
        for number in self.alive.lock().iter().copied().filter(|number| *number >= first) {
            let name = format!("{number}");
            let cookie = FIRST_DYNAMIC_COOKIE + number + 1;
            let entry = DirectoryEntry {
                name: name.as_bytes(),
                number: number << 16,
                kind: FileKind::Directory,
                cookie,
            };
            if visitor(entry).is_break() {
                return;
            }
        }
    }
}

struct Setting(SpinLock<Vec<u8>>);

impl Content for Setting {
    fn generate<'a>(&'a self, text: &'a mut Vec<u8>) -> Operation<'a, Result<()>> {
        text.extend_from_slice(&self.0.lock());
        Operation::Ready(Ok(()))
    }

    fn store<'a>(&'a self, bytes: &'a [u8]) -> Operation<'a, Result<()>> {
        *self.0.lock() = bytes.to_vec();
        Operation::Ready(Ok(()))
    }
}

fn mounted() -> (World, Arc<Processes>) {
    let world = World::new();
    let origin = Origin::new(world.environment.clone(), 1);
    let processes = Arc::new(Processes { origin: origin.clone(), alive: SpinLock::new(vec![1, 5, 9]) });
    let root = SyntheticDirectory::with_entries(origin.node(0o555), processes.clone());
    root.insert("setting", SyntheticFile::new(origin.node(0o644), Setting(SpinLock::new(b"1\n".to_vec()))))
        .unwrap();
    root.insert("self", SyntheticLink::new(origin.node(0o777), || Ok(LinkTarget::Path(Arc::from(*b"5")))))
        .unwrap();
    let place = world.root.clone();
    root.insert(
        "root",
        SyntheticLink::new(origin.node(0o777), move || Ok(LinkTarget::Location(place.clone()))),
    )
    .unwrap();
    let file_system = SyntheticFileSystem::new("proc", 0x9fa0, &origin, root);
    world.mkdir("/proc").unwrap();
    let mount = Mount::new(file_system, b"proc", MountFlags::empty());
    mount.attach(world.resolve("/proc").unwrap()).unwrap();
    (world, processes)
}

#[test]
fn entries_come_and_go() {
    let (world, processes) = mounted();
    assert_eq!(world.read("/proc/5/status").unwrap(), b"process 5\n");
    assert_eq!(world.read("/proc/self/status").unwrap(), b"process 5\n");
    assert_eq!(world.names("/proc").unwrap(), [".", "..", "setting", "self", "root", "1", "5", "9"]);
    let inside = world.resolve("/proc/5").unwrap();
    assert!(Arc::ptr_eq(&inside.dentry, &world.resolve("/proc/5").unwrap().dentry));
    processes.alive.lock().retain(|number| *number != 5);
    assert_eq!(world.resolve("/proc/5").err(), Some(Error::NotFound));
    assert_eq!(inside.absolute_path(&world.root), b"/proc/5");
    drop(inside);
    // A listing that is taken piece by piece.
    let directory = world.open("/proc", OpenFlags::DIRECTORY).unwrap();
    assert_eq!(names(&directory, 6).unwrap(), [".", "..", "setting", "self", "root", "1"]);
    assert_eq!(names(&directory, 6).unwrap(), ["9"]);
    assert_eq!(names(&directory, 6).unwrap(), [""; 0]);
    assert_eq!(world.mkdir("/proc/new").err(), Some(Error::NotPermitted));
    assert_eq!(world.unlink("/proc/setting").err(), Some(Error::NotPermitted));
}

#[test]
fn content_is_made_when_read_from_the_start() {
    let (world, _) = mounted();
    let file = world.open("/proc/setting", OpenFlags::READ_WRITE).unwrap();
    world.write("/proc/setting", b"22\n").unwrap();
    assert_eq!(crate::testing::read_all(&file).unwrap(), b"22\n");
    world.write("/proc/setting", b"333\n").unwrap();
    let mut buffer = [0; 8];
    assert_eq!(block_on(file.read_at(&mut Sink::new(&mut buffer), 2)).unwrap(), 1, "still what was read");
    assert_eq!(block_on(file.read_at(&mut Sink::new(&mut buffer), 0)).unwrap(), 4);
    assert_eq!(
        world.open("/proc/1/status", OpenFlags::WRITE_ONLY).map(|_| ()),
        Ok(()),
        "the superuser may open it"
    );
    let status = world.open("/proc/1/status", OpenFlags::WRITE_ONLY).unwrap();
    assert_eq!(block_on(status.write(&mut Source::new(b"x"))).err(), Some(Error::InputOutput));
}

#[test]
fn links_to_places() {
    let (mut world, _) = mounted();
    world.mkdir("/d").unwrap();
    world.write("/d/f", b"f").unwrap();
    assert_eq!(world.read("/proc/root/d/f").unwrap(), b"f");
    assert_eq!(world.path_of("/proc/root").unwrap(), "/");
    assert_eq!(world.path_of("/proc/root/").unwrap(), "/");
    assert_eq!(world.path_of("/proc/root/d/..").unwrap(), "/");
    let text = block_on(namespace::read_link(&world.context(), world.at("/proc/root"))).unwrap();
    assert_eq!(text, b"/");
    assert_eq!(world.lstat("/proc/root").unwrap().kind, FileKind::SymbolicLink);
    // A link to a place leads there even out of a changed root.
    let proc = world.resolve("/proc").unwrap();
    world.root = world.resolve("/d").unwrap();
    let at = crate::At::new(&proc, b"root/d/f");
    assert!(block_on(namespace::resolve(&world.context(), at, crate::path::Follow::Yes)).is_ok());
}

struct Counter(SpinLock<u8>);

impl Entropy for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let mut next = self.0.lock();
            *byte = *next;
            *next = next.wrapping_add(1);
        }
    }
}

#[test]
fn devices_without_hardware() {
    let world = World::new();
    devfs::register_memory_devices(&world.environment, Arc::new(Counter(SpinLock::new(0)))).unwrap();
    let devfs = block_on(Devfs::new(world.environment.clone())).unwrap();
    world.mkdir("/dev").unwrap();
    Mount::new(devfs.file_system(), b"devtmpfs", MountFlags::empty())
        .attach(world.resolve("/dev").unwrap())
        .unwrap();
    assert_eq!(world.stat("/dev/null").unwrap().special_device, devfs::NULL);
    assert_eq!(world.stat("/dev/null").unwrap().mode(), 0o20666);
    world.write("/dev/null", b"gone").unwrap();
    assert_eq!(world.read("/dev/null").unwrap(), b"");
    let mut buffer = [7; 600];
    let mut read = |path: &str| {
        let file = world.open(path, OpenFlags::empty()).unwrap();
        block_on(file.read(&mut Sink::new(&mut buffer))).map(|count| buffer[..count].to_vec())
    };
    assert_eq!(read("/dev/zero").unwrap(), [0; 600]);
    assert_eq!(read("/dev/full").unwrap(), [0; 600]);
    assert_eq!(read("/dev/urandom").unwrap()[..3], [0, 1, 2]);
    assert_eq!(read("/dev/random").unwrap()[599], (2 * 600 - 1) as u8);
    assert_eq!(world.write("/dev/full", b"x").err(), Some(Error::NoSpace));
    world.write("/dev/random", b"stirred").unwrap();
    assert_eq!(world.names("/dev").unwrap().len(), 2 + 5 + 2 + 4);
    // A node anywhere opens what is behind its number, unless the mount forbids it.
    world.mknod("/my-null", FileKind::CharacterDevice).unwrap();
    assert_eq!(world.read("/my-null").unwrap(), b"");
    world.root.mount.set_flags(MountFlags::NO_DEVICES);
    assert_eq!(world.read("/my-null").err(), Some(Error::AccessDenied));
}
