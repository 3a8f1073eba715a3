//! Tests of the whole that need more than one command in the guest: what Linux does, our system must do.

use crate::build::{ImageOptions, Images, apps};
use crate::cpio::{Archive, Node};
use crate::debian;
use crate::guest::{Ending, Session};
use crate::linux;
use crate::qemu::{Boot, Console, Machine};
use crate::root_image;
use crate::run::{Errand, boot_errand};
use crate::setup::cross_linker;
use crate::test::{Context, Outcome, judged};
use crate::trace;
use crate::workspace::{
    TemporaryFolder, capture, create_dir, note, output_dir, root, short_hash, write_whole,
};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long Linux may take for the whole applet suite.
const LINUX_PATIENCE: Duration = Duration::from_secs(900);
/// What `tests/initramfs/init` prints before and after what is compared.
const INITRAMFS_MARKS: (&str, &str) = ("== initramfs begins ==", "== initramfs ends ==");
const APPLETS_MARKS: (&str, &str) = ("== applets begin ==", "== applets end ==");

/// Process 1 of the Linux that tells what the applets print: runs the suite between two marks.
const LINUX_INIT: &str = "#!/bin/busybox sh
B=/bin/busybox
$B mkdir -p /proc /sys /dev /tmp /run /root
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs devtmpfs /dev
$B mount -t tmpfs -o mode=1777 tmpfs /tmp
$B mount -t tmpfs tmpfs /run
$B stty -opost </dev/console
echo '== applets begin =='
cd /
$B sh /applets.sh </dev/null
echo '== applets end =='
$B poweroff -f
";

const TESTLIB_MARKS: (&str, &str) = ("== testlib begins ==", "== testlib ends ==");

/// Process 1 of the Linux on which the test library runs: what passes there must pass here.
const TESTLIB_INIT: &str = "#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs devtmpfs /dev
$B mkdir -p /dev/pts
$B mount -t devpts devpts /dev/pts
$B mount -t tmpfs -o mode=1777 tmpfs /tmp
$B stty -opost </dev/console
echo '== testlib begins =='
cd /
/bin/testlib </dev/null
echo '== testlib ends =='
$B poweroff -f
";

/// One at a time: several machines want the same reference.
static REFERENCE: Mutex<()> = Mutex::new(());

/// The kernel's own tests, which need no root image.
pub fn selftest(context: &Context<'_>) -> Result<Outcome> {
    let append = "console=ttyS0 asyncos.log=framed asyncos.selftest";
    let boot = Boot { kernel: &context.images.kernel, initrd: None, append };
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let session = Session {
        output: &mut output,
        errors: &mut errors,
        verbose: true,
        symbols: Some(&context.images.symbols),
        deadline: Some(context.deadline),
        trace: None,
        stdin: Stdio::null(),
    };
    let ending = session.run(context.machine.command(&boot, Console::Output)?)?;
    // There is no process 1 whose status a frame could carry: the machine's is the kernel's word.
    let ending = match ending {
        Ending::Lost(Some(status), words) if words.is_empty() => Ending::Exit(status as u8),
        other => other,
    };
    Ok(judged(&output, &errors, &ending))
}

/// What a run with `--trace` records: a program's system call with its result, on a hart that polls its thread.
pub fn trace(context: &Context<'_>) -> Result<Outcome> {
    let mut machine = context.machine.clone();
    trace::ask_for(&mut machine);
    let mut bytes = Vec::new();
    let session = Session {
        output: &mut std::io::sink(),
        errors: &mut std::io::sink(),
        verbose: false,
        symbols: None,
        deadline: Some(context.deadline),
        trace: Some(&mut bytes),
        stdin: Stdio::null(),
    };
    let ending = boot_errand(context.images, &machine, &Errand::command(&["/bin/hello"]), session)?;
    let records = trace::in_order(&bytes);
    let complaint = trace::complaint(&records).or((ending != Ending::Exit(0)).then(|| format!("{ending:?}")));
    let (passed, failed) = if complaint.is_none() { (1, 0) } else { (0, 1) };
    let output = complaint.map_or_else(String::new, |text| format!("{text}, in {} records\n", records.len()));
    Ok(Outcome { passed, failed, output })
}

