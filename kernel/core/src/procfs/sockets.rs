//! `/proc/net`, as far as there are networks: the sockets of this machine.

use super::{Builder, line, part};
use crate::calls::socket;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::Result;
use net::unix::{Endpoint, Kind};
use vfs::synthetic::SyntheticDirectory;

/// `__SO_ACCEPTCON`: the socket listens.
const LISTENS: u32 = 0x1_0000;

/// The directory.
pub fn directory(builder: &Builder<'_>) -> Result<Arc<SyntheticDirectory>> {
    let directory = builder.directory();
    directory.insert("unix", builder.text(write_sockets))?;
    Ok(directory)
}

fn write_sockets(text: &mut Vec<u8>) {
    line!(text, "Num       RefCount Protocol Flags    Type St Inode Path");
    for endpoint in socket::domain().endpoints() {
        write_socket(text, &endpoint);
    }
}

fn write_socket(text: &mut Vec<u8>, endpoint: &Arc<Endpoint>) {
    let kind = match endpoint.kind() {
        Kind::Stream => 1,
        Kind::Datagram => 2,
        Kind::SequencedPacket => 5,
    };
    let (inode, connected) = (endpoint.inode(), endpoint.is_connected());
    // SS_UNCONNECTED, SS_CONNECTED; SS_CONNECTING for one that nobody has accepted.
    let state = match (connected, inode) {
        (false, _) => 1,
        (true, 0) => 2,
        (true, _) => 3,
    };
    let flags = if endpoint.is_listening() { LISTENS } else { 0 };
    // The reference that the list itself holds is not one of the socket's.
    let references = Arc::strong_count(endpoint) - 1;
    part!(text, "{:016x}: {references:08X} {:08X} {flags:08X} {kind:04X} {state:02X} {inode:5}", 0, 0);
    if let Some(name) = endpoint.name() {
        text.push(b' ');
        let bytes = name.bytes();
        match bytes.first() {
            // An abstract name, whose NULs are shown as signs.
            Some(0) => text.extend(bytes.iter().map(|byte| if *byte == 0 { b'@' } else { *byte })),
            _ => text.extend_from_slice(bytes.strip_suffix(&[0]).unwrap_or(bytes)),
        }
    }
    text.push(b'\n');
}
