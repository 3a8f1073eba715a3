//! Executables, well-made, hand-made and broken.

use super::*;
use alloc::vec;

#[derive(Clone, Copy)]
struct Entry {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
    alignment: u64,
}

const LOAD: Entry = Entry {
    kind: SEGMENT_LOAD,
    flags: FLAG_READ | FLAG_EXECUTE,
    offset: 0,
    address: 0x1_0000,
    file_size: 0x1800,
    memory_size: 0x1800,
    alignment: 0x1000,
};
const DATA: Entry = Entry {
    flags: FLAG_READ | FLAG_WRITE,
    offset: 0x1800,
    address: 0x1_2800,
    file_size: 0x400,
    memory_size: 0x3000,
    ..LOAD
};

/// A file of 0x2000 bytes with these program headers behind the file header.
fn file(kind: u16, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = vec![0; 0x2000];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let mut put = |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
    put(16, &kind.to_le_bytes());
    put(18, &MACHINE_RISCV.to_le_bytes());
    put(24, &0x1_0100u64.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(54, &(PROGRAM_HEADER_LENGTH as u16).to_le_bytes());
    put(56, &(entries.len() as u16).to_le_bytes());
    for (index, entry) in entries.iter().enumerate() {
        let at = 64 + index * PROGRAM_HEADER_LENGTH;
        put(at, &entry.kind.to_le_bytes());
        put(at + 4, &entry.flags.to_le_bytes());
        let words =
            [entry.offset, entry.address, entry.address, entry.file_size, entry.memory_size, entry.alignment];
        for (word, value) in words.iter().enumerate() {
            put(at + 8 + word * 8, &value.to_le_bytes());
        }
    }
    bytes
}

/// What the kernel does with a file: read its start, then its program headers.
fn load(bytes: &[u8]) -> Result<Image> {
    let header = Header::parse(&bytes[..bytes.len().min(PREFIX_LENGTH)])?;
    let range = header.program_headers();
    let start = usize::try_from(range.offset).unwrap_or(usize::MAX).min(bytes.len());
    let end = start.saturating_add(range.length).min(bytes.len());
    Image::parse(header, &bytes[start..end], bytes.len() as u64)
}

/// What must hold of every image that is accepted, whatever the file was.
fn check(image: &Image, file_length: u64) {
    let mut end = 0;
    for segment in &image.segments {
        let pages = [segment.address, segment.file_offset, segment.file_length, segment.anonymous_address];
        assert!(pages.iter().all(|value| value % PAGE == 0) && segment.anonymous_length % PAGE == 0);
        assert_eq!(segment.anonymous_address, segment.address + segment.file_length);
        assert!(segment.end() <= USER_END && segment.end() > segment.address);
        assert!(segment.file_offset + segment.file_length < file_length + PAGE);
        assert!(segment.zero_length < PAGE);
        if segment.zero_length > 0 {
            assert_eq!(segment.zero_address + segment.zero_length, segment.anonymous_address);
            assert!(segment.zero_address > segment.address);
        }
        assert!(segment.end() >= end);
        end = segment.end();
    }
    assert_eq!((image.start, image.end), (image.segments[0].address, end));
    assert!(image.alignment.is_power_of_two() && image.break_start <= end);
    let header_limit = file_length / PROGRAM_HEADER_LENGTH as u64;
    assert!(image.segments.capacity() as u64 <= 2 * header_limit.max(4));
}

#[test]
fn a_fixed_program_is_planned_in_pages() {
    let stack = Entry { kind: SEGMENT_GNU_STACK, flags: FLAG_READ | FLAG_WRITE, ..LOAD };
    let image = load(&file(TYPE_EXECUTABLE, &[LOAD, DATA, stack])).unwrap();
    check(&image, 0x2000);
    assert_eq!((image.header.kind, image.header.entry), (Kind::Fixed, 0x1_0100));
    let text = Segment {
        address: 0x1_0000,
        file_offset: 0,
        file_length: 0x2000,
        zero_address: 0x1_1800,
        zero_length: 0,
        anonymous_address: 0x1_2000,
        anonymous_length: 0,
        protection: Protection::READ | Protection::EXECUTE,
    };
    let data = Segment {
        address: 0x1_2000,
        file_offset: 0x1000,
        file_length: 0x1000,
        zero_address: 0x1_2c00,
        zero_length: 0x400,
        anonymous_address: 0x1_3000,
        anonymous_length: 0x3000,
        protection: Protection::READ | Protection::WRITE,
    };
    assert_eq!(image.segments, [text, data]);
    assert_eq!((image.start, image.end, image.break_start), (0x1_0000, 0x1_6000, 0x1_5800));
    assert_eq!(image.program_headers_address, Some(0x1_0040));
    assert!(!image.executable_stack && image.interpreter.is_none());
    assert_eq!(image.span(), 0x6000);
}

#[test]
fn a_relocatable_program_names_its_interpreter_and_alignment() {
    let first = Entry { address: 0, alignment: 0x20_0000, ..LOAD };
    let interpreter = Entry { kind: SEGMENT_INTERPRETER, offset: 0x100, file_size: 8, ..LOAD };
    let stack = Entry { kind: SEGMENT_GNU_STACK, flags: FLAG_EXECUTE, ..LOAD };
    let image = load(&file(TYPE_DYNAMIC, &[interpreter, first, stack])).unwrap();
    assert_eq!(image.header.kind, Kind::Relocatable);
    assert_eq!(image.interpreter, Some(FileRange { offset: 0x100, length: 8 }));
    assert_eq!((image.alignment, image.executable_stack), (0x20_0000, true));
    assert_eq!(interpreter_path(b"/lib/ld\0"), Ok(&b"/lib/ld"[..]));
    for bad in [&b""[..], b"\0", b"/lib/ld", b"\0\0"] {
        assert_eq!(interpreter_path(bad), Err(Error::ExecFormat));
    }
}

#[test]
fn memory_without_file_bytes_is_all_anonymous() {
    let bss = Entry { file_size: 0, memory_size: 0x1234, address: 0x2_0800, offset: 0x800, ..DATA };
    let image = load(&file(TYPE_EXECUTABLE, &[LOAD, bss])).unwrap();
    let segment = image.segments[1];
    assert_eq!((segment.file_length, segment.zero_length), (0, 0));
    assert_eq!((segment.anonymous_address, segment.anonymous_length), (0x2_0000, 0x2000));
}

#[test]
fn impossible_segments_are_refused() {
    let bad = [
        Entry { file_size: 0x1801, ..LOAD },
        Entry { offset: u64::MAX - 0xfff, ..LOAD },
        Entry { offset: 0x1000, file_size: 0x1001, memory_size: 0x1001, ..LOAD },
        Entry { address: USER_END - 0x1000, ..LOAD },
        Entry { address: u64::MAX - 0xfff, ..LOAD },
        Entry { memory_size: u64::MAX, ..LOAD },
        Entry { offset: 0x10, ..LOAD },
        Entry { kind: SEGMENT_INTERPRETER, file_size: 1, ..LOAD },
        Entry { kind: SEGMENT_INTERPRETER, file_size: 4097, ..LOAD },
        Entry { kind: SEGMENT_INTERPRETER, offset: 0x1fff, file_size: 2, ..LOAD },
        Entry { kind: SEGMENT_INTERPRETER, offset: u64::MAX, file_size: 2, ..LOAD },
    ];
    for entry in bad {
        assert_eq!(load(&file(TYPE_EXECUTABLE, &[entry, LOAD])), Err(Error::ExecFormat));
    }
    assert_eq!(load(&file(TYPE_EXECUTABLE, &[DATA, LOAD])), Err(Error::ExecFormat), "descending");
    assert_eq!(load(&file(TYPE_EXECUTABLE, &[LOAD, LOAD])), Err(Error::ExecFormat), "overlapping");
    assert_eq!(load(&file(TYPE_EXECUTABLE, &[])), Err(Error::ExecFormat), "no headers");
    let note = Entry { kind: 4, ..LOAD };
    assert_eq!(load(&file(TYPE_EXECUTABLE, &[note])), Err(Error::ExecFormat), "nothing to load");
}

#[test]
fn other_files_are_refused() {
    let good = file(TYPE_EXECUTABLE, &[LOAD, DATA]);
    let change = |offset: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[offset] = value;
        load(&bytes)
    };
    for (offset, value) in
        [(0, 0), (3, b'f'), (4, 1), (5, 2), (16, 1), (16, 4), (18, 62), (54, 57), (56, 0), (57, 0xff)]
    {
        assert_eq!(change(offset, value), Err(Error::ExecFormat), "byte {offset}");
    }
    assert!(load(&good).is_ok());
}

