//! Bad pointers in every pointer argument of every system call: EFAULT, nothing written, nothing harmed.
//!
//! `hostile-pointers [--list]`. The table says for each call what each argument is; every pointer argument gets each bad
//! pointer in turn while the others are good. A child makes each call, so that one that wrongly succeeds spoils nothing. A
//! call that answers ENOSYS is not implemented: it is counted and skipped.

use std::process::ExitCode;

use asyncos_apps::pointer_table::{CALLS, Kind, Row};
use asyncos_apps::system::{
    Access, Child, Ended, Errno, Mapping, PAGE_BYTES, close, in_child, open, pipe, trap, write,
};
use asyncos_apps::{Report, call};

const SCRATCH: &std::ffi::CStr = c"/tmp/hostile-pointers";
const TIMEOUT_NS: u64 = 3_000_000_000;
const GUARD: u8 = 0xa5;
/// An address where nothing else is mapped.
const LONELY: usize = 0x12_3456_7000;

/// What the children tell, and the memory that good and bad pointers lie in.
struct Arena {
    /// Pages 0-7: good and writable, shared so that the parent sees what a child's call wrote.
    good: Mapping,
    /// A page with nothing behind it.
    edge: Mapping,
    read_only: Mapping,
    no_access: Mapping,
    unmapped: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Bad {
    Null,
    One,
    Kernel,
    KernelText,
    NonCanonical,
    LastPage,
    Unmapped,
    NoAccess,
    ReadOnly,
    Edge,
}

const BAD: [(Bad, &str); 10] = [
    (Bad::Null, "null"),
    (Bad::One, "1"),
    (Bad::Kernel, "kernel's direct map"),
    (Bad::KernelText, "kernel's text"),
    (Bad::NonCanonical, "non-canonical"),
    (Bad::LastPage, "last page"),
    (Bad::Unmapped, "unmapped"),
    (Bad::NoAccess, "no access"),
    (Bad::ReadOnly, "read only"),
    (Bad::Edge, "page edge"),
];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--list") {
        CALLS.iter().for_each(|row| println!("{} {}", row.number, row.name));
        return ExitCode::SUCCESS;
    }
    let mut report = Report::new();
    call!(SYS_setgroups, 2, &[1u32, 2]).expect("started by root");
    let arena = Arena::new().expect("memory of the test");
    let _ = call!(SYS_mkdirat, libc::AT_FDCWD, SCRATCH, 0o755);
    call!(SYS_chdir, SCRATCH).expect("the scratch directory");
    let (mut missing, mut tried) = (Vec::new(), 0);
    for row in CALLS {
        let mut complaints = Vec::new();
        let mut implemented = true;
        for (position, kind) in row.arguments.iter().enumerate() {
            for (bad, bad_name) in BAD {
                if !kind.is_pointer() || !applies(*kind, bad) {
                    continue;
                }
                tried += 1;
                match attempt(&arena, row, position, bad) {
                    Verdict::Refused => {}
                    Verdict::NotImplemented => implemented = false,
                    Verdict::Wrong(text) => {
                        complaints.push(format!("argument {position} {bad_name}: {text}"))
                    }
                }
            }
        }
        if implemented {
            report.check(row.name, complaints.is_empty(), || complaints.join("; "));
        } else {
            missing.push(row.name);
        }
    }
    report.remark(&format!("{tried} calls with one bad pointer each"));
    report.remark(&format!("not implemented: {}", missing.join(" ")));
    report.equal("fork and wait still work", in_child(|| 17).and_then(Child::wait), Ok(Ended::Exited(17)));
    let _ = call!(SYS_chdir, c"/");
    let _ = std::fs::remove_dir_all("/tmp/hostile-pointers");
    report.finish()
}

/// Whether this bad pointer is bad for this kind of argument.
fn applies(kind: Kind, bad: Bad) -> bool {
    match (kind, bad) {
        (Kind::InOrNull(_) | Kind::OutOrNull(_) | Kind::InOutOrNull(_), Bad::Null) => false,
        // No arguments at all is what Linux takes a null pointer for.
        (Kind::PathOrNull | Kind::Strings, Bad::Null) => false,
        (Kind::In(_) | Kind::InOrNull(_) | Kind::Path | Kind::PathOrNull, Bad::ReadOnly) => false,
        (Kind::Vector | Kind::Strings | Kind::Bytes(_), Bad::ReadOnly) => false,
        // One byte at the edge fits.
        (Kind::In(1) | Kind::Out(1), Bad::Edge) => false,
        _ => true,
    }
}

enum Verdict {
    Refused,
    NotImplemented,
    Wrong(String),
}

impl Arena {
    fn new() -> Result<Arena, Errno> {
        // Far below where the kernel places mappings by itself, so that the pages behind stay unmapped.
        let fixed = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let edge = call!(SYS_mmap, LONELY, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE, fixed, -1, 0)?;
        let edge = Mapping::adopt(edge, PAGE_BYTES);
        edge.fill(0, PAGE_BYTES, GUARD);
        let read_only = Mapping::anonymous(PAGE_BYTES, Access::WRITE)?;
        read_only.fill(0, PAGE_BYTES, GUARD);
        read_only.protect(Access::READ)?;
        let no_access = Mapping::anonymous(PAGE_BYTES, Access::WRITE)?;
        no_access.fill(0, PAGE_BYTES, GUARD);
        no_access.protect(Access::NONE)?;
        let address = edge.address() + 64 * PAGE_BYTES;
        Ok(Arena { good: Mapping::shared(16 * PAGE_BYTES)?, edge, read_only, no_access, unmapped: address })
    }

