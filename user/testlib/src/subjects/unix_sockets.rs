//! Sockets of one machine: connections, datagrams, packets, their names and their ends.

use crate::check::{equal, fails, holds, need, succeeds};
use crate::runner::{Test, test};
use crate::socket::{
    Name, accept, bind, close_all, connect, ended, listen, option, pair, poll, receive, send, set_option,
    shut_down, socket,
};
use asyncos_apps::call;
use asyncos_apps::system::{
    Child, Ended, close, default_signal, in_child, now_ns, open, read, sleep_ns, write,
};
use libc::{SOCK_DGRAM, SOCK_NONBLOCK, SOCK_SEQPACKET, SOCK_STREAM};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("creation", creation),
    test("pair", stream_pair),
    test("names", names),
    test("connection", connection),
    test("refused", refused),
    test("backlog", backlog),
    test("datagrams", datagrams),
    test("packets", packets),
    test("peek-and-wait-for-all", peek_and_wait_for_all),
    test("ends", ends),
    test("reset", reset),
    test("readiness", readiness),
    test("options", options),
    test("time-limits", time_limits),
    test("round-trips", round_trips),
    test("much", much),
];

fn creation() {
    let make = |family: i32, kind: i32, protocol: i32| call!(SYS_socket, family, kind, protocol);
    fails("an unknown family", make(200, SOCK_STREAM, 0), libc::EAFNOSUPPORT);
    fails("an unknown type", make(libc::AF_UNIX, 9, 0), libc::ESOCKTNOSUPPORT);
    fails("an impossible type", make(libc::AF_UNIX, 12, 0), libc::EINVAL);
    fails("unknown flags", make(libc::AF_UNIX, SOCK_STREAM | 0x100, 0), libc::EINVAL);
    fails("another protocol", make(libc::AF_UNIX, SOCK_STREAM, 6), libc::EPROTONOSUPPORT);
    let end = need(make(libc::AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0)) as i32;
    let flags = need(call!(SYS_fcntl, end, libc::F_GETFL, 0)) as i32;
    equal("it is open for both and does not wait", flags, libc::O_RDWR | libc::O_NONBLOCK);
    equal("it is closed on exec", call!(SYS_fcntl, end, libc::F_GETFD, 0), Ok(1));
    let mut stat = [0u32; 32];
    need(call!(SYS_fstat, end, &mut stat));
    equal("it is a socket", stat[4] & libc::S_IFMT, libc::S_IFSOCK);
    fails("it has no offset", call!(SYS_lseek, end, 0, 0), libc::ESPIPE);
    fails("a file is no socket", call!(SYS_listen, need(open(c"/", 0)), 1), libc::ENOTSOCK);
    fails("nothing is no socket", call!(SYS_listen, 999, 1), libc::EBADF);
    fails("a pair of an unknown family", call!(SYS_socketpair, 200, 1, 0, &mut stat), libc::EAFNOSUPPORT);
    fails("a pair to nowhere", call!(SYS_socketpair, libc::AF_UNIX, SOCK_STREAM, 0, 8), libc::EFAULT);
    close_all(&[end]);
}

fn stream_pair() {
    let (a, b) = pair(SOCK_STREAM);
    let mut bytes = [0u8; 16];
    equal("bytes go one way", write(a, b"hello"), Ok(5));
    equal("in part", read(b, &mut bytes[..2]), Ok(2));
    equal("then more", write(a, b"you"), Ok(3));
    equal("the rest of both comes at once", read(b, &mut bytes), Ok(6));
    equal("in order", &bytes[..6], b"lloyou");
    equal("and back", write(b, b"x"), Ok(1));
    let mut waiting = 0i32;
    equal("FIONREAD", call!(SYS_ioctl, a, libc::FIONREAD as usize, &mut waiting).map(|_| waiting), Ok(1));
    equal("reading nothing", read(a, &mut []), Ok(0));
    equal("the byte", read(a, &mut bytes), Ok(1));
    fails("nothing is there", receive(a, &mut bytes, libc::MSG_DONTWAIT), libc::EAGAIN);
    equal("sending nothing", send(a, b"", 0), Ok(0));
    fails("which is not received", receive(b, &mut bytes, libc::MSG_DONTWAIT), libc::EAGAIN);
    fails("bytes from nowhere", call!(SYS_sendto, a, 8, 5, 0, 0, 0), libc::EFAULT);
    equal("bytes again", send(a, b"keep", 0), Ok(4));
    fails("bytes to nowhere", call!(SYS_recvfrom, b, 8, 4, 0, 0, 0), libc::EFAULT);
    equal("are not lost", receive(b, &mut bytes, 0), Ok(4));
    fails("out of band", receive(b, &mut bytes, libc::MSG_OOB), libc::EINVAL);
    fails("an address on a connection", need_name(a, b"\0x"), libc::EISCONN);
    close_all(&[a, b]);
}

