//! `cargo xtask tidy`: the rules of the house, checked by machine. Each finding is a line, `path:line: what`.

mod layers;
mod source;

use crate::build::{APPS_PACKAGES, metadata};
use crate::setup::{KERNEL_TARGET, USER_TARGET, cross_linker, lint_components, rust_target};
use crate::workspace::{plain_cargo, root, say};
use anyhow::{Context, Result};
use layers::Layers;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Packages that clippy sees on another target than the host's.
const ELSEWHERE: [(&str, &[&str]); 2] =
    [(KERNEL_TARGET, &["arch-riscv64", "kernel-core", "kernel-image"]), (USER_TARGET, &APPS_PACKAGES)];

/// The command; gives the exit status.
pub fn tidy() -> Result<u8> {
    lint_components()?;
    rust_target(KERNEL_TARGET)?;
    rust_target(USER_TARGET)?;
    cross_linker()?;
    let mut findings = check_sources()?;
    findings.extend(format()?);
    findings.extend(clippy(&["--all-targets"])?);
    for (target, packages) in ELSEWHERE {
        let mut arguments = vec!["--target", target];
        arguments.extend(packages.iter().flat_map(|package| ["--package", package]));
        findings.extend(clippy(&arguments)?);
    }
    for finding in &findings {
        say(format_args!("{finding}\n"));
    }
    say(format_args!("{} findings\n", findings.len()));
    Ok(if findings.is_empty() { 0 } else { 1 })
}

/// The rules that need no compiler: layers, unsafe, assembly, sizes, words.
pub fn check_sources() -> Result<Vec<Finding>> {
    let path = root().join("layers.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let layers = Layers::parse(&text).context("layers.toml")?;
    let mut findings = layers.check(&metadata()?, &root())?;
    for file in rust_files(&root())? {
        let text =
            std::fs::read_to_string(root().join(&file)).with_context(|| format!("cannot read {file}"))?;
        findings.extend(source::check(&file, &text, &layers));
    }
    Ok(findings)
}

/// Every Rust file below `folder` that is ours, relative to it, in order.
fn rust_files(folder: &Path) -> Result<Vec<String>> {
    let (mut files, mut pending) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(relative) = pending.pop() {
        let unreadable = || format!("cannot read {}", folder.join(&relative).display());
        for entry in std::fs::read_dir(folder.join(&relative)).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let hidden = name.to_string_lossy().starts_with('.');
            let path = relative.join(&name);
            if kind.is_dir() && !hidden && name != "target" {
                pending.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn format() -> Result<Vec<Finding>> {
    let mut command = plain_cargo("fmt");
    let output = command.args(["--all", "--", "--check", "-l"]).output().context("cannot start cargo fmt")?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let mut findings: Vec<Finding> = listed
        .lines()
        .map(|line| Finding::new(&relative(line.trim()), 1, "not formatted: cargo fmt --all"))
        .collect();
    if findings.is_empty() && !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        findings.push(Finding::new("Cargo.toml", 1, complaint.lines().next().unwrap_or("cargo fmt failed")));
    }
    Ok(findings)
}

fn clippy(arguments: &[&str]) -> Result<Vec<Finding>> {
    let mut command = plain_cargo("clippy");
    command.args(["--quiet", "--keep-going", "--message-format", "short"]).args(arguments);
    command.args(["--", "--deny", "warnings"]).stdout(Stdio::null());
    let output = command.output().context("cannot start cargo clippy")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let mut findings = Vec::new();
    for finding in text.lines().filter_map(parse_short_message) {
        // Code of several targets is looked at several times.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    if findings.is_empty() && !output.status.success() {
        let line = text.lines().find(|line| line.starts_with("error")).unwrap_or("cargo clippy failed");
        findings.push(Finding::new("Cargo.toml", 1, line));
    }
    Ok(findings)
}

/// Reads `path:line:column: warning: what`.
fn parse_short_message(line: &str) -> Option<Finding> {
    let (place, what) = line.split_once(": ")?;
    let mut parts = place.split(':');
    let (path, number) = (parts.next()?, parts.next()?.parse().ok()?);
    Some(Finding::new(&relative(path), number, what))
}

fn relative(path: &str) -> String {
    Path::new(path).strip_prefix(root()).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clippy_s_short_lines_become_findings() {
        let line = "base/src/lib.rs:3:5: error: unused variable: `x`";
        assert_eq!(
            parse_short_message(line).unwrap().to_string(),
            "base/src/lib.rs:3: error: unused variable: `x`"
        );
        assert_eq!(parse_short_message("error: could not compile `base` (lib)"), None);
    }
}
