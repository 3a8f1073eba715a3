//! tmpfs against a model, and the corners of its contents.

use super::*;
use crate::flags::OpenFlags;
use crate::inode::{Allocation, Extent, WritePosition};
use crate::open_file::{OpenFile, SeekFrom};
use crate::testing::{World, block_on, names, read_all};
use base::bytes::{Sink, Source};
use memory::space::Access;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

const EDIT: OpenFlags = OpenFlags::READ_WRITE.union(OpenFlags::CREATE);
const PAGE: u64 = PAGE_SIZE as u64;

fn write_at(file: &OpenFile, bytes: &[u8], offset: u64) -> Result<usize> {
    block_on(file.write_at(&mut Source::new(bytes), offset))
}

fn read_at(file: &OpenFile, count: usize, offset: u64) -> Result<Vec<u8>> {
    let mut buffer = vec![0xee; count];
    let count = block_on(file.read_at(&mut Sink::new(&mut buffer), offset))?;
    buffer.truncate(count);
    Ok(buffer)
}

fn blocks(file: &OpenFile) -> u64 {
    block_on(file.location().inode().metadata()).unwrap().blocks
}

#[test]
fn offsets_appends_and_seeks() {
    let world = World::new();
    let file = world.open("/f", EDIT).unwrap();
    assert_eq!(block_on(file.write(&mut Source::new(b"hello world"))), Ok(11));
    let seek = |to| block_on(file.seek(to));
    assert_eq!(seek(SeekFrom::Current(-5)), Ok(6));
    assert_eq!(seek(SeekFrom::Current(-7)), Err(Error::InvalidArgument));
    assert_eq!(seek(SeekFrom::Current(i64::MAX)), Err(Error::InvalidArgument));
    assert_eq!(read_all(&file).unwrap(), b"world");
    assert_eq!(seek(SeekFrom::End(10)), Ok(21));
    assert_eq!(read_all(&file).unwrap(), b"");
    let append = world.open("/f", OpenFlags::WRITE_ONLY | OpenFlags::APPEND).unwrap();
    assert_eq!(block_on(append.write(&mut Source::new(b"!"))), Ok(1));
    assert_eq!(block_on(append.offset()), 12);
    assert_eq!(write_at(&append, b"?", 0), Ok(1), "as on Linux, appending wins");
    assert_eq!(world.read("/f").unwrap(), b"hello world!?");
    assert_eq!(read_at(&append, 1, 0).err(), Some(Error::BadDescriptor));
    assert_eq!(read_at(&file, 1, 1 << 63).err(), Some(Error::InvalidArgument));
    assert_eq!(write_at(&file, b"x", i64::MAX as u64).err(), Some(Error::FileTooLarge));
    let path = world.open("/f", OpenFlags::PATH).unwrap();
    assert_eq!(read_at(&path, 1, 0).err(), Some(Error::BadDescriptor));
    append.set_flags(OpenFlags::NONBLOCK);
    assert_eq!(append.flags(), OpenFlags::WRITE_ONLY | OpenFlags::NONBLOCK);
    let directory = world.open("/", OpenFlags::empty()).unwrap();
    assert_eq!(read_at(&directory, 1, 0).err(), Some(Error::IsDirectory));
}

