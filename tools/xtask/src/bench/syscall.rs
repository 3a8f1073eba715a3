//! What single system calls cost, here and on Linux: the program `syscall-bench`, counted and timed.

use super::{BenchOptions, Figure, Peer, Place, guest_output};
use crate::build::apps;
use crate::cpio::Node;
use crate::linux;
use crate::qemu::{Machine, Realm};
use crate::run::Errand;
use crate::scenarios::{between, boot_plain, linux_skeleton};
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

const BENCH: &str = "syscall";
const PROGRAM: &str = "syscall-bench";
/// Rounds that are timed; the counted one repeats exactly.
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(300);
/// What the program says it measured when that is not time.
const BYTES: &str = "bytes";
const MARKS: (&str, &str) = ("== bench begins ==", "== bench ends ==");

/// The benchmark.
pub fn measure(options: &BenchOptions) -> Result<Vec<Figure>> {
    let images = super::images(options, true)?;
    let mut figures = Vec::new();
    for realm in [Realm::Direct, Realm::Isolated] {
        let name = realm.to_string();
        let place = Place { bench: BENCH, system: "asyncos", realm: &name, smp: 1 };
        figures.extend(series(options, place, |icount, rounds| {
            let machine = Machine { icount, realm, ..Machine::default() };
            let errand = Errand::command(&["/bin/sh", "-c", &script(&format!("/bin/{PROGRAM}"), rounds)]);
            guest_output(&images, &machine, &errand, Instant::now() + PATIENCE)
        })?);
    }
    if options.peer == Some(Peer::Linux) {
        figures.extend(measure_linux(options)?);
    }
    Ok(figures)
}

fn measure_linux(options: &BenchOptions) -> Result<Vec<Figure>> {
    let kernel = linux::kernel()?;
    let (_, program) =
        apps()?.into_iter().find(|(name, _)| name == PROGRAM).context("there is no syscall-bench")?;
    let place = Place { bench: BENCH, system: "linux", realm: "", smp: 1 };
    series(options, place, |icount, rounds| {
        let mut archive = linux_skeleton()?;
        archive.put("bench", Node::Copy(0o755, program.clone()));
        archive.put("init", Node::Bytes(0o755, linux_init(rounds).into()));
        let machine = Machine { icount, ..linux::tuned_machine() };
        let (ending, printed) = boot_plain(&kernel, &archive, &machine, Instant::now() + PATIENCE)?;
        let (begin, end) = MARKS;
        match between(&printed, begin, end) {
            Some(text) => Ok(text),
            None => bail!("Linux did not finish the benchmark ({ending:?}):\n{printed}"),
        }
    })
}

fn script(program: &str, rounds: usize) -> String {
    vec![program; rounds].join(" && ")
}

/// Process 1 of the Linux that runs the benchmark; what Linux does in the background after boot has ended before.
fn linux_init(rounds: usize) -> String {
    let (begin, end) = MARKS;
    let rounds = script("/bench", rounds);
    format!(
        "#!/bin/busybox sh\nB=/bin/busybox\n$B mount -t devtmpfs devtmpfs /dev\n$B stty -opost </dev/console\n\
         $B sleep 2\necho '{begin}'\n{rounds}\necho '{end}'\n$B poweroff -f\n"
    )
}

/// Times several rounds, unless only counts are wanted, and counts one. `run` gives what that many rounds print.
fn series(
    options: &BenchOptions,
    place: Place<'_>,
    run: impl Fn(bool, usize) -> Result<String>,
) -> Result<Vec<Figure>> {
    let mut figures = summarise(place, "instructions", "instructions", &run(true, 1)?)?;
    if !options.icount {
        figures.extend(summarise(place, "latency", "ns", &run(false, ROUNDS)?)?);
    }
    Ok(figures)
}

/// A figure for each operation, in the order in which they were first printed.
fn summarise(place: Place<'_>, metric: &str, unit: &str, printed: &str) -> Result<Vec<Figure>> {
    let mut samples: Vec<(Measured<'_>, Vec<f64>)> = Vec::new();
    for measured in printed.lines().filter_map(parse_line) {
        match samples.iter_mut().find(|(known, _)| known.name == measured.name) {
            Some((_, values)) => values.push(measured.per_operation),
            None => samples.push((measured, vec![measured.per_operation])),
        }
    }
    if samples.is_empty() {
        bail!("{PROGRAM} printed no figure:\n{printed}");
    }
    let figure = |(measured, values): &(Measured<'_>, Vec<f64>)| match measured.unit {
        BYTES => place.figure(measured.name, "memory", BYTES, values),
        _ => place.figure(measured.name, metric, unit, values),
    };
    Ok(samples.iter().map(figure).collect())
}

/// A line that the program printed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured<'a> {
    /// Which operation.
    pub name: &'a str,
    /// What one of them took.
    pub per_operation: f64,
    /// Of what: `ns` or `bytes`.
    pub unit: &'a str,
}

/// Reads `name iterations total per_operation unit`.
pub fn parse_line(line: &str) -> Option<Measured<'_>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, iterations, total, _, unit @ ("ns" | BYTES)] = words[..] else { return None };
    let (iterations, total): (f64, f64) = (iterations.parse().ok()?, total.parse().ok()?);
    (iterations > 0.0).then(|| Measured { name, per_operation: total / iterations, unit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_put_together_by_operation() {
        let place = Place { bench: BENCH, system: "asyncos", realm: "direct", smp: 1 };
        let figures = summarise(
            place,
            "latency",
            "ns",
            "getppid 10 2000 200.0 ns\nmemory-pipe 2 8 4.0 bytes\nnoise\ngetppid 10 1000 100.0 ns\n",
        );
        let figures = figures.unwrap();
        assert_eq!(figures.len(), 2);
        assert_eq!(
            (figures[0].median, figures[0].low, figures[0].high, figures[0].n),
            (150.0, 100.0, 200.0, 2)
        );
        let memory = (figures[1].metric.as_str(), figures[1].unit.as_str(), figures[1].median);
        assert_eq!(memory, ("memory", "bytes", 4.0));
        assert!(summarise(place, "latency", "ns", "").is_err());
    }
}
