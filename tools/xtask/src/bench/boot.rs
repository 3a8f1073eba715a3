//! What booting costs: time and instructions to the first instruction of process 1, memory, and the images' sizes.

use super::{BenchOptions, Figure, Peer, Place, guest_output};
use crate::build::Images;
use crate::linux;
use crate::qemu::Machine;
use crate::run::Errand;
use crate::scenarios::{boot_plain, linux_skeleton};
use crate::workspace::root;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

const BENCH: &str = "boot";
/// Boots that are timed; the counted one repeats exactly.
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(120);
const PAGE_SIZE: u64 = 4096;
/// Memory of the machine of [`Machine::default`].
const MACHINE_BYTES: u64 = 512 << 20;

/// Process 1 of the Linux that tells what its boot cost.
const LINUX_INIT: &str = "#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B stty -opost </dev/console
echo '== boot begins =='
$B dmesg | $B sed -n 's/^.*\\[ *\\([0-9]*\\)\\.\\([0-9]*\\)\\] Run \\/init .*/ns \\1\\2000/p'
$B sed -n 's/^MemFree: *\\([0-9]*\\) kB/free_kib \\1/p' /proc/meminfo
echo '== boot ends =='
$B poweroff -f
";

/// What one boot cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootCost {
    /// Nanoseconds from the kernel's first instruction to the first of process 1; with `--icount` these are instructions.
    pub ns: u64,
    /// Instructions of the boot hart between the same two, where the machine counts them.
    pub instructions: Option<u64>,
    /// Bytes of the machine's memory that are not free while one small program runs: firmware, kernel and root image
    /// included.
    pub used_bytes: u64,
    /// Bytes on the kernel's heap, part of the former.
    pub heap_bytes: Option<u64>,
}

/// Boots `images` once for a program that only reads two small files.
pub fn measure_once(images: &Images, machine: &Machine) -> Result<BootCost> {
    let words = ["/bin/busybox", "cat", "/proc/asyncos/boot", "/proc/asyncos/memory"];
    let errand = Errand::command(&words);
    parse(&guest_output(images, machine, &errand, Instant::now() + PATIENCE)?)
}

fn parse(text: &str) -> Result<BootCost> {
    let values: BTreeMap<&str, u64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name, value.trim().parse().ok()?)))
        .collect();
    let value =
        |name: &str| values.get(name).copied().with_context(|| format!("the guest does not tell `{name}`"));
    let free_bytes = match values.get("free_kib") {
        Some(kib) => kib << 10,
        None => value("frames_free")? * PAGE_SIZE,
    };
    Ok(BootCost {
        ns: value("ns")?,
        instructions: values.get("instructions").copied(),
        used_bytes: MACHINE_BYTES.saturating_sub(free_bytes),
        heap_bytes: values.get("heap_bytes").copied(),
    })
}

/// The benchmark.
pub fn measure(options: &BenchOptions) -> Result<Vec<Figure>> {
    let images = super::images(options, false)?;
    let place = Place { bench: BENCH, system: "asyncos", realm: "auto", smp: 1 };
    let mut figures = series(options, place, file_size(&images.initrd)?, |icount| {
        measure_once(&images, &Machine { icount, ..Machine::default() })
    })?;
    figures.push(place.figure("kernel image", "size", "bytes", &[file_size(&images.kernel)? as f64]));
    figures.push(place.figure("root image", "size", "bytes", &[file_size(&images.initrd)? as f64]));
    if options.peer == Some(Peer::Linux) {
        figures.extend(measure_linux(options)?);
    }
    Ok(figures)
}

fn measure_linux(options: &BenchOptions) -> Result<Vec<Figure>> {
    let kernel = linux::kernel()?;
    let mut archive = linux_skeleton()?;
    archive.put("init", crate::cpio::Node::Bytes(0o755, LINUX_INIT.into()));
    let mut bytes = Vec::new();
    archive.write(&mut bytes)?;
    let place = Place { bench: BENCH, system: "linux", realm: "", smp: 1 };
    let mut figures = series(options, place, bytes.len() as u64, |icount| {
        let machine = Machine { icount, ..linux::tuned_machine() };
        let (ending, printed) = boot_plain(&kernel, &archive, &machine, Instant::now() + PATIENCE)?;
        match crate::scenarios::between(&printed, "== boot begins ==", "== boot ends ==") {
            Some(text) => parse(&text),
            None => bail!("Linux did not tell what its boot cost ({ending:?}):\n{printed}"),
        }
    })?;
    figures.push(place.figure("kernel image", "size", "bytes", &[file_size(&kernel)? as f64]));
    Ok(figures)
}

/// Boots several times by the clock, unless only counts are wanted, and once counted.
fn series(
    options: &BenchOptions,
    place: Place<'_>,
    image_bytes: u64,
    boot: impl Fn(bool) -> Result<BootCost>,
) -> Result<Vec<Figure>> {
    let test = "first user instruction";
    let mut figures = Vec::new();
    if !options.icount {
        let rounds = (0..ROUNDS).map(|_| Ok(boot(false)?.ns as f64)).collect::<Result<Vec<f64>>>()?;
        figures.push(place.figure(test, "latency", "ns", &rounds));
    }
    let counted = boot(true)?;
    let instructions = counted.instructions.unwrap_or(counted.ns);
    figures.push(place.figure(test, "instructions", "instructions", &[instructions as f64]));
    let idle = counted.used_bytes.saturating_sub(image_bytes);
    figures.push(place.figure("idle beside the root image", "memory", "bytes", &[idle as f64]));
    if let Some(heap) = counted.heap_bytes {
        figures.push(place.figure("kernel heap", "memory", "bytes", &[heap as f64]));
    }
    Ok(figures)
}

/// Bytes of a file.
pub fn file_size(path: &Path) -> Result<u64> {
    let shown = path.strip_prefix(root()).unwrap_or(path);
    Ok(std::fs::metadata(path).with_context(|| format!("cannot read {}", shown.display()))?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_systems_are_understood() {
        let ours = parse("ns 5\ninstructions 4\nframes_total 9\nframes_free 131071\nheap_bytes 7\n").unwrap();
        let cost = BootCost { ns: 5, instructions: Some(4), used_bytes: 4096, heap_bytes: Some(7) };
        assert_eq!(ours, cost);
        let linux = parse("ns 5\nfree_kib 524284\n").unwrap();
        assert_eq!(linux, BootCost { ns: 5, instructions: None, used_bytes: 4096, heap_bytes: None });
        assert!(parse("ns 5\n").is_err());
    }
}
