//! What Linux answers in the corners of the operations on names.

use super::*;
use crate::flags::OpenFlags;
use crate::inode::RenameMode;
use crate::mount::{Mount, MountFlags};
use crate::testing::{World, block_on};
use crate::tmpfs::{Options, Tmpfs};
use std::string::String;
use std::{format, vec};

const CREATE: OpenFlags = OpenFlags::WRITE_ONLY.union(OpenFlags::CREATE);
const READ: OpenFlags = OpenFlags::empty();

#[test]
fn paths_are_walked() {
    let world = World::new();
    world.mkdir("/a").unwrap();
    world.mkdir("a/b/").unwrap();
    world.write("/a/b/file", b"hello").unwrap();
    assert_eq!(world.read("//a/./b/..//b/file").unwrap(), b"hello");
    assert_eq!(world.path_of("/../../a/b/../b/file").unwrap(), "/a/b/file");
    assert_eq!(world.path_of("/").unwrap(), "/");
    assert_eq!(world.path_of("a/b/").unwrap(), "/a/b");
    assert_eq!(world.resolve("").err(), Some(Error::NotFound));
    assert_eq!(world.resolve("/a/b/file/").err(), Some(Error::NotDirectory));
    assert_eq!(world.resolve("/a/b/file/x").err(), Some(Error::NotDirectory));
    assert_eq!(world.resolve("/a/b/file/..").err(), Some(Error::NotDirectory));
    assert_eq!(world.resolve("/a/none/..").err(), Some(Error::NotFound));
    let long = "x".repeat(256);
    assert_eq!(world.resolve(&long).err(), Some(Error::NameTooLong));
    assert_eq!(world.mkdir(&long).err(), Some(Error::NameTooLong));
    assert_eq!(world.mkdir(&long[1..]), Ok(()));
    assert_eq!(world.resolve(&"/".repeat(4096)).err(), Some(Error::NameTooLong));
    assert!(world.resolve(&"/".repeat(4095)).is_ok());
}

#[test]
fn symbolic_links_are_followed() {
    let world = World::new();
    world.mkdir("/usr").unwrap();
    world.mkdir("/usr/lib").unwrap();
    world.write("/usr/lib/c", b"c").unwrap();
    world.symlink("usr/lib", "/lib").unwrap();
    world.symlink("/lib/", "/usr/slashed").unwrap();
    world.symlink("..", "/usr/up").unwrap();
    world.symlink("lib/c", "/c").unwrap();
    assert_eq!(world.read("/lib/c").unwrap(), b"c");
    assert_eq!(world.read("/usr/slashed/c").unwrap(), b"c");
    assert_eq!(world.read("/usr/up/usr/up/c").unwrap(), b"c");
    assert_eq!(world.lstat("/lib").unwrap().kind, FileKind::SymbolicLink);
    assert_eq!(world.lstat("/lib").unwrap().size, 7);
    assert_eq!(world.lstat("/lib/").unwrap().kind, FileKind::Directory);
    assert_eq!(world.lstat("/c/").err(), Some(Error::NotDirectory));
    assert_eq!(block_on(read_link(&world.context(), world.at("/c"))).unwrap(), b"lib/c");
    assert_eq!(block_on(read_link(&world.context(), world.at("/usr"))).err(), Some(Error::InvalidArgument));
    world.symlink("loop", "/loop").unwrap();
    assert_eq!(world.resolve("/loop").err(), Some(Error::TooManySymbolicLinks));
    assert_eq!(world.resolve("/loop/x").err(), Some(Error::TooManySymbolicLinks));
    world.symlink("c", "/l0").unwrap();
    for index in 1..41 {
        world.symlink(&format!("l{}", index - 1), &format!("/l{index}")).unwrap();
    }
    // l37 to l0 are 38 links, /c and /lib two more.
    assert_eq!(world.read("/l37").unwrap(), b"c");
    assert_eq!(world.read("/l38").err(), Some(Error::TooManySymbolicLinks));
    assert_eq!(world.symlink("", "/empty").err(), Some(Error::NotFound));
    assert_eq!(world.symlink("x", "/c").err(), Some(Error::AlreadyExists));
    assert_eq!(world.symlink("x", "/new/").err(), Some(Error::NotFound));
}

