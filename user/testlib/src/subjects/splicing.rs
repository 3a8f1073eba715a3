//! Pages through pipes: `splice`, `tee`, `vmsplice`, and packets in pipes.

use crate::check::{equal, fails, holds, need};
use crate::runner::{Test, test};
use crate::socket::{close_all, ended};
use asyncos_apps::call;
use asyncos_apps::system::{Ended, Errno, ignore_signal, in_child, open, pipe, read, seek, sleep_ns, write};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    test("into-a-pipe", into_a_pipe),
    test("out-of-a-pipe", out_of_a_pipe),
    test("between-pipes", between_pipes),
    test("sockets", sockets),
    test("tee", tee_of_pipes),
    test("vmsplice", memory),
    test("errors", errors),
    test("waiting", waiting),
    test("packets", packets),
    test("sendfile", sendfile),
];

const NONBLOCK: u32 = libc::SPLICE_F_NONBLOCK;

fn splice(from: i32, to: i32, count: usize, flags: u32) -> Result<usize, Errno> {
    call!(SYS_splice, from, 0, to, 0, count, flags)
}

fn tee(from: i32, to: i32, count: usize, flags: u32) -> Result<usize, Errno> {
    call!(SYS_tee, from, to, count, flags)
}

/// A file without a name that has these bytes.
fn file_with(bytes: &[u8]) -> i32 {
    let file = need(call!(SYS_memfd_create, c"splicing", 0)) as i32;
    equal("a file is filled", write(file, bytes), Ok(bytes.len()));
    need(seek(file, 0, libc::SEEK_SET));
    file
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// What a descriptor gives in one read of at most so many bytes.
fn take(file: i32, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let count = need(read(file, &mut bytes));
    bytes.truncate(count);
    bytes
}

fn into_a_pipe() {
    let (reader, writer) = need(pipe(0));
    let bytes = content(10_000);
    let file = file_with(&bytes);
    equal("a file's bytes go into a pipe", splice(file, writer, 6000, 0), Ok(6000));
    equal("and its offset moves", seek(file, 0, libc::SEEK_CUR), Ok(6000));
    equal("the bytes", take(reader, 10_000), bytes[..6000].to_vec());
    let mut offset = 100i64;
    equal("from an offset", call!(SYS_splice, file, &mut offset, writer, 0, 50, 0), Ok(50));
    equal("which moves", offset, 150);
    equal("but not the file's", seek(file, 0, libc::SEEK_CUR), Ok(6000));
    equal("those bytes", take(reader, 100), bytes[100..150].to_vec());
    equal("all that is left", splice(file, writer, 100_000, 0), Ok(4000));
    equal("then nothing", splice(file, writer, 100, 0), Ok(0));
    equal("the rest", take(reader, 10_000), bytes[6000..].to_vec());
    close_all(&[reader, writer, file]);
}

fn out_of_a_pipe() {
    let (reader, writer) = need(pipe(0));
    let file = file_with(b"");
    let bytes = content(9000);
    need(write(writer, &bytes));
    equal("a pipe's bytes go into a file", splice(reader, file, 5000, 0), Ok(5000));
    let mut offset = 5000i64;
    equal("to an offset", call!(SYS_splice, reader, 0, file, &mut offset, 10_000, 0), Ok(4000));
    equal("which moves", offset, 9000);
    equal("but not the file's", seek(file, 0, libc::SEEK_CUR), Ok(5000));
    need(seek(file, 0, libc::SEEK_SET));
    equal("the bytes", take(file, 10_000), bytes);
    fails("no more, and no waiting", splice(reader, file, 10, NONBLOCK), libc::EAGAIN);
    close_all(&[writer]);
    equal("at the end there is nothing", splice(reader, file, 10, 0), Ok(0));
    close_all(&[reader, file]);
}

fn between_pipes() {
    let (first_reader, first_writer) = need(pipe(0));
    let (second_reader, second_writer) = need(pipe(0));
    let bytes = content(20_000);
    need(write(first_writer, &bytes));
    equal("part of a pipe's bytes", splice(first_reader, second_writer, 5000, 0), Ok(5000));
    need(write(first_writer, b"tail"));
    need(write(second_writer, b"between"));
    equal("and all that follow", splice(first_reader, second_writer, 100_000, 0), Ok(15_004));
    let wanted = [&bytes[..5000], b"between", &bytes[5000..], b"tail"].concat();
    equal("in order", take(second_reader, 30_000), wanted);
    fails("nothing is left", splice(first_reader, second_writer, 10, NONBLOCK), libc::EAGAIN);
    close_all(&[first_writer]);
    equal("the end", splice(first_reader, second_writer, 10, 0), Ok(0));
    close_all(&[first_reader, second_reader, second_writer]);
}

fn sockets() {
    let (reader, writer) = need(pipe(0));
    let (a, b) = crate::socket::pair(libc::SOCK_STREAM);
    need(write(writer, b"through a pipe"));
    equal("a pipe's bytes to a socket", splice(reader, a, 100, 0), Ok(14));
    equal("arrive", take(b, 100), b"through a pipe".to_vec());
    need(write(b, b"and back"));
    equal("a socket's bytes to a pipe", splice(a, writer, 100, 0), Ok(8));
    equal("arrive, too", take(reader, 100), b"and back".to_vec());
    fails("no bytes and no waiting", splice(a, writer, 100, NONBLOCK), libc::EAGAIN);
    close_all(&[reader, writer, a, b]);
}

fn tee_of_pipes() {
    let (first_reader, first_writer) = need(pipe(0));
    let (second_reader, second_writer) = need(pipe(0));
    need(write(first_writer, b"both get this"));
    equal("a copy", tee(first_reader, second_writer, 100, 0), Ok(13));
    equal("of the start", tee(first_reader, second_writer, 4, 0), Ok(4));
    need(write(first_writer, b" and more"));
    need(write(second_writer, b"!"));
    equal("the copies", take(second_reader, 100), b"both get thisboth!".to_vec());
    equal("the first pipe still has it", take(first_reader, 100), b"both get this and more".to_vec());
    fails("nothing to copy", tee(first_reader, second_writer, 10, NONBLOCK), libc::EAGAIN);
    fails("a pipe to itself", tee(first_reader, first_writer, 10, 0), libc::EINVAL);
    let file = file_with(b"x");
    fails("a file", tee(file, second_writer, 10, 0), libc::EINVAL);
    equal("copying nothing", tee(first_reader, second_writer, 0, 0), Ok(0));
    close_all(&[first_writer]);
    equal("the end", tee(first_reader, second_writer, 10, 0), Ok(0));
    close_all(&[first_reader, second_reader, second_writer, file]);
}

fn memory() {
    let (reader, writer) = need(pipe(0));
    let parts = [b"some".to_vec(), b" memory".to_vec()];
    let areas: Vec<[usize; 2]> = parts.iter().map(|part| [part.as_ptr() as usize, part.len()]).collect();
    let address = areas.as_ptr() as usize;
    equal("memory goes into a pipe", call!(SYS_vmsplice, writer, address, 2, 0), Ok(11));
    equal("its bytes", take(reader, 100), b"some memory".to_vec());
    need(write(writer, b"back"));
    let mut room = [0u8; 8];
    let area = [[room.as_mut_ptr() as usize, 8usize]];
    equal("and out of one", call!(SYS_vmsplice, reader, area.as_ptr() as usize, 1, 0), Ok(4));
    equal("those bytes", &room[..4], b"back");
    let file = file_with(b"x");
    fails("not into a file", call!(SYS_vmsplice, file, address, 2, 0), libc::EBADF);
    fails("unknown flags", call!(SYS_vmsplice, writer, address, 2, 0x100), libc::EINVAL);
    fails("memory that is not there", call!(SYS_vmsplice, writer, 8, 1, 0), libc::EFAULT);
    close_all(&[reader, writer, file]);
}

fn errors() {
    need(ignore_signal(libc::SIGPIPE));
    let (reader, writer) = need(pipe(0));
    let (other_reader, other_writer) = need(pipe(0));
    let file = file_with(b"content");
    let other = file_with(b"other");
    let mut offset = 0i64;
    fails("without any pipe", splice(file, other, 5, 0), libc::EINVAL);
    fails("a pipe to itself", splice(reader, writer, 5, 0), libc::EINVAL);
    fails("an offset of a pipe", call!(SYS_splice, file, 0, writer, &mut offset, 5, 0), libc::ESPIPE);
    fails("and of the other", call!(SYS_splice, reader, &mut offset, file, 0, 5, 0), libc::ESPIPE);
    fails("the wrong ends", splice(writer, file, 5, 0), libc::EBADF);
    fails("of both", splice(file, reader, 5, 0), libc::EBADF);
    fails("no descriptor", splice(999, writer, 5, 0), libc::EBADF);
    fails("unknown flags", splice(file, writer, 5, 0x100), libc::EINVAL);
    equal("nothing is always possible", splice(file, writer, 0, 0), Ok(0));
    fails("an offset that cannot be read", call!(SYS_splice, file, 8, writer, 0, 5, 0), libc::EFAULT);
    need(write(writer, b"x"));
    let append = need(open(c"/tmp/testlib-splice", libc::O_CREAT | libc::O_WRONLY | libc::O_APPEND));
    fails("to who appends", splice(reader, append, 5, 0), libc::EINVAL);
    close_all(&[other_reader]);
    fails("a pipe that nobody reads", splice(reader, other_writer, 5, 0), libc::EPIPE);
    fails("also from a file", splice(file, other_writer, 5, 0), libc::EPIPE);
    equal("and nothing was lost", take(reader, 5), b"x".to_vec());
    need(call!(SYS_unlinkat, libc::AT_FDCWD, c"/tmp/testlib-splice", 0));
    close_all(&[reader, writer, other_writer, file, other, append]);
}

fn waiting() {
    let (first_reader, first_writer) = need(pipe(0));
    let (second_reader, second_writer) = need(pipe(0));
    let child = in_child(|| {
        sleep_ns(20_000_000);
        i32::from(write(first_writer, b"late") != Ok(4))
    });
    equal("it waits for bytes", splice(first_reader, second_writer, 100, 0), Ok(4));
    equal("the writer", ended(child), Ended::Exited(0));
    let total = 1 << 20;
    let bytes = content(total);
    let writer = in_child(|| {
        close_all(&[first_reader]);
        i32::from(write(first_writer, &bytes) != Ok(total))
    });
    let middle = in_child(|| {
        close_all(&[first_writer]);
        let mut moved = 0;
        loop {
            match splice(first_reader, second_writer, 100_000, 0) {
                Ok(0) => return i32::from(moved != total),
                Ok(count) => moved += count,
                Err(_) => return 2,
            }
        }
    });
    close_all(&[first_reader, first_writer, second_writer]);
    let mut received = take(second_reader, 10);
    loop {
        let part = take(second_reader, 30_000);
        if part.is_empty() {
            break;
        }
        received.extend(part);
    }
    holds("much goes through", received == [b"late", &bytes[..]].concat());
    equal("its writer", ended(writer), Ended::Exited(0));
    equal("who moves it", ended(middle), Ended::Exited(0));
    close_all(&[second_reader]);
}

fn packets() {
    let (reader, writer) = need(pipe(libc::O_DIRECT));
    let flags = need(call!(SYS_fcntl, writer, libc::F_GETFL, 0)) as i32;
    equal("the flag is told", flags & libc::O_DIRECT, libc::O_DIRECT);
    for packet in [&b"first"[..], b"second", &[7; 5000]] {
        equal("a packet is written", write(writer, packet), Ok(packet.len()));
    }
    equal("packets are not joined", take(reader, 100), b"first".to_vec());
    equal("what does not fit is lost", take(reader, 3), b"sec".to_vec());
    equal("a long one is cut into pages", take(reader, 10_000).len(), 4096);
    equal("and the rest", take(reader, 10_000).len(), 904);
    need(call!(SYS_fcntl, writer, libc::F_SETFL, 0));
    need(write(writer, b"no "));
    need(write(writer, b"packets"));
    equal("a pipe becomes a stream", take(reader, 100), b"no packets".to_vec());
    close_all(&[reader, writer]);
}

fn sendfile() {
    let bytes = content(30_000);
    let (source, target) = (file_with(&bytes), file_with(b""));
    equal("a file to a file", call!(SYS_sendfile, target, source, 0, 10_000), Ok(10_000));
    let mut offset = 20_000i64;
    equal("from an offset", call!(SYS_sendfile, target, source, &mut offset, 100_000), Ok(10_000));
    equal("which moves", offset, 30_000);
    need(seek(target, 0, libc::SEEK_SET));
    holds("the bytes", take(target, 40_000) == [&bytes[..10_000], &bytes[20_000..]].concat());
    let (a, b) = crate::socket::pair(libc::SOCK_STREAM);
    equal("to a socket", call!(SYS_sendfile, a, source, &mut 0i64, 5000), Ok(5000));
    holds("it arrives", take(b, 10_000) == bytes[..5000]);
    let (reader, writer) = need(pipe(0));
    equal("to a pipe", call!(SYS_sendfile, writer, source, &mut 5000i64, 3000), Ok(3000));
    holds("it arrives there", take(reader, 10_000) == bytes[5000..8000]);
    fails("to a reader", call!(SYS_sendfile, reader, source, 0, 10), libc::EBADF);
    close_all(&[source, target, a, b, reader, writer]);
}