#[test]
fn holes_take_no_storage() {
    let world = World::new();
    let file = world.open("/f", EDIT).unwrap();
    write_at(&file, b"x", 10 * PAGE + 5).unwrap();
    assert_eq!((blocks(&file), world.tmpfs.pages_used()), (8, 1));
    assert_eq!(read_at(&file, 3, 10 * PAGE + 3).unwrap(), b"\0\0x");
    let extent = |extent, from| block_on(file.seek(SeekFrom::Extent(extent, from)));
    assert_eq!(extent(Extent::Data, 0), Ok(10 * PAGE));
    assert_eq!(extent(Extent::Data, 10 * PAGE as i64 + 2), Ok(10 * PAGE + 2));
    assert_eq!(extent(Extent::Hole, 0), Ok(0));
    assert_eq!(extent(Extent::Hole, 10 * PAGE as i64), Ok(10 * PAGE + 6));
    assert_eq!(extent(Extent::Data, 10 * PAGE as i64 + 6), Err(Error::NoSuchDeviceOrAddress));
    assert_eq!(extent(Extent::Data, -1), Err(Error::NoSuchDeviceOrAddress));
    block_on(file.allocate(Allocation::ReserveKeepingSize, 0, 3 * PAGE)).unwrap();
    assert_eq!(blocks(&file), 4 * 8);
    block_on(file.allocate(Allocation::PunchHole, 10, 12 * PAGE)).unwrap();
    assert_eq!((blocks(&file), read_at(&file, 1, 10 * PAGE + 5).unwrap()), (2 * 8, vec![0]));
    assert_eq!(block_on(file.allocate(Allocation::Reserve, 0, 0)), Err(Error::InvalidArgument));
    assert_eq!(block_on(file.allocate(Allocation::Reserve, 1, i64::MAX as u64)), Err(Error::FileTooLarge));
    block_on(file.allocate(Allocation::Reserve, 0, 20 * PAGE)).unwrap();
    assert_eq!(block_on(file.seek(SeekFrom::End(0))), Ok(20 * PAGE));
    block_on(file.truncate(1)).unwrap();
    assert_eq!(world.tmpfs.pages_used(), 1);
    world.unlink("/f").unwrap();
    assert_eq!(read_at(&file, 2, 0).unwrap(), [0], "open files outlive their names");
    drop(file);
    assert_eq!((world.tmpfs.pages_used(), world.tmpfs.inodes_used()), (0, 1));
}

#[test]
fn quotas_hold() {
    let root = Ownership { permissions: 0o755, uid: 0, gid: 0 };
    let world = World::with(Options { size: Some(4 * PAGE), inodes: Some(3), root });
    let file = world.open("/f", EDIT).unwrap();
    assert_eq!(write_at(&file, &[1; 6 * PAGE_SIZE], 100).unwrap(), 4 * PAGE_SIZE - 100);
    assert_eq!(write_at(&file, b"x", 10 * PAGE).err(), Some(Error::NoSpace));
    assert_eq!(block_on(file.location().inode().metadata()).unwrap().size, 4 * PAGE);
    let statistics = block_on(world.tmpfs.statistics()).unwrap();
    assert_eq!((statistics.blocks, statistics.blocks_free, statistics.files_free), (4, 0, 1));
    block_on(file.truncate(PAGE)).unwrap();
    assert_eq!(block_on(file.allocate(Allocation::Reserve, 0, 6 * PAGE)), Err(Error::NoSpace));
    assert_eq!(world.tmpfs.pages_used(), 1, "a reservation that fails gives back what it took");
    world.mkdir("/d").unwrap();
    assert_eq!(world.mkdir("/e").err(), Some(Error::NoSpace));
    assert_eq!(world.symlink("x", "/e").err(), Some(Error::NoSpace));
    world.rmdir("/d").unwrap();
    world.mkdir("/e").unwrap();
    assert_eq!(&*FileSystem::options(&*world.tmpfs), b",size=16k,nr_inodes=3,mode=755");
}

#[test]
fn options_are_read() {
    let parse = |text: &str| Options::parse(text.as_bytes(), 1000 << 20);
    assert_eq!(parse("").unwrap(), Options::default());
    let options = parse("size=10m,nr_inodes=1k,mode=0700,uid=5,gid=6").unwrap();
    assert_eq!((options.size, options.inodes), (Some(10 << 20), Some(1024)));
    assert_eq!(options.root, Ownership { permissions: 0o700, uid: 5, gid: 6 });
    assert_eq!(parse("size=50%").unwrap().size, Some(500 << 20));
    assert_eq!(parse("size=0").unwrap().size, None);
    for wrong in [
        "size=x",
        "size=9z",
        "mode=9",
        "nonsense",
        "uid=-1",
        "size=99999999999999999999",
        "size=99999999999g",
    ] {
        assert_eq!(parse(wrong).err(), Some(Error::InvalidArgument), "{wrong}");
    }
}