/// A small generator of pseudo-random numbers (xorshift), so that failures repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[test]
fn truncated_files_are_refused_or_sound() {
    let interpreter = Entry { kind: SEGMENT_INTERPRETER, offset: 0x1f00, file_size: 8, ..LOAD };
    let good = file(TYPE_EXECUTABLE, &[interpreter, LOAD, DATA]);
    for length in 0..good.len() {
        if let Ok(image) = load(&good[..length]) {
            check(&image, length as u64);
        }
    }
    assert!(load(&good[..0x1f07]).is_err() && load(&good[..0x1f08]).is_ok());
}

#[test]
fn corrupted_files_are_refused_or_sound() {
    const INTERESTING: [u64; 8] =
        [0, 1, PAGE - 1, PAGE, USER_END, i64::MAX as u64, u64::MAX - PAGE + 1, u64::MAX];
    let interpreter = Entry { kind: SEGMENT_INTERPRETER, offset: 0x1f00, file_size: 8, ..LOAD };
    let good = file(TYPE_DYNAMIC, &[interpreter, LOAD, DATA]);
    let headers = 64 + 3 * PROGRAM_HEADER_LENGTH;
    let mut random = Random(0x5eed_1234_5678_9abc);
    let mut accepted = 0;
    for _ in 0..60_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(headers);
            if random.below(2) == 0 {
                bytes[at] ^= 1 << random.below(8);
            } else {
                let at = (at & !7).min(headers - 8);
                let value = INTERESTING[random.below(INTERESTING.len())];
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes.truncate(if random.below(4) == 0 { random.below(good.len()) } else { good.len() });
        match load(&bytes) {
            Ok(image) => {
                check(&image, bytes.len() as u64);
                accepted += 1;
            }
            Err(error) => assert_eq!(error, Error::ExecFormat),
        }
    }
    assert!(accepted > 1000, "the corruption is not so coarse that nothing is left to check");
}