#[test]
fn a_changed_root_holds() {
    let mut world = World::new();
    world.mkdir("/jail").unwrap();
    world.mkdir("/jail/etc").unwrap();
    world.write("/secret", b"").unwrap();
    world.symlink("/secret", "/jail/out").unwrap();
    world.symlink("/etc", "/jail/in").unwrap();
    let outside = world.resolve("/").unwrap();
    world.root = world.resolve("/jail").unwrap();
    world.cwd = world.root.clone();
    assert_eq!(world.resolve("/out").err(), Some(Error::NotFound));
    assert_eq!(world.resolve("/../../secret").err(), Some(Error::NotFound));
    assert_eq!(world.path_of("/in/..").unwrap(), "/");
    assert_eq!(world.path_of("/in").unwrap(), "/etc");
    assert_eq!(outside.absolute_path(&world.root), b"(unreachable)/");
}

#[test]
fn open_makes_and_refuses() {
    let world = World::new();
    world.mkdir("/d").unwrap();
    world.write("/f", b"abc").unwrap();
    world.symlink("f", "/to-f").unwrap();
    world.symlink("target", "/dangling").unwrap();
    let exclusive = CREATE | OpenFlags::EXCLUSIVE;
    assert_eq!(world.open("/none", READ).err(), Some(Error::NotFound));
    assert_eq!(world.open("/f", exclusive).err(), Some(Error::AlreadyExists));
    assert_eq!(world.open("/dangling", exclusive).err(), Some(Error::AlreadyExists));
    assert_eq!(world.open("/d", exclusive).err(), Some(Error::AlreadyExists));
    assert_eq!(
        world.open("/dangling", CREATE | OpenFlags::NO_FOLLOW).err(),
        Some(Error::TooManySymbolicLinks)
    );
    world.open("/dangling", CREATE).unwrap();
    assert_eq!(world.stat("/target").unwrap().kind, FileKind::Regular);
    assert_eq!(world.open("/d", CREATE).err(), Some(Error::IsDirectory));
    assert_eq!(world.open("/d", OpenFlags::CREATE).err(), Some(Error::IsDirectory));
    assert_eq!(world.open("/d/", CREATE).err(), Some(Error::IsDirectory));
    assert_eq!(world.open("/new/", CREATE).err(), Some(Error::IsDirectory));
    assert_eq!(world.open("/", CREATE).err(), Some(Error::IsDirectory));
    assert_eq!(world.open("/", exclusive).err(), Some(Error::AlreadyExists));
    assert_eq!(world.open("/d", OpenFlags::WRITE_ONLY).err(), Some(Error::IsDirectory));
    assert_eq!(world.open("/d", OpenFlags::TRUNCATE).err(), Some(Error::IsDirectory));
    assert_eq!(world.open("/f", OpenFlags::DIRECTORY).err(), Some(Error::NotDirectory));
    assert_eq!(world.open("/f/", READ).err(), Some(Error::NotDirectory));
    assert_eq!(world.open("/x", CREATE | OpenFlags::DIRECTORY).err(), Some(Error::InvalidArgument));
    assert_eq!(world.open("/to-f", OpenFlags::NO_FOLLOW).err(), Some(Error::TooManySymbolicLinks));
    let link = world.open("/to-f", OpenFlags::NO_FOLLOW | OpenFlags::PATH).unwrap();
    assert_eq!(link.location().kind(), FileKind::SymbolicLink);
    let directory = world.open("/to-f", OpenFlags::NO_FOLLOW | OpenFlags::PATH | OpenFlags::DIRECTORY);
    assert_eq!(directory.err(), Some(Error::NotDirectory));
    world.open("/to-f", OpenFlags::WRITE_ONLY | OpenFlags::TRUNCATE).unwrap();
    assert_eq!(world.stat("/f").unwrap().size, 0);
    world.mknod("/socket", FileKind::Socket).unwrap();
    assert_eq!(world.open("/socket", READ).err(), Some(Error::NoSuchDeviceOrAddress));
    world.mknod("/device", FileKind::CharacterDevice).unwrap();
    assert_eq!(world.open("/device", READ).err(), Some(Error::NoSuchDeviceOrAddress));
}

