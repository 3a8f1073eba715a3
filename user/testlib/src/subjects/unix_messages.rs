//! Messages with more than bytes: credentials, descriptors, several at a time.

use crate::check::{equal, fails, holds, need};
use crate::runner::{Test, test};
use crate::socket::{Name, bind, close_all, ended, pair, receive, send, set_option, socket};
use asyncos_apps::call;
use asyncos_apps::system::{Ended, Errno, become_user, close, ignore_signal, in_child, pipe, read, write};
use libc::{SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("areas", areas),
    test("credentials", credentials),
    test("descriptors", descriptors),
    test("truncation", truncation),
    test("bad-control", bad_control),
    test("stream-boundaries", stream_boundaries),
    test("peeked-descriptors", peeked_descriptors),
    test("cycles", cycles),
    test("many", many),
    test("headers", headers),
    test("table", table),
    test("memory", memory_comes_back),
];

/// `struct msghdr`
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Header {
    name: usize,
    name_length: u32,
    padding: u32,
    areas: usize,
    area_count: usize,
    control: usize,
    control_length: usize,
    flags: i32,
    padding_2: u32,
}

const RIGHTS: i32 = libc::SCM_RIGHTS;
const CREDENTIALS: i32 = libc::SCM_CREDENTIALS;

/// A control message and its padding.
fn control(kind: i32, content: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + content.len()).to_ne_bytes().to_vec();
    bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn rights(descriptors: &[i32]) -> Vec<u8> {
    let content: Vec<u8> = descriptors.iter().flat_map(|descriptor| descriptor.to_ne_bytes()).collect();
    control(RIGHTS, &content)
}

fn ids(process: u32, user: u32, group: u32) -> Vec<u8> {
    let content: Vec<u8> = [process, user, group].iter().flat_map(|id| id.to_ne_bytes()).collect();
    control(CREDENTIALS, &content)
}

fn send_with(end: i32, bytes: &[u8], control: &[u8]) -> Result<usize, Errno> {
    let area = [bytes.as_ptr() as usize, bytes.len()];
    let header = Header {
        areas: area.as_ptr() as usize,
        area_count: 1,
        control: control.as_ptr() as usize,
        control_length: control.len(),
        ..Header::default()
    };
    call!(SYS_sendmsg, end, &header, libc::MSG_NOSIGNAL)
}

/// What came: bytes, flags, and control messages by kind.
#[derive(Debug, Default, PartialEq)]
struct Message {
    bytes: Vec<u8>,
    flags: i32,
    descriptors: Vec<i32>,
    sender: Option<[u32; 3]>,
}

