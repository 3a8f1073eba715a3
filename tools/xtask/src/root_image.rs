//! What lies in the guest's root when it boots: our programs, Debian's, and the few files that both expect.

use crate::build::{ImageOptions, apps};
use crate::busybox::applets;
use crate::cpio::{Archive, Node};
use crate::debian;
use crate::workspace::{note, output_dir, short_hash, write_whole};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

/// What every image has of Debian, where Debian can be reached.
const DEFAULT_PACKAGES: [&str; 1] = ["busybox-static"];

/// What every image has of ours; the other programs are tests and benchmarks.
const DEFAULT_PROGRAMS: [&str; 2] = ["init", "hello"];

/// Folders of packages that serve people who read, not programs that run.
const DOCUMENTATION: [&str; 4] = ["usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/lintian"];

const FOLDERS: [(&str, u32); 12] = [
    ("dev", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("root", 0o700),
    ("mnt", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("usr/lib", 0o755),
];

/// Debian's layout since its programs moved below `usr`.
const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("var/run", "/run"),
    ("etc/mtab", "/proc/self/mounts"),
];

const FILES: [(&str, &str); 9] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hostname", "asyncos\n"),
    ("etc/hosts", "127.0.0.1 localhost asyncos\n::1 localhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ("etc/shells", "/bin/sh\n"),
    (
        "etc/fstab",
        "proc /proc proc defaults 0 0\nsysfs /sys sysfs defaults 0 0\ndevtmpfs /dev devtmpfs defaults 0 0\n",
    ),
    ("etc/inittab", "::sysinit:/bin/mount -a\n::respawn:-/bin/sh\n::ctrlaltdel:/sbin/reboot\n"),
    (
        "etc/profile",
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='\\w \\$ '\n",
    ),
];

/// Makes the image and gives its path.
pub fn make(options: &ImageOptions) -> Result<PathBuf> {
    let mut archive = skeleton();
    let mut wanted = DEFAULT_PACKAGES.map(str::to_owned).to_vec();
    wanted.extend(options.packages.iter().cloned());
    let packages = add_packages(&mut archive, &wanted, &options.packages)?;
    let programs = apps()?;
    let chosen = |name: &str| options.tests || DEFAULT_PROGRAMS.contains(&name);
    for (name, file) in programs.into_iter().filter(|(name, _)| chosen(name)) {
        let path = if name == "init" { "init".to_owned() } else { format!("usr/bin/{name}") };
        archive.put(&path, Node::Copy(0o755, file));
    }
    for folder in &options.roots {
        if !folder.is_dir() {
            bail!("--root {}: no such folder", folder.display());
        }
        archive.add_tree(folder, &|_| true)?;
    }
    let mut bytes = Vec::new();
    archive.write(&mut bytes)?;
    let path = output_dir()?.join(file_name(options));
    if std::fs::read(&path).is_ok_and(|old| old == bytes) {
        return Ok(path);
    }
    write_whole(&path, &bytes)?;
    let lock: String = packages.iter().map(|(name, rest)| format!("{name} {rest}\n")).collect();
    write_whole(&output_dir()?.join("packages.lock"), lock.as_bytes())?;
    Ok(path)
}

/// Images of different content do not overwrite each other: another run may be booting one of them.
fn file_name(options: &ImageOptions) -> String {
    let name = if options.tests { "initrd-tests" } else { "initrd" };
    if options.packages.is_empty() && options.roots.is_empty() {
        return format!("{name}.cpio");
    }
    let choice = format!("{:?} {:?}", options.packages, options.roots);
    format!("{name}-{}.cpio", short_hash(&[choice.as_bytes()]))
}

fn skeleton() -> Archive {
    let mut archive = Archive::new();
    for (path, mode) in FOLDERS {
        archive.put(path, Node::Folder(mode));
    }
    for (path, target) in LINKS {
        archive.put(path, Node::Link(target.into()));
    }
    for (path, content) in FILES {
        archive.put(path, Node::Bytes(0o644, content.into()));
    }
    archive.put("dev/console", Node::Device(0o600, 5, 1));
    archive.put("dev/null", Node::Device(0o666, 1, 3));
    archive
}

/// Packages, and what they use without depending on it, since every Debian has it: descriptions of terminals.
const UNNAMED: [(&str, &str); 1] = [("libtinfo6", "ncurses-base")];

/// Adds packages with what they depend on; gives version and checksum by name. Only what was asked for by name must
/// be there: without a network the image holds what we have.
fn add_packages(
    archive: &mut Archive,
    wanted: &[String],
    asked: &[String],
) -> Result<BTreeMap<String, String>> {
    let debian = debian::Archive::open()?;
    let mut added = BTreeMap::new();
    let mut wanted = VecDeque::from_iter(wanted.iter().map(String::as_str));
    while let Some(name) = wanted.pop_front() {
        let closure = match debian.fetch(name) {
            Ok(closure) => closure,
            Err(error) if asked.iter().any(|asked| asked == name) => return Err(error),
            Err(error) => {
                note(format_args!("the root image is without {name}: {error:#}"));
                continue;
            }
        };
        for (package, folder) in closure {
            let record = format!("{} {}", package.version, package.sha256);
            if added.insert(package.name.clone(), record).is_none() {
                add_package(archive, &folder).with_context(|| format!("cannot add {}", package.name))?;
                wanted
                    .extend(UNNAMED.iter().filter(|(user, _)| *user == package.name).map(|(_, used)| *used));
            }
        }
    }
    link_applets(archive)?;
    Ok(added)
}

/// Adds a package's files. Files of the skeleton stay as they are: they are ours to choose.
fn add_package(archive: &mut Archive, folder: &std::path::Path) -> Result<()> {
    let ours = |path: &str| FILES.iter().any(|(file, _)| *file == path);
    archive.add_tree(folder, &|path| !DOCUMENTATION.contains(&path) && !ours(path))
}

/// A link for each applet that no other package has as a program.
fn link_applets(archive: &mut Archive) -> Result<()> {
    let Some(Node::Copy(_, file)) = archive.get("usr/bin/busybox").cloned() else {
        return Ok(());
    };
    let binary = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let names = applets(&binary);
    if names.is_empty() {
        note("no table of applets in busybox: the root image has no links to it");
    }
    for name in names {
        let taken =
            ["usr/bin", "usr/sbin"].iter().any(|folder| archive.get(&format!("{folder}/{name}")).is_some());
        if !taken {
            archive.put(&format!("usr/bin/{name}"), Node::Link("busybox".into()));
        }
    }
    Ok(())
}
