//! Pipes and FIFOs: data, ends, blocking and not, atomic writes, and readiness.

use std::process::ExitCode;

use asyncos_apps::system::{Child, Ended, close, in_child, open, pipe, read, sleep_ns, write};
use asyncos_apps::{Report, call};

const ATOMIC_BYTES: usize = 4096;

fn main() -> ExitCode {
    let mut report = Report::new();
    data(&mut report);
    ends(&mut report);
    without_blocking(&mut report);
    blocking(&mut report);
    atomic_writes(&mut report);
    readiness(&mut report);
    named(&mut report);
    report.finish()
}

fn data(report: &mut Report) {
    report.fails("unknown flags", pipe(0o1), libc::EINVAL);
    let (reader, writer) = pipe(libc::O_CLOEXEC).expect("a pipe");
    report.equal("close-on-exec", call!(SYS_fcntl, reader, libc::F_GETFD, 0), Ok(1));
    let mut bytes = [0; 8];
    report.equal("write", write(writer, b"abcdef"), Ok(6));
    report.equal("a read takes what it asks for", read(reader, &mut bytes[..4]), Ok(4));
    report.equal("and leaves the rest", read(reader, &mut bytes), Ok(2));
    report.equal("the rest", &bytes[..2], b"ef");
    report.fails("the reading end is not written", write(reader, b"x"), libc::EBADF);
    report.fails("the writing end is not read", read(writer, &mut bytes), libc::EBADF);
    report.fails("no seeking", asyncos_apps::system::seek(reader, 0, libc::SEEK_CUR), libc::ESPIPE);
    report.fails("no pread", call!(SYS_pread64, reader, &mut bytes[..], 1, 0), libc::ESPIPE);
    report.equal("writing nothing", write(writer, b""), Ok(0));
    let mut waiting = 0i32;
    let _ = write(writer, b"12345");
    report.equal(
        "FIONREAD",
        call!(SYS_ioctl, reader, libc::FIONREAD as usize, &mut waiting).map(|_| waiting),
        Ok(5),
    );
    let _ = (close(reader), close(writer));
}

fn ends(report: &mut Report) {
    let mut bytes = [0; 8];
    let (reader, writer) = pipe(0).expect("a pipe");
    let _ = write(writer, b"last");
    let _ = close(writer);
    report.equal("what was written before the end", read(reader, &mut bytes), Ok(4));
    report.equal("then the end", read(reader, &mut bytes), Ok(0));
    let _ = close(reader);
    let (reader, writer) = pipe(0).expect("a pipe");
    let _ = close(reader);
    let killed = in_child(|| {
        // Rust ignores SIGPIPE at the start.
        let _ = asyncos_apps::system::default_signal(libc::SIGPIPE);
        write(writer, b"x").is_ok() as i32
    });
    report.equal("writing for nobody kills", killed.and_then(Child::wait), Ok(Ended::Killed(libc::SIGPIPE)));
    let _ = asyncos_apps::system::ignore_signal(libc::SIGPIPE);
    report.fails("or fails", write(writer, b"x"), libc::EPIPE);
    let _ = close(writer);
}

fn without_blocking(report: &mut Report) {
    let (reader, writer) = pipe(libc::O_NONBLOCK).expect("a pipe");
    let mut bytes = vec![0; 1 << 20];
    report.fails("reading an empty pipe", read(reader, &mut bytes), libc::EAGAIN);
    let filled = write(writer, &vec![7; 1 << 20]);
    report.check("a pipe holds at least 64 KiB", filled.is_ok_and(|count| count >= 65536), || {
        format!("{filled:?}")
    });
    report.fails("writing a full pipe", write(writer, b"x"), libc::EAGAIN);
    let _ = read(reader, &mut bytes[..100]);
    let part = write(writer, &[1; ATOMIC_BYTES]);
    report.check("4,096 bytes go in whole or not at all", matches!(part, Ok(ATOMIC_BYTES) | Err(_)), || {
        format!("{part:?}")
    });
    let drained: usize =
        std::iter::from_fn(|| read(reader, &mut bytes).ok().filter(|count| *count > 0)).sum();
    report.equal("all of it comes out", drained + 100, filled.unwrap_or(0) + part.unwrap_or(0));
    let _ = (close(reader), close(writer));
}