/// Debian's own programs, at what they are used for.
pub fn debian_shell(context: &Context<'_>) -> Result<Outcome> {
    let packages = [
        "bash",
        "coreutils",
        "dash",
        "gawk",
        "grep",
        "gzip",
        "lua5.4",
        "procps",
        "sed",
        "sqlite3",
        "tar",
        "xz-utils",
    ];
    debian_script(context, &packages, &["/usr/bin/bash", "/shell.sh"])
}

/// Python's own library.
pub fn debian_python(context: &Context<'_>) -> Result<Outcome> {
    debian_script(context, &["python3", "coreutils"], &["/usr/bin/python3", "/library.py"])
}

/// Runs a script of `tests/debian` with these packages in the image. The script prints how many of its checks passed.
fn debian_script(context: &Context<'_>, packages: &[&str], command: &[&str]) -> Result<Outcome> {
    let packages = packages.iter().map(|name| (*name).to_owned()).collect();
    let initrd = {
        // One image at a time. A panic in another thread leaves nothing half done here.
        let _guard = REFERENCE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        root_image::make(&ImageOptions { packages, ..ImageOptions::default() })?
    };
    let images = Images { initrd, ..context.images.clone() };
    let script = command.last().expect("a script").trim_start_matches('/');
    let file =
        std::fs::read(root().join("tests/debian").join(script)).with_context(|| format!("no {script}"))?;
    let errand = Errand { files: vec![(script.to_owned(), file)], ..Errand::command(command) };
    let machine = Machine { mem: "1G".into(), ..context.machine.clone() };
    let context = Context { images: &images, machine: &machine, ..*context };
    let (ending, output, errors) = context.boot(&errand)?;
    Ok(judged(&output, &errors, &ending))
}

/// A kernel that panics says where, by names, what ran and what happened last, and ends the machine so that it can be told.
pub fn panic(context: &Context<'_>) -> Result<Outcome> {
    let mut machine = context.machine.clone();
    trace::ask_for(&mut machine);
    let context = Context { machine: &machine, ..*context };
    let errand = Errand::command(&["/bin/sh", "-c", "echo c >/proc/sysrq-trigger"]);
    let (ending, _, errors) = context.boot(&errand)?;
    let errors = String::from_utf8_lossy(&errors);
    let said = [
        "kernel panic on hart ",
        "asked for by /proc/sysrq-trigger at kernel/core/src/procfs/settings.rs",
        "\nrunning ",
        "backtrace:",
        "kernel_core::",
        "last events of each hart:",
        " call number=64 first=0x1",
        "last lines of the log:",
    ];
    let missing: Vec<_> = said.iter().filter(|text| !errors.contains(**text)).collect();
    let good = ending == Ending::Panic && missing.is_empty();
    let output = format!("{errors}--- {ending:?}, without {missing:?}\n");
    Ok(Outcome { passed: usize::from(good), failed: usize::from(!good), output })
}

/// An initramfs made for Linux boots here and prints what it prints there.
pub fn initramfs(context: &Context<'_>) -> Result<Outcome> {
    boot_initramfs(&context.images.kernel, context)
}

/// The same file with Linux: what is expected is what Linux prints.
pub fn initramfs_on_linux(context: &Context<'_>) -> Result<Outcome> {
    boot_initramfs(&linux::kernel()?, context)
}

fn boot_initramfs(kernel: &Path, context: &Context<'_>) -> Result<Outcome> {
    let folder = root().join("tests");
    let mut archive = linux_skeleton()?;
    archive.put("init", Node::Copy(0o755, folder.join("initramfs/init")));
    archive.put("bin/hello-c", Node::Copy(0o755, static_c_program(&folder.join("programs/hello.c"))?));
    let (ending, printed) = boot_plain(kernel, &archive, context.machine, context.deadline)?;
    let expected = read(&folder.join("initramfs/expected"))?;
    let (begin, end) = INITRAMFS_MARKS;
    let wanted = between(&expected, begin, end).context("tests/initramfs/expected lacks its marks")?;
    let good = between(&printed, begin, end) == Some(wanted.clone())
        && ending == Ending::Lost(Some(0), String::new());
    let output = format!("--- expected\n{expected}--- printed\n{printed}--- {ending:?}\n");
    Ok(Outcome { passed: usize::from(good), failed: usize::from(!good), output })
}

