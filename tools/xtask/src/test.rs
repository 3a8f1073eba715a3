//! `cargo xtask test`: every test there is, and one line that says how it went.

use crate::build::{ImageOptions, Images, build, metadata};
use crate::guest::{Ending, Session};
use crate::qemu::Machine;
use crate::run::{Errand, boot_errand};
use crate::setup;
use crate::suites::{Action, SUITES, Suite};
use crate::tidy::check_sources;
use crate::workspace::{cargo, note, say, target_dir};
use anyhow::{Context as _, Result};
use clap::Args;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Packages with models that loom checks.
const MODEL_PACKAGES: [&str; 3] = ["base", "sched", "memory"];

/// Options of `test`.
#[derive(Args, Clone, Debug)]
pub struct TestOptions {
    /// Only suites whose name contains this; when there is none, only host tests whose name does
    filter: Option<String>,
    /// Build the kernel quickly (profile `quick`)
    #[arg(long)]
    quick: bool,
    /// Show what every suite prints, not only the failing ones
    #[arg(short, long)]
    verbose: bool,
    /// Print the names of the suites, run none
    #[arg(long)]
    list: bool,
}

/// How a suite went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// What it printed.
    pub output: String,
}

/// What a scenario may use.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The built images.
    pub images: &'a Images,
    /// The machine that it is about.
    pub machine: &'a Machine,
    /// When it counts as hung.
    pub deadline: Instant,
}

impl Context<'_> {
    /// Boots for one program; gives how that ended, its output, and its errors with the kernel's log.
    pub fn boot(&self, errand: &Errand) -> Result<(Ending, Vec<u8>, Vec<u8>)> {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let session = Session {
            output: &mut output,
            errors: &mut errors,
            verbose: true,
            symbols: Some(&self.images.symbols),
            deadline: Some(self.deadline),
            trace: None,
            stdin: Stdio::null(),
        };
        let ending = boot_errand(self.images, self.machine, errand, session)?;
        Ok((ending, output, errors))
    }
}

/// One thing to run.
enum Job {
    /// The rules that need no compiler.
    Rules,
    /// The tests of packages on the host.
    Host { package: String, filter: Option<String> },
    /// The models of a package.
    Model { package: String },
    /// A suite on a machine.
    Guest { suite: Suite, machine: Machine },
}

/// The command; gives the exit status.
pub fn test(options: &TestOptions) -> Result<u8> {
    let jobs = select(options.filter.as_deref())?;
    if options.list {
        for (name, _) in &jobs {
            say(format_args!("{name}\n"));
        }
        return Ok(0);
    }
    let images = if jobs.iter().any(|(_, job)| matches!(job, Job::Guest { .. })) {
        setup::qemu()?;
        Some(build(&ImageOptions { quick: options.quick, tests: true, ..ImageOptions::default() })?)
    } else {
        None
    };
    let started = Instant::now();
    let (passed, failed) = perform_all(&jobs, images.as_ref(), options.verbose);
    say(format_args!("{} suites, {:.0} s\n", jobs.len(), started.elapsed().as_secs_f32()));
    if passed + failed == 0 {
        note("no test has such a name");
    }
    say(format_args!("{passed} passed, {failed} failed\n"));
    Ok(if failed == 0 && passed > 0 { 0 } else { 1 })
}

/// Performs every job, as many at once as their harts fit on this host's cores; gives how many tests passed and failed.
fn perform_all(jobs: &[(String, Job)], images: Option<&Images>, verbose: bool) -> (usize, usize) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (free, freed) = (Mutex::new(cores), Condvar::new());
    let counts = Mutex::new((0, 0));
    std::thread::scope(|scope| {
        for (name, job) in jobs {
            let weight = job.cores().min(cores);
            let mut left = lock(&free);
            while *left < weight {
                left = freed.wait(left).unwrap_or_else(PoisonError::into_inner);
            }
            *left -= weight;
            drop(left);
            let (free, freed, counts) = (&free, &freed, &counts);
            scope.spawn(move || {
                let begun = Instant::now();
                let outcome = perform(job, images).unwrap_or_else(|error| Outcome {
                    passed: 0,
                    failed: 1,
                    output: format!("{error:#}\n"),
                });
                let mut counts = lock(counts);
                show(name, &outcome, begun.elapsed(), verbose);
                counts.0 += outcome.passed;
                counts.1 += outcome.failed;
                drop(counts);
                *lock(free) += weight;
                freed.notify_all();
            });
        }
    });
    *lock(&counts)
}

/// A thread that panicked has broken nothing that a count could not bear.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn show(name: &str, outcome: &Outcome, time: Duration, verbose: bool) {
    let verdict = if outcome.failed == 0 { "ok" } else { "FAILED" };
    let Outcome { passed, failed, output } = outcome;
    say(format_args!("{name}: {verdict}, {passed} passed, {failed} failed, {:.1} s\n", time.as_secs_f32()));
    if *failed > 0 || verbose {
        say(format_args!("{output}"));
    }
}

impl Job {
    /// How many cores it keeps busy. Cargo takes all there are.
    fn cores(&self) -> usize {
        match self {
            Self::Rules => 1,
            Self::Host { .. } | Self::Model { .. } => usize::MAX,
            Self::Guest { machine, .. } => machine.smp as usize,
        }
    }
}