#[test]
fn a_file_without_a_name_can_get_one() {
    let world = World::new();
    world.mkdir("/d").unwrap();
    let flags = OpenFlags::TEMPORARY | OpenFlags::DIRECTORY;
    assert_eq!(world.open("/d", flags).err(), Some(Error::InvalidArgument));
    let file = world.open("/d", flags | OpenFlags::READ_WRITE).unwrap();
    block_on(file.write(&mut base::bytes::Source::new(b"content"))).unwrap();
    assert_eq!(block_on(metadata(file.location())).unwrap().link_count, 0);
    assert_eq!(world.names("/d").unwrap(), [".", ".."]);
    let from = At::new(file.location(), b"");
    block_on(link(&world.context(), from, Follow::No, Empty::NamesBase, world.at("/d/named"))).unwrap();
    assert_eq!(world.read("/d/named").unwrap(), b"content");
}

#[test]
fn making_and_removing() {
    let world = World::new();
    world.mkdir("/d").unwrap();
    world.write("/d/f", b"").unwrap();
    assert_eq!(world.mkdir("/d").err(), Some(Error::AlreadyExists));
    assert_eq!(world.mkdir("/d/f").err(), Some(Error::AlreadyExists));
    assert_eq!(world.mkdir("/").err(), Some(Error::AlreadyExists));
    assert_eq!(world.mkdir("/d/.").err(), Some(Error::AlreadyExists));
    assert_eq!(world.mkdir("/none/x").err(), Some(Error::NotFound));
    assert_eq!(world.mkdir("/d/f/x").err(), Some(Error::NotDirectory));
    assert_eq!(world.mknod("/n/", FileKind::Fifo).err(), Some(Error::NotFound));
    assert_eq!(world.unlink("/d").err(), Some(Error::IsDirectory));
    assert_eq!(world.unlink("/d/").err(), Some(Error::IsDirectory));
    assert_eq!(world.unlink("/d/.").err(), Some(Error::IsDirectory));
    assert_eq!(world.unlink("/d/f/").err(), Some(Error::NotDirectory));
    assert_eq!(world.unlink("/none").err(), Some(Error::NotFound));
    assert_eq!(world.rmdir("/d").err(), Some(Error::NotEmpty));
    assert_eq!(world.rmdir("/d/f").err(), Some(Error::NotDirectory));
    assert_eq!(world.rmdir("/d/.").err(), Some(Error::InvalidArgument));
    assert_eq!(world.rmdir("/d/..").err(), Some(Error::NotEmpty));
    assert_eq!(world.rmdir("/").err(), Some(Error::Busy));
    let directory = world.resolve("/d").unwrap();
    world.unlink("/d/f").unwrap();
    world.rmdir("/d/").unwrap();
    assert_eq!(world.resolve("/d").err(), Some(Error::NotFound));
    // Whoever is inside sees an empty directory in which nothing can be made.
    let inside = block_on(make_directory(&world.context(), At::new(&directory, b"x"), 0o777));
    assert_eq!(inside.err(), Some(Error::NotFound));
    assert_eq!(directory.absolute_path(&world.root), b"/d (deleted)");
    assert_eq!(world.path_of("/").unwrap(), "/");
}

