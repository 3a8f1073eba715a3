//! Where things lie, and how other programs are called.

use anyhow::{Context, Result, bail};
use std::fmt;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mistake in what the person typed: exit status 2.
#[derive(Debug)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// A [`UsageError`] as the error of a whole command.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.ancestors().nth(2).expect("xtask lies two folders below the root").to_path_buf()
}

/// Cargo's target folder: `CARGO_TARGET_DIR` or `target` in the workspace.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The folder for everything that xtask itself makes; created when absent.
pub fn output_dir() -> Result<PathBuf> {
    let folder = target_dir().join("asyncos");
    create_dir(&folder)?;
    Ok(folder)
}

/// Creates a folder and its parents.
pub fn create_dir(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Writes a file so that nobody ever sees half of it.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let mut name = path.file_name().expect("a file has a name").to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    std::fs::write(&temporary, content).with_context(|| format!("cannot write {}", temporary.display()))?;
    std::fs::rename(&temporary, path).with_context(|| format!("cannot write {}", path.display()))
}

/// A short name for some content (FNV-1a): to tell files apart, no protection against anyone.
pub fn short_hash(parts: &[&[u8]]) -> String {
    let bytes = parts.iter().flat_map(|part| part.iter().chain(&[0xff]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Text for stdout. Whoever closed it (`| head`) wants no more of this command.
pub fn say(text: impl fmt::Display) {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    if write!(output, "{text}").and_then(|()| output.flush()).is_err() {
        std::process::exit(1);
    }
}

/// A line about what is going on, on stderr.
pub fn note(message: impl fmt::Display) {
    eprintln!("xtask: {message}");
}

/// Whether a person watches stderr, so that progress is worth showing.
pub fn watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Where `program` lies on the search path.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// A cargo command in the workspace.
pub fn plain_cargo(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).current_dir(root()).stdin(Stdio::null());
    command
}

/// A cargo command in the workspace: quiet unless a person watches.
pub fn cargo(subcommand: &str) -> Command {
    let mut command = plain_cargo(subcommand);
    if !watched() {
        command.arg("--quiet");
    }
    command
}

/// Runs a command whose stdout is not ours to give away, and demands success. `what` names the step.
pub fn succeed(command: &mut Command, what: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdout(Stdio::null()).status().with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{what} failed");
    }
    Ok(())
}

/// Runs a command and gives its stdout; when it fails, the error carries the last line that it wrote to stderr.
pub fn capture(command: &mut Command, what: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let line = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        bail!("{what} failed: {}", line.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A folder for things that last only as long as this process; removed when dropped.
pub struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Creates an empty folder of this process's own under `parent`.
    pub fn new(parent: &Path) -> Result<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("run-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = parent.join(name);
        create_dir(&folder)?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // It lies under the target folder: what cannot be removed now goes with `cargo clean`.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