/// Everything that the filter leaves, in order: quick things first.
fn select(filter: Option<&str>) -> Result<Vec<(String, Job)>> {
    let packages = host_packages()?;
    let mut jobs = vec![("rules".to_owned(), Job::Rules)];
    for package in &packages {
        jobs.push((format!("host/{package}"), Job::Host { package: package.clone(), filter: None }));
    }
    for package in MODEL_PACKAGES {
        jobs.push((format!("models/{package}"), Job::Model { package: package.into() }));
    }
    for suite in SUITES {
        for (name, machine) in suite.matrix.machines() {
            jobs.push((format!("{}/{name}", suite.name), Job::Guest { suite: *suite, machine }));
        }
    }
    let Some(filter) = filter else {
        return Ok(jobs);
    };
    jobs.retain(|(name, _)| name.contains(filter));
    if jobs.is_empty() {
        jobs.extend(packages.into_iter().map(|package| {
            (format!("host/{package}"), Job::Host { package, filter: Some(filter.to_owned()) })
        }));
    }
    Ok(jobs)
}

/// The packages whose tests run on the host.
fn host_packages() -> Result<Vec<String>> {
    let metadata = metadata()?;
    let members =
        metadata["workspace_default_members"].as_array().context("cargo metadata has no default members")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let names = packages.iter().filter(|package| members.contains(&package["id"]));
    Ok(names.filter_map(|package| package["name"].as_str()).map(str::to_owned).collect())
}

fn perform(job: &Job, images: Option<&Images>) -> Result<Outcome> {
    match job {
        Job::Rules => {
            let findings = check_sources()?;
            let output = findings.iter().map(|finding| format!("{finding}\n")).collect();
            Ok(Outcome { passed: usize::from(findings.is_empty()), failed: findings.len(), output })
        }
        Job::Host { package, filter } => {
            let mut command = cargo("test");
            command.args(["--package", package]);
            if let Some(filter) = filter {
                command.args(["--", filter]);
            }
            cargo_test(&mut command)
        }
        Job::Model { package } => {
            let mut command = cargo("test");
            // Models take minutes without optimization.
            command.args(["--package", package, "--lib", "--profile", "quick", "--target-dir"]);
            command.arg(target_dir().join("loom")).env("RUSTFLAGS", "--cfg loom");
            cargo_test(&mut command)
        }
        Job::Guest { suite, machine } => {
            let images = images.context("nothing was built")?;
            let deadline = Instant::now() + Duration::from_secs(suite.timeout);
            let context = Context { images, machine, deadline };
            match suite.action {
                Action::Guest(words) => guest(&context, words),
                Action::Scenario(function) => function(&context),
            }
        }
    }
}

fn cargo_test(command: &mut Command) -> Result<Outcome> {
    let output = command.stdin(Stdio::null()).output().context("cannot start cargo")?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let (passed, failed) = count_cargo(&text);
    // A package that does not compile has no tests to count.
    let failed = if failed == 0 && !output.status.success() { 1 } else { failed };
    Ok(Outcome { passed, failed, output: text })
}

/// Adds up the lines `test result: ok. 3 passed; 0 failed; ...`.
fn count_cargo(text: &str) -> (usize, usize) {
    let mut counts = (0, 0);
    for line in text.lines().filter(|line| line.starts_with("test result:")) {
        let number = |what: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = words.iter().position(|word| word.trim_end_matches(';') == what)?;
            words.get(at.checked_sub(1)?)?.parse::<usize>().ok()
        };
        counts.0 += number("passed").unwrap_or(0);
        counts.1 += number("failed").unwrap_or(0);
    }
    counts
}

fn guest(context: &Context<'_>, words: &[&str]) -> Result<Outcome> {
    let (ending, output, errors) = context.boot(&Errand::command(words))?;
    Ok(judged(&output, &errors, &ending))
}

/// What a machine's output, its errors with the log, and its ending say about its tests.
pub fn judged(output: &[u8], errors: &[u8], ending: &Ending) -> Outcome {
    let printed = String::from_utf8_lossy(output);
    let (passed, failed) = judge(&printed, ending);
    let output = format!("{printed}--- errors and log\n{}--- {ending:?}\n", String::from_utf8_lossy(errors));
    Outcome { passed, failed, output }
}

/// Counts the tests of a guest's suite: by its last line, or one for the whole. A bad ending is a failure in any case.
fn judge(printed: &str, ending: &Ending) -> (usize, usize) {
    let good = *ending == Ending::Exit(0);
    match printed.lines().rfind(|line| !line.trim().is_empty()).and_then(parse_summary) {
        Some((passed, 0)) if !good => (passed, 1),
        Some((0, 0)) => (0, 1),
        Some(counts) => counts,
        None => (usize::from(good), usize::from(!good)),
    }
}

/// Reads `N passed, N failed`.
fn parse_summary(line: &str) -> Option<(usize, usize)> {
    let (passed, failed) = line.trim().split_once(", ")?;
    Some((passed.strip_suffix(" passed")?.parse().ok()?, failed.strip_suffix(" failed")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_s_results_add_up() {
        let text = "running 2 tests\ntest result: ok. 24 passed; 0 failed; 0 ignored; finished in 0.31s\n\
                    test result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        assert_eq!(count_cargo(text), (25, 2));
    }

    #[test]
    fn a_suite_is_judged_by_its_last_line_and_its_ending() {
        let (good, bad) = (Ending::Exit(0), Ending::Exit(1));
        assert_eq!(judge("ok 1\n3 passed, 0 failed\n", &good), (3, 0));
        assert_eq!(judge("3 passed, 2 failed\n", &bad), (3, 2));
        assert_eq!(judge("3 passed, 0 failed\n", &Ending::Panic), (3, 1));
        assert_eq!(judge("0 passed, 0 failed\n", &good), (0, 1));
        assert_eq!(judge("hello\n", &good), (1, 0));
        assert_eq!(judge("hello\n", &Ending::Timeout), (0, 1));
    }
}
