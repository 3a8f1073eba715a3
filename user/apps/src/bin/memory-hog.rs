//! A child that takes memory until it is refused or killed; everyone else goes on.
//!
//! `memory-hog [ROUNDS]`, 2 by default.

use std::process::ExitCode;

use asyncos_apps::Report;
use asyncos_apps::system::{Access, Child, Ended, Errno, Mapping, in_child, limit};

const STEP: usize = 4 << 20;
const REFUSED: i32 = 42;
const TIMEOUT_NS: u64 = 300_000_000_000;

fn main() -> ExitCode {
    let rounds: usize = std::env::args().nth(1).map_or(2, |text| text.parse().expect("a number of rounds"));
    let mut report = Report::new();

    let refused = in_child(|| take_all(Some(64 << 20))).and_then(Child::wait);
    report.equal("a hog under RLIMIT_AS is refused", refused, Ok(Ended::Exited(REFUSED)));
    let huge = Mapping::anonymous(1 << 46, Access::WRITE).err();
    report.equal("more than the address space is refused", huge, Some(Errno(libc::ENOMEM)));

    let witness = Mapping::anonymous(1 << 20, Access::WRITE).expect("memory of the witness");
    witness.fill(0, 1 << 20, 0x5a);
    for round in 1..=rounds {
        let ended = in_child(|| take_all(None)).and_then(|child| child.wait_at_most(TIMEOUT_NS));
        report.remark(&format!("round {round}: the hog ended so: {ended:?}"));
        let expected = matches!(ended, Ok(Some(Ended::Killed(libc::SIGKILL) | Ended::Exited(REFUSED))));
        report.check("the hog is killed or refused", expected, || format!("{ended:?}"));
        let small = in_child(|| {
            i32::from(Mapping::anonymous(1 << 20, Access::WRITE).map(|m| m.fill(0, 1 << 20, 1)).is_err())
        });
        report.equal("its memory is there for others", small.and_then(Child::wait), Ok(Ended::Exited(0)));
    }
    let intact = witness.load(0, 1 << 20).iter().all(|byte| *byte == 0x5a);
    report.holds("the parent's memory is intact", intact);
    report.finish()
}

/// Maps and touches memory, never giving any back, until the kernel refuses or kills.
fn take_all(address_space: Option<u64>) -> i32 {
    if let Some(bytes) = address_space
        && limit(libc::RLIMIT_AS, bytes).is_err()
    {
        return 1;
    }
    // The greediest process is what is to be killed; where a score can say so, it does.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    loop {
        match Mapping::anonymous(STEP, Access::WRITE) {
            Ok(memory) => {
                for page in (0..STEP).step_by(4096) {
                    memory.set_byte(page, 1);
                }
                std::mem::forget(memory);
            }
            Err(_) => return REFUSED,
        }
    }
}