#[test]
fn hard_links() {
    let world = World::new();
    world.mkdir("/d").unwrap();
    world.write("/f", b"x").unwrap();
    world.symlink("f", "/s").unwrap();
    world.link("/f", "/d/g").unwrap();
    assert_eq!(world.stat("/d/g").unwrap().link_count, 2);
    assert_eq!(world.stat("/d/g").unwrap().number, world.stat("/f").unwrap().number);
    assert_eq!(world.link("/d", "/e").err(), Some(Error::NotPermitted));
    assert_eq!(world.link("/f", "/d/g").err(), Some(Error::AlreadyExists));
    assert_eq!(world.link("/none", "/e").err(), Some(Error::NotFound));
    world.link("/s", "/t").unwrap();
    assert_eq!(world.lstat("/t").unwrap().kind, FileKind::SymbolicLink);
    world.unlink("/f").unwrap();
    assert_eq!(world.read("/d/g").unwrap(), b"x");
    assert_eq!(world.stat("/d/g").unwrap().link_count, 1);
}

#[test]
fn renames() {
    let world = World::new();
    for directory in ["/a", "/a/b", "/c", "/full"] {
        world.mkdir(directory).unwrap();
    }
    world.write("/full/x", b"").unwrap();
    world.write("/f", b"f").unwrap();
    world.write("/g", b"g").unwrap();
    assert_eq!(world.rename("/a", "/a/b/c").err(), Some(Error::InvalidArgument));
    assert_eq!(world.rename("/a", "/a/x").err(), Some(Error::InvalidArgument));
    assert_eq!(world.rename("/a/b", "/a").err(), Some(Error::NotEmpty));
    assert_eq!(world.rename("/c", "/full").err(), Some(Error::NotEmpty));
    assert_eq!(world.rename("/f", "/c").err(), Some(Error::IsDirectory));
    assert_eq!(world.rename("/c", "/f").err(), Some(Error::NotDirectory));
    assert_eq!(world.rename("/f", "/h/").err(), Some(Error::NotDirectory));
    assert_eq!(world.rename("/f/", "/h").err(), Some(Error::NotDirectory));
    assert_eq!(world.rename("/none", "/h").err(), Some(Error::NotFound));
    assert_eq!(world.rename("/a/.", "/h").err(), Some(Error::Busy));
    assert_eq!(world.rename("/a", "/").err(), Some(Error::Busy));
    assert_eq!(world.rename_mode("/f", "/g", RenameMode::NoReplace).err(), Some(Error::AlreadyExists));
    assert_eq!(world.rename_mode("/f", "/h", RenameMode::Exchange).err(), Some(Error::NotFound));
    assert_eq!(world.rename_mode("/a", "/a/b", RenameMode::Exchange).err(), Some(Error::InvalidArgument));
    assert_eq!(world.rename("/f", "/f"), Ok(()));
    world.rename("/f", "/g").unwrap();
    assert_eq!(
        (world.read("/g").unwrap(), world.resolve("/f").err()),
        (b"f".to_vec(), Some(Error::NotFound))
    );
    // A directory takes its contents, its place and its link counts along.
    let inside = world.resolve("/a/b").unwrap();
    world.rename("/a/", "/c/moved/").unwrap();
    assert_eq!(inside.absolute_path(&world.root), b"/c/moved/b");
    assert_eq!(world.path_of("/c/moved/b/../..").unwrap(), "/c");
    assert_eq!(world.stat("/c").unwrap().link_count, 3);
    assert_eq!(world.stat("/").unwrap().link_count, 4);
    world.rename("/c/moved", "/full2").unwrap();
    world.rename("/full2", "/c").unwrap();
    assert_eq!(world.names("/c").unwrap(), [".", "..", "b"]);
    world.rename_mode("/c", "/g", RenameMode::Exchange).unwrap();
    assert_eq!(world.read("/c").unwrap(), b"f");
    assert_eq!(world.names("/g").unwrap(), [".", "..", "b"]);
    // Two names of one file: nothing happens, both stay.
    world.link("/c", "/c2").unwrap();
    world.rename("/c", "/c2").unwrap();
    assert_eq!(world.stat("/c").unwrap().link_count, 2);
}

