//! Truncated and bit-flipped copies of a valid program are executed: each is refused or ends somehow, none hangs the system.
//!
//! `hostile-elf [COUNT [SEED [FILE]]]`: 1,000 copies, seed 1, of `/bin/hello` or, when that is missing, of this program.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

use asyncos_apps::Report;
use asyncos_apps::random::Random;
use asyncos_apps::system::{Child, Ended, close, execute, in_child, limit, open};

const COPY: &str = "/tmp/hostile-elf-copy";
const TIMEOUT_NS: u64 = 3_000_000_000;
const REFUSED: i32 = 99;
/// The file header and some program headers, where the kernel looks.
const HEADERS: usize = 64 + 16 * 56;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |position: usize, default: u64| {
        arguments.get(position).map_or(default, |text| text.parse().expect("a number"))
    };
    let (count, seed) = (number(1, 1_000), number(2, 1));
    let hello = "/bin/hello".to_string();
    let source = arguments.get(3).cloned().or_else(|| std::fs::exists(&hello).ok()?.then_some(hello));
    let source = source.unwrap_or("/proc/self/exe".to_string());
    let mut report = Report::new();
    let intact = std::fs::read(&source).unwrap_or_default();
    report.check("the program to damage", intact.starts_with(b"\x7fELF"), || {
        format!("{source} is no ELF file")
    });
    report.equal("runs when it is intact", run(&intact), Ok(Some(Ended::Exited(0))));

    let mut random = Random::new(seed);
    let (mut refused, mut exited, mut killed, mut stopped_by_clock, mut failed) = (0, 0, 0, 0, 0);
    for _ in 0..count {
        match run(&damaged(&intact, &mut random)) {
            Ok(Some(Ended::Exited(REFUSED))) => refused += 1,
            Ok(Some(Ended::Exited(_))) => exited += 1,
            Ok(Some(Ended::Killed(_))) => killed += 1,
            Ok(None) => stopped_by_clock += 1,
            _ => failed += 1,
        }
    }
    report.remark(&format!(
        "{refused} refused, {exited} exited, {killed} killed by a signal, {stopped_by_clock} killed after a while"
    ));
    report.equal("every copy was refused or ended", failed, 0);
    report.check("both refusals and runs happened", refused > 0 && killed + exited > 0, || {
        "one sided".to_string()
    });
    report.equal("the intact program still runs", run(&intact), Ok(Some(Ended::Exited(0))));
    let _ = std::fs::remove_file(COPY);
    report.finish()
}

/// A copy that is cut short, or has bits flipped: mostly in its headers, where the kernel looks.
fn damaged(intact: &[u8], random: &mut Random) -> Vec<u8> {
    let mut copy = intact.to_vec();
    let headers = HEADERS.min(copy.len());
    match random.below(4) {
        0 => copy.truncate(random.below(headers)),
        1 => copy.truncate(random.below(copy.len())),
        2 => {
            for _ in 0..1 + random.below(8) {
                copy[random.below(headers)] ^= 1 << random.below(8);
            }
        }
        _ => {
            // A whole field of the file header or of a program header gets an extreme value.
            let field = 16 + 4 * random.below((headers - 24) / 4);
            let value = random.pick(&[0u32, 1, 0x7fff_ffff, 0xffff_ffff, 0xffff_f000, 0x8000_0000, 0x1000]);
            copy[field..field + 4].copy_from_slice(&value.to_le_bytes());
            let anywhere = random.below(copy.len());
            copy[anywhere] ^= 1 << random.below(8);
        }
    }
    copy
}

/// Writes and executes the program; how it ended, `None` when it had to be killed.
fn run(program: &[u8]) -> Result<Option<Ended>, asyncos_apps::Errno> {
    let _ = std::fs::remove_file(COPY);
    std::fs::write(COPY, program).expect("space for the copy");
    std::fs::set_permissions(COPY, std::fs::Permissions::from_mode(0o755)).expect("the copy is ours");
    in_child(|| {
        for (resource, value) in [(libc::RLIMIT_CORE, 0), (libc::RLIMIT_CPU, 2), (libc::RLIMIT_AS, 256 << 20)]
        {
            let _ = limit(resource, value);
        }
        // A damaged program may write anything to what it has open.
        for descriptor in 0..3 {
            let _ = close(descriptor);
            let _ = open(c"/dev/null", libc::O_RDWR);
        }
        let path = CString::new(COPY).expect("no NUL in it");
        let _error = execute(&path, &[c"copy".to_owned()], &[]);
        REFUSED
    })
    .and_then(|child: Child| child.wait_at_most(TIMEOUT_NS))
}