fn receive_with(end: i32, most: usize, room: usize, flags: i32) -> Result<Message, Errno> {
    let mut bytes = vec![0u8; most];
    let mut control = vec![0u64; room.div_ceil(8)];
    let area = [bytes.as_mut_ptr() as usize, bytes.len()];
    let mut header = Header {
        areas: area.as_ptr() as usize,
        area_count: 1,
        control: control.as_mut_ptr() as usize,
        control_length: room,
        ..Header::default()
    };
    let count = call!(SYS_recvmsg, end, &mut header, flags)?;
    bytes.truncate(count);
    let control: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut message = Message { bytes, flags: header.flags, ..Message::default() };
    let mut rest = &control[..header.control_length.min(room)];
    while rest.len() >= 16 {
        let length = usize::from_ne_bytes(*rest.first_chunk().expect("eight bytes"));
        let kind = i32::from_ne_bytes(*rest[12..].first_chunk().expect("four bytes"));
        let words: Vec<i32> = rest[16..length.min(rest.len())]
            .chunks_exact(4)
            .map(|word| i32::from_ne_bytes(*word.first_chunk().expect("four bytes")))
            .collect();
        match kind {
            RIGHTS => message.descriptors = words,
            _ => message.sender = words.first_chunk().map(|words: &[i32; 3]| words.map(|word| word as u32)),
        }
        rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(message)
}

fn areas() {
    let (a, b) = pair(SOCK_SEQPACKET);
    let parts = [&b"one"[..], b"", b"two", b"three"];
    let vector: Vec<[usize; 2]> = parts.iter().map(|part| [part.as_ptr() as usize, part.len()]).collect();
    equal("a packet of several areas", call!(SYS_writev, a, vector.as_ptr() as usize, 4), Ok(11));
    let mut bytes = [0u8; 16];
    let (first, second) = bytes.split_at_mut(4);
    let vector = [[first.as_mut_ptr() as usize, 4], [second.as_mut_ptr() as usize, 12]];
    equal("into several", call!(SYS_readv, b, vector.as_ptr() as usize, 2), Ok(11));
    equal("is whole", &bytes[..11], b"onetwothree");
    let byte = [7u8; 1];
    let vector = vec![[byte.as_ptr() as usize, 1usize]; 300];
    equal("one of many areas", call!(SYS_writev, a, vector.as_ptr() as usize, 300), Ok(300));
    let mut bytes = [0u8; 400];
    equal("is whole, too", read(b, &mut bytes), Ok(300));
    let header = Header { areas: vector.as_ptr() as usize, area_count: 2000, ..Header::default() };
    fails("too many areas", call!(SYS_sendmsg, a, &header, 0), libc::EMSGSIZE);
    fails("no header", call!(SYS_sendmsg, a, 8, 0), libc::EFAULT);
    close_all(&[a, b]);
}

fn credentials() {
    let own = [std::process::id(), 0, 0];
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        let (a, b) = pair(kind);
        need(write(a, b"before"));
        need(receive_with(b, 10, 0, 0));
        need(set_option(b, libc::SO_PASSCRED, 1));
        need(write(a, b"x"));
        let message = need(receive_with(b, 10, 64, 0));
        equal(&format!("who sends is told ({kind})"), message.sender, Some(own));
        need(send_with(a, b"y", &ids(own[0], 0, 0)));
        equal("as is who says so", need(receive_with(b, 10, 64, 0)).sender, Some(own));
        need(send_with(a, b"z", &ids(1, 5, 6)));
        equal("the superuser says anything", need(receive_with(b, 10, 64, 0)).sender, Some([1, 5, 6]));
        let child = in_child(|| {
            need(become_user(1000));
            let refused =
                |id: [u32; 3]| send_with(a, b"n", &ids(id[0], id[1], id[2])) == Err(Errno(libc::EPERM));
            let own = std::process::id();
            let all = refused([1, 1000, 1000]) && refused([own, 0, 1000]) && refused([own, 1000, 0]);
            i32::from(!all || write(a, b"child") != Ok(5))
        });
        let child = need(child);
        let id = child.0 as u32;
        equal("a child's refusals", ended(Ok(child)), Ended::Exited(0));
        equal("and its message", need(receive_with(b, 10, 64, 0)).sender, Some([id, 1000, 1000]));
        close_all(&[a, b]);
    }
    let (a, b) = pair(SOCK_DGRAM);
    need(set_option(b, libc::SO_PASSCRED, 1));
    need(write(b, b"x"));
    equal("a sender that is to be told of gets a name", need(Name::of(b)).path().len(), 6);
    fails("credentials that are cut", send_with(a, b"x", &control(CREDENTIALS, &[0; 8])), libc::EINVAL);
    close_all(&[a, b]);
}

fn descriptors() {
    need(ignore_signal(libc::SIGPIPE));
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        let (a, b) = pair(kind);
        let (reader, writer) = need(pipe(0));
        equal(
            &format!("descriptors are sent ({kind})"),
            send_with(a, b"x", &rights(&[writer, reader])),
            Ok(1),
        );
        close_all(&[reader, writer]);
        let message = need(receive_with(b, 10, 64, libc::MSG_CMSG_CLOEXEC));
        equal("two of them", message.descriptors.len(), 2);
        equal("which is told of them", message.flags & !libc::MSG_EOR, libc::MSG_CMSG_CLOEXEC);
        let [writer, reader] = message.descriptors[..] else { panic!("two descriptors") };
        equal("they are closed on exec", call!(SYS_fcntl, writer, libc::F_GETFD, 0), Ok(1));
        equal("what they were", write(writer, b"through"), Ok(7));
        equal("before", read(reader, &mut [0; 10]), Ok(7));
        need(send_with(a, b"y", &rights(&[reader])));
        need(close(reader));
        equal("a read drops them", read(b, &mut [0; 10]), Ok(1));
        fails("for good", write(writer, b"x"), libc::EPIPE);
        close_all(&[a, b, writer]);
    }
    let (a, b) = pair(SOCK_STREAM);
    let (reader, writer) = need(pipe(0));
    need(send_with(a, b"unread", &rights(&[reader])));
    close_all(&[reader, b, a]);
    fails("closing drops those on their way", write(writer, b"x"), libc::EPIPE);
    need(close(writer));
}