#[test]
fn permissions_decide() {
    let root = World::new();
    let user = root.as_user(1000, 1000);
    let other = root.as_user(2000, 1000);
    root.mkdir_mode("/closed", 0o700).unwrap();
    root.write("/closed/f", b"").unwrap();
    root.mkdir("/tmp").unwrap();
    block_on(change_mode(&root.context(), root.at("/tmp"), 0o1777, Follow::Yes)).unwrap();
    assert_eq!(user.resolve("/closed/f").err(), Some(Error::AccessDenied));
    assert_eq!(user.resolve("/closed/none").err(), Some(Error::AccessDenied));
    assert_eq!(user.resolve("/closed/..").err(), Some(Error::AccessDenied));
    assert_eq!(user.mkdir("/mine").err(), Some(Error::AccessDenied));
    assert_eq!(user.unlink("/closed").err(), Some(Error::AccessDenied));
    user.write("/tmp/f", b"secret").unwrap();
    assert_eq!(other.unlink("/tmp/f").err(), Some(Error::NotPermitted));
    assert_eq!(other.rename("/tmp/f", "/tmp/g").err(), Some(Error::NotPermitted));
    assert_eq!(other.open("/tmp/f", OpenFlags::WRITE_ONLY).err(), Some(Error::AccessDenied));
    assert_eq!(other.open("/tmp/f", CREATE).err(), Some(Error::AccessDenied));
    assert!(other.open("/tmp/f", READ).is_ok());
    assert_eq!(other.open("/tmp/f", OpenFlags::NO_ACCESS_TIME).err(), Some(Error::NotPermitted));
    let mode = block_on(change_mode(&other.context(), other.at("/tmp/f"), 0o777, Follow::Yes));
    assert_eq!(mode.err(), Some(Error::NotPermitted));
    assert_eq!(user.mknod("/tmp/null", FileKind::CharacterDevice).err(), Some(Error::NotPermitted));
    // Whoever makes a file has it open even if its permissions forbid it.
    let flags = CREATE | OpenFlags::EXCLUSIVE;
    let made = block_on(open(&user.context(), user.at("/tmp/read-only"), flags, 0o444)).unwrap();
    assert_eq!(block_on(made.write(&mut base::bytes::Source::new(b"x"))), Ok(1));
    user.unlink("/tmp/f").unwrap();
    let here = user.resolve("/tmp/read-only").unwrap();
    assert_eq!(access(&user.context(), &here, Permission::WRITE).err(), Some(Error::AccessDenied));
    assert_eq!(access(&user.context(), &here, Permission::READ), Ok(()));
    assert_eq!(access(&root.context(), &here, Permission::EXECUTE).err(), Some(Error::AccessDenied));
}