/// The test library on Linux: it states Linux's behaviour, so it must pass there.
pub fn testlib_on_linux(context: &Context<'_>) -> Result<Outcome> {
    let programs = apps()?;
    let (_, program) =
        programs.into_iter().find(|(name, _)| name == "testlib").context("there is no testlib")?;
    let mut archive = linux_skeleton()?;
    archive.put("init", Node::Bytes(0o755, TESTLIB_INIT.into()));
    archive.put("bin/testlib", Node::Copy(0o755, program));
    let (ending, printed) = boot_plain(&linux::kernel()?, &archive, context.machine, context.deadline)?;
    let (begin, end) = TESTLIB_MARKS;
    Ok(match between(&printed, begin, end) {
        Some(report) => judged(report.as_bytes(), b"", &Ending::Exit(0)),
        None => judged(printed.as_bytes(), b"", &ending),
    })
}

/// Every applet prints what it prints on Linux.
pub fn applets(context: &Context<'_>) -> Result<Outcome> {
    let script = std::fs::read(root().join("tests/applets/applets.sh")).context("cannot read applets.sh")?;
    let expected = applets_reference(&script)?;
    let command = ["/bin/busybox", "sh", "/applets.sh"].map(str::to_owned).to_vec();
    let errand = Errand {
        command,
        stdin: Some(Vec::new()),
        files: vec![("applets.sh".into(), script)],
        ..Errand::default()
    };
    let (ending, printed, errors) = context.boot(&errand)?;
    let printed = String::from_utf8_lossy(&printed);
    let mut outcome = compare_cases(&expected, &printed);
    if ending != Ending::Exit(0) {
        outcome.failed += 1;
        outcome.output.push_str(&format!("--- errors and log\n{}", String::from_utf8_lossy(&errors)));
        outcome.output.push_str(&format!("--- {ending:?}\n"));
    }
    Ok(outcome)
}

/// What the suite prints on Linux; kept, since neither the script nor BusyBox changes often.
fn applets_reference(script: &[u8]) -> Result<String> {
    // A panic in another thread leaves nothing half done here.
    let _guard = REFERENCE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut archive = linux_skeleton()?;
    let busybox = std::fs::read(busybox()?)?;
    let folder = output_dir()?.join("reference");
    create_dir(&folder)?;
    let kept = folder.join(format!("applets-{}", short_hash(&[script, &busybox, LINUX_INIT.as_bytes()])));
    if let Ok(text) = std::fs::read_to_string(&kept) {
        return Ok(text);
    }
    note("asking Linux what the applets print");
    archive.put("init", Node::Bytes(0o755, LINUX_INIT.into()));
    archive.put("applets.sh", Node::Bytes(0o755, script.to_vec()));
    archive.put("etc/passwd", Node::Bytes(0o644, "root:x:0:0:root:/root:/bin/sh\n".into()));
    archive.put("etc/group", Node::Bytes(0o644, "root:x:0:\n".into()));
    let (ending, printed) =
        boot_plain(&linux::kernel()?, &archive, &linux::machine(), Instant::now() + LINUX_PATIENCE)?;
    let (begin, end) = APPLETS_MARKS;
    let Some(text) = between(&printed, begin, end) else {
        bail!("Linux did not finish the applet suite ({ending:?}):\n{printed}");
    };
    write_whole(&kept, text.as_bytes())?;
    Ok(text)
}

/// Boots a kernel with an archive as Linux is booted, and gives everything that it printed.
pub fn boot_plain(
    kernel: &Path,
    archive: &Archive,
    machine: &Machine,
    deadline: Instant,
) -> Result<(Ending, String)> {
    let folder = TemporaryFolder::new(&output_dir()?)?;
    let initrd = folder.path().join("initrd.cpio");
    let mut bytes = Vec::new();
    archive.write(&mut bytes)?;
    write_whole(&initrd, &bytes)?;
    let append = format!(
        "console=ttyS0 quiet loglevel=0 asyncos.realm={} {}",
        machine.realm,
        machine.append.as_deref().unwrap_or("")
    );
    let boot = Boot { kernel, initrd: Some(&initrd), append: &append };
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let session = Session {
        output: &mut output,
        errors: &mut errors,
        verbose: false,
        symbols: None,
        deadline: Some(deadline),
        trace: None,
        stdin: Stdio::null(),
    };
    let ending = session.run(machine.command(&boot, Console::Output)?)?;
    output.extend(errors);
    Ok((ending, String::from_utf8_lossy(&output).into_owned()))
}

