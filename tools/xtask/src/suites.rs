//! The suites that boot the system: what each runs, and on which machines.
//!
//! A suite is a row of [`SUITES`]. Its guest command must exit with status 0. When the last line that it prints has
//! the form `N passed, N failed`, those are its tests; otherwise the suite is one test.

use crate::qemu::{Machine, Realm};

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
    /// The full machine, deterministic.
    Icount,
}

/// What a suite is.
#[derive(Clone, Copy)]
pub enum Action {
    /// A command in the guest, words of its command line.
    Guest(&'static [&'static str]),
    /// A test of the whole that runs on the host and boots what it likes.
    Host(fn(&crate::test::Context<'_>) -> anyhow::Result<crate::test::Outcome>),
}

/// A row.
#[derive(Clone, Copy)]
pub struct Suite {
    /// Its name; the machine's is appended to it (`shell/isolated/smp2`).
    pub name: &'static str,
    /// What it does.
    pub action: Action,
    /// Where; host suites have one row whatever this says.
    pub matrix: Matrix,
    /// Seconds until a machine counts as hung.
    pub timeout: u64,
}

/// Both realms, one hart and two.
pub const EVERYWHERE: Matrix =
    Matrix { realms: &[Realm::Direct, Realm::Isolated], smp: &[1, 2], machines: &[Variant::Full] };

/// The poorer machines, which have only the direct realm.
pub const WITHOUT_H: Matrix =
    Matrix { realms: &[Realm::Auto], smp: &[1, 2], machines: &[Variant::NoH, Variant::Plic, Variant::Plain] };

/// Every suite that boots the system, in the order in which they run.
pub const SUITES: &[Suite] = &[
    Suite { name: "hello", action: Action::Guest(&["/bin/hello"]), matrix: EVERYWHERE, timeout: 60 },
    Suite { name: "hello", action: Action::Guest(&["/bin/hello"]), matrix: WITHOUT_H, timeout: 60 },
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
                        icount: *variant == Variant::Icount,
                        ..Machine::default()
                    };
                    let kind = match variant {
                        Variant::Full => "",
                        Variant::NoH => "no-h/",
                        Variant::Plic => "plic/",
                        Variant::Plain => "plain/",
                        Variant::Icount => "icount/",
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
        assert!(WITHOUT_H.machines().iter().all(|(_, machine)| machine.no_h || machine.no_aia));
    }

    #[test]
    fn every_suite_s_machines_are_possible() {
        for suite in SUITES {
            for (name, machine) in suite.matrix.machines() {
                assert!(machine.check().is_ok(), "{} {name}", suite.name);
            }
        }
    }
}