#[test]
fn mappings_share_the_pages() {
    let world = World::new();
    let file = world.open("/f", EDIT).unwrap();
    write_at(&file, b"abc", 0).unwrap();
    let object = file.mapped_object().unwrap();
    let page = |index| block_on(object.page(index, Access::Write));
    let frame = page(0).unwrap();
    frame.bytes().slice(1, 1).copy_from(b"X");
    assert_eq!(read_at(&file, 3, 0).unwrap(), b"aXc");
    assert_eq!(object.length(), 3);
    assert_eq!(page(1).err(), Some(Error::NoSuchDeviceOrAddress));
    // What was stored behind the end does not come to light when the file grows.
    frame.bytes().slice(3, 5).copy_from(b"ghost");
    block_on(file.truncate(10)).unwrap();
    assert_eq!(read_at(&file, 20, 0).unwrap(), b"aXc\0\0\0\0\0\0\0");
    frame.bytes().slice(10, 5).copy_from(b"ghost");
    write_at(&file, b"end", 20).unwrap();
    assert_eq!(read_at(&file, 10, 10).unwrap(), [0; 10]);
    block_on(file.truncate(2)).unwrap();
    let mut bytes = [9; 4];
    frame.bytes().copy_to(&mut bytes);
    assert_eq!(&bytes, b"aX\0\0");
    let mut name = String::new();
    object.name(&mut name).unwrap();
    assert_eq!(name, "/f");
    let writer = world.open("/f", OpenFlags::WRITE_ONLY).unwrap();
    assert_eq!(writer.mapped_object().err(), Some(Error::AccessDenied));
    let directory = world.open("/", OpenFlags::empty()).unwrap();
    assert_eq!(directory.mapped_object().err(), Some(Error::NoDevice));
}

#[test]
fn copies_between_files() {
    let world = World::new();
    let content: Vec<u8> = (0..150_000u32).map(|index| ((index * 31) >> 4) as u8).collect();
    world.write("/from", &content).unwrap();
    let (from, to) = (world.open("/from", OpenFlags::empty()).unwrap(), world.open("/to", EDIT).unwrap());
    let copied = block_on(from.copy_to(&to, None, None, 100_000)).unwrap();
    assert_eq!((copied, block_on(from.offset()), block_on(to.offset())), (100_000, 100_000, 100_000));
    let (mut source, mut target) = (100_000, 100_000);
    let copied = block_on(from.copy_to(&to, Some(&mut source), Some(&mut target), usize::MAX)).unwrap();
    assert_eq!((copied, source, target), (50_000, 150_000, 150_000));
    assert_eq!(block_on(from.offset()), 100_000);
    assert_eq!(world.read("/to").unwrap(), content);
    // To a pipe that is full in the middle: what did not go is not lost.
    let files = crate::anonymous::AnonymousFiles::new(world.environment.clone());
    let [reader, writer] = crate::pipe::open_pair(&files, 0, 0, OpenFlags::empty());
    block_on(from.seek(SeekFrom::Start(0))).unwrap();
    assert_eq!(block_on(from.copy_to(&writer, None, None, 100_000)), Ok(65536));
    assert_eq!(block_on(from.offset()), 65536);
    assert_eq!(block_on(from.copy_to(&writer, None, None, 10)), Err(Error::WouldBlock));
    assert_eq!(block_on(from.offset()), 65536);
    drop(reader);
    assert_eq!(block_on(from.copy_to(&writer, None, None, 10)), Err(Error::BrokenPipe));
}