    fn bad_address(&self, bad: Bad) -> usize {
        match bad {
            Bad::Null => 0,
            Bad::One => 1,
            Bad::Kernel => 0xffff_ffc0_0000_0000,
            Bad::KernelText => 0xffff_ffff_8020_0000,
            Bad::NonCanonical => 0x0123_4567_89ab_c000,
            Bad::LastPage => usize::MAX - 7,
            Bad::Unmapped => self.unmapped,
            Bad::NoAccess => self.no_access.address(),
            Bad::ReadOnly => self.read_only.address(),
            // The last byte is mapped, aligned or not; whatever is longer than one byte runs over.
            Bad::Edge => self.edge.address() + PAGE_BYTES - 1,
        }
    }

    /// Fills the good pages: each argument has one of its own.
    fn prepare(&self, row: &Row) {
        for (position, kind) in row.arguments.iter().enumerate() {
            let offset = position * PAGE_BYTES;
            self.good.fill(offset, PAGE_BYTES, 0);
            match kind {
                Kind::Path | Kind::PathOrNull => self.good.store(offset, b"file\0"),
                Kind::Vector => {
                    let buffer = self.good.address() + 8 * PAGE_BYTES;
                    self.good.store(offset, &buffer.to_le_bytes());
                    self.good.store(offset + 8, &4usize.to_le_bytes());
                }
                Kind::Bytes(bytes) | Kind::Good(bytes) => self.good.store(offset, bytes),
                _ => {}
            }
        }
    }
}

/// Makes one call with one bad pointer in a child, and judges what came of it.
fn attempt(arena: &Arena, row: &Row, position: usize, bad: Bad) -> Verdict {
    arena.prepare(row);
    let _ = close(descriptor_of_file() as i32);
    let result = arena.good.word(15 * PAGE_BYTES);
    result.store(u32::MAX, std::sync::atomic::Ordering::SeqCst);
    let ended = in_child(|| {
        let mut arguments = [0; 6];
        for (place, kind) in row.arguments.iter().enumerate() {
            arguments[place] = match kind {
                Kind::Number(number) => *number as usize,
                Kind::File => descriptor_of_file(),
                Kind::Pipe => descriptor_of_pipe(),
                Kind::Socket => descriptor_of_socket(),
                Kind::Directory => open(c".", libc::O_RDONLY | libc::O_DIRECTORY).unwrap_or(-1) as usize,
                Kind::Terminal => open(c"/dev/console", libc::O_RDWR | libc::O_NOCTTY).unwrap_or(-1) as usize,
                _ => arena.good.address() + place * PAGE_BYTES,
            };
        }
        arguments[position] = arena.bad_address(bad);
        // SAFETY: good pointers lie in pages of the arena, the bad one in none that Rust uses.
        let answer = unsafe { trap(row.number as usize, arguments) };
        result.store(answer as u32, std::sync::atomic::Ordering::SeqCst);
        i32::from(!untouched(arena))
    })
    .and_then(|child| child.wait_at_most(TIMEOUT_NS));
    let answer = result.load(std::sync::atomic::Ordering::SeqCst) as i32;
    match ended {
        Ok(Some(Ended::Exited(0))) => {}
        Ok(Some(Ended::Exited(1))) => {
            return Verdict::Wrong(format!("wrote through the pointer (answer {answer})"));
        }
        other => return Verdict::Wrong(format!("ended {other:?}")),
    }
    match -answer {
        libc::ENOSYS => Verdict::NotImplemented,
        libc::EFAULT => Verdict::Refused,
        // One byte fitted before the edge: that much may be done.
        -1 if bad == Bad::Edge => Verdict::Refused,
        error if row.also.contains(&error) => Verdict::Refused,
        _ => Verdict::Wrong(if answer < 0 {
            format!("{:?}", Errno(-answer))
        } else {
            format!("succeeded with {answer}")
        }),
    }
}

/// Whether the pages that may not be written still hold what they held. The edge page may hold the part that fitted.
fn untouched(arena: &Arena) -> bool {
    let same = |mapping: &Mapping| mapping.load(0, PAGE_BYTES).iter().all(|byte| *byte == GUARD);
    if arena.no_access.protect(Access::READ).is_err() {
        return false;
    }
    let before_edge = arena.edge.load(0, PAGE_BYTES - 1).iter().all(|byte| *byte == GUARD);
    same(&arena.read_only) && same(&arena.no_access) && before_edge
}

fn descriptor_of_file() -> usize {
    let Ok(file) = open(c"file", libc::O_RDWR | libc::O_CREAT) else { return usize::MAX };
    let _ = call!(SYS_pwrite64, file, &[b'x'; 100], 100, 0);
    file as usize
}

/// A socket with something to receive, whose other end is open.
fn descriptor_of_socket() -> usize {
    let mut ends = [0i32; 2];
    if call!(SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM, 0, &mut ends).is_err() {
        return usize::MAX;
    }
    let _ = write(ends[1], &[b'x'; 64]);
    ends[0] as usize
}

/// A pipe's reading end with something to read.
fn descriptor_of_pipe() -> usize {
    let Ok((read_end, write_end)) = pipe(0) else { return usize::MAX };
    let _ = write(write_end, &[b'x'; 64]);
    let _ = close(write_end);
    read_end as usize
}