fn need_name(end: i32, path: &[u8]) -> Result<usize, asyncos_apps::Errno> {
    let name = Name::new(path);
    call!(SYS_sendto, end, b"x".as_slice(), 1, 0, &name, name.length())
}

fn names() {
    let end = socket(SOCK_STREAM);
    equal("no name", Name::of(end), Ok(Name::none()));
    fails("no peer", Name::of_peer(end), libc::ENOTCONN);
    let path = c"/tmp/testlib-socket";
    let _ = call!(SYS_unlinkat, libc::AT_FDCWD, path, 0);
    let name = Name::new(path.to_bytes());
    fails("an address that is too short", call!(SYS_bind, end, &name, 1), libc::EINVAL);
    fails("an address that is too long", call!(SYS_bind, end, &name, 200), libc::EINVAL);
    fails("a negative length", call!(SYS_bind, end, &name, -1), libc::EINVAL);
    fails("an address from nowhere", call!(SYS_bind, end, 8, 10), libc::EFAULT);
    fails("another family", call!(SYS_bind, end, &[2u16; 8], 16), libc::EINVAL);
    fails("a directory that is missing", bind(end, &Name::new(b"/missing/x")), libc::ENOENT);
    succeeds("a path", bind(end, &name));
    fails("a second name", bind(end, &Name::new(b"/tmp/other")), libc::EINVAL);
    fails("which leaves no file", open(c"/tmp/other", 0), libc::ENOENT);
    equal("the name ends in NUL", Name::of(end), Ok(Name::new(path.to_bytes_with_nul())));
    let mut stat = [0u32; 32];
    need(call!(SYS_newfstatat, libc::AT_FDCWD, path, &mut stat, 0));
    equal("the file is a socket", stat[4] & libc::S_IFMT, libc::S_IFSOCK);
    fails("which cannot be opened", open(path, libc::O_RDWR), libc::ENXIO);
    let other = socket(SOCK_STREAM);
    fails("the path is taken", bind(other, &name), libc::EADDRINUSE);
    close_all(&[end]);
    fails("even when its socket is closed", bind(other, &name), libc::EADDRINUSE);
    fails("and nobody answers there", connect(other, &name), libc::ECONNREFUSED);
    need(call!(SYS_unlinkat, libc::AT_FDCWD, path, 0));
    let hidden = Name::new(b"\0testlib\0name");
    succeeds("an abstract name", bind(other, &hidden));
    equal("has its NULs", Name::of(other), Ok(hidden));
    let third = socket(SOCK_STREAM);
    fails("it is taken", bind(third, &hidden), libc::EADDRINUSE);
    close_all(&[other]);
    succeeds("until its socket is closed", bind(third, &hidden));
    let fourth = socket(SOCK_DGRAM);
    succeeds("another kind has names of its own", bind(fourth, &hidden));
    let fifth = socket(SOCK_STREAM);
    succeeds("a name by itself", bind(fifth, &Name::none()));
    let given = need(Name::of(fifth));
    equal("has a NUL and five digits", (given.path().len(), given.path()[0]), (6, 0));
    close_all(&[third, fourth, fifth]);
}