fn truncation() {
    let (a, b) = pair(SOCK_DGRAM);
    let (reader, writer) = need(pipe(0));
    let mark = need(call!(SYS_dup, reader));
    need(close(mark as i32));
    need(send_with(a, b"long message", &rights(&[reader, writer, reader])));
    let message = need(receive_with(b, 4, 16 + 8, 0));
    equal("what does not fit is told", message.flags, libc::MSG_TRUNC | libc::MSG_CTRUNC);
    equal("bytes", &message.bytes[..], b"long");
    equal("and descriptors", message.descriptors.len(), 2);
    close_all(&message.descriptors);
    need(send_with(a, b"x", &rights(&[reader])));
    let message = need(receive_with(b, 4, 0, 0));
    equal("without room for any", (message.flags, message.descriptors.len()), (libc::MSG_CTRUNC, 0));
    equal("none is left open", call!(SYS_dup, reader), Ok(mark));
    need(send_with(a, b"long", b""));
    let message = need(receive_with(b, 2, 0, libc::MSG_TRUNC));
    equal("the whole length on request", message.flags, libc::MSG_TRUNC);
    close_all(&[a, b, reader, writer, mark as i32]);
}

fn bad_control() {
    let (a, b) = pair(SOCK_STREAM);
    fails("a descriptor that is not open", send_with(a, b"x", &rights(&[999])), libc::EBADF);
    fails("a negative one", send_with(a, b"x", &rights(&[-1])), libc::EBADF);
    fails("an unknown kind", send_with(a, b"x", &control(77, &[0; 4])), libc::EINVAL);
    let mut cut = rights(&[a]);
    cut[0] = 15;
    fails("a message shorter than its header", send_with(a, b"x", &cut), libc::EINVAL);
    cut[0] = 200;
    fails("one longer than all", send_with(a, b"x", &cut), libc::EINVAL);
    fails("too many descriptors", send_with(a, b"x", &rights(&[a; 254])), libc::EINVAL);
    equal("as many as may be", send_with(a, b"x", &rights(&[a; 253])), Ok(1));
    let message = need(receive_with(b, 10, 2048, 0));
    equal("come", message.descriptors.len(), 253);
    close_all(&message.descriptors);
    let mut other = control(RIGHTS, &[0; 4]);
    other[8] = 77;
    equal("another level is passed over", send_with(a, b"x", &other), Ok(1));
    fails("nothing of it arrived but the byte", receive(a, &mut [0], libc::MSG_DONTWAIT), libc::EAGAIN);
    fails("endless control", send_with(a, b"x", &vec![0; 1 << 20]), libc::ENOBUFS);
    close_all(&[a, b]);
}

fn stream_boundaries() {
    let (a, b) = pair(SOCK_STREAM);
    need(write(a, b"plain"));
    need(send_with(a, b"with", &rights(&[a])));
    need(write(a, b"after"));
    let first = need(receive_with(b, 100, 64, 0));
    equal(
        "bytes before descriptors come with them",
        (&first.bytes[..], first.descriptors.len()),
        (&b"plainwith"[..], 1),
    );
    equal("those after them do not", need(receive_with(b, 100, 64, 0)).bytes, b"after".to_vec());
    need(send_with(a, b"split", &rights(&[a])));
    let part = need(receive_with(b, 2, 64, 0));
    equal("descriptors come with the first byte", (&part.bytes[..], part.descriptors.len()), (&b"sp"[..], 1));
    let rest = need(receive_with(b, 100, 64, 0));
    equal("not with the rest", (&rest.bytes[..], rest.descriptors.len()), (&b"lit"[..], 0));
    close_all(&first.descriptors);
    close_all(&part.descriptors);
    close_all(&[a, b]);
}

