//! What is typed, against what Linux 6.18 echoes and gives to read: each expectation was taken from its pseudo-terminals.

use super::*;
use abi::Error;
use abi::linux::general as linux;
use base::bytes::{Sink, Source};
use std::string::ToString;
use std::vec::Vec;

/// Linux's settings for a new terminal, with some bits the other way round.
struct Settings(Termios);

impl Settings {
    fn new() -> Self {
        Self(Termios::new())
    }

    fn input(mut self, flags: u32) -> Self {
        self.0.input_flags ^= flags;
        self
    }

    fn output(mut self, flags: u32) -> Self {
        self.0.output_flags ^= flags;
        self
    }

    fn local(mut self, flags: u32) -> Self {
        self.0.local_flags ^= flags;
        self
    }

    fn end_of_line(mut self, byte: u8) -> Self {
        self.0.control_characters[linux::VEOL as usize] = byte;
        self
    }
}

fn discipline(settings: &Settings) -> LineDiscipline {
    let mut discipline = LineDiscipline::new();
    discipline.set_settings(settings.0);
    discipline
}

fn type_bytes(discipline: &mut LineDiscipline, bytes: &[u8]) -> Effects {
    let mut effects = Effects::default();
    assert_eq!(discipline.receive(bytes, &mut effects), bytes.len());
    effects
}

fn shown(discipline: &mut LineDiscipline) -> Vec<u8> {
    let mut bytes = [0; 8192];
    let count = discipline.stage().take(&mut bytes);
    bytes[..count].to_vec()
}

fn read(discipline: &mut LineDiscipline, length: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = std::vec![0; length];
    let count = discipline.read(&mut Sink::new(&mut bytes))?;
    bytes.truncate(count);
    Ok(bytes)
}