fn connection() {
    let name = Name::new(b"\0testlib-connection");
    let listener = socket(SOCK_STREAM);
    fails("listening without a name", listen(listener, 1), libc::EINVAL);
    need(bind(listener, &name));
    fails("accepting without listening", accept(listener, 0), libc::EINVAL);
    succeeds("listening", listen(listener, 2));
    fails("a listener does not receive", receive(listener, &mut [0], 0), libc::EINVAL);
    fails("nor send", send(listener, b"x", libc::MSG_NOSIGNAL), libc::ENOTCONN);
    let client = socket(SOCK_STREAM);
    fails("before it is connected", receive(client, &mut [0], 0), libc::EINVAL);
    fails("neither way", send(client, b"x", libc::MSG_NOSIGNAL), libc::ENOTCONN);
    succeeds("connecting waits for no accept", connect(client, &name));
    fails("a second time", connect(client, &name), libc::EISCONN);
    equal("what is sent before", send(client, b"early", 0), Ok(5));
    let server = need(accept(listener, libc::SOCK_CLOEXEC));
    equal("accepting can close on exec", call!(SYS_fcntl, server, libc::F_GETFD, 0), Ok(1));
    let mut bytes = [0; 8];
    equal("is received after", read(server, &mut bytes), Ok(5));
    equal("the server has the listener's name", Name::of(server), Ok(name));
    equal("which the client sees", Name::of_peer(client), Ok(name));
    equal("the client has none", Name::of_peer(server), Ok(Name::none()));
    fails("unknown flags", accept(listener, 1), libc::EINVAL);
    fails("a connection does not listen", listen(server, 1), libc::EINVAL);
    set_nonblocking(listener);
    fails("nobody else waits", accept(listener, 0), libc::EAGAIN);
    close_all(&[listener]);
    equal("a connection outlives its listener", write(server, b"still"), Ok(5));
    equal("here", read(client, &mut bytes), Ok(5));
    close_all(&[server, client]);
}

fn set_nonblocking(end: i32) {
    need(call!(SYS_fcntl, end, libc::F_SETFL, libc::O_NONBLOCK));
}

fn refused() {
    let client = socket(SOCK_STREAM);
    fails("an abstract name of nobody", connect(client, &Name::new(b"\0testlib-nobody")), libc::ECONNREFUSED);
    fails("a path of nothing", connect(client, &Name::new(b"/tmp/testlib-nothing")), libc::ENOENT);
    fails("a path of no socket", connect(client, &Name::new(b"/tmp")), libc::ECONNREFUSED);
    fails("an address without a name", call!(SYS_connect, client, &Name::none(), 2), libc::EINVAL);
    let path = c"/tmp/testlib-refused";
    let name = Name::new(path.to_bytes());
    let _ = call!(SYS_unlinkat, libc::AT_FDCWD, path, 0);
    let idle = socket(SOCK_STREAM);
    need(bind(idle, &name));
    fails("one that does not listen", connect(client, &name), libc::ECONNREFUSED);
    need(listen(idle, 1));
    let datagrams = socket(SOCK_DGRAM);
    fails("one of another kind", connect(datagrams, &name), libc::EPROTOTYPE);
    need(call!(SYS_fchmodat, libc::AT_FDCWD, path, 0o555));
    let child = in_child(|| {
        need(asyncos_apps::system::become_user(1000));
        let other = socket(SOCK_STREAM);
        i32::from(connect(other, &name) != Err(asyncos_apps::Errno(libc::EACCES)))
    });
    equal("one whose file may not be written", need(child.and_then(Child::wait)), Ended::Exited(0));
    need(call!(SYS_unlinkat, libc::AT_FDCWD, path, 0));
    close_all(&[idle, datagrams, client]);
}

fn backlog() {
    let name = Name::new(b"\0testlib-backlog");
    let listener = socket(SOCK_STREAM);
    need(bind(listener, &name));
    need(listen(listener, 1));
    let clients: Vec<i32> = (0..3).map(|_| socket(SOCK_STREAM | SOCK_NONBLOCK)).collect();
    succeeds("the first", connect(clients[0], &name));
    succeeds("one more than the backlog", connect(clients[1], &name));
    fails("and no more", connect(clients[2], &name), libc::EAGAIN);
    let waiting = in_child(|| {
        let client = socket(SOCK_STREAM);
        i32::from(connect(client, &name).is_err())
    });
    sleep_ns(30_000_000);
    let accepted = [need(accept(listener, 0)), need(accept(listener, 0))];
    equal("a connection waits for room", need(waiting.and_then(Child::wait)), Ended::Exited(0));
    succeeds("room again", connect(clients[2], &name));
    close_all(&accepted);
    let mut byte = [0];
    equal("a closed one ends", read(clients[0], &mut byte), Ok(0));
    close_all(&[listener]);
    fails("one that was never accepted was reset", read(clients[2], &mut byte), libc::ECONNRESET);
    equal("once", read(clients[2], &mut byte), Ok(0));
    close_all(&clients);
}

