//! Debian's riscv64 packages: unmodified Linux programs, with signatures checked by apt.
//!
//! A private apt root under the target folder keeps the host's package state out of it. Its mirror is the one that
//! the host's own apt uses; whatever answers there counts only if Debian's archive keys signed it.

use crate::workspace::{capture, create_dir, find_program, note, output_dir, write_whole};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const SUITE: &str = "trixie";
const ARCHITECTURE: &str = "riscv64";
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];
/// Suites by which an entry of the host's apt configuration is known as Debian's archive.
const SUITES: [&str; 10] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "experimental",
];

/// One package that apt chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, as Debian writes it.
    pub version: String,
    /// The checksum of its file, in hexadecimal.
    pub sha256: String,
    /// The name that apt gives its file.
    pub file: String,
}

/// The private apt root.
pub struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// The apt root, with the package lists fetched if they never were.
    pub fn open() -> Result<Self> {
        let archive = Self { folder: output_dir()?.join("apt") };
        for part in ["lists/partial", "archives/partial", "closures"] {
            create_dir(&archive.folder.join(part))?;
        }
        Ok(archive)
    }

    /// A package and all that it depends on, fetched and unpacked: each with the folder that holds its files.
    pub fn fetch(&self, name: &str) -> Result<Vec<(Package, PathBuf)>> {
        check_name(name)?;
        let record = self.folder.join("closures").join(name);
        if let Ok(text) = std::fs::read_to_string(&record) {
            let packages: Vec<Package> = text.lines().filter_map(parse_uri_line).collect();
            if !packages.is_empty() && packages.iter().all(|package| self.unpacked(package).is_dir()) {
                return Ok(self.with_folders(packages));
            }
        }
        self.update_once()?;
        let (text, packages) = match self.closure(name).and_then(|found| self.download(name).map(|()| found))
        {
            Ok(found) => found,
            Err(error) if is_unknown(&error) => {
                bail!("no package `{name}` in Debian {SUITE} for {ARCHITECTURE}")
            }
            // The archive may have moved on since the lists were fetched.
            Err(_) => {
                self.update()?;
                let found = self.closure(name)?;
                self.download(name)?;
                found
            }
        };
        for package in &packages {
            self.unpack(package)?;
        }
        write_whole(&record, text.as_bytes())?;
        Ok(self.with_folders(packages))
    }

    /// One package of a closure, without what it depends on: the folder that holds its files.
    pub fn fetch_alone(&self, package: &Package) -> Result<PathBuf> {
        let folder = self.unpacked(package);
        if !folder.is_dir() {
            note(format_args!("fetching {}", package.name));
            let mut command = self.apt("apt-get");
            command.args(["-q", "download", &package.name]).current_dir(self.folder.join("archives"));
            capture(&mut command, &format!("fetching {}", package.name))?;
            self.unpack(package)?;
        }
        Ok(folder)
    }

    /// What apt would install for `name` on an empty system.
    pub fn closure(&self, name: &str) -> Result<(String, Vec<Package>)> {
        self.update_once()?;
        let mut command = self.apt("apt-get");
        // Only with an empty folder of files does apt name them all.
        let nothing = self.folder.join("no-archives");
        create_dir(&nothing.join("partial"))?;
        command.arg("-o").arg(format!("Dir::Cache::archives={}", nothing.display()));
        command.args(["-y", "--print-uris", "install", name]);
        let text = capture(&mut command, &format!("looking up {name}"))?;
        let packages: Vec<Package> = text.lines().filter_map(parse_uri_line).collect();
        if packages.is_empty() {
            bail!("no package `{name}` in Debian {SUITE} for {ARCHITECTURE}");
        }
        Ok((text, packages))
    }

    fn download(&self, name: &str) -> Result<()> {
        let mut command = self.apt("apt-get");
        command.args(["-q", "-y", "--download-only", "install", name]);
        capture(&mut command, &format!("fetching {name}")).map(drop)
    }

    fn with_folders(&self, packages: Vec<Package>) -> Vec<(Package, PathBuf)> {
        packages.into_iter().map(|package| (package.clone(), self.unpacked(&package))).collect()
    }

    fn unpacked(&self, package: &Package) -> PathBuf {
        self.folder.join("unpacked").join(package.file.trim_end_matches(".deb"))
    }

    fn unpack(&self, package: &Package) -> Result<()> {
        let folder = self.unpacked(package);
        if folder.is_dir() {
            return Ok(());
        }
        let partial = folder.with_extension(format!("partial-{}", std::process::id()));
        create_dir(&partial)?;
        let mut command = Command::new("dpkg-deb");
        command.arg("-x").arg(self.folder.join("archives").join(&package.file)).arg(&partial);
        capture(&mut command, &format!("unpacking {}", package.name))?;
        // Another run may have been quicker; its result is the same.
        if std::fs::rename(&partial, &folder).is_err() && !folder.is_dir() {
            bail!("cannot create {}", folder.display());
        }
        Ok(())
    }

    fn update_once(&self) -> Result<()> {
        if self.folder.join("updated").exists() { Ok(()) } else { self.update() }
    }

    /// Fetches the package lists from the first of the host's mirrors that has the suite, signed.
    fn update(&self) -> Result<()> {
        for program in ["apt-get", "dpkg-deb"] {
            if find_program(program).is_none() {
                bail!("Debian packages need `{program}`, which is not here");
            }
        }
        let keyring = KEYRINGS.iter().find(|path| Path::new(path).exists()).context(
            "Debian packages need Debian's archive keys: install the package debian-archive-keyring",
        )?;
        let mirrors = host_mirrors();
        if mirrors.is_empty() {
            bail!("this machine's apt configuration names no mirror of Debian");
        }
        note("fetching the list of Debian packages");
        std::fs::write(self.folder.join("status"), "")?;
        for mirror in mirrors {
            let line = format!("deb [signed-by={keyring}] {mirror} {SUITE} main\n");
            std::fs::write(self.folder.join("sources.list"), line)?;
            let mut command = self.apt("apt-get");
            command.args(["-q", "-o", "APT::Update::Error-Mode=any", "update"]);
            if capture(&mut command, "apt-get update").is_ok() {
                return write_whole(&self.folder.join("updated"), b"");
            }
        }
        bail!("no mirror of Debian {SUITE} answers, with a good signature (is there a network?)")
    }

    /// An apt program that sees nothing but this root, and the host's settings for the way to the network.
    fn apt(&self, program: &str) -> Command {
        let folder = self.folder.display();
        let mut command = Command::new(program);
        command.env("LC_ALL", "C");
        for option in [
            format!("Dir::State={folder}"),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}"),
            format!("Dir::Cache::archives={folder}/archives"),
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".into(),
            "Dir::Etc::preferences=/dev/null".into(),
            "Dir::Etc::preferencesparts=/dev/null".into(),
            "Dir::Etc::trusted=/dev/null".into(),
            "Dir::Etc::trustedparts=/dev/null".into(),
            format!("APT::Architecture={ARCHITECTURE}"),
            format!("APT::Architectures={ARCHITECTURE}"),
            "APT::Install-Recommends=false".into(),
            "APT::Sandbox::User=".into(),
            "APT::Get::AllowUnauthenticated=false".into(),
            "Acquire::ForceHash=SHA256".into(),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=2".into(),
            "Acquire::http::Timeout=20".into(),
            "Acquire::https::Timeout=20".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Debug::NoLocking=true".into(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// Debian's rule for names; it also keeps options and paths away from apt.
fn check_name(name: &str) -> Result<()> {
    let sane = name.len() >= 2
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "+-.".contains(letter));
    if sane { Ok(()) } else { bail!("`{name}` is not the name of a Debian package") }
}

