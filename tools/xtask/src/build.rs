//! Builds what QEMU boots: the kernel's flat image and the root image.

use crate::elf::Elf;
use crate::root_image;
use crate::setup::{KERNEL_TARGET, USER_TARGET, cross_linker, rust_target};
use crate::workspace::{capture, cargo, output_dir, plain_cargo, succeed, target_dir, write_whole};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

const KERNEL_PACKAGE: &str = "kernel-image";
/// Whose programs go into the root image.
pub const APPS_PACKAGES: [&str; 2] = ["asyncos-apps", "testlib"];
/// Small: the programs lie in the guest's memory.
const APPS_PROFILE: &str = "user";

/// What goes into the images.
#[derive(Args, Clone, Debug, Default)]
pub struct ImageOptions {
    /// Build the kernel quickly, for working on it (profile `quick`)
    #[arg(long)]
    pub quick: bool,
    /// Add a folder's files to the root image
    #[arg(long = "root", value_name = "DIR")]
    pub roots: Vec<PathBuf>,
    /// Add a Debian riscv64 package with what it depends on
    #[arg(long = "package", value_name = "NAME")]
    pub packages: Vec<String>,
    /// Add our test programs and benchmarks to the root image
    #[arg(long)]
    pub tests: bool,
}

/// What a build gives.
#[derive(Clone, Debug)]
pub struct Images {
    /// The kernel as QEMU's `-kernel` takes it.
    pub kernel: PathBuf,
    /// The kernel with its symbols.
    pub symbols: PathBuf,
    /// The root image.
    pub initrd: PathBuf,
}

/// Builds everything.
pub fn build(options: &ImageOptions) -> Result<Images> {
    for folder in &options.roots {
        if !folder.is_dir() {
            return Err(crate::workspace::usage(format!("--root {}: no such folder", folder.display())));
        }
    }
    let (kernel, symbols) = kernel(options)?;
    Ok(Images { kernel, symbols, initrd: root_image::make(options)? })
}

fn kernel(options: &ImageOptions) -> Result<(PathBuf, PathBuf)> {
    rust_target(KERNEL_TARGET)?;
    let profile = if options.quick { "quick" } else { "release" };
    let mut command = cargo("build");
    command.args(["--package", KERNEL_PACKAGE, "--target", KERNEL_TARGET, "--profile", profile]);
    succeed(&mut command, "building the kernel")?;
    let symbols = target_dir().join(KERNEL_TARGET).join(profile).join(KERNEL_PACKAGE);
    let bytes = std::fs::read(&symbols).with_context(|| format!("cannot read {}", symbols.display()))?;
    let flat =
        Elf::new(&bytes).and_then(|elf| elf.flatten()).with_context(|| symbols.display().to_string())?;
    let kernel = output_dir()?.join(if options.quick { "Image-quick" } else { "Image" });
    if !std::fs::read(&kernel).is_ok_and(|old| old == flat) {
        write_whole(&kernel, &flat)?;
    }
    Ok((kernel, symbols))
}

/// Builds our programs for the guest; gives each with its name.
pub fn apps() -> Result<Vec<(String, PathBuf)>> {
    rust_target(USER_TARGET)?;
    cross_linker()?;
    let mut command = cargo("build");
    command.args(APPS_PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.args(["--bins", "--target", USER_TARGET, "--profile", APPS_PROFILE]);
    succeed(&mut command, "building the programs")?;
    let folder = target_dir().join(USER_TARGET).join(APPS_PROFILE);
    let mut programs = Vec::new();
    for package in APPS_PACKAGES {
        programs.extend(binary_names(package)?.into_iter().map(|name| (name.clone(), folder.join(name))));
    }
    Ok(programs)
}

fn binary_names(package: &str) -> Result<Vec<String>> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let package =
        packages.iter().find(|candidate| candidate["name"] == package).context("no such package")?;
    let targets = package["targets"].as_array().context("cargo metadata has no targets")?;
    let binaries = targets.iter().filter(|target| target["kind"][0] == "bin");
    Ok(binaries.filter_map(|target| target["name"].as_str()).map(str::to_owned).collect())
}

/// What cargo knows of the workspace's own packages.
pub fn metadata() -> Result<serde_json::Value> {
    let mut command = plain_cargo("metadata");
    command.args(["--no-deps", "--format-version", "1"]);
    Ok(serde_json::from_str(&capture(&mut command, "cargo metadata")?)?)
}