fn datagrams() {
    let (name, mine) = (Name::new(b"\0testlib-datagrams"), Name::new(b"\0testlib-mine"));
    let receiver = socket(SOCK_DGRAM);
    need(bind(receiver, &name));
    let sender = socket(SOCK_DGRAM);
    fails("to nobody", send(sender, b"x", 0), libc::ENOTCONN);
    fails("it does not listen", listen(receiver, 1), libc::EOPNOTSUPP);
    fails("nor accept", accept(receiver, 0), libc::EOPNOTSUPP);
    let to = |end: i32, text: &[u8]| call!(SYS_sendto, end, text, text.len(), 0, &name, name.length());
    let from = |bytes: &mut [u8], flags: i32| {
        let (mut name, mut length) = (Name::none(), 110u32);
        let count = bytes.len();
        let got = call!(SYS_recvfrom, receiver, bytes, count, flags, &mut name, &mut length)?;
        Ok((got, name.cut(length)))
    };
    let mut bytes = [0u8; 8];
    equal("a datagram to a name", to(sender, b"one"), Ok(3));
    equal("has no sender", from(&mut bytes, 0), Ok((3, Name::nobody())));
    equal("one whose sender", to(sender, b"uno"), Ok(3));
    need(bind(sender, &mine));
    equal("another", to(sender, b"second"), Ok(6));
    equal("an empty one", to(sender, b""), Ok(0));
    let mut waiting = 0i32;
    let first = call!(SYS_ioctl, receiver, libc::FIONREAD as usize, &mut waiting).map(|_| waiting);
    equal("FIONREAD tells of the first", first, Ok(3));
    equal("got a name since", from(&mut bytes, 0), Ok((3, mine)));
    equal("the second has, and is cut", from(&mut bytes[..4], libc::MSG_TRUNC), Ok((6, mine)));
    equal("the empty one", from(&mut bytes, 0), Ok((0, mine)));
    fails("and no rest", from(&mut bytes, libc::MSG_DONTWAIT), libc::EAGAIN);
    let large = vec![7u8; 300_000];
    fails("one that is too long", to(sender, &large), libc::EMSGSIZE);
    equal("a long one", to(sender, &large[..100_000]), Ok(100_000));
    let mut room = vec![0u8; 100_001];
    equal("comes whole", read(receiver, &mut room), Ok(100_000));
    holds("and unchanged", room[..100_000] == large[..100_000]);
    need(connect(sender, &name));
    need(connect(receiver, &mine));
    equal("connected both ways", send(sender, b"direct", 0), Ok(6));
    equal("it comes", read(receiver, &mut bytes), Ok(6));
    let third = socket(SOCK_DGRAM);
    fails("who is connected receives from nobody else", to(third, b"x"), libc::EPERM);
    close_all(&[receiver]);
    fails("a peer that is gone", send(sender, b"x", 0), libc::ECONNREFUSED);
    fails("is forgotten", send(sender, b"x", 0), libc::ENOTCONN);
    let unspecified = [0u16; 1];
    succeeds("connecting to nobody", call!(SYS_connect, sender, &unspecified, 2));
    close_all(&[sender, third]);
}

fn packets() {
    let (a, b) = pair(SOCK_SEQPACKET);
    let mut bytes = [0u8; 8];
    equal("a packet", write(a, b"first"), Ok(5));
    equal("and another", write(a, b"second"), Ok(6));
    equal("are not joined", read(b, &mut bytes), Ok(5));
    equal("what does not fit is lost", read(b, &mut bytes[..3]), Ok(3));
    fails("and no rest", receive(b, &mut bytes, libc::MSG_DONTWAIT), libc::EAGAIN);
    equal("the last", write(a, b"last"), Ok(4));
    close_all(&[a]);
    equal("comes before the end", read(b, &mut bytes), Ok(4));
    equal("then the end", read(b, &mut bytes), Ok(0));
    let quiet = in_child(|| {
        let _ = default_signal(libc::SIGPIPE);
        i32::from(write(b, b"x") != Err(asyncos_apps::Errno(libc::EPIPE)))
    });
    equal("no signal for packets to nobody", need(quiet.and_then(Child::wait)), Ended::Exited(0));
    let lone = socket(SOCK_SEQPACKET);
    fails("before it is connected", receive(lone, &mut bytes, 0), libc::ENOTCONN);
    close_all(&[b, lone]);
}