fn peeked_descriptors() {
    let (a, b) = pair(SOCK_STREAM);
    let (reader, writer) = need(pipe(0));
    need(send_with(a, b"x", &rights(&[writer])));
    need(close(writer));
    let seen = need(receive_with(b, 10, 64, libc::MSG_PEEK));
    equal("a look gives descriptors", seen.descriptors.len(), 1);
    let taken = need(receive_with(b, 10, 64, 0));
    equal("and leaves them", taken.descriptors.len(), 1);
    close_all(&seen.descriptors);
    equal("each by itself", write(taken.descriptors[0], b"y"), Ok(1));
    close_all(&taken.descriptors);
    equal("what was written", read(reader, &mut [0; 4]), Ok(1));
    equal("then the end", read(reader, &mut [0; 4]), Ok(0));
    close_all(&[a, b, reader]);
}

/// Two sockets on their way to each other, and with them the end of a pipe.
fn make_cycle() -> i32 {
    let (a, b) = pair(SOCK_STREAM);
    let (reader, writer) = need(pipe(0));
    need(send_with(a, b"x", &rights(&[a, writer])));
    need(send_with(b, b"y", &rights(&[b])));
    close_all(&[a, b, writer]);
    reader
}

fn cycles() {
    let readers: Vec<i32> = (0..20).map(|_| make_cycle()).collect();
    // On Linux, too, they are found some time after another socket is closed.
    let mut gone = 0;
    for _ in 0..200 {
        let (a, b) = pair(SOCK_STREAM);
        close_all(&[a, b]);
        let ended = |reader: &&i32| crate::socket::poll(**reader, libc::POLLIN) == libc::POLLHUP;
        gone = readers.iter().filter(ended).count();
        if gone == readers.len() {
            break;
        }
        asyncos_apps::system::sleep_ns(5_000_000);
    }
    equal("sockets that only hold each other are closed", gone, readers.len());
    close_all(&readers);
}

/// `struct mmsghdr`
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct ManyHeader {
    header: Header,
    length: u32,
    padding: u32,
}

fn many_headers(areas: &[[usize; 2]]) -> Vec<ManyHeader> {
    let header =
        |area: &[usize; 2]| Header { areas: area.as_ptr() as usize, area_count: 1, ..Header::default() };
    areas.iter().map(|area| ManyHeader { header: header(area), ..ManyHeader::default() }).collect()
}

fn lengths(headers: &[ManyHeader]) -> Vec<u32> {
    headers.iter().map(|header| header.length).collect()
}

fn many() {
    let (a, b) = pair(SOCK_DGRAM);
    let texts = [&b"one"[..], b"second", b"3"];
    let vectors: Vec<[usize; 2]> = texts.iter().map(|text| [text.as_ptr() as usize, text.len()]).collect();
    let mut headers = many_headers(&vectors);
    let address = headers.as_mut_ptr() as usize;
    equal("several are sent", call!(SYS_sendmmsg, a, address, 3, 0), Ok(3));
    equal("the length of each", lengths(&headers), vec![3, 6, 1]);
    let mut room = [[0u8; 8]; 4];
    let vectors: Vec<[usize; 2]> = room.iter_mut().map(|room| [room.as_mut_ptr() as usize, 8]).collect();
    let mut headers = many_headers(&vectors);
    let address = headers.as_mut_ptr() as usize;
    let some = call!(SYS_recvmmsg, b, address, 4, libc::MSG_DONTWAIT, 0);
    equal("those that are there are received", some, Ok(3));
    equal("their lengths", lengths(&headers), vec![3, 6, 1, 0]);
    equal("their bytes", &room[1][..6], b"second");
    fails("none", call!(SYS_recvmmsg, b, address, 4, libc::MSG_DONTWAIT, 0), libc::EAGAIN);
    need(write(a, b"only"));
    equal("waiting for one", call!(SYS_recvmmsg, b, address, 4, 0x10000, 0), Ok(1));
    fails("a bad time", call!(SYS_recvmmsg, b, address, 4, 0, &[0i64, -1]), libc::EINVAL);
    close_all(&[a, b]);
}