#[test]
fn owners_change_and_set_id_bits_go() {
    let root = World::new();
    let mut user = root.as_user(1000, 1000);
    root.mkdir("/d").unwrap();
    block_on(change_mode(&root.context(), root.at("/d"), 0o2777, Follow::Yes)).unwrap();
    block_on(change_owner(&root.context(), root.at("/d"), None, Some(50), Follow::Yes)).unwrap();
    // Directories take their group from a set-group-id directory, and the bit.
    user.mkdir("/d/e").unwrap();
    user.write("/d/f", b"").unwrap();
    let (directory, file) = (user.stat("/d/e").unwrap(), user.stat("/d/f").unwrap());
    assert_eq!((directory.ownership.gid, directory.ownership.permissions), (50, 0o2755));
    assert_eq!((file.ownership.gid, file.ownership.permissions), (50, 0o644));
    let owner = |world: &World, uid, gid| {
        block_on(change_owner(&world.context(), world.at("/d/f"), uid, gid, Follow::Yes))
    };
    let mode =
        |world: &World, bits| block_on(change_mode(&world.context(), world.at("/d/f"), bits, Follow::Yes));
    let bits = || root.stat("/d/f").unwrap().ownership.permissions;
    assert_eq!(owner(&user, Some(2), None).err(), Some(Error::NotPermitted));
    assert_eq!(owner(&user, None, Some(60)).err(), Some(Error::NotPermitted));
    assert_eq!(owner(&user, Some(1000), Some(1000)), Ok(()));
    user.credentials.groups = alloc::sync::Arc::from([60]);
    assert_eq!(owner(&user, None, Some(60)), Ok(()));
    mode(&root, 0o6755).unwrap();
    owner(&root, Some(1000), None).unwrap();
    assert_eq!(bits(), 0o755);
    mode(&root, 0o6755).unwrap();
    user.write("/d/f", b"changed").unwrap();
    assert_eq!(bits(), 0o755);
    mode(&root, 0o2745).unwrap();
    let file = user.open("/d/f", OpenFlags::WRITE_ONLY).unwrap();
    block_on(file.write(&mut base::bytes::Source::new(b"x"))).unwrap();
    assert_eq!(bits(), 0o2745, "without group execution the bit is not about execution");
    mode(&root, 0o4755).unwrap();
    root.write("/d/f", b"by the superuser").unwrap();
    assert_eq!(bits(), 0o4755);
    user.credentials.groups = alloc::sync::Arc::from([]);
    mode(&user, 0o2755).unwrap();
    assert_eq!(bits(), 0o755, "the file's group is not one of the owner's");
}

#[test]
fn times_are_stamped_and_set() {
    let world = World::new();
    let user = world.as_user(1, 1);
    world.environment.clock.set_ns(1_000_000_000_000_000_000);
    world.write("/f", b"abc").unwrap();
    let at = world.at("/f");
    let (set, keep) = (TimeChange::Set(-5), TimeChange::Keep);
    block_on(change_times(&world.context(), at, set, keep, Follow::Yes)).unwrap();
    let before = world.stat("/f").unwrap();
    assert_eq!(before.accessed_ns, -5);
    assert!(before.modified_ns >= 1_000_000_000_000_000_000 && before.changed_ns >= before.modified_ns);
    world.read("/f").unwrap();
    assert!(world.stat("/f").unwrap().accessed_ns > 0);
    let (now, later) = (TimeChange::Now(1), TimeChange::Set(2));
    let times =
        |accessed, modified| block_on(change_times(&user.context(), at, accessed, modified, Follow::Yes));
    assert_eq!(times(now, now).err(), Some(Error::AccessDenied));
    assert_eq!(times(later, now).err(), Some(Error::NotPermitted));
    assert_eq!(times(keep, keep), Ok(()));
}

#[test]
fn truncation_by_name() {
    let world = World::new();
    world.mkdir("/d").unwrap();
    world.write("/f", b"abcdef").unwrap();
    world.mknod("/fifo", FileKind::Fifo).unwrap();
    let cut = |path, size| block_on(truncate(&world.context(), world.at(path), size)).map(drop);
    assert_eq!(cut("/d", 0).err(), Some(Error::IsDirectory));
    assert_eq!(cut("/fifo", 0).err(), Some(Error::InvalidArgument));
    assert_eq!(cut("/f", u64::MAX).err(), Some(Error::InvalidArgument));
    cut("/f", 2).unwrap();
    cut("/f", 4).unwrap();
    assert_eq!(world.read("/f").unwrap(), b"ab\0\0");
    let inode = world.resolve("/f").unwrap().inode().downcast::<crate::tmpfs::TmpfsInode>().unwrap();
    inode.begin_execution().unwrap();
    assert_eq!(cut("/f", 0).err(), Some(Error::TextBusy));
    assert_eq!(world.open("/f", OpenFlags::WRITE_ONLY).err(), Some(Error::TextBusy));
    assert_eq!(world.open("/f", OpenFlags::READ_WRITE | OpenFlags::TRUNCATE).err(), Some(Error::TextBusy));
    inode.end_execution();
    let writer = world.open("/f", OpenFlags::WRITE_ONLY).unwrap();
    assert_eq!(inode.begin_execution().err(), Some(Error::TextBusy));
    drop(writer);
    assert_eq!(inode.begin_execution(), Ok(()));
}