fn peek_and_wait_for_all() {
    let (a, b) = pair(SOCK_STREAM);
    let mut bytes = [0u8; 8];
    need(write(a, b"ab"));
    equal("a look", receive(b, &mut bytes, libc::MSG_PEEK), Ok(2));
    need(write(a, b"cd"));
    equal("sees all there is", receive(b, &mut bytes, libc::MSG_PEEK), Ok(4));
    equal("and leaves it", (receive(b, &mut bytes, 0), &bytes[..4]), (Ok(4), &b"abcd"[..]));
    let child = in_child(|| {
        let parts = [&b"abc"[..], b"def", b"gh"];
        i32::from(!parts.iter().all(|part| {
            sleep_ns(10_000_000);
            write(a, part).is_ok()
        }))
    });
    equal("waiting for all of it", receive(b, &mut bytes, libc::MSG_WAITALL), Ok(8));
    equal("all of it", &bytes, b"abcdefgh");
    equal("the writer", need(child.and_then(Child::wait)), Ended::Exited(0));
    need(write(a, b"rest"));
    close_all(&[a]);
    equal("at the end there is no more to wait for", receive(b, &mut bytes, libc::MSG_WAITALL), Ok(4));
    let (a, b) = pair(SOCK_DGRAM);
    need(write(a, b"datagram"));
    equal("a look at a datagram", receive(b, &mut bytes[..4], libc::MSG_PEEK | libc::MSG_TRUNC), Ok(8));
    equal("leaves it", receive(b, &mut bytes, 0), Ok(8));
    close_all(&[a, b]);
}

fn ends() {
    let (a, b) = pair(SOCK_STREAM);
    let mut bytes = [0u8; 8];
    need(write(a, b"last"));
    fails("an unknown way to shut down", shut_down(a, 3), libc::EINVAL);
    succeeds("no more is sent", shut_down(a, libc::SHUT_WR));
    equal("what was sent", read(b, &mut bytes), Ok(4));
    equal("then the end", read(b, &mut bytes), Ok(0));
    fails("sending after that", send(a, b"x", libc::MSG_NOSIGNAL), libc::EPIPE);
    equal("the other way is open", write(b, b"back"), Ok(4));
    equal("and received", read(a, &mut bytes), Ok(4));
    succeeds("no more is received", shut_down(a, libc::SHUT_RD));
    fails("sending to who receives no more", send(b, b"x", libc::MSG_NOSIGNAL), libc::EPIPE);
    equal("nothing more", read(a, &mut bytes), Ok(0));
    close_all(&[b]);
    let killed = in_child(|| {
        let _ = default_signal(libc::SIGPIPE);
        i32::from(write(a, b"x").is_ok())
    });
    equal("a stream to nobody kills", need(killed.and_then(Child::wait)), Ended::Killed(libc::SIGPIPE));
    close_all(&[a]);
    let (a, b) = pair(SOCK_STREAM);
    let child = in_child(|| {
        need(close(b));
        let mut byte = [0];
        i32::from(read(a, &mut byte) != Ok(0))
    });
    close_all(&[a]);
    sleep_ns(20_000_000);
    close_all(&[b]);
    equal("closing ends a read that waits", need(child.and_then(Child::wait)), Ended::Exited(0));
    let lone = socket(SOCK_STREAM);
    succeeds("what is not connected can be shut down", shut_down(lone, libc::SHUT_RD));
    close_all(&[lone]);
}

