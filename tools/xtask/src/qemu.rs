//! The machine: how QEMU is called.

use crate::workspace::{find_program, usage};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Harts that QEMU's machine and the kernel support.
const LARGEST_SMP: u32 = 8;
/// The port of QEMU's debugger stub (`-s`).
pub const DEBUGGER_PORT: u16 = 1234;

/// The realm that threads start in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Realm {
    /// The kernel chooses.
    #[default]
    Auto,
    /// U-mode.
    Direct,
    /// VU- and VS-mode.
    Isolated,
}

impl fmt::Display for Realm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::Isolated => "isolated",
        })
    }
}

/// A TCP port of the host that leads to one of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    host: u16,
    guest: u16,
}

impl std::str::FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ports =
            text.split_once(':').and_then(|(host, guest)| Some((host.parse().ok()?, guest.parse().ok()?)));
        let (host, guest) = ports.ok_or("expected HOST:GUEST, two port numbers")?;
        Ok(Self { host, guest })
    }
}

/// What the machine is made of.
#[derive(Args, Clone, Debug)]
pub struct Machine {
    /// Harts, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub smp: u32,
    /// Memory, as QEMU writes it (512M, 1G)
    #[arg(long, value_name = "M", default_value = "512M")]
    pub mem: String,
    /// Hide the hypervisor extension
    #[arg(long)]
    pub no_h: bool,
    /// The machine with a PLIC instead of the advanced interrupt architecture
    #[arg(long)]
    pub no_aia: bool,
    /// The realm that programs start in
    #[arg(long, value_enum, default_value_t)]
    pub realm: Realm,
    /// One instruction is one nanosecond of guest time: deterministic, one hart
    #[arg(long)]
    pub icount: bool,
    /// A network card, with QEMU's user-mode network behind it
    #[arg(long)]
    pub net: bool,
    /// Lead a TCP port of this host (127.0.0.1) to one of the guest; implies --net
    #[arg(long = "forward", value_name = "HOST:GUEST")]
    pub forwards: Vec<Forward>,
    /// A disk with this image (raw or qcow2)
    #[arg(long = "disk", value_name = "IMG")]
    pub disks: Vec<PathBuf>,
    /// More options for the kernel's command line
    #[arg(long, value_name = "OPTIONS")]
    pub append: Option<String>,
    /// Wait for a debugger; prints the command to attach
    #[arg(long)]
    pub gdb: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            smp: 1,
            mem: "512M".into(),
            no_h: false,
            no_aia: false,
            realm: Realm::Auto,
            icount: false,
            net: false,
            forwards: Vec::new(),
            disks: Vec::new(),
            append: None,
            gdb: false,
        }
    }
}

/// Where the serial line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// QEMU's stdin and stdout, with its monitor behind Ctrl-A.
    Interactive,
    /// QEMU's stdout alone.
    Output,
}

/// The files that are booted.
pub struct Boot<'a> {
    /// A flat image, as Linux's boot protocol has it.
    pub kernel: &'a Path,
    /// The root image.
    pub initrd: Option<&'a Path>,
    /// The kernel's command line.
    pub append: &'a str,
}

impl Machine {
    /// Finds what QEMU would say in many words.
    pub fn check(&self) -> Result<()> {
        if !(1..=LARGEST_SMP).contains(&self.smp) {
            return Err(usage(format!("--smp {}: between 1 and {LARGEST_SMP} harts", self.smp)));
        }
        if self.icount && self.smp != 1 {
            return Err(usage("--icount needs --smp 1: only one hart can be deterministic"));
        }
        let digits = self.mem.trim_end_matches(['M', 'G', 'm', 'g']);
        if digits.len() + 1 < self.mem.len() || digits.parse::<u32>().is_err() {
            return Err(usage(format!("--mem {}: expected a number with M or G after it", self.mem)));
        }
        for disk in &self.disks {
            if !disk.is_file() {
                return Err(usage(format!("--disk {}: no such file", disk.display())));
            }
        }
        Ok(())
    }