fn headers() {
    let (name, mine) = (Name::new(b"\0testlib-headers"), Name::new(b"\0testlib-headers-mine"));
    let (receiver, sender) = (socket(SOCK_DGRAM), socket(SOCK_DGRAM));
    need(bind(receiver, &name));
    need(bind(sender, &mine));
    let text = *b"named";
    let area = [text.as_ptr() as usize, 5];
    let mut header = Header {
        name: &raw const name as usize,
        name_length: name.length(),
        areas: area.as_ptr() as usize,
        area_count: 1,
        ..Header::default()
    };
    equal("a header with a name", call!(SYS_sendmsg, sender, &header, 0), Ok(5));
    let (mut from, mut room) = (Name::none(), [0u8; 8]);
    let area = [room.as_mut_ptr() as usize, 8];
    header.areas = area.as_ptr() as usize;
    header.name = &raw mut from as usize;
    header.name_length = 110;
    header.flags = 77;
    equal("is received", call!(SYS_recvmsg, receiver, &mut header, 0), Ok(5));
    equal("with the sender's name", from.cut(header.name_length), mine);
    equal("and no flags", header.flags, 0);
    need(
        send(sender, b"", 0)
            .or_else(|_| call!(SYS_sendto, sender, b"x".as_slice(), 1, 0, &name, name.length())),
    );
    header.name_length = 6;
    equal("a name that does not fit", call!(SYS_recvmsg, receiver, &mut header, 0), Ok(1));
    holds("has its whole length told", header.name_length == mine.length());
    close_all(&[receiver, sender]);
}

/// The line of `/proc/net/unix` with this inode number.
fn line_of(end: i32) -> Option<String> {
    let mut stat = [0u64; 16];
    need(call!(SYS_fstat, end, &mut stat));
    let text = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let is_ours = |line: &&str| line.split_whitespace().nth(6) == Some(&stat[1].to_string());
    text.lines().find(is_ours).map(str::to_string)
}

fn table() {
    let end = socket(SOCK_STREAM);
    let words = |end: i32, range: std::ops::Range<usize>| {
        let line = line_of(end).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(range).unwrap_or_default().join(" ")
    };
    equal("a socket is in the table", words(end, 3..6), "00000000 0001 01".to_string());
    need(bind(end, &Name::new(b"\0testlib-table\0x")));
    need(crate::socket::listen(end, 1));
    equal("a listener", words(end, 3..6), "00010000 0001 01".to_string());
    equal("and its name", words(end, 7..8), "@testlib-table@x".to_string());
    let (a, b) = pair(SOCK_SEQPACKET);
    equal("a connection", words(a, 3..6), "00000000 0005 03".to_string());
    close_all(&[a, b, end]);
}

/// Sockets in all their ends: with messages unread, descriptors and each other on their way, connections never accepted.
fn use_sockets(round: usize) {
    for index in 0..100 {
        close_all(&[make_cycle()]);
        let (a, b) = pair(SOCK_DGRAM);
        need(send_with(a, &[1; 5000], &rights(&[a, b])));
        need(send(b, b"unread", 0));
        close_all(&[a, b]);
        // Linux finds what only holds itself some time later, and keeps its name until then.
        let name = Name::new(format!("\0testlib-memory-{round}-{index}").as_bytes());
        let (listener, client) = (socket(SOCK_STREAM), socket(SOCK_STREAM));
        need(bind(listener, &name));
        need(crate::socket::listen(listener, 5));
        need(crate::socket::connect(client, &name));
        need(send_with(client, b"never read", &rights(&[listener])));
        close_all(&[listener, client]);
    }
    for _ in 0..5 {
        let (a, b) = pair(SOCK_STREAM);
        close_all(&[a, b]);
    }
}

fn memory_comes_back() {
    use_sockets(1);
    let before = asyncos_apps::system::MemoryNumbers::read();
    use_sockets(2);
    let none_left = || {
        let (a, b) = pair(SOCK_STREAM);
        close_all(&[a, b]);
        let open = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
        open.lines().filter(|line| line.contains("testlib-memory")).count() == 0
    };
    let found = (0..200).any(|_| {
        let found = none_left();
        if !found {
            asyncos_apps::system::sleep_ns(10_000_000);
        }
        found
    });
    holds("no socket is left", found);
    let after = asyncos_apps::system::MemoryNumbers::read();
    if let (Some(before), Some(after)) = (before, after) {
        let bytes = |numbers: &asyncos_apps::system::MemoryNumbers| numbers.value("heap_bytes").unwrap_or(0);
        let grown = bytes(&after).saturating_sub(bytes(&before));
        crate::check::check("the kernel has its memory again", grown < 4096, || {
            format!("{grown} bytes more")
        });
    }
}
