//! The suites that boot the system: what each runs, and on which machines.
//!
//! A suite is a row of [`SUITES`]. Its guest command must exit with status 0. When the last line that it prints has
//! the form `N passed, N failed`, those are its tests; otherwise the suite is one test.

use crate::bench::limits;
use crate::qemu::{Machine, Realm};
use crate::scenarios;
use crate::test::{Context, Outcome};
use anyhow::Result;

/// Machines that a suite runs on: every combination.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// The realm that programs start in.
    pub realms: &'static [Realm],
    /// Numbers of harts.
    pub smp: &'static [u32],
    /// What the machine has.
    pub machines: &'static [Variant],
}

/// A kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// With the hypervisor extension and the advanced interrupt architecture.
    Full,
    /// Without the hypervisor extension.
    NoH,
    /// With a PLIC.
    Plic,
    /// Neither, the plainest machine.
    Plain,
}

/// What a suite does on each of its machines.
#[derive(Clone, Copy)]
pub enum Action {
    /// A command in the guest, words of its command line.
    Guest(&'static [&'static str]),
    /// A scenario that boots the machine itself.
    Scenario(fn(&Context<'_>) -> Result<Outcome>),
}

/// A row.
#[derive(Clone, Copy)]
pub struct Suite {
    /// Its name; the machine's is appended to it (`hello/isolated/smp2`).
    pub name: &'static str,
    /// What it does.
    pub action: Action,
    /// Where.
    pub matrix: Matrix,
    /// Seconds until a machine counts as hung.
    pub timeout: u64,
}

/// Both realms, one hart and two: what takes seconds.
const EVERYWHERE: Matrix =
    Matrix { realms: &[Realm::Direct, Realm::Isolated], smp: &[1, 2], machines: &[Variant::Full] };

/// Each realm once, for what takes minutes: this one in parallel on two harts,
const DIRECT_2: Matrix = Matrix { realms: &[Realm::Direct], smp: &[2], machines: &[Variant::Full] };

/// and that one on one hart.
const ISOLATED_1: Matrix = Matrix { realms: &[Realm::Isolated], smp: &[1], machines: &[Variant::Full] };

/// The other way about.
const DIRECT_1: Matrix = Matrix { realms: &[Realm::Direct], smp: &[1], machines: &[Variant::Full] };
const ISOLATED_2: Matrix = Matrix { realms: &[Realm::Isolated], smp: &[2], machines: &[Variant::Full] };

/// Both realms, one hart to four.
const MANY_HARTS: Matrix =
    Matrix { realms: &[Realm::Direct, Realm::Isolated], smp: &[1, 2, 4], machines: &[Variant::Full] };

/// The poorer machines; without H there is only the direct realm.
const POORER: Matrix =
    Matrix { realms: &[Realm::Auto], smp: &[1, 2], machines: &[Variant::NoH, Variant::Plic, Variant::Plain] };

/// The same with four harts too.
const POORER_MANY: Matrix = Matrix { smp: &[1, 2, 4], machines: &[Variant::NoH, Variant::Plic], ..POORER };

/// Each poorer machine once.
const POORER_1: Matrix = Matrix { smp: &[1], ..POORER };

/// For the kernel by itself, which is in no realm.
const EVERY_MACHINE: Matrix = Matrix {
    realms: &[Realm::Auto],
    smp: &[1, 2, 4],
    machines: &[Variant::Full, Variant::NoH, Variant::Plic, Variant::Plain],
};

/// Where instructions are counted.
const COUNTED: Matrix = Matrix { realms: &[Realm::Auto], smp: &[1], machines: &[Variant::Full] };

/// Where Linux runs on every QEMU: with the APLIC of 7.2 its console hangs on one hart, and with two harts and a PLIC it once
/// stood still.
const FOR_LINUX: Matrix = Matrix { realms: &[Realm::Auto], smp: &[1], machines: &[Variant::Plic] };

/// Gives a program the console as its controlling terminal.
const ON_A_TERMINAL: &str = "setsid -c /bin/terminal-basic </dev/console; exit $?";

const fn guest(name: &'static str, command: &'static [&'static str], matrix: Matrix, timeout: u64) -> Suite {
    Suite { name, action: Action::Guest(command), matrix, timeout }
}

const fn scenario(
    name: &'static str,
    function: fn(&Context<'_>) -> Result<Outcome>,
    matrix: Matrix,
    timeout: u64,
) -> Suite {
    Suite { name, action: Action::Scenario(function), matrix, timeout }
}

/// Every suite that boots the system, in the order in which they run.
pub const SUITES: &[Suite] = &[
    scenario("selftest", scenarios::selftest, EVERY_MACHINE, 120),
    scenario("limits", limits, COUNTED, 120),
    scenario("trace", scenarios::trace, MANY_HARTS, 60),
    scenario("panic", scenarios::panic, EVERYWHERE, 60),
    guest("hello", &["/bin/hello"], EVERYWHERE, 60),
    guest("hello", &["/bin/hello"], POORER, 60),
    guest("files-basic", &["/bin/files-basic"], EVERYWHERE, 120),
    guest("memory-basic", &["/bin/memory-basic"], EVERYWHERE, 120),
    guest("pipes-basic", &["/bin/pipes-basic"], EVERYWHERE, 120),
    guest("exec-basic", &["/bin/exec-basic"], EVERYWHERE, 120),
    guest("signals-basic", &["/bin/signals-basic"], EVERYWHERE, 120),
    guest("threads-basic", &["/bin/threads-basic"], MANY_HARTS, 120),
    guest("terminal-basic", &["/bin/sh", "-c", ON_A_TERMINAL], EVERYWHERE, 120),
    guest("hostile-pointers", &["/bin/hostile-pointers"], DIRECT_2, 300),
    guest("hostile-pointers", &["/bin/hostile-pointers"], ISOLATED_1, 300),
    guest("hostile-random", &["/bin/hostile-random"], DIRECT_2, 300),
    guest("hostile-random", &["/bin/hostile-random"], ISOLATED_1, 300),
    guest("hostile-elf", &["/bin/hostile-elf"], DIRECT_1, 300),
    guest("hostile-elf", &["/bin/hostile-elf"], ISOLATED_2, 300),
    guest("fork-bomb", &["/bin/fork-bomb"], DIRECT_2, 120),
    guest("fork-bomb", &["/bin/fork-bomb"], ISOLATED_1, 120),
    guest("memory-hog", &["/bin/memory-hog"], DIRECT_1, 300),
    guest("memory-hog", &["/bin/memory-hog"], ISOLATED_2, 300),
    guest("process-churn", &["/bin/process-churn"], DIRECT_1, 300),
    guest("process-churn", &["/bin/process-churn"], ISOLATED_2, 300),
    scenario("applets", scenarios::applets, MANY_HARTS, 300),
    scenario("applets", scenarios::applets, POORER_1, 300),
    scenario("debian-shell", scenarios::debian_shell, DIRECT_2, 300),
    scenario("debian-shell", scenarios::debian_shell, ISOLATED_1, 300),
    scenario("debian-python", scenarios::debian_python, DIRECT_1, 300),
    scenario("debian-python", scenarios::debian_python, ISOLATED_2, 300),
    scenario("initramfs", scenarios::initramfs, DIRECT_1, 120),
    scenario("initramfs", scenarios::initramfs, ISOLATED_2, 120),
    scenario("initramfs", scenarios::initramfs, POORER_1, 120),
    guest("testlib", &["/bin/testlib"], MANY_HARTS, 300),
    guest("testlib", &["/bin/testlib"], POORER_MANY, 300),
    scenario("testlib-on-linux", scenarios::testlib_on_linux, FOR_LINUX, 300),
    scenario("initramfs-on-linux", scenarios::initramfs_on_linux, FOR_LINUX, 300),
];

impl Matrix {
    /// Every machine with its name.
    pub fn machines(&self) -> Vec<(String, Machine)> {
        let mut machines = Vec::new();
        for variant in self.machines {
            for realm in self.realms {
                for smp in self.smp {
                    let machine = Machine {
                        smp: *smp,
                        realm: *realm,
                        no_h: matches!(variant, Variant::NoH | Variant::Plain),
                        no_aia: matches!(variant, Variant::Plic | Variant::Plain),
                        ..Machine::default()
                    };
                    let kind = match variant {
                        Variant::Full => "",
                        Variant::NoH => "no-h/",
                        Variant::Plic => "plic/",
                        Variant::Plain => "plain/",
                    };
                    machines.push((format!("{kind}{realm}/smp{smp}"), machine));
                }
            }
        }
        machines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_every_combination() {
        let names: Vec<String> = EVERYWHERE.machines().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["direct/smp1", "direct/smp2", "isolated/smp1", "isolated/smp2"]);
        assert!(POORER.machines().iter().all(|(_, machine)| machine.no_h || machine.no_aia));
    }

    #[test]
    fn rows_are_possible_and_have_names_of_their_own() {
        let mut names = Vec::new();
        for suite in SUITES {
            for (name, machine) in suite.matrix.machines() {
                assert!(machine.check().is_ok(), "{} {name}", suite.name);
                names.push(format!("{}/{name}", suite.name));
            }
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
