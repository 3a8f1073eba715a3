//! The archive that the kernel unpacks as its root: cpio in the "newc" form.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Seconds since 1970 that generated files carry, so that the same input gives the same image.
const GENERATED_TIME: u32 = 1_735_689_600;

/// What stands at one path of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder with its permission bits.
    Folder(u32),
    /// A file with its permission bits and its content.
    Bytes(u32, Vec<u8>),
    /// A file with its permission bits, copied from the host.
    Copy(u32, PathBuf),
    /// A symbolic link and where it points.
    Link(String),
    /// A character device: permission bits, major and minor number.
    Device(u32, u32, u32),
}

/// The tree to be archived. Paths have no leading slash; parents are made when absent.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    nodes: BTreeMap<String, Node>,
}

/// One record's header fields that vary.
struct Record<'a> {
    path: &'a str,
    mode: u32,
    time: u32,
    device: (u32, u32),
    data: &'a [u8],
}

impl Archive {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a node at `path`, following links of the tree in the path's folders, over what was there.
    pub fn put(&mut self, path: &str, node: Node) {
        let path = self.resolve_parent(path.trim_matches('/'));
        if path.is_empty() {
            return;
        }
        for (index, _) in path.match_indices('/') {
            self.nodes.entry(path[..index].to_owned()).or_insert(Node::Folder(0o755));
        }
        // A folder over a link to a folder keeps the link: packages list the folders that they use.
        if matches!((self.nodes.get(&path), &node), (Some(Node::Link(_)), Node::Folder(_))) {
            return;
        }
        self.nodes.insert(path, node);
    }

    /// What stands at `path`, the path's folders taken through links as [`Archive::put`] does.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&self.resolve_parent(path.trim_matches('/')))
    }

    /// `bin/ls` with `bin -> usr/bin` is `usr/bin/ls`. Only links without `..` are followed.
    fn resolve_parent(&self, path: &str) -> String {
        let mut resolved = String::new();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        for (index, part) in parts.iter().enumerate() {
            if !resolved.is_empty() {
                resolved.push('/');
            }
            resolved.push_str(part);
            if index + 1 == parts.len() {
                break;
            }
            if let Some(Node::Link(target)) = self.nodes.get(&resolved)
                && !target.contains("..")
            {
                let parent = resolved.rsplit_once('/').map_or("", |(parent, _)| parent);
                resolved = match target.strip_prefix('/') {
                    Some(absolute) => absolute.to_owned(),
                    None if parent.is_empty() => target.clone(),
                    None => format!("{parent}/{target}"),
                };
            }
        }
        resolved
    }

    /// Adds everything below the host's `folder`. `keep` says of each path whether it is wanted.
    pub fn add_tree(&mut self, folder: &Path, keep: &dyn Fn(&str) -> bool) -> Result<()> {
        self.add_folder(folder, "", keep)
    }

    fn add_folder(&mut self, folder: &Path, prefix: &str, keep: &dyn Fn(&str) -> bool) -> Result<()> {
        let unreadable = || format!("cannot read {}", folder.display());
        let mut entries: Vec<_> =
            std::fs::read_dir(folder).with_context(unreadable)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let name = entry
                .file_name()
                .into_string()
                .ok()
                .with_context(|| format!("a file name in {} is not UTF-8", folder.display()))?;
            let path = format!("{prefix}{name}");
            if !keep(&path) {
                continue;
            }
            let host = entry.path();
            let metadata =
                host.symlink_metadata().with_context(|| format!("cannot read {}", host.display()))?;
            let (kind, mode) = (metadata.file_type(), metadata.permissions().mode() & 0o7777);
            if kind.is_dir() {
                self.put(&path, Node::Folder(mode));
                self.add_folder(&host, &format!("{path}/"), keep)?;
            } else if kind.is_symlink() {
                let target = std::fs::read_link(&host)?;
                self.put(&path, Node::Link(target.to_string_lossy().into_owned()));
            } else if kind.is_file() {
                self.put(&path, Node::Copy(mode, host));
            } else if kind.is_char_device() {
                let (major, minor) = ((metadata.rdev() >> 8) & 0xfff, metadata.rdev() & 0xff);
                self.put(&path, Node::Device(mode, major as u32, minor as u32));
            }
        }
        Ok(())
    }

    /// Writes the archive with its trailer.
    pub fn write(&self, output: &mut dyn Write) -> Result<()> {
        let mut inode = 0;
        for (path, node) in &self.nodes {
            inode += 1;
            let time = GENERATED_TIME;
            let content;
            let record = match node {
                Node::Folder(mode) => {
                    Record { path, mode: 0o040_000 | mode, time, device: (0, 0), data: &[] }
                }
                Node::Bytes(mode, data) => {
                    Record { path, mode: 0o100_000 | mode, time, device: (0, 0), data }
                }
                Node::Link(target) => {
                    Record { path, mode: 0o120_777, time, device: (0, 0), data: target.as_bytes() }
                }
                Node::Device(mode, major, minor) => {
                    Record { path, mode: 0o020_000 | mode, time, device: (*major, *minor), data: &[] }
                }
                Node::Copy(mode, source) => {
                    let unreadable = || format!("cannot read {}", source.display());
                    content = std::fs::read(source).with_context(unreadable)?;
                    let time = source.metadata().with_context(unreadable)?.mtime() as u32;
                    Record { path, mode: 0o100_000 | mode, time, device: (0, 0), data: &content }
                }
            };
            write_record(output, inode, &record)?;
        }
        let end = Record { path: "TRAILER!!!", mode: 0, time: 0, device: (0, 0), data: &[] };
        write_record(output, 0, &end)
    }
}