fn reset() {
    let (a, b) = pair(SOCK_STREAM);
    let mut bytes = [0u8; 8];
    need(write(a, b"unread"));
    need(write(b, b"answer"));
    close_all(&[b]);
    equal("what came before", read(a, &mut bytes), Ok(6));
    fails("the peer left something unread", read(a, &mut bytes), libc::ECONNRESET);
    equal("which is told once", read(a, &mut bytes), Ok(0));
    close_all(&[a]);
    let (a, b) = pair(SOCK_STREAM);
    need(write(a, b"unread"));
    close_all(&[b]);
    equal("SO_ERROR tells it", option(a, libc::SO_ERROR), Ok(libc::ECONNRESET));
    equal("once", option(a, libc::SO_ERROR), Ok(0));
    close_all(&[a]);
}

fn readiness() {
    const HANG_UP: i16 = libc::POLLHUP;
    const END: i16 = libc::POLLRDHUP;
    let all = libc::POLLIN | libc::POLLOUT | END;
    let (a, b) = pair(SOCK_STREAM);
    equal("an empty one can be written", poll(a, all), libc::POLLOUT);
    need(write(b, b"x"));
    equal("a filled one can be read, too", poll(a, all), libc::POLLIN | libc::POLLOUT);
    let full = vec![1u8; 1 << 20];
    set_nonblocking(a);
    let filled = need(write(a, &full));
    holds("there is a limit", filled < full.len());
    fails("beyond which nothing goes", write(a, b"x"), libc::EAGAIN);
    equal("a full one cannot be written", poll(a, libc::POLLOUT), 0);
    let mut room = full.clone();
    let mut drained = 0;
    while drained < filled {
        drained += need(read(b, &mut room));
    }
    equal("until it is drained", poll(a, libc::POLLOUT), libc::POLLOUT);
    need(shut_down(b, libc::SHUT_WR));
    equal("an end can be read", poll(a, all), libc::POLLIN | libc::POLLOUT | END);
    close_all(&[b]);
    equal("a hang-up", poll(a, all), libc::POLLIN | libc::POLLOUT | END | HANG_UP);
    close_all(&[a]);
    let lone = socket(SOCK_STREAM);
    equal("one that is not connected has hung up", poll(lone, all), libc::POLLOUT | HANG_UP);
    let name = Name::new(b"\0testlib-readiness");
    need(bind(lone, &name));
    need(listen(lone, 5));
    equal("a listener is not ready", poll(lone, all), 0);
    let client = socket(SOCK_STREAM);
    need(connect(client, &name));
    equal("until somebody connects", poll(lone, all), libc::POLLIN);
    close_all(&[lone, client]);
}

fn options() {
    let (a, b) = pair(SOCK_SEQPACKET);
    equal("SO_TYPE", option(a, libc::SO_TYPE), Ok(SOCK_SEQPACKET));
    equal("SO_DOMAIN", option(a, libc::SO_DOMAIN), Ok(libc::AF_UNIX));
    equal("SO_PROTOCOL", option(a, libc::SO_PROTOCOL), Ok(0));
    equal("SO_ACCEPTCONN", option(a, libc::SO_ACCEPTCONN), Ok(0));
    equal("SO_ERROR", option(a, libc::SO_ERROR), Ok(0));
    equal("SO_SNDBUF at first", option(a, libc::SO_SNDBUF), Ok(212_992));
    need(set_option(a, libc::SO_SNDBUF, 10_000));
    equal("is doubled", option(a, libc::SO_SNDBUF), Ok(20_000));
    need(set_option(a, libc::SO_SNDBUF, 1));
    equal("and not too little", option(a, libc::SO_SNDBUF), Ok(4608));
    need(set_option(a, libc::SO_RCVBUF, 50_000));
    equal("SO_RCVBUF", option(a, libc::SO_RCVBUF), Ok(100_000));
    need(set_option(a, libc::SO_KEEPALIVE, 1));
    equal("SO_KEEPALIVE", option(a, libc::SO_KEEPALIVE), Ok(1));
    need(set_option(a, libc::SO_PASSCRED, 5));
    equal("SO_PASSCRED", option(a, libc::SO_PASSCRED), Ok(1));
    fails("SO_TYPE is not set", set_option(a, libc::SO_TYPE, 1), libc::ENOPROTOOPT);
    fails("an unknown option", option(a, 999), libc::ENOPROTOOPT);
    fails("which is not set either", set_option(a, 999, 1), libc::ENOPROTOOPT);
    let mut value = 0i32;
    let mut length = 4i32;
    fails("another level", call!(SYS_getsockopt, a, 6, 1, &mut value, &mut length), libc::EOPNOTSUPP);
    fails("an option that is cut", call!(SYS_setsockopt, a, 1, libc::SO_PASSCRED, &value, 3), libc::EINVAL);
    let mut peer = [0u32; 3];
    let mut length = 12i32;
    need(call!(SYS_getsockopt, a, 1, libc::SO_PEERCRED, &mut peer, &mut length));
    equal("SO_PEERCRED", (peer, length), ([std::process::id(), 0, 0], 12));
    let lone = socket(SOCK_STREAM);
    need(call!(SYS_getsockopt, lone, 1, libc::SO_PEERCRED, &mut peer, &mut length));
    equal("of nobody", peer, [0, u32::MAX, u32::MAX]);
    close_all(&[a, b, lone]);
}