/// What every initramfs has: BusyBox, a console and a folder for each mount.
pub fn linux_skeleton() -> Result<Archive> {
    let mut archive = Archive::new();
    for folder in ["dev", "proc", "sys", "tmp", "root"] {
        archive.put(folder, Node::Folder(0o755));
    }
    archive.put("dev/console", Node::Device(0o600, 5, 1));
    archive.put("bin/busybox", Node::Copy(0o755, busybox()?));
    Ok(archive)
}

fn busybox() -> Result<PathBuf> {
    let packages = debian::Archive::open()?.fetch("busybox-static")?;
    let found = packages.into_iter().find(|(package, _)| package.name == "busybox-static");
    let (_, folder) = found.context("apt left busybox-static out")?;
    Ok(folder.join("usr/bin/busybox"))
}

fn static_c_program(source: &Path) -> Result<PathBuf> {
    cross_linker()?;
    let name = source.file_stem().context("a source file has a name")?.to_string_lossy().into_owned();
    let program = output_dir()?.join(format!("{name}-c"));
    let temporary = TemporaryFolder::new(&output_dir()?)?;
    let fresh = temporary.path().join("program");
    let mut command = Command::new("riscv64-linux-gnu-gcc");
    command.args(["-static", "-O2", "-o"]).arg(&fresh).arg(source);
    capture(&mut command, &format!("compiling {}", source.display()))?;
    std::fs::rename(&fresh, &program).with_context(|| format!("cannot write {}", program.display()))?;
    Ok(program)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The lines between two marks, without carriage returns at their ends.
pub fn between(text: &str, begin: &str, end: &str) -> Option<String> {
    let mut lines =
        text.lines().map(|line| line.trim_end_matches('\r')).skip_while(|line| *line != begin).skip(1);
    let mut inside = String::new();
    loop {
        match lines.next()? {
            line if line == end => return Some(inside),
            line => {
                inside.push_str(line);
                inside.push('\n');
            }
        }
    }
}

/// Compares case by case; a case is a line `## N name` and what follows it.
fn compare_cases(expected: &str, printed: &str) -> Outcome {
    let (wanted, got) = (cases(expected), cases(printed));
    let mut outcome = Outcome::default();
    for (name, content) in &wanted {
        match got.iter().find(|(other, _)| other == name) {
            Some((_, same)) if same == content => outcome.passed += 1,
            found => {
                let found = found.map_or("(missing)\n", |(_, content)| content.as_str());
                outcome.failed += 1;
                outcome.output.push_str(&format!("## {name}\n--- expected\n{content}--- printed\n{found}"));
            }
        }
    }
    if wanted.is_empty() {
        outcome.failed += 1;
        outcome.output.push_str("Linux printed no case\n");
    }
    outcome
}

fn cases(text: &str) -> Vec<(String, String)> {
    let mut cases: Vec<(String, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        match (line.strip_prefix("## "), cases.last_mut()) {
            (Some(name), _) => cases.push((name.trim_end().to_owned(), String::new())),
            (None, Some((_, content))) => content.push_str(line),
            (None, None) => {}
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_counts() {
        let text = "noise\nbegin\r\none\r\ntwo\nend\r\nmore\n";
        assert_eq!(between(text, "begin", "end").unwrap(), "one\ntwo\n");
        assert_eq!(between(text, "begin", "nowhere"), None);
    }

    #[test]
    fn cases_are_compared_by_name() {
        let expected = "## 1 a\nx\n== 0\n## 2 b\ny\n== 0\n## 3 c\n== 1\n";
        let outcome = compare_cases(expected, "## 1 a\nx\n== 0\n## 2 b\nz\n== 0\n");
        assert_eq!((outcome.passed, outcome.failed), (1, 2));
        assert!(outcome.output.contains("## 2 b\n--- expected\ny\n== 0\n--- printed\nz\n== 0\n"));
        assert!(outcome.output.contains("## 3 c\n--- expected\n== 1\n--- printed\n(missing)\n"));
        assert_eq!(compare_cases("", "").failed, 1);
    }
}