#[test]
fn listings_survive_changes() {
    let world = World::new();
    world.mkdir("/d").unwrap();
    for index in 0..100 {
        world.write(&format!("/d/{index}"), b"").unwrap();
    }
    let directory = world.open("/d", OpenFlags::DIRECTORY).unwrap();
    let mut seen = names(&directory, 30).unwrap();
    // Most of what was listed goes, which makes the directory move its entries.
    for index in 0..90 {
        if index % 10 != 0 {
            world.unlink(&format!("/d/{index}")).unwrap();
        }
    }
    world.write("/d/new", b"").unwrap();
    loop {
        let more = names(&directory, 3).unwrap();
        if more.is_empty() {
            break;
        }
        seen.extend(more);
    }
    let mut expected: Vec<String> = [".", "..", "new"].map(String::from).to_vec();
    expected.extend((0..28).map(|index| format!("{index}")));
    expected
        .extend((28..100).filter(|index| index % 10 == 0 || *index >= 90).map(|index| format!("{index}")));
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    block_on(directory.seek(SeekFrom::Start(0))).unwrap();
    assert_eq!(names(&directory, 1).unwrap(), ["."]);
    world.mkdir("/e").unwrap();
    let removed = world.open("/e", OpenFlags::DIRECTORY).unwrap();
    world.rmdir("/e").unwrap();
    assert_eq!(names(&removed, 9).err(), Some(Error::NotFound));
}

#[test]
fn writers_wait_for_each_other() {
    let world = World::new();
    let file = world.open("/f", EDIT | OpenFlags::APPEND).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let file = &file;
            scope.spawn(move || {
                base::hal::hosted::set_hart_index(thread.into());
                let record = [thread; 3 * PAGE_SIZE / 2];
                for _ in 0..20 {
                    let position = WritePosition::End;
                    let written = block_on(file.file().write(&mut Source::new(&record), position)).unwrap();
                    assert_eq!(written.count, record.len());
                }
            });
        }
    });
    let content = world.read("/f").unwrap();
    assert_eq!(content.len(), 80 * 3 * PAGE_SIZE / 2);
    for record in content.chunks(3 * PAGE_SIZE / 2) {
        assert!(record.iter().all(|byte| *byte == record[0]), "an append is whole");
    }
}

/// One step of a random life of a file.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, u16, u8),
    Append(u16, u8),
    Truncate(u64),
    Punch(u64, u16),
    Zero(u64, u16),
    Reserve(u64, u16),
    Read(u64, u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offset = || prop_oneof![0..5 * PAGE, (0..8u64).prop_map(|page| page * PAGE), 0..700 * PAGE];
    let length = || 1..9000u16;
    let step = prop_oneof![
        (offset(), length(), any::<u8>())
            .prop_map(|(offset, length, byte)| Step::Write(offset, length, byte)),
        (length(), any::<u8>()).prop_map(|(length, byte)| Step::Append(length, byte)),
        offset().prop_map(Step::Truncate),
        (offset(), length()).prop_map(|(offset, length)| Step::Punch(offset, length)),
        (offset(), length()).prop_map(|(offset, length)| Step::Zero(offset, length)),
        (offset(), length()).prop_map(|(offset, length)| Step::Reserve(offset, length)),
        (offset(), length()).prop_map(|(offset, length)| Step::Read(offset, length)),
    ];
    proptest::collection::vec(step, 1..40)
}