#[test]
fn mounts_join_trees() {
    let world = World::new();
    for directory in ["/mnt", "/mnt/under", "/other", "/bound"] {
        world.mkdir(directory).unwrap();
    }
    world.write("/file", b"").unwrap();
    let tmpfs = Tmpfs::new(world.environment.clone(), Options::default());
    let mount = Mount::new(tmpfs, b"tmp", MountFlags::empty());
    assert_eq!(mount.attach(world.resolve("/file").unwrap()).err(), Some(Error::NotDirectory));
    mount.attach(world.resolve("/mnt").unwrap()).unwrap();
    assert_eq!(mount.attach(world.resolve("/other").unwrap()).err(), Some(Error::Busy));
    assert_eq!(world.resolve("/mnt/under").err(), Some(Error::NotFound));
    world.mkdir("/mnt/d").unwrap();
    assert_eq!(world.path_of("/mnt/d").unwrap(), "/mnt/d");
    assert_eq!(world.path_of("/mnt/d/../..").unwrap(), "/");
    assert_eq!(world.path_of("/mnt/d/../../mnt").unwrap(), "/mnt");
    world.write("/mnt/f", b"f").unwrap();
    assert_eq!(world.rename("/mnt/f", "/f").err(), Some(Error::CrossDevice));
    assert_eq!(world.link("/mnt/f", "/f").err(), Some(Error::CrossDevice));
    assert_eq!(world.rmdir("/mnt").err(), Some(Error::Busy));
    assert_eq!(world.rename("/mnt", "/renamed").err(), Some(Error::Busy));
    assert_ne!(world.stat("/mnt").unwrap().device, world.stat("/").unwrap().device);
    // Read-only.
    mount.set_flags(MountFlags::READ_ONLY);
    assert_eq!(world.mkdir("/mnt/e").err(), Some(Error::ReadOnlyFileSystem));
    assert_eq!(world.mkdir("/mnt/d").err(), Some(Error::AlreadyExists));
    assert_eq!(world.open("/mnt/f", OpenFlags::WRITE_ONLY).err(), Some(Error::ReadOnlyFileSystem));
    assert_eq!(world.open("/mnt/f", OpenFlags::TRUNCATE).err(), Some(Error::ReadOnlyFileSystem));
    assert_eq!(world.open("/mnt/new", CREATE).err(), Some(Error::ReadOnlyFileSystem));
    assert_eq!(world.unlink("/mnt/f").err(), Some(Error::ReadOnlyFileSystem));
    mount.set_flags(MountFlags::empty());
    // A bind shows the same nodes.
    let bind = Mount::bind(&world.resolve("/mnt/d").unwrap());
    bind.attach(world.resolve("/bound").unwrap()).unwrap();
    world.write("/bound/x", b"x").unwrap();
    assert_eq!(world.read("/mnt/d/x").unwrap(), b"x");
    assert_eq!(world.path_of("/bound/..").unwrap(), "/");
    assert_eq!(world.rename("/bound/x", "/mnt/d/y").err(), Some(Error::CrossDevice));
    bind.unmount(1).unwrap();
    // Busy while somebody is in it.
    let file = world.open("/mnt/f", READ).unwrap();
    assert_eq!(mount.unmount(1).err(), Some(Error::Busy));
    drop(file);
    let cwd = world.resolve("/mnt/d").unwrap();
    assert_eq!(mount.unmount(1).err(), Some(Error::Busy));
    drop(cwd);
    mount.unmount(1).unwrap();
    assert_eq!(mount.unmount(1).err(), Some(Error::InvalidArgument));
    assert!(world.resolve("/mnt/under").is_ok());
    assert_eq!(world.rmdir("/mnt/under"), Ok(()));
}

