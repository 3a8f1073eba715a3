//! The peer: Debian's Linux for riscv64, booted on the same QEMU.

use crate::debian::Archive;
use crate::qemu::Machine;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// The package that always depends on the newest kernel.
const META_PACKAGE: &str = "linux-image-riscv64";

/// Linux's image, as QEMU's `-kernel` takes it. Fetched once, then kept.
pub fn kernel() -> Result<PathBuf> {
    let archive = Archive::open()?;
    let (_, packages) = archive.closure(META_PACKAGE)?;
    let package = packages
        .iter()
        .find(|package| is_concrete(&package.name))
        .with_context(|| format!("`{META_PACKAGE}` depends on no kernel"))?;
    let boot = archive.fetch_alone(package)?.join("boot");
    let version = package.name.trim_start_matches("linux-image-").trim_end_matches("-unsigned");
    ["vmlinux", "vmlinuz"]
        .iter()
        .map(|name| boot.join(format!("{name}-{version}")))
        .find(|path| path.is_file())
        .with_context(|| format!("no kernel in {}", package.file))
}

/// The machine on which Linux runs with every QEMU: with the APLIC of QEMU 7.2 its console hangs on one hart.
pub fn machine() -> Machine {
    Machine { no_aia: true, ..Machine::default() }
}

/// Turns off what a young kernel does not do either, so that the comparison is fair.
const TUNED: &str = "randomize_kstack_offset=off audit=0 apparmor=0 security=none lsm= init_on_alloc=0 \
                     hardened_usercopy=off nokaslr cgroup_disable=memory norandmaps no4lvl";

/// [`machine`], with a Linux as lean as its command line can make it.
pub fn tuned_machine() -> Machine {
    Machine { append: Some(TUNED.into()), ..machine() }
}

/// `linux-image-6.12.1+deb13-riscv64`, not `linux-image-riscv64`.
fn is_concrete(name: &str) -> bool {
    let rest = name.strip_prefix("linux-image-");
    rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::is_concrete;

    #[test]
    fn the_concrete_kernel_is_told_from_the_others() {
        assert!(is_concrete("linux-image-6.12.107+deb13-riscv64"));
        assert!(!is_concrete("linux-image-riscv64"));
        assert!(!is_concrete("linux-base"));
    }
}