fn apply(file: &OpenFile, model: &mut Vec<u8>, step: &Step) {
    let put = |model: &mut Vec<u8>, offset: usize, bytes: &[u8]| {
        model.resize(model.len().max(offset + bytes.len()), 0);
        model[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    let size = model.len() as u64;
    match *step {
        Step::Write(offset, length, byte) => {
            let bytes = vec![byte; length.into()];
            assert_eq!(write_at(file, &bytes, offset), Ok(bytes.len()));
            put(model, offset as usize, &bytes);
        }
        Step::Append(length, byte) => {
            let bytes = vec![byte; length.into()];
            block_on(file.file().write(&mut Source::new(&bytes), WritePosition::End)).unwrap();
            put(model, size as usize, &bytes);
        }
        Step::Truncate(new) => {
            block_on(file.truncate(new)).unwrap();
            model.resize(new as usize, 0);
        }
        Step::Punch(offset, length) => {
            block_on(file.allocate(Allocation::PunchHole, offset, length.into())).unwrap();
            let end = (offset + u64::from(length)).min(size);
            if offset < end {
                model[offset as usize..end as usize].fill(0);
            }
        }
        Step::Zero(offset, length) => {
            block_on(file.allocate(Allocation::Zero, offset, length.into())).unwrap();
            put(model, offset as usize, &vec![0; length.into()]);
        }
        Step::Reserve(offset, length) => {
            block_on(file.allocate(Allocation::Reserve, offset, length.into())).unwrap();
            model.resize(model.len().max((offset + u64::from(length)) as usize), 0);
        }
        Step::Read(offset, length) => {
            let start = (offset as usize).min(model.len());
            let end = (start + usize::from(length)).min(model.len());
            assert_eq!(read_at(file, length.into(), offset).unwrap(), &model[start..end]);
        }
    }
}

/// One step of a random life of a tree, on names `/x` and `/x/y`.
#[derive(Clone, Debug)]
enum Change {
    Make(u8, u8),
    MakeDirectory(u8, u8),
    Unlink(u8, u8),
    Rmdir(u8, u8),
    Rename(u8, u8, u8, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let (a, b) = (0..4u8, 0..4u8);
    let pair = move || (a.clone(), b.clone());
    let change = prop_oneof![
        pair().prop_map(|(a, b)| Change::Make(a, b)),
        pair().prop_map(|(a, b)| Change::MakeDirectory(a, b)),
        pair().prop_map(|(a, b)| Change::Unlink(a, b)),
        pair().prop_map(|(a, b)| Change::Rmdir(a, b)),
        (pair(), pair()).prop_map(|((a, b), (c, d))| Change::Rename(a, b, c, d)),
    ];
    proptest::collection::vec(change, 1..120)
}

/// `/a` when `b` is 0, `/a/b` otherwise.
fn path(a: u8, b: u8) -> String {
    if b == 0 { format!("/{a}") } else { format!("/{a}/{b}") }
}

/// The tree as it must be: path to "is a directory".
type Tree = BTreeMap<String, bool>;

fn parent_problem(tree: &Tree, path: &str) -> Option<Error> {
    let parent = &path[..path.rfind('/').unwrap()];
    match (parent, tree.get(parent)) {
        ("", _) | (_, Some(true)) => None,
        (_, Some(false)) => Some(Error::NotDirectory),
        (_, None) => Some(Error::NotFound),
    }
}

fn is_empty(tree: &Tree, path: &str) -> bool {
    let inside = format!("{path}/");
    !tree.keys().any(|key| key.starts_with(&inside))
}

fn model_make(tree: &mut Tree, path: &str, directory: bool) -> Result<()> {
    if let Some(error) = parent_problem(tree, path) {
        return Err(error);
    }
    if tree.contains_key(path) {
        return Err(Error::AlreadyExists);
    }
    tree.insert(path.into(), directory);
    Ok(())
}

fn model_remove(tree: &mut Tree, path: &str, directory: bool) -> Result<()> {
    if let Some(error) = parent_problem(tree, path) {
        return Err(error);
    }
    match (tree.get(path), directory) {
        (None, _) => return Err(Error::NotFound),
        (Some(true), false) => return Err(Error::IsDirectory),
        (Some(false), true) => return Err(Error::NotDirectory),
        (Some(true), true) if !is_empty(tree, path) => return Err(Error::NotEmpty),
        _ => {}
    }
    tree.remove(path);
    Ok(())
}

fn model_rename(tree: &mut Tree, from: &str, to: &str) -> Result<()> {
    if let Some(error) = parent_problem(tree, from).or(parent_problem(tree, to)) {
        return Err(error);
    }
    let Some(&directory) = tree.get(from) else { return Err(Error::NotFound) };
    if to.starts_with(&format!("{from}/")) {
        return Err(Error::InvalidArgument);
    }
    if from.starts_with(&format!("{to}/")) {
        return Err(Error::NotEmpty);
    }
    if from == to {
        return Ok(());
    }
    match (directory, tree.get(to)) {
        (true, Some(false)) => return Err(Error::NotDirectory),
        (false, Some(true)) => return Err(Error::IsDirectory),
        (true, Some(true)) if !is_empty(tree, to) => return Err(Error::NotEmpty),
        _ => {}
    }
    let inside = format!("{from}/");
    let moved: Vec<(String, bool)> = tree
        .iter()
        .filter(|(key, _)| *key == from || key.starts_with(&inside))
        .map(|(key, kind)| (format!("{to}{}", &key[from.len()..]), *kind))
        .collect();
    tree.retain(|key, _| key != from && !key.starts_with(&inside));
    tree.extend(moved);
    Ok(())
}

fn collect(world: &World, directory: &str, tree: &mut Tree) {
    for name in world.names(if directory.is_empty() { "/" } else { directory }).unwrap().into_iter().skip(2) {
        let path = format!("{directory}/{name}");
        let is_directory = world.stat(&path).unwrap().kind == FileKind::Directory;
        tree.insert(path.clone(), is_directory);
        if is_directory {
            collect(world, &path, tree);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn content_is_that_of_the_model(steps in steps()) {
        let world = World::new();
        let file = world.open("/f", EDIT).unwrap();
        let mut model = Vec::new();
        for step in &steps {
            apply(&file, &mut model, step);
            let metadata = block_on(file.location().inode().metadata()).unwrap();
            prop_assert_eq!(metadata.size, model.len() as u64);
            prop_assert_eq!(metadata.blocks, world.tmpfs.pages_used() * 8);
        }
        block_on(file.seek(SeekFrom::Start(0))).unwrap();
        prop_assert!(read_all(&file).unwrap() == model);
        drop(file);
        world.unlink("/f").unwrap();
        prop_assert_eq!(world.tmpfs.pages_used(), 0);
    }

    #[test]
    fn names_are_those_of_the_model(changes in changes()) {
        let world = World::new();
        let mut tree = Tree::new();
        for change in &changes {
            let (real, model) = match *change {
                Change::Make(a, b) => {
                    let flags = EDIT | OpenFlags::EXCLUSIVE;
                    (world.open(&path(a, b), flags).map(|_| ()), model_make(&mut tree, &path(a, b), false))
                }
                Change::MakeDirectory(a, b) => (world.mkdir(&path(a, b)), model_make(&mut tree, &path(a, b), true)),
                Change::Unlink(a, b) => (world.unlink(&path(a, b)), model_remove(&mut tree, &path(a, b), false)),
                Change::Rmdir(a, b) => (world.rmdir(&path(a, b)), model_remove(&mut tree, &path(a, b), true)),
                Change::Rename(a, b, c, d) => {
                    let (from, to) = (path(a, b), path(c, d));
                    (world.rename(&from, &to), model_rename(&mut tree, &from, &to))
                }
            };
            prop_assert_eq!(real, model, "{:?}", change);
        }
        let mut seen = Tree::new();
        collect(&world, "", &mut seen);
        prop_assert_eq!(&seen, &tree);
        prop_assert_eq!(world.tmpfs.inodes_used(), tree.len() as u64 + 1);
        // The same again without the cache of names.
        world.root.dentry.prune();
        let mut fresh = Tree::new();
        collect(&world, "", &mut fresh);
        prop_assert_eq!(&fresh, &tree);
        let directories = tree.iter().filter(|(key, kind)| **kind && key.matches('/').count() == 1).count();
        prop_assert_eq!(world.stat("/").unwrap().link_count as usize, 2 + directories);
    }
}