#[test]
fn mounts_stack_and_move() {
    let world = World::new();
    world.mkdir("/mnt").unwrap();
    let fresh = |name: &str| {
        let mount = Mount::new(
            Tmpfs::new(world.environment.clone(), Options::default()),
            name.as_bytes(),
            MountFlags::empty(),
        );
        let top = mount.top();
        block_on(make_directory(&world.context(), At::new(&top, name.as_bytes()), 0o755)).unwrap();
        drop(top);
        mount
    };
    let (lower, upper) = (fresh("lower"), fresh("upper"));
    lower.attach(world.resolve("/mnt").unwrap()).unwrap();
    upper.attach(world.resolve("/mnt").unwrap()).unwrap();
    assert!(world.resolve("/mnt/upper").is_ok() && world.resolve("/mnt/lower").is_err());
    assert_eq!(world.path_of("/mnt/upper/..").unwrap(), "/mnt");
    assert_eq!(world.path_of("/mnt/..").unwrap(), "/");
    assert_eq!(lower.unmount(1).err(), Some(Error::Busy));
    assert_eq!(lower.move_to(world.resolve("/mnt/upper").unwrap()).err(), Some(Error::TooManySymbolicLinks));
    // What switch_root does: the new root over the old one.
    upper.move_to(world.root.clone()).unwrap();
    let names: vec::Vec<String> = world
        .root
        .mount
        .subtree()
        .iter()
        .map(|mount| String::from_utf8(mount.source().to_vec()).unwrap())
        .collect();
    assert_eq!(names, ["none", "lower", "upper"]);
    let mut inside = world.as_user(0, 0);
    inside.root = world.root.clone().cross_mounts();
    inside.cwd = inside.root.clone();
    assert_eq!(inside.path_of("/upper/../..").unwrap(), "/");
    assert_eq!(inside.path_of("/upper").unwrap(), "/upper");
}

#[test]
fn lookups_race_with_changes() {
    // Threads that make, move, remove and look up the same names: nothing may be lost, doubled or stuck.
    let world = World::new();
    for directory in ["/a", "/b"] {
        world.mkdir(directory).unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let world = &world;
            scope.spawn(move || {
                base::hal::hosted::set_hart_index(thread);
                for round in 0..2000 {
                    let name = (round + thread) % 3;
                    let (one, other) = (format!("/a/{name}"), format!("/b/{name}"));
                    let _ = match (round / 7 + thread) % 5 {
                        0 => world.mkdir(&one),
                        1 => world.rename(&one, &other),
                        2 => world.rename(&other, &one),
                        3 => world.rmdir(&other),
                        _ => world
                            .mkdir(&format!("{other}/x"))
                            .and_then(|()| world.rmdir(&format!("{other}/x"))),
                    };
                    for path in [&one, &other] {
                        if let Ok(location) = world.resolve(path) {
                            assert_eq!(location.kind(), FileKind::Directory);
                        }
                    }
                }
            });
        }
    });
    for directory in ["/a", "/b"] {
        for name in world.names(directory).unwrap().iter().skip(2) {
            // Each name that is listed resolves, to a directory whose place is that name.
            let path = format!("{directory}/{name}");
            assert_eq!(world.path_of(&path).unwrap(), path);
            let _ = world.rmdir(&format!("{path}/x"));
            world.rmdir(&path).unwrap();
        }
        assert_eq!(world.stat(directory).unwrap().link_count, 2);
    }
    assert_eq!(world.root.dentry.prune(), 2);
    assert_eq!(world.tmpfs.inodes_used(), 3);
}