fn is_unknown(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    ["Unable to locate package", "has no installation candidate", "no package `"]
        .iter()
        .any(|hint| text.contains(hint))
}

/// Reads a line of `--print-uris`: `'uri' file size SHA256:checksum`.
fn parse_uri_line(line: &str) -> Option<Package> {
    let mut words = line.strip_prefix('\'')?.split_once("' ")?.1.split_whitespace();
    let file = words.next()?.to_owned();
    let sha256 = words.nth(1)?.strip_prefix("SHA256:")?.to_owned();
    let mut fields = file.strip_suffix(".deb")?.split('_');
    let (name, version) = (fields.next()?.to_owned(), fields.next()?.replace("%3a", ":"));
    Some(Package { name, version, sha256, file })
}

/// The mirrors of Debian's archive that the host's apt configuration names, in its order.
fn host_mirrors() -> Vec<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        let mut parts: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut mirrors = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let found = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => one_line_mirrors(&text),
            Some("sources") => deb822_mirrors(&text),
            _ => continue,
        };
        for mirror in found {
            if !mirrors.contains(&mirror) {
                mirrors.push(mirror);
            }
        }
    }
    mirrors
}

/// Mirrors in the old form: `deb [options] URI SUITE COMPONENT...`.
fn one_line_mirrors(text: &str) -> Vec<String> {
    let mut mirrors = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(mut rest) = line.strip_prefix("deb ").map(str::trim_start) else {
            continue;
        };
        if rest.starts_with('[') {
            rest = rest.split_once(']').map_or("", |(_, rest)| rest);
        }
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [uri, suite, components @ ..] = words.as_slice()
            && SUITES.contains(suite)
            && components.contains(&"main")
        {
            mirrors.push((*uri).to_owned());
        }
    }
    mirrors
}

