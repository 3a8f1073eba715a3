//! `/proc/PID/mounts` and `/proc/PID/mountinfo`.

use super::part;
use crate::process::Process;
use alloc::sync::Arc;
use alloc::vec::Vec;
use vfs::mount::MountFlags;
use vfs::{Location, Mount};

/// Appends a text as it stands in these files: what separates fields and lines is written in octal.
fn escape(bytes: &[u8], text: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => part!(text, "\\{byte:03o}"),
            _ => text.push(byte),
        }
    }
}

/// Every mount that a process can reach from its root, and the path there.
pub fn visible(process: &Process) -> Vec<(Arc<Mount>, Vec<u8>)> {
    if process.space().is_none() {
        return Vec::new();
    }
    let root = process.place().root;
    let mut top = root.mount.clone();
    while let Some(point) = top.point() {
        top = point.mount;
    }
    let mounts = top.subtree().into_iter().filter_map(|mount| {
        let place = Location { mount: mount.clone(), dentry: mount.root().clone() };
        let path = place.absolute_path(&root);
        path.starts_with(b"/").then_some((mount, path))
    });
    mounts.collect()
}

/// What a mount allows, as `mount(8)` names it.
fn write_flags(flags: MountFlags, text: &mut Vec<u8>) {
    text.extend_from_slice(if flags.contains(MountFlags::READ_ONLY) { b"ro" } else { b"rw" });
    for (flag, name) in [
        (MountFlags::NO_SET_ID, ",nosuid"),
        (MountFlags::NO_DEVICES, ",nodev"),
        (MountFlags::NO_EXECUTE, ",noexec"),
        (MountFlags::NO_ACCESS_TIME, ",noatime"),
        (MountFlags::NO_DIRECTORY_ACCESS_TIME, ",nodiratime"),
    ] {
        if flags.contains(flag) {
            text.extend_from_slice(name.as_bytes());
        }
    }
    if !flags.contains(MountFlags::NO_ACCESS_TIME) {
        text.extend_from_slice(b",relatime");
    }
}

/// `mounts`
pub fn mounts(process: &Process, text: &mut Vec<u8>) {
    for (mount, path) in visible(process) {
        let file_system = mount.file_system();
        escape(source(&mount), text);
        text.push(b' ');
        escape(&path, text);
        part!(text, " {} ", file_system.name());
        write_flags(mount.flags(), text);
        text.extend_from_slice(&file_system.options());
        text.extend_from_slice(b" 0 0\n");
    }
}

fn source(mount: &Mount) -> &[u8] {
    if mount.source().is_empty() { b"none" } else { mount.source() }
}

/// The path from the top of a mount's file system to what the mount shows.
fn path_in_file_system(mount: &Mount) -> Vec<u8> {
    let mut names = Vec::new();
    let mut dentry = mount.root().clone();
    while let (Some(parent), name) = dentry.parent_and_name() {
        names.push(name);
        dentry = parent;
    }
    let mut path = Vec::new();
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// `mountinfo`
pub fn mount_information(process: &Process, text: &mut Vec<u8>) {
    for (mount, path) in visible(process) {
        let file_system = mount.file_system();
        let parent = mount.point().map_or(mount.id(), |point| point.mount.id());
        let device = file_system.device();
        part!(text, "{} {parent} {}:{} ", mount.id(), device.major(), device.minor());
        escape(&path_in_file_system(&mount), text);
        text.push(b' ');
        escape(&path, text);
        text.push(b' ');
        write_flags(mount.flags(), text);
        part!(text, " - {} ", file_system.name());
        escape(source(&mount), text);
        let writable = if mount.flags().contains(MountFlags::READ_ONLY) { " ro" } else { " rw" };
        text.extend_from_slice(writable.as_bytes());
        text.extend_from_slice(&file_system.options());
        text.push(b'\n');
    }
}
