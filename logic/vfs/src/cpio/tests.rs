//! Archives good and bad.

use super::*;
use crate::metadata::{DeviceNumber, FileKind};
use crate::testing::{World, block_on};
use memory::Frame;
use std::vec;
use std::vec::Vec;
use std::{format, io::Write as _};

/// A member as an archive has it.
struct Member<'a> {
    name: &'a str,
    mode: u32,
    content: &'a [u8],
    number: u32,
    links: u32,
    special: (u32, u32),
}

impl<'a> Member<'a> {
    const fn new(name: &'a str, mode: u32, content: &'a [u8]) -> Self {
        Self { name, mode, content, number: 0, links: 1, special: (0, 0) }
    }

    fn write(&self, magic: &str, archive: &mut Vec<u8>) {
        let sum: u32 = self.content.iter().map(|byte| u32::from(*byte)).sum();
        let sum = if magic == "070702" { sum } else { 0 };
        let fields = [
            self.number,
            self.mode,
            7,
            8,
            self.links,
            1_000_000,
            self.content.len() as u32,
            3,
            4,
            self.special.0,
            self.special.1,
            self.name.len() as u32 + 1,
            sum,
        ];
        write!(archive, "{magic}").unwrap();
        fields.iter().for_each(|field| write!(archive, "{field:08x}").unwrap());
        archive.extend_from_slice(self.name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(self.content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
}

fn archive(magic: &str, members: &[Member<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    members
        .iter()
        .chain([&Member::new("TRAILER!!!", 0, b"")])
        .for_each(|member| member.write(magic, &mut archive));
    archive
}

const DIRECTORY: u32 = 0o040755;
const FILE: u32 = 0o100644;

fn unpack_all(world: &World, archive: &[u8]) -> core::result::Result<Summary, UnpackError> {
    block_on(unpack(&world.context(), &world.root, archive, None))
}

fn small_archive() -> Vec<u8> {
    let link = |name, content| Member { number: 9, links: 3, ..Member::new(name, 0o104755, content) };
    archive(
        "070701",
        &[
            Member::new(".", DIRECTORY, b""),
            Member::new("./bin", DIRECTORY, b""),
            link("bin/one", b""),
            link("bin/two", b""),
            link("bin/three", b"linked"),
            Member::new("/bin/sh", 0o120777, b"one"),
            Member::new("dev/", 0o040700, b""),
            Member { special: (1, 3), ..Member::new("dev/null", 0o020666, b"") },
            Member { special: (8, 1), ..Member::new("dev/disk", 0o060600, b"") },
            Member::new("fifo", 0o010644, b""),
            Member::new("socket", 0o140755, b""),
            Member::new("init", 0o100755, &[0x5a; 10_000]),
        ],
    )
}

fn check_small(world: &World) {
    assert_eq!(world.read("/bin/sh").unwrap(), b"linked");
    let one = world.stat("/bin/one").unwrap();
    assert_eq!((one.link_count, one.mode(), one.modified_ns), (3, 0o104755, 1_000_000_000_000_000));
    assert_eq!((one.ownership.uid, one.ownership.gid), (7, 8));
    assert_eq!(world.stat("/bin").unwrap().modified_ns, 1_000_000_000_000_000);
    assert_eq!(world.stat("/").unwrap().ownership.uid, 7);
    assert_eq!(world.lstat("/bin/sh").unwrap().modified_ns, 1_000_000_000_000_000);
    assert_eq!(world.stat("/dev/null").unwrap().special_device, DeviceNumber::new(1, 3));
    assert_eq!(world.stat("/dev/disk").unwrap().kind, FileKind::BlockDevice);
    assert_eq!(world.stat("/fifo").unwrap().mode(), 0o010644);
    assert_eq!(world.stat("/socket").unwrap().kind, FileKind::Socket);
    assert_eq!(world.read("/init").unwrap(), [0x5a; 10_000]);
}

#[test]
fn every_kind_of_node_is_made() {
    let world = World::new();
    let summary = unpack_all(&world, &small_archive()).unwrap();
    assert_eq!(summary, Summary { members: 12, content: 10_006, adopted: 0 });
    check_small(&world);
}

#[test]
fn archives_follow_one_another() {
    let world = World::new();
    let mut row = vec![0; 512];
    row.extend(small_archive());
    row.resize(row.len().next_multiple_of(512), 0);
    row.extend(gzip(&archive(
        "070702",
        &[Member::new("late", FILE, b"late"), Member::new("fifo", FILE, b"file")],
    )));
    row.extend([0; 8]);
    row.extend(gzip(&archive("070701", &[Member::new("last", FILE, b"last")])));
    row.extend(archive("070701", &[Member::new("init", FILE, b"short")]));
    row.extend([0; 100]);
    unpack_all(&world, &row).unwrap();
    assert_eq!(world.read("/late").unwrap(), b"late");
    assert_eq!(world.read("/fifo").unwrap(), b"file");
    assert_eq!(world.read("/last").unwrap(), b"last");
    assert_eq!(world.read("/init").unwrap(), b"short");
    assert_eq!(unpack_all(&world, &[0; 64]).unwrap(), Summary::default());
    assert_eq!(unpack_all(&world, &[]).unwrap(), Summary::default());
}

#[test]
fn compressed_archives_of_some_size() {
    let world = World::new();
    // More than the window, neither random nor constant, so that matches reach across the buffer's end.
    let content: Vec<u8> = (0..400_000u32).map(|index| (index.wrapping_mul(index >> 7) >> 9) as u8).collect();
    let members = [Member::new("big", FILE, &content), Member::new("again", FILE, &content)];
    unpack_all(&world, &gzip(&archive("070702", &members))).unwrap();
    assert_eq!(world.read("/big").unwrap(), content);
    assert_eq!(world.read("/again").unwrap(), content);
}

#[test]
fn names_stay_inside() {
    let world = World::new();
    world.mkdir("/target").unwrap();
    world.write("/outside", b"safe").unwrap();
    let target = world.resolve("/target").unwrap();
    let bytes = archive(
        "070701",
        &[
            Member::new("link", 0o120777, b"/"),
            Member::new("../outside2", FILE, b"x"),
            Member::new("link/outside3", FILE, b"y"),
        ],
    );
    block_on(unpack(&world.context(), &target, &bytes, None)).unwrap();
    assert_eq!(world.names("/target").unwrap(), [".", "..", "link", "outside2", "outside3"]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let world = World::new();
    let problem = |bytes: &[u8]| unpack_all(&world, bytes).unwrap_err();
    let good = archive("070702", &[Member::new("f", FILE, b"abc")]);
    assert_eq!(problem(b"hello"), UnpackError { problem: Problem::Truncated, offset: 5 });
    assert_eq!(problem(&[b'x'; 200]).problem, Problem::BadMagic);
    assert_eq!(problem(&good[..100]).problem, Problem::Truncated);
    assert_eq!(problem(&good[..113]).problem, Problem::Truncated);
    assert_eq!(problem(&good[..116]), UnpackError { problem: Problem::Truncated, offset: 116 });
    let damaged = |position: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[position] = byte;
        problem(&bytes).problem
    };
    assert_eq!(damaged(10, b'x'), Problem::BadNumber);
    assert_eq!(damaged(112, b'x'), Problem::BadChecksum);
    assert_eq!(damaged(111, b'a'), Problem::BadName);
    assert_eq!(damaged(16, b'f'), Problem::BadMode);
    assert_eq!(problem(b"\xfd7zXZ\0more").problem, Problem::UnknownCompression);
    let orphan = archive("070701", &[Member::new("no/such", FILE, b"")]);
    assert_eq!(problem(&orphan).problem, Problem::Unpack(crate::Error::NotFound));
    let mut compressed = gzip(&good);
    let end = compressed.len();
    compressed[end - 6] ^= 1;
    assert_eq!(problem(&compressed), UnpackError { problem: Problem::BadCompression, offset: 0 });
    assert_eq!(problem(&compressed[..end - 9]).problem, Problem::Truncated);
    let text = format!("{}", problem(b"hello"));
    assert_eq!(text, "bad initial archive at byte 5: it ends too early");
}

#[test]
fn damaged_archives_never_panic() {
    let good = small_archive();
    let compressed = gzip(&good);
    for bytes in [&good, &compressed] {
        for end in (0..bytes.len().min(3000)).chain(bytes.len() - 40..bytes.len()) {
            let outcome = unpack_all(&World::new(), &bytes[..end]);
            // Only the zeros behind the trailer may be missing.
            let plain = bytes == &good;
            let harmless =
                end == 0 || plain && bytes[end..].iter().all(|byte| *byte == 0) && end + 3 >= bytes.len();
            assert_eq!(outcome.is_ok(), harmless, "cut at {end} of {}", bytes.len());
        }
    }
    let mut seed = 0x9e37_79b9u32;
    for round in 0..6000 {
        let mut bytes = if round % 3 == 0 { compressed.clone() } else { good.clone() };
        for _ in 0..1 + round % 4 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let limit = if round % 2 == 0 { bytes.len() } else { bytes.len().min(2200) };
            let position = (seed >> 8) as usize % limit;
            bytes[position] ^= 1 << (seed & 7);
        }
        let _ = unpack_all(&World::new(), &bytes);
    }
}

struct Adopter;

impl Adopt for Adopter {
    fn frame(&self, page: &[u8]) -> Option<Frame> {
        let frame = Frame::uninitialised().ok()?;
        frame.bytes().copy_from(page);
        Some(frame)
    }
}

#[test]
fn aligned_pages_are_adopted() {
    let world = World::new();
    let content: Vec<u8> = (0..3 * 4096 + 100).map(|index| (index / 13) as u8).collect();
    // The file's data starts at a page of the archive: a first member fills the space before.
    let bytes = (0..4096).step_by(4).find_map(|filler| {
        let filling = vec![1; filler];
        let members = [Member::new("filler", FILE, &filling), Member::new("aligned", FILE, &content)];
        let bytes = archive("070701", &members);
        let start = bytes.windows(200).position(|window| *window == content[..200])?;
        (start % 4096 == 0).then_some(bytes)
    });
    let bytes = bytes.unwrap();
    let mut memory = vec![0; bytes.len() + 4096];
    let shift = memory.as_ptr().align_offset(4096);
    memory[shift..shift + bytes.len()].copy_from_slice(&bytes);
    let aligned = &memory[shift..shift + bytes.len()];
    let summary = block_on(unpack(&world.context(), &world.root, aligned, Some(&Adopter))).unwrap();
    assert_eq!(summary.adopted, 3);
    assert_eq!(world.read("/aligned").unwrap(), content);
    world.unlink("/aligned").unwrap();
    world.unlink("/filler").unwrap();
    assert_eq!(world.tmpfs.pages_used(), 0);
}

/// A gzip member with every optional field.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 3, 3, 0, b'a', b'b', b'c'];
    bytes.extend(b"name\0comment\0\0\0");
    bytes.extend(miniz_oxide::deflate::compress_to_vec(content, 6));
    let mut sum = !0u32;
    for byte in content {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 != 0 { 0xedb8_8320 } else { 0 };
        }
    }
    bytes.extend((!sum).to_le_bytes());
    bytes.extend((content.len() as u32).to_le_bytes());
    bytes
}
