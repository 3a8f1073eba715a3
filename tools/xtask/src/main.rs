//! The one door to building, running, testing and checking AsyncOS: `cargo xtask`.

mod bench;
mod build;
mod busybox;
mod cpio;
mod debian;
mod elf;
mod frame;
mod guest;
mod linux;
mod qemu;
mod root_image;
mod run;
mod scenarios;
mod setup;
mod suites;
mod test;
mod tidy;
mod trace;
mod workspace;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Builds, runs, tests and checks AsyncOS. Each command first sets up what it needs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the kernel and the root image, and print their paths
    Build(build::ImageOptions),
    /// Boot, for a shell on the console or for one program
    Run(run::RunOptions),
    /// Run every test: on the host, model-checked, and under QEMU
    Test(test::TestOptions),
    /// Measure, and compare with Linux on the same QEMU
    Bench(bench::BenchOptions),
    /// Check format, clippy, layers, the unsafe list and the size budget
    Tidy,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    match perform(arguments.command) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(if error.is::<workspace::UsageError>() { 2 } else { 1 })
        }
    }
}

fn perform(command: Command) -> Result<u8> {
    match command {
        Command::Build(options) => {
            let images = build::build(&options)?;
            workspace::say(format_args!(
                "kernel {}\ninitrd {}\n",
                images.kernel.display(),
                images.initrd.display()
            ));
            Ok(0)
        }
        Command::Run(options) => run::run(&options),
        Command::Test(options) => test::test(&options),
        Command::Bench(options) => bench::bench(&options),
        Command::Tidy => tidy::tidy(),
    }
}

/// Help goes out as it is; a mistake becomes one line.
fn refuse(error: &clap::Error) -> ExitCode {
    let help = [
        ErrorKind::DisplayHelp,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ErrorKind::DisplayVersion,
    ];
    if help.contains(&error.kind()) {
        // Whoever closed stdout does not want the help.
        let _ = error.print();
        return ExitCode::from(if error.kind() == ErrorKind::DisplayHelp { 0 } else { 2 });
    }
    let text = error.render().to_string();
    let lines = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    eprintln!("xtask: {}", words.join("; ").trim_start_matches("error: "));
    ExitCode::from(2)
}
