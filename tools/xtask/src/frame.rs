//! Takes apart the guest's serial line: program output, and frames with everything else.
//!
//! A frame is `ESC _asyncos;KIND;LENGTH;`, LENGTH raw bytes, `ESC \` (an "application program command", which
//! terminals ignore). Whatever is not a well-formed frame is output. Before the kernel speaks, the firmware does:
//! [`Firmware`] tells its banner from the rest.

const INTRODUCER: &[u8] = b"\x1b_asyncos;";
const TERMINATOR: &[u8] = b"\x1b\\";
/// The longest `KIND;LENGTH;`.
const LONGEST_HEADER: usize = 32;
const LONGEST_PAYLOAD: usize = 16 << 20;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text of the kernel's log.
    Log,
    /// What the program wrote to its standard error.
    Stderr,
    /// What the program wrote to its standard output, when the kernel chose to wrap it.
    Stdout,
    /// The decimal exit status of process 1, sent just before power-off.
    Exit,
    /// What the kernel says while it dies.
    Panic,
    /// Records of the kernel's trace.
    Trace,
}

/// A piece of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes outside any frame.
    Output(Vec<u8>),
    /// A whole frame.
    Frame(Kind, Vec<u8>),
}

enum State {
    /// Outside; holds as much of an introducer as has come.
    Plain,
    /// After the introducer.
    Header,
    /// In the payload, with this many bytes to come.
    Payload(Kind, usize),
    /// After the payload; holds as much of the terminator as has come.
    End(Kind, Vec<u8>),
}

/// Decodes a stream that arrives in arbitrary chunks.
pub struct Decoder {
    state: State,
    held: Vec<u8>,
    output: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self { state: State::Plain, held: Vec::new(), output: Vec::new(), pieces: Vec::new() }
    }

    /// Takes a chunk; gives the pieces that it completes.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Piece> {
        for &byte in chunk {
            self.step(byte);
        }
        self.finish_output();
        std::mem::take(&mut self.pieces)
    }

    /// Whether bytes are held back because they may be the start of a frame.
    pub fn holds(&self) -> bool {
        !self.held.is_empty() && !matches!(self.state, State::Payload(..))
    }

    /// Gives back held bytes as output: nothing more came, so that they were no frame.
    pub fn release(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.state, State::Plain) {
            State::Plain => std::mem::take(&mut self.held),
            State::Header => [INTRODUCER, &std::mem::take(&mut self.held)].concat(),
            State::Payload(..) | State::End(..) => std::mem::take(&mut self.held),
        }
    }

    fn finish_output(&mut self) {
        if !self.output.is_empty() {
            self.pieces.push(Piece::Output(std::mem::take(&mut self.output)));
        }
    }

    fn step(&mut self, byte: u8) {
        match &mut self.state {
            State::Plain => self.step_plain(byte),
            State::Header => self.step_header(byte),
            State::Payload(kind, left) => {
                self.held.push(byte);
                *left -= 1;
                if *left == 0 {
                    self.state = State::End(*kind, std::mem::take(&mut self.held));
                }
            }
            State::End(kind, payload) => {
                let piece = Piece::Frame(*kind, std::mem::take(payload));
                let kind = *kind;
                self.step_end(byte, kind, piece);
            }
        }
    }

    fn step_plain(&mut self, byte: u8) {
        if byte == INTRODUCER[self.held.len()] {
            self.held.push(byte);
            if self.held.len() == INTRODUCER.len() {
                self.held.clear();
                self.state = State::Header;
            }
            return;
        }
        // ESC occurs only at the introducer's start: what is held cannot contain another beginning.
        self.output.append(&mut self.held);
        if byte == INTRODUCER[0] {
            self.held.push(byte);
        } else {
            self.output.push(byte);
        }
    }

    fn step_header(&mut self, byte: u8) {
        self.held.push(byte);
        let separators = self.held.iter().filter(|byte| **byte == b';').count();
        if byte == b';' && separators == 2 {
            match parse_header(&self.held) {
                Some((kind, 0)) => self.state = State::End(kind, Vec::new()),
                Some((kind, length)) => self.state = State::Payload(kind, length),
                None => return self.give_up_header(),
            }
            self.held.clear();
        } else if self.held.len() > LONGEST_HEADER || !(byte.is_ascii_alphanumeric() || byte == b';') {
            self.give_up_header();
        }
    }

    fn give_up_header(&mut self) {
        self.state = State::Plain;
        self.output.extend_from_slice(INTRODUCER);
        for byte in std::mem::take(&mut self.held) {
            self.step_plain(byte);
        }
    }

    /// After the payload: eats the terminator; a stream without one loses nothing else.
    fn step_end(&mut self, byte: u8, kind: Kind, piece: Piece) {
        let Piece::Frame(_, payload) = &piece else { unreachable!("made as a frame") };
        if byte == TERMINATOR[self.held.len()] {
            self.held.push(byte);
            if self.held.len() < TERMINATOR.len() {
                self.state = State::End(kind, payload.clone());
                return;
            }
            self.held.clear();
            self.state = State::Plain;
            self.finish_output();
            self.pieces.push(piece);
            return;
        }
        self.state = State::Plain;
        self.finish_output();
        self.pieces.push(piece);
        for held in std::mem::take(&mut self.held) {
            self.step_plain(held);
        }
        self.step(byte);
    }
}

