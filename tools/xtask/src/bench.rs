//! `cargo xtask bench`: measures, and writes what it measured as one object a line.

mod boot;
mod limits;
mod syscall;

pub use limits::limits;

use crate::build::{ImageOptions, Images, build};
use crate::guest::{Ending, Session};
use crate::qemu::Machine;
use crate::run::{Errand, boot_errand};
use crate::setup;
use crate::workspace::{say, usage};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

/// Another system that the same benchmarks run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Debian's Linux on the same QEMU.
    Linux,
}

/// Options of `bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchOptions {
    /// The benchmark; all without it
    name: Option<String>,
    /// Run the same on another system, in the same run
    #[arg(long, value_enum)]
    pub peer: Option<Peer>,
    /// Count instructions instead of time: one is one nanosecond
    #[arg(long)]
    pub icount: bool,
    /// Write an object a line to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Build the kernel quickly (profile `quick`)
    #[arg(long)]
    pub quick: bool,
}

/// One measured figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The benchmark that it is of.
    pub bench: String,
    /// What was measured in it.
    pub test: String,
    /// On which system (`asyncos`, `linux`).
    pub system: String,
    /// In which realm; empty where there are none.
    pub realm: String,
    /// On how many harts.
    pub smp: u32,
    /// What the number says (`latency`, `instructions`).
    pub metric: String,
    /// In which unit (`ns`, `instructions`, `bytes`).
    pub unit: String,
    /// The middle of the samples.
    pub median: f64,
    /// The lowest sample.
    pub low: f64,
    /// The highest sample.
    pub high: f64,
    /// How many samples.
    pub n: usize,
}

/// A benchmark: its name, what it measures, and how.
struct Benchmark {
    name: &'static str,
    measure: fn(&BenchOptions) -> Result<Vec<Figure>>,
}

/// Every benchmark, in the order in which they run.
const BENCHMARKS: &[Benchmark] = &[
    Benchmark { name: "boot", measure: boot::measure },
    Benchmark { name: "syscall", measure: syscall::measure },
];

/// Where figures come from.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    bench: &'a str,
    system: &'a str,
    realm: &'a str,
    smp: u32,
}

impl Place<'_> {
    /// The figure for samples of one thing; there is at least one.
    fn figure(&self, test: &str, metric: &str, unit: &str, samples: &[f64]) -> Figure {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Figure {
            bench: self.bench.into(),
            test: test.into(),
            system: self.system.into(),
            realm: self.realm.into(),
            smp: self.smp,
            metric: metric.into(),
            unit: unit.into(),
            median,
            low,
            high,
            n: sorted.len(),
        }
    }
}

/// Builds what benchmarks boot; `tests` adds our own programs to the default image.
fn images(options: &BenchOptions, tests: bool) -> Result<Images> {
    setup::qemu()?;
    build(&ImageOptions { quick: options.quick, tests, ..ImageOptions::default() })
}

/// Boots for one program that must succeed, and gives what it prints.
fn guest_output(images: &Images, machine: &Machine, errand: &Errand, deadline: Instant) -> Result<String> {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let session = Session {
        output: &mut output,
        errors: &mut errors,
        verbose: false,
        symbols: Some(&images.symbols),
        deadline: Some(deadline),
        trace: None,
        stdin: Stdio::null(),
    };
    let ending = boot_errand(images, machine, errand, session)?;
    let printed = String::from_utf8_lossy(&output).into_owned();
    if ending != Ending::Exit(0) {
        let errors = String::from_utf8_lossy(&errors);
        bail!("{}: {ending:?}: {}", errand.command.join(" "), format!("{printed}{errors}").trim());
    }
    Ok(printed)
}

/// One line for each figure that the peer has, too.
fn compare(figures: &[Figure]) {
    let (ours, theirs): (Vec<&Figure>, Vec<&Figure>) =
        figures.iter().partition(|figure| figure.system == "asyncos");
    if theirs.is_empty() {
        return;
    }
    say(format_args!(
        "\n{:<28} {:<9} {:<13} {:>14} {:>14} {:>7}\n",
        "test", "realm", "unit", "asyncos", "linux", "ratio"
    ));
    for figure in ours {
        let same = |other: &&&Figure| (&other.test, &other.metric) == (&figure.test, &figure.metric);
        if let Some(other) = theirs.iter().find(same) {
            let Figure { test, realm, unit, median, .. } = figure;
            let ratio = median / other.median;
            say(format_args!(
                "{test:<28} {realm:<9} {unit:<13} {median:>14.1} {:>14.1} {ratio:>7.3}\n",
                other.median
            ));
        }
    }
}

impl Figure {
    /// One line of the file.
    fn to_json(&self) -> String {
        json!({
            "bench": self.bench, "test": self.test, "system": self.system, "realm": self.realm, "smp": self.smp,
            "metric": self.metric, "unit": self.unit, "median": self.median, "low": self.low, "high": self.high,
            "n": self.n,
        })
        .to_string()
    }
}

/// The command; gives the exit status.
pub fn bench(options: &BenchOptions) -> Result<u8> {
    let names: Vec<&str> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
    if let Some(name) = &options.name
        && !names.contains(&name.as_str())
    {
        let known = if names.is_empty() { "none yet".into() } else { names.join(", ") };
        return Err(usage(format!("no benchmark `{name}`; there are: {known}")));
    }
    let mut file = match &options.json {
        Some(path) => {
            Some(std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?)
        }
        None => None,
    };
    let chosen = |benchmark: &&Benchmark| options.name.as_ref().is_none_or(|name| name == benchmark.name);
    for benchmark in BENCHMARKS.iter().filter(chosen) {
        let figures = (benchmark.measure)(options)?;
        for figure in &figures {
            let Figure { test, system, realm, smp, median, low, high, n, unit, .. } = figure;
            say(format_args!(
                "{test:<28} {system:<8} {realm:<9} smp {smp} {median:>14.1} {unit} ({low:.1}..{high:.1}, n {n})\n"
            ));
            if let Some(file) = &mut file {
                writeln!(file, "{}", figure.to_json())?;
            }
        }
        compare(&figures);
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_one_line_with_every_field() {
        let figure = Figure {
            bench: "syscall".into(),
            test: "getppid".into(),
            system: "asyncos".into(),
            realm: "direct".into(),
            smp: 1,
            metric: "instructions".into(),
            unit: "instructions".into(),
            median: 180.0,
            low: 179.0,
            high: 181.5,
            n: 11,
        };
        let line = figure.to_json();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["median"], 180.0);
        assert_eq!(value.as_object().unwrap().len(), 11);
    }

    #[test]
    fn unknown_names_are_refused() {
        let options =
            BenchOptions { name: Some("nosuch".into()), peer: None, icount: false, json: None, quick: false };
        assert!(bench(&options).unwrap_err().is::<crate::workspace::UsageError>());
    }
}