/// Mirrors in the newer form: stanzas of `Field: words`, continued by indented lines.
fn deb822_mirrors(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut mirrors = Vec::new();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let field = |name: &str| -> Vec<String> {
            let mut words = Vec::new();
            let mut inside = false;
            for line in stanza {
                if line.starts_with([' ', '\t']) {
                    if inside {
                        words.extend(line.split_whitespace().map(str::to_owned));
                    }
                    continue;
                }
                let (key, value) = line.split_once(':').unwrap_or((line, ""));
                inside = key.trim().eq_ignore_ascii_case(name);
                if inside {
                    words.extend(value.split_whitespace().map(str::to_owned));
                }
            }
            words
        };
        let has = |name: &str, wanted: &str| field(name).iter().any(|word| word == wanted);
        let disabled = field("Enabled").iter().any(|word| word.eq_ignore_ascii_case("no"));
        let debian = field("Suites").iter().any(|suite| SUITES.contains(&suite.as_str()));
        if has("Types", "deb") && has("Components", "main") && debian && !disabled {
            mirrors.extend(field("URIs"));
        }
    }
    mirrors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_read_from_both_forms() {
        let old = "# deb http://no/debian trixie main\ndeb [arch=amd64 signed-by=/x] mirror+file:/y trixie main # z\n\
                   deb-src http://no/debian trixie main\ndeb http://vendor/apt stable vendor\n";
        assert_eq!(one_line_mirrors(old), ["mirror+file:/y"]);
        let new = "Types: deb deb-src\n# why\nURIs: http://a/debian\n http://b/debian\nSuites: trixie trixie-updates\n\
                   Components: main\n\nTypes: deb\nURIs: http://s/debian-security\nSuites: trixie-security\n\
                   Components: main\n\nTypes: deb\nEnabled: no\nURIs: http://no/debian\nSuites: trixie\nComponents: main\n";
        assert_eq!(deb822_mirrors(new), ["http://a/debian", "http://b/debian"]);
    }

    #[test]
    fn lines_of_apt_become_packages() {
        let line = "'http://m/pool/busybox-static_1.37.0-6%2bb9_riscv64.deb' \
                    busybox-static_1%3a1.37.0-6+b9_riscv64.deb 941532 SHA256:4add";
        let package = parse_uri_line(line).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("busybox-static", "1:1.37.0-6+b9"));
        assert_eq!(
            (package.sha256.as_str(), package.file.as_str()),
            ("4add", "busybox-static_1%3a1.37.0-6+b9_riscv64.deb")
        );
        assert_eq!(parse_uri_line("Reading package lists..."), None);
        assert_eq!(parse_uri_line("'http://m/x.deb' x_1_all.deb 3 MD5Sum:00"), None);
    }

    #[test]
    fn only_names_reach_apt() {
        assert!(check_name("libstdc++6").is_ok());
        for name in ["", "-o", "./x.deb", "a b", "Name", "x"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