    /// The command that boots this machine. It dies with the thread that starts it.
    pub fn command(&self, boot: &Boot<'_>, console: Console) -> Result<Command> {
        let mut command = match find_program("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "qemu-system-riscv64"]);
                command
            }
            None => Command::new("qemu-system-riscv64"),
        };
        let machine = if self.no_aia { "virt" } else { "virt,aia=aplic-imsic,aia-guests=7" };
        let cpu = if self.no_h { "rv64,h=false" } else { "rv64" };
        command.args(["-machine", machine, "-cpu", cpu, "-smp", &self.smp.to_string(), "-m", &self.mem]);
        command.args(["-bios", "default", "-no-reboot", "-display", "none", "-kernel"]).arg(boot.kernel);
        if let Some(initrd) = boot.initrd {
            command.arg("-initrd").arg(initrd);
        }
        command.args(["-append", boot.append, "-global", "virtio-mmio.force-legacy=false"]);
        match console {
            Console::Interactive => command.args(["-serial", "mon:stdio"]),
            Console::Output => command.args(["-serial", "stdio", "-monitor", "none"]),
        };
        self.add_devices(&mut command)?;
        if self.gdb {
            command.args(["-s", "-S"]);
        }
        Ok(command)
    }

    fn add_devices(&self, command: &mut Command) -> Result<()> {
        command.args(["-device", "virtio-rng-device"]);
        if self.icount {
            command.args(["-icount", "shift=0,sleep=off", "-seed", "1"]);
            command.args(["-rtc", "base=2025-01-01T00:00:00,clock=vm"]);
        }
        if self.net || !self.forwards.is_empty() {
            let mut network = "user,id=net0".to_owned();
            for Forward { host, guest } in &self.forwards {
                network.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
            }
            command.args(["-netdev", &network, "-device", "virtio-net-device,netdev=net0"]);
        }
        for (index, disk) in self.disks.iter().enumerate() {
            let drive =
                format!("id=disk{index},if=none,format={},file={}", disk_format(disk)?, option_text(disk)?);
            command.args(["-drive", &drive, "-device", &format!("virtio-blk-device,drive=disk{index}")]);
        }
        Ok(())
    }
}

/// A path inside one of QEMU's comma-separated options.
fn option_text(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.replace(',', ",,"))
}

fn disk_format(path: &Path) -> Result<&'static str> {
    use std::io::Read;
    let mut magic = Vec::new();
    let unreadable = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(unreadable)?;
    file.take(4).read_to_end(&mut magic).with_context(unreadable)?;
    Ok(if magic == b"QFI\xfb" { "qcow2" } else { "raw" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(machine: &Machine) -> Vec<String> {
        let boot = Boot { kernel: Path::new("Image"), initrd: None, append: "x" };
        let command = machine.command(&boot, Console::Output).unwrap();
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn options_reach_the_command_line() {
        let machine = Machine {
            no_h: true,
            no_aia: true,
            icount: true,
            forwards: vec!["8080:80".parse().unwrap()],
            ..Machine::default()
        };
        let words = arguments(&machine);
        for word in
            ["virt", "rv64,h=false", "shift=0,sleep=off", "user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80"]
        {
            assert!(words.iter().any(|found| found == word), "{word}");
        }
        assert!(!words.iter().any(|found| found == "-s"));
    }

    #[test]
    fn mistakes_are_found_before_qemu_starts() {
        let good = Machine::default();
        assert!(good.check().is_ok());
        let bad = [
            Machine { smp: 0, ..good.clone() },
            Machine { smp: 9, ..good.clone() },
            Machine { smp: 2, icount: true, ..good.clone() },
            Machine { mem: "lots".into(), ..good.clone() },
            Machine { mem: "1GM".into(), ..good.clone() },
            Machine { disks: vec!["/nonexistent/disk".into()], ..good.clone() },
        ];
        for machine in bad {
            assert!(machine.check().is_err(), "{machine:?}");
        }
        assert!("80".parse::<Forward>().is_err());
        assert!("1:99999".parse::<Forward>().is_err());
    }
}