fn blocking(report: &mut Report) {
    let (reader, writer) = pipe(0).expect("a pipe");
    let child = in_child(|| {
        sleep_ns(50_000_000);
        i32::from(write(writer, b"late") != Ok(4))
    });
    let mut bytes = [0; 8];
    report.equal("a read waits for a write", read(reader, &mut bytes), Ok(4));
    report.equal("the writer", child.and_then(Child::wait), Ok(Ended::Exited(0)));
    let total = 1 << 20;
    let child = in_child(|| i32::from(write(writer, &vec![3; total]) != Ok(total)));
    let mut received = 0;
    let mut large = vec![0; 5000];
    while received < total {
        match read(reader, &mut large) {
            Ok(count @ 1..) => received += count,
            _ => break,
        }
    }
    report.equal("a large write waits for its reader", received, total);
    report.equal("the large writer", child.and_then(Child::wait), Ok(Ended::Exited(0)));
    let _ = (close(reader), close(writer));
}

fn atomic_writes(report: &mut Report) {
    let (reader, writer) = pipe(0).expect("a pipe");
    let writers: Vec<_> = (1..=4u8)
        .map(|mark| in_child(move || i32::from((0..50).any(|_| write(writer, &[mark; 1000]) != Ok(1000)))))
        .collect();
    let _ = close(writer);
    let mut all = Vec::new();
    let mut bytes = vec![0; 8192];
    while let Ok(count @ 1..) = read(reader, &mut bytes) {
        all.extend_from_slice(&bytes[..count]);
    }
    report.equal("four writers' bytes", all.len(), 4 * 50 * 1000);
    let whole = all.chunks(1000).all(|chunk| chunk.iter().all(|byte| *byte == chunk[0]));
    report.holds("small writes are never mixed", whole);
    let ended = writers.into_iter().all(|child| child.and_then(Child::wait) == Ok(Ended::Exited(0)));
    report.holds("the writers ended well", ended);
    let _ = close(reader);
}

fn readiness(report: &mut Report) {
    let poll = |descriptor: i32, events: i16| {
        let mut entry = libc::pollfd { fd: descriptor, events, revents: 0 };
        call!(SYS_ppoll, &mut entry, 1, &[0u64; 2], 0, 8).map(|count| (count, entry.revents))
    };
    let (reader, writer) = pipe(0).expect("a pipe");
    report.equal("an empty pipe is not readable", poll(reader, libc::POLLIN), Ok((0, 0)));
    report.equal("but writable", poll(writer, libc::POLLOUT), Ok((1, libc::POLLOUT)));
    let _ = write(writer, b"x");
    report.equal("a filled one is readable", poll(reader, libc::POLLIN), Ok((1, libc::POLLIN)));
    let _ = close(writer);
    report.equal("its end shows beside", poll(reader, libc::POLLIN), Ok((1, libc::POLLIN | libc::POLLHUP)));
    report.equal("what is not open is invalid", poll(999, libc::POLLIN), Ok((1, libc::POLLNVAL)));
    let _ = close(reader);
    let (reader, writer) = pipe(0).expect("a pipe");
    let _ = close(reader);
    report.equal(
        "no reader is an error",
        poll(writer, libc::POLLOUT),
        Ok((1, libc::POLLOUT | libc::POLLERR)),
    );
    let _ = close(writer);
}

fn named(report: &mut Report) {
    let path = c"/tmp/pipes-basic-fifo";
    let _ = call!(SYS_unlinkat, libc::AT_FDCWD, path, 0);
    report.succeeds("mkfifo", call!(SYS_mknodat, libc::AT_FDCWD, path, libc::S_IFIFO | 0o600, 0));
    report.fails("a writer without a reader", open(path, libc::O_WRONLY | libc::O_NONBLOCK), libc::ENXIO);
    let child = in_child(|| {
        let Ok(writer) = open(path, libc::O_WRONLY) else { return 1 };
        i32::from(write(writer, b"through the name") != Ok(16))
    });
    let reader = open(path, libc::O_RDONLY);
    report.succeeds("opening waits for the other side", reader);
    let mut bytes = [0; 32];
    report.equal("its bytes", reader.and_then(|reader| read(reader, &mut bytes)), Ok(16));
    report.equal("the writer of the FIFO", child.and_then(Child::wait), Ok(Ended::Exited(0)));
    report.equal("the end of the FIFO", reader.and_then(|reader| read(reader, &mut bytes)), Ok(0));
    let _ = reader.map(close);
    let _ = call!(SYS_unlinkat, libc::AT_FDCWD, path, 0);
}