type Case = (&'static str, Settings, &'static [u8], &'static [u8], &'static [&'static [u8]]);

fn cases() -> Vec<Case> {
    std::vec![
        (
            "a line",
            Settings::new(),
            b"hello\r",
            b"hello\r\n",
            &[b"hello\n"],
        ),
        (
            "erasing to the beginning and no further",
            Settings::new(),
            b"ab\x7f\x7f\x7fc\n",
            b"ab\x08 \x08\x08 \x08c\r\n",
            &[b"c\n"],
        ),
        (
            "erasing a control character",
            Settings::new(),
            b"a\x01\x7f\n",
            b"a^A\x08 \x08\x08 \x08\r\n",
            &[b"a\n"],
        ),
        (
            "erasing a tab behind text",
            Settings::new(),
            b"abc\t\x7fd\n",
            b"abc\t\x08\x08\x08\x08\x08d\r\n",
            &[b"abcd\n"],
        ),
        (
            "erasing a tab behind a tab",
            Settings::new(),
            b"\tab\t\x7f\x7f\n",
            b"\tab\t\x08\x08\x08\x08\x08\x08\x08 \x08\r\n",
            &[b"\ta\n"],
        ),
        (
            "erasing a tab behind a control character",
            Settings::new(),
            b"\x01\t\x7f\n",
            b"^A\t\x08\x08\x08\x08\x08\x08\r\n",
            &[b"\x01\n"],
        ),
        (
            "erasing a UTF-8 character",
            Settings::new().input(linux::IUTF8),
            b"\xc3\xa9\xe6\x97\xa5\x7f\x7fa\n",
            b"\xc3\xa9\xe6\x97\xa5\x08 \x08\x08 \x08a\r\n",
            &[b"a\n"],
        ),
        (
            "without IUTF8 bytes are erased",
            Settings::new(),
            b"\xc3\xa9\x7f\n",
            b"\xc3\xa9\x08 \x08\r\n",
            &[b"\xc3\n"],
        ),
        (
            "never half of a character",
            Settings::new().input(linux::IUTF8),
            b"\x80\x7f\n",
            b"\x80\r\n",
            &[b"\x80\n"],
        ),
        (
            "erasing words",
            Settings::new(),
            b"one two_3  \x17\x17x\n",
            b"one two_3  \x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08x\r\n",
            &[b"x\n"],
        ),
        (
            "erasing a word stops at punctuation",
            Settings::new(),
            b"/usr/bin\x17\n",
            b"/usr/bin\x08 \x08\x08 \x08\x08 \x08\r\n",
            &[b"/usr/\n"],
        ),
        (
            "killing a line",
            Settings::new(),
            b"abc\x15d\n",
            b"abc\x08 \x08\x08 \x08\x08 \x08d\r\n",
            &[b"d\n"],
        ),
        (
            "killing without ECHOKE",
            Settings::new().local(linux::ECHOKE),
            b"abc\x15d\n",
            b"abc^U\r\nd\r\n",
            &[b"d\n"],
        ),
        (
            "killing without ECHOK and ECHOKE",
            Settings::new().local(linux::ECHOK | linux::ECHOKE),
            b"abc\x15d\n",
            b"abc^Ud\r\n",
            &[b"d\n"],
        ),
        (
            "erasing without ECHOE",
            Settings::new().local(linux::ECHOE),
            b"abc\x7f\n",
            b"abc^?\r\n",
            &[b"ab\n"],
        ),
        (
            "erasing on paper",
            Settings::new().local(linux::ECHOPRT),
            b"abc\x7f\x7fx\n",
            b"abc\\cb/x\r\n",
            &[b"ax\n"],
        ),
        (
            "erasing all on paper",
            Settings::new().local(linux::ECHOPRT),
            b"ab\x7f\x7f\n",
            b"ab\\ba/\r\n",
            &[b"\n"],
        ),
        (
            "a literal control character",
            Settings::new(),
            b"\x16\x03\x16\x7f\n",
            b"^\x08^C^\x08^?\r\n",
            &[b"\x03\x7f\n"],
        ),
        (
            "reprinting",
            Settings::new(),
            b"ab\x12c\n",
            b"ab^R\r\nabc\r\n",
            &[b"abc\n"],
        ),
        (
            "an end of file at the beginning",
            Settings::new(),
            b"\x04",
            b"",
            &[b""],
        ),
        (
            "an end of file behind text",
            Settings::new(),
            b"ab\x04cd\n",
            b"abcd\r\n",
            &[b"ab", b"cd\n"],
        ),
        (
            "a line with a NUL",
            Settings::new(),
            b"a\0b\n",
            b"a^@b\r\n",
            &[b"a\0b\n"],
        ),
        (
            "without echo",
            Settings::new().local(linux::ECHO),
            b"abc\x7f\n",
            b"",
            &[b"ab\n"],
        ),
        (
            "without echo but for newlines",
            Settings::new().local(linux::ECHO | linux::ECHONL),
            b"abc\n",
            b"\r\n",
            &[b"abc\n"],
        ),
        (
            "control characters as they are",
            Settings::new().local(linux::ECHOCTL),
            b"\x01\x02\x7fx\n",
            b"\x01\x02x\r\n",
            &[b"\x01x\n"],
        ),
        (
            "an interrupt drops the line",
            Settings::new(),
            b"abc\x03d\n",
            b"abc^Cd\r\n",
            &[b"d\n"],
        ),
        (
            "an interrupt that drops nothing",
            Settings::new().local(linux::NOFLSH),
            b"abc\x03d\n",
            b"abc^Cd\r\n",
            &[b"abcd\n"],
        ),
        (
            "quit and suspend",
            Settings::new(),
            b"\x1c\x1aa\n",
            b"^\\^Za\r\n",
            &[b"a\n"],
        ),
        (
            "without ISIG",
            Settings::new().local(linux::ISIG),
            b"a\x03\n",
            b"a^C\r\n",
            &[b"a\x03\n"],
        ),
        (
            "IGNCR",
            Settings::new().input(linux::IGNCR),
            b"a\rb\n",
            b"ab\r\n",
            &[b"ab\n"],
        ),
        (
            "INLCR",
            Settings::new().input(linux::INLCR),
            b"a\nb\r",
            b"a^Mb\r\n",
            &[b"a\rb\n"],
        ),
        (
            "without ICRNL",
            Settings::new().input(linux::ICRNL),
            b"a\rb\n",
            b"a^Mb\r\n",
            &[b"a\rb\n"],
        ),
        (
            "ISTRIP",
            Settings::new().input(linux::ISTRIP),
            b"\xe1\n",
            b"a\r\n",
            &[b"a\n"],
        ),
        (
            "PARMRK",
            Settings::new().input(linux::PARMRK),
            b"\xff\n",
            b"\xff\r\n",
            &[b"\xff\xff\n"],
        ),
        (
            "IUCLC",
            Settings::new().input(linux::IUCLC),
            b"ABC\n",
            b"abc\r\n",
            &[b"abc\n"],
        ),
        (
            "a further end of line",
            Settings::new().end_of_line(b';'),
            b"a;b\n",
            b"a;b\r\n",
            &[b"a;", b"b\n"],
        ),
        (
            "without ONLCR",
            Settings::new().output(linux::ONLCR),
            b"a\n",
            b"a\n",
            &[b"a\n"],
        ),
        (
            "without OPOST",
            Settings::new().output(linux::OPOST),
            b"a\n\t",
            b"a\n\t",
            &[b"a\n"],
        ),
        (
            "tabs as spaces",
            Settings::new().output(linux::XTABS),
            b"ab\tc\t\n",
            b"ab      c       \r\n",
            &[b"ab\tc\t\n"],
        ),
        (
            "OCRNL",
            Settings::new().input(linux::ICRNL).output(linux::OCRNL),
            b"a\rb\n",
            b"a^Mb\r\n",
            &[b"a\rb\n"],
        ),
        (
            "raw",
            Settings::new().input(linux::ICRNL | linux::IXON).output(linux::OPOST).local(linux::ISIG | linux::ICANON | linux::ECHO | linux::ECHOE | linux::ECHOK | linux::ECHOCTL | linux::ECHOKE | linux::IEXTEN),
            b"a\r\x03\x7f\x04",
            b"",
            &[b"a\r\x03\x7f\x04"],
        ),
        (
            "bytes, with echo and signals",
            Settings::new().local(linux::ICANON),
            b"ab\r\x7f\x03c",
            b"ab\r\n^?^Cc",
            &[b"c"],
        ),
    ]
}

#[test]
fn typing_is_echoed_and_read_as_on_linux() {
    for (name, settings, typed, echoed, reads) in cases() {
        let mut discipline = discipline(&settings);
        let mut screen = Vec::new();
        for byte in typed {
            type_bytes(&mut discipline, &[*byte]);
            screen.extend(shown(&mut discipline));
        }
        assert_eq!(screen.escape_ascii().to_string(), echoed.escape_ascii().to_string(), "echo: {name}");
        for expected in reads {
            assert_eq!(read(&mut discipline, 100).as_deref(), Ok(*expected), "read: {name}");
        }
        assert_eq!(read(&mut discipline, 100), Err(Error::WouldBlock), "end: {name}");
    }
}

#[test]
fn signals_are_told() {
    let mut discipline = LineDiscipline::new();
    let effects = type_bytes(&mut discipline, b"a\x03\x1ab");
    assert_eq!(effects.signals, Signals::INTERRUPT | Signals::SUSPEND);
    assert!(effects.signals.numbers().eq([2, 20]));
    assert!(!effects.readable);
    assert!(type_bytes(&mut discipline, b"\n").readable);
    assert_eq!(type_bytes(&mut discipline, b"\x1c").signals, Signals::QUIT);
    assert_eq!(read(&mut discipline, 10), Err(Error::WouldBlock));
}

#[test]
fn short_reads_get_the_rest_of_the_line_and_swallow_an_end_of_file_behind_it() {
    let mut discipline = LineDiscipline::new();
    type_bytes(&mut discipline, b"abcdef\nxyz\x04rest\n");
    assert_eq!(discipline.readable_length(), 15);
    for expected in [&b"abc"[..], b"def", b"\n", b"xyz", b"res", b"t\n"] {
        assert_eq!(read(&mut discipline, 3).as_deref(), Ok(expected));
    }
    type_bytes(&mut discipline, b"xyz\x04");
    assert_eq!(read(&mut discipline, 4).as_deref(), Ok(&b"xyz"[..]));
    assert_eq!(read(&mut discipline, 4), Err(Error::WouldBlock));
    assert_eq!(read(&mut discipline, 0).as_deref(), Ok(&b""[..]));
}

#[test]
fn a_line_that_is_too_long_keeps_its_beginning_and_its_end() {
    let mut discipline = LineDiscipline::new();
    type_bytes(&mut discipline, &[b'x'; 5000]);
    type_bytes(&mut discipline, b"y\n");
    let line = read(&mut discipline, 5000).unwrap();
    assert_eq!((line.len(), &line[4090..]), (4096, &b"xxxxx\n"[..]));
    // With a complete line in it, a full buffer takes no more until somebody reads.
    type_bytes(&mut discipline, b"line\n");
    let mut effects = Effects::default();
    let taken = discipline.receive(&[b'z'; 5000], &mut effects);
    assert_eq!(taken, 4095 - 5);
    assert_eq!(discipline.receive(b"z", &mut effects), 0);
    assert_eq!(read(&mut discipline, 100).as_deref(), Ok(&b"line\n"[..]));
    assert_eq!(discipline.receive(b"z", &mut effects), 1);
}

#[test]
fn what_was_typed_survives_a_change_of_mode_as_one_line() {
    let raw = Settings::new().local(linux::ICANON);
    let mut discipline = LineDiscipline::new();
    type_bytes(&mut discipline, b"one\ntwo\x04thr");
    discipline.set_settings(raw.0);
    assert_eq!(read(&mut discipline, 5).as_deref(), Ok(&b"one\nt"[..]));
    discipline.set_settings(Termios::new());
    assert_eq!(read(&mut discipline, 100).as_deref(), Ok(&b"wo\0thr"[..]));
    assert_eq!(read(&mut discipline, 100), Err(Error::WouldBlock));
}

#[test]
fn stop_holds_output_back_and_start_lets_it_go() {
    let mut discipline = LineDiscipline::new();
    type_bytes(&mut discipline, b"\x13");
    assert!(discipline.is_stopped());
    type_bytes(&mut discipline, b"a");
    assert!(discipline.is_stopped());
    assert!(type_bytes(&mut discipline, b"\x11").writable);
    assert!(!discipline.is_stopped());
    let any = Settings::new().input(linux::IXANY);
    discipline.set_settings(any.0);
    type_bytes(&mut discipline, b"\x13a");
    assert!(!discipline.is_stopped());
    // What a request stopped, no key starts.
    discipline.stop_output();
    type_bytes(&mut discipline, b"\x11a");
    assert!(discipline.is_stopped());
    discipline.start_output();
    assert!(!discipline.is_stopped());
}

#[test]
fn output_is_processed_and_bounded() {
    let mut discipline = LineDiscipline::new();
    let mut source = Source::new(b"a\tb\nc");
    assert_eq!(discipline.write(&mut source), Ok(5));
    assert_eq!(shown(&mut discipline), b"a\tb\r\nc");
    let mut written = 0;
    while let Ok(count) = discipline.write(&mut Source::new(&[b'\n'; 1000])) {
        written += count;
    }
    assert_eq!(written, (4096 - 512) / 2);
    type_bytes(&mut discipline, b"typed");
    assert!(shown(&mut discipline).ends_with(b"\r\ntyped"));
    assert!(discipline.is_writable());
}