/// Reads `KIND;LENGTH;`.
fn parse_header(header: &[u8]) -> Option<(Kind, usize)> {
    let mut fields = std::str::from_utf8(header).ok()?.split(';');
    let kind = match fields.next()? {
        "log" => Kind::Log,
        "stderr" => Kind::Stderr,
        "stdout" => Kind::Stdout,
        "exit" => Kind::Exit,
        "panic" => Kind::Panic,
        "trace" => Kind::Trace,
        _ => return None,
    };
    let length = fields.next()?.parse().ok()?;
    (length <= LONGEST_PAYLOAD).then_some((kind, length))
}

/// Tells OpenSBI's banner, which comes over the same line before the kernel, from what follows it.
pub struct Firmware {
    line: Vec<u8>,
    speaking: bool,
}

impl Firmware {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self { line: Vec::new(), speaking: true }
    }

    /// Whether the kernel has not spoken yet.
    pub fn speaks(&self) -> bool {
        self.speaking
    }

    /// The kernel has certainly spoken: a frame came.
    pub fn end(&mut self) {
        self.speaking = false;
        self.line.clear();
    }

    /// Takes output; gives how many of its bytes are still the firmware's.
    pub fn split(&mut self, output: &[u8]) -> usize {
        for (index, &byte) in output.iter().enumerate() {
            if !self.speaking {
                return index;
            }
            self.line.push(byte);
            if byte == b'\n' {
                // The banner's last line in every release so far.
                self.speaking = !self.line.starts_with(b"Boot HART MEDELEG");
                self.line.clear();
            }
        }
        output.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"ab\x1b[1mc\x1b_asyncos;log;3;x\x1by\x1b\\d\x1b_asyncos;exit;2;42\x1b\\\x1b\x1b_asyncos;nonsense;1;z";

    fn pieces() -> Vec<Piece> {
        vec![
            Piece::Output(b"ab\x1b[1mc".to_vec()),
            Piece::Frame(Kind::Log, b"x\x1by".to_vec()),
            Piece::Output(b"d".to_vec()),
            Piece::Frame(Kind::Exit, b"42".to_vec()),
            Piece::Output(b"\x1b\x1b_asyncos;nonsense;1;z".to_vec()),
        ]
    }

    /// Joins neighbouring output, which chunks tear apart.
    fn join(pieces: Vec<Piece>) -> Vec<Piece> {
        let mut joined: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (joined.last_mut(), piece) {
                (Some(Piece::Output(before)), Piece::Output(after)) => before.extend(after),
                (_, piece) => joined.push(piece),
            }
        }
        joined
    }

    #[test]
    fn a_stream_comes_apart_however_it_is_cut() {
        for size in 1..=STREAM.len() {
            let mut decoder = Decoder::new();
            let found = STREAM.chunks(size).flat_map(|chunk| decoder.push(chunk)).collect();
            assert_eq!(join(found), pieces(), "in chunks of {size}");
            assert!(!decoder.holds());
        }
    }

    #[test]
    fn an_escape_at_the_end_is_held_and_given_back() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.push(b"x\x1b_as"), [Piece::Output(b"x".to_vec())]);
        assert!(decoder.holds());
        assert_eq!(decoder.release(), b"\x1b_as");
        assert!(!decoder.holds());
        assert_eq!(decoder.push(b"\x1b_asyncos;lo"), []);
        assert_eq!(decoder.release(), b"\x1b_asyncos;lo");
        assert_eq!(decoder.push(b"y"), [Piece::Output(b"y".to_vec())]);
    }

    #[test]
    fn a_missing_terminator_loses_nothing() {
        let mut decoder = Decoder::new();
        let expected = [Piece::Frame(Kind::Stderr, b"e".to_vec()), Piece::Output(b"more".to_vec())];
        assert_eq!(decoder.push(b"\x1b_asyncos;stderr;1;emore"), expected);
        let expected = [Piece::Frame(Kind::Log, Vec::new()), Piece::Frame(Kind::Exit, b"0".to_vec())];
        assert_eq!(decoder.push(b"\x1b_asyncos;log;0;\x1b_asyncos;exit;1;0\x1b\\"), expected);
    }

    #[test]
    fn absurd_lengths_are_output() {
        let mut decoder = Decoder::new();
        let text = b"\x1b_asyncos;log;99999999999;x";
        assert_eq!(join(decoder.push(text)), [Piece::Output(text.to_vec())]);
    }

    #[test]
    fn the_firmware_ends_with_its_last_line() {
        let mut firmware = Firmware::new();
        assert_eq!(firmware.split(b"\r\nOpenSBI v1.1\r\nBoot HART MED"), 29);
        assert_eq!(firmware.split(b"ELEG : 0x0\r\nhello\r\n"), 12);
        assert!(!firmware.speaks());
        assert_eq!(firmware.split(b"Boot"), 0);
    }
}