fn time_limits() {
    let (a, b) = pair(SOCK_STREAM);
    let limit = [0i64, 50_000];
    need(call!(SYS_setsockopt, a, 1, libc::SO_RCVTIMEO, &limit, 16));
    let mut got = [0i64; 2];
    let mut length = 16i32;
    need(call!(SYS_getsockopt, a, 1, libc::SO_RCVTIMEO, &mut got, &mut length));
    equal("the limit is told", got[1].abs_diff(limit[1]) <= 10_000, true);
    fails(
        "microseconds beyond a second",
        call!(SYS_setsockopt, a, 1, libc::SO_RCVTIMEO, &[0i64, 1_000_000], 16),
        libc::EDOM,
    );
    for (what, call) in [
        ("recv", &(|| receive(a, &mut [0], 0)) as &dyn Fn() -> Result<usize, asyncos_apps::Errno>),
        ("read", &|| read(a, &mut [0])),
    ] {
        let start = now_ns();
        fails(&format!("{what} waits no longer"), call(), libc::EAGAIN);
        let waited_ms = (now_ns() - start) / 1_000_000;
        holds(&format!("{what} waits as long"), (40..2_000).contains(&waited_ms));
    }
    need(call!(SYS_setsockopt, a, 1, libc::SO_SNDTIMEO, &limit, 16));
    let full = vec![1u8; 4 << 20];
    let sent = send(a, &full, 0);
    holds(
        "a send that does not fit gives what it sent",
        sent.is_ok_and(|sent| sent > 0 && sent < full.len()),
    );
    fails("or nothing", send(a, b"x", 0), libc::EAGAIN);
    close_all(&[a, b]);
}

fn round_trips() {
    let (a, b) = pair(SOCK_STREAM);
    let child = in_child(|| {
        need(close(a));
        let mut byte = [0];
        while read(b, &mut byte) == Ok(1) {
            byte[0] = byte[0].wrapping_add(1);
            if write(b, &byte) != Ok(1) {
                return 1;
            }
        }
        0
    });
    need(close(b));
    let mut byte = [0];
    for _ in 0..500 {
        if send(a, &byte, 0) != Ok(1) || receive(a, &mut byte, 0) != Ok(1) {
            break;
        }
    }
    equal("every byte came back", byte[0], (500 % 256) as u8);
    close_all(&[a]);
    equal("the other process", ended(child), Ended::Exited(0));
}

fn much() {
    let (a, b) = pair(SOCK_STREAM);
    let total = 3_000_000;
    let child = in_child(|| {
        need(close(b));
        let bytes: Vec<u8> = (0..total).map(|index| (index % 251) as u8).collect();
        i32::from(write(a, &bytes) != Ok(total))
    });
    need(close(a));
    let (mut received, mut right) = (0, true);
    let mut bytes = vec![0u8; 70_000];
    while let Ok(count @ 1..) = read(b, &mut bytes) {
        right &=
            bytes[..count].iter().enumerate().all(|(index, byte)| *byte == ((received + index) % 251) as u8);
        received += count;
    }
    equal("all of it", received, total);
    holds("in order", right);
    equal("the writer", ended(child), Ended::Exited(0));
    close_all(&[b]);
}