/// Bytes of a record's header, before the name.
const HEADER: usize = 110;
/// Where records and their data begin; the format asks for 4.
const ALIGNMENT: usize = 8;

fn write_record(output: &mut dyn Write, inode: u32, record: &Record<'_>) -> Result<()> {
    let links = if record.mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    // A name may end with more zeros than one, and so everything begins where the kernel copies it fastest.
    let name_bytes = (HEADER + record.path.len() + 1).next_multiple_of(ALIGNMENT) - HEADER;
    let size = u32::try_from(record.data.len()).with_context(|| format!("{} is over 4 GiB", record.path))?;
    let fields = [
        inode,
        record.mode,
        0, // user
        0, // group
        links,
        record.time,
        size,
        0, // the device that holds the file
        0,
        record.device.0,
        record.device.1,
        name_bytes as u32,
        0, // checksum, unused in this form
    ];
    let mut header = String::from("070701");
    for field in fields {
        header.push_str(&format!("{field:08x}"));
    }
    header.push_str(record.path);
    header.extend(std::iter::repeat_n('\0', name_bytes - record.path.len()));
    output.write_all(header.as_bytes())?;
    output.write_all(record.data)?;
    output.write_all(&[0; ALIGNMENT][..record.data.len().wrapping_neg() % ALIGNMENT])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let field = |at: usize, index: usize| {
            let start = at + 6 + index * 8;
            let text = std::str::from_utf8(&bytes[start..start + 8]).unwrap();
            u32::from_str_radix(text, 16).unwrap()
        };
        let (mut at, mut found) = (0, Vec::new());
        loop {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (mode, size, name) = (field(at, 1), field(at, 6) as usize, field(at, 11) as usize);
            let path = std::ffi::CStr::from_bytes_until_nul(&bytes[at + 110..at + 110 + name]).unwrap();
            let path = path.to_str().unwrap().to_owned();
            let data = (at + 110 + name).next_multiple_of(4);
            if path == "TRAILER!!!" {
                assert_eq!(data, bytes.len());
                return found;
            }
            found.push((path, mode, bytes[data..data + size].to_vec()));
            at = (data + size).next_multiple_of(8);
        }
    }

    #[test]
    fn what_is_put_is_written_with_its_parents() {
        let mut archive = Archive::new();
        archive.put("/etc/hostname", Node::Bytes(0o644, b"asyncos\n".to_vec()));
        archive.put("dev/console", Node::Device(0o600, 5, 1));
        archive.put("sh", Node::Link("busybox".into()));
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        let expected = [
            ("dev", 0o040_755, &b""[..]),
            ("dev/console", 0o020_600, b""),
            ("etc", 0o040_755, b""),
            ("etc/hostname", 0o100_644, b"asyncos\n"),
            ("sh", 0o120_777, b"busybox"),
        ];
        let found = listing(&bytes);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!((found.0.as_str(), found.1, found.2.as_slice()), expected);
        }
    }

    #[test]
    fn folders_that_are_links_are_followed_and_kept() {
        let mut archive = Archive::new();
        archive.put("bin", Node::Link("usr/bin".into()));
        archive.put("bin/ls", Node::Bytes(0o755, vec![1]));
        archive.put("bin", Node::Folder(0o755));
        assert_eq!(archive.get("usr/bin/ls"), Some(&Node::Bytes(0o755, vec![1])));
        assert_eq!(archive.get("/bin/ls"), Some(&Node::Bytes(0o755, vec![1])));
        assert_eq!(archive.get("bin"), Some(&Node::Link("usr/bin".into())));
    }

    #[test]
    fn a_tree_of_the_host_is_added() {
        let folder = std::env::temp_dir().join(format!("xtask-cpio-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("usr/doc")).unwrap();
        std::fs::write(folder.join("usr/tool"), b"#!").unwrap();
        std::fs::write(folder.join("usr/doc/long"), b"text").unwrap();
        let mut archive = Archive::new();
        archive.add_tree(&folder, &|path| !path.starts_with("usr/doc")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(archive.get("usr/tool"), Some(Node::Copy(_, _))));
        assert_eq!(archive.nodes.len(), 2);
        assert!(archive.add_tree(&folder, &|_| true).unwrap_err().to_string().starts_with("cannot read"));
    }
}
