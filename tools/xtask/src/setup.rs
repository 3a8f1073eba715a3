//! Gives a fresh machine what a command needs, and nothing that it has already.

use crate::workspace::{capture, find_program, note, root, watched};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target of the kernel.
pub const KERNEL_TARGET: &str = "riscv64imac-unknown-none-elf";
/// The target of our programs.
pub const USER_TARGET: &str = "riscv64gc-unknown-linux-gnu";

const QEMU: &str = "qemu-system-riscv64";
const OLDEST_QEMU: (u32, u32) = (7, 2);
const FIRMWARE: &str = "opensbi-riscv64-generic-fw_dynamic.bin";

/// QEMU (7.2 or newer) with its OpenSBI firmware.
pub fn qemu() -> Result<()> {
    if find_program(QEMU).is_none() {
        // Newer Debian releases have a package of its own for RISC-V.
        let split = apt_knows("qemu-system-riscv");
        install(&[if split { "qemu-system-riscv" } else { "qemu-system-misc" }, "opensbi"])?;
    }
    let text = capture(Command::new(QEMU).arg("--version"), "qemu-system-riscv64 --version")?;
    let version = parse_qemu_version(&text).with_context(|| format!("no version in `{}`", text.trim()))?;
    if version < OLDEST_QEMU {
        let ((major, minor), (oldest, least)) = (version, OLDEST_QEMU);
        bail!("QEMU {major}.{minor} is too old: {oldest}.{least} or newer is needed");
    }
    let folders = capture(Command::new(QEMU).args(["-L", "help"]), "qemu-system-riscv64 -L help")?;
    if !folders.lines().any(|folder| Path::new(folder).join(FIRMWARE).exists()) {
        install(&["opensbi"])?;
    }
    Ok(())
}

/// The first `N.N` in QEMU's own words about its version.
fn parse_qemu_version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_whitespace().skip_while(|word| *word != "version").nth(1)?;
    let mut parts = number.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// The linker and the C library that our programs are linked with.
pub fn cross_linker() -> Result<()> {
    let mut missing = Vec::new();
    if find_program("riscv64-linux-gnu-gcc").is_none() {
        missing.push("gcc-riscv64-linux-gnu");
    }
    if !Path::new("/usr/riscv64-linux-gnu/lib/libc.a").exists() {
        missing.push("libc6-dev-riscv64-cross");
    }
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// A target of the pinned toolchain.
pub fn rust_target(target: &str) -> Result<()> {
    if sysroot()?.join("lib/rustlib").join(target).join("lib").is_dir() {
        return Ok(());
    }
    rustup(&["target", "add", target])
}

/// The formatter and clippy of the pinned toolchain.
pub fn lint_components() -> Result<()> {
    let tools = sysroot()?.join("bin");
    for (program, component) in [("rustfmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if !tools.join(program).exists() {
            rustup(&["component", "add", component])?;
        }
    }
    Ok(())
}

fn sysroot() -> Result<PathBuf> {
    let text = capture(Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()), "rustc")?;
    Ok(PathBuf::from(text.trim()))
}

fn rustup(arguments: &[&str]) -> Result<()> {
    let line = arguments.join(" ");
    if find_program("rustup").is_none() {
        bail!("this needs rustup: install it and run `rustup {line}`");
    }
    note(format_args!("rustup {line}"));
    capture(Command::new("rustup").args(arguments).current_dir(root()), &format!("rustup {line}"))?;
    Ok(())
}

fn apt_knows(package: &str) -> bool {
    Command::new("apt-cache")
        .args(["show", package])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Installs packages of the host through apt, where that needs no password; else says what to install.
fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let administrator: &[&str] = if is_root() {
        &[]
    } else if sudo_without_password() {
        &["sudo", "-n"]
    } else {
        bail!("install what is missing: apt-get install {list}");
    };
    if find_program("apt-get").is_none() {
        bail!("install what is missing (on Debian: apt-get install {list})");
    }
    note(format_args!("installing {list}"));
    let wanted = [&["install", "-y", "--no-install-recommends"][..], packages].concat();
    if packages.iter().all(|package| apt_knows(package)) && apt_get(administrator, &wanted).is_ok() {
        return Ok(());
    }
    apt_get(administrator, &["update"])?;
    apt_get(administrator, &wanted).with_context(|| format!("cannot install {list}"))
}

fn is_root() -> bool {
    capture(Command::new("id").arg("-u"), "id").is_ok_and(|id| id.trim() == "0")
}

fn sudo_without_password() -> bool {
    find_program("sudo").is_some() && capture(Command::new("sudo").args(["-n", "true"]), "sudo").is_ok()
}

fn apt_get(administrator: &[&str], arguments: &[&str]) -> Result<()> {
    let words =
        [administrator, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"], arguments].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    let what = format!("apt-get {}", arguments.join(" "));
    if !watched() {
        return capture(&mut command, &what).map(drop);
    }
    let status =
        command.stdin(Stdio::null()).stdout(std::io::stderr()).status().context("cannot start apt-get")?;
    if !status.success() {
        bail!("{what} failed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse_qemu_version;

    #[test]
    fn versions_of_qemu_are_read() {
        assert_eq!(parse_qemu_version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"), Some((7, 2)));
        assert_eq!(parse_qemu_version("QEMU emulator version 10.0.2\nCopyright"), Some((10, 0)));
        assert_eq!(parse_qemu_version("something else"), None);
    }
}
