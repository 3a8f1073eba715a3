//! The line discipline: what each typed byte does, by the settings. Behaves as Linux's `n_tty`.

use crate::input::{self, InputBuffer};
use crate::output::{Stage, is_continuation, to_lower};
use crate::termios::{DISABLED, Termios};
use abi::Error;
use abi::linux::general as linux;
use base::Result;
use base::bytes::{Sink, Source};
use bitflags::bitflags;

bitflags! {
    /// Signals for the foreground process group.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Signals: u8 {
        /// `SIGINT`.
        const INTERRUPT = 1;
        /// `SIGQUIT`.
        const QUIT = 2;
        /// `SIGTSTP`.
        const SUSPEND = 4;
    }
}

impl Signals {
    /// The numbers of the signals in it.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        self.iter().map(|signal| match signal {
            Signals::INTERRUPT => linux::SIGINT,
            Signals::QUIT => linux::SIGQUIT,
            _ => linux::SIGTSTP,
        })
    }
}

/// What typed bytes caused beside echo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Signals for the foreground process group.
    pub signals: Signals,
    /// There is something to read that was not there before.
    pub readable: bool,
    /// Output is no longer held back, or was dropped: writers have room.
    pub writable: bool,
}

/// Whether output is held back (by `^S` or `TCOOFF`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Running,
    /// By the STOP character: START, or with `IXANY` any character, ends it.
    StoppedByInput,
    /// By `TCXONC`: only `TCXONC` ends it.
    StoppedByRequest,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Erasure {
    Character,
    Word,
    Line,
}

/// The state of a line discipline.
#[derive(Debug)]
pub struct LineDiscipline {
    settings: Termios,
    input: InputBuffer,
    stage: Stage,
    flow: Flow,
    /// The next byte is taken literally.
    literal_next: bool,
    /// Within an erasure that is shown as `\...text.../`.
    erasing: bool,
    /// Bit for each byte that needs a closer look.
    special: [u64; 4],
}

impl Default for LineDiscipline {
    fn default() -> Self {
        Self::new()
    }
}

impl LineDiscipline {
    /// With Linux's settings for a new terminal.
    pub fn new() -> Self {
        let mut discipline = Self {
            settings: Termios::new(),
            input: InputBuffer::new(),
            stage: Stage::new(),
            flow: Flow::Running,
            literal_next: false,
            erasing: false,
            special: [0; 4],
        };
        discipline.note_special();
        discipline
    }

    /// The settings.
    pub fn settings(&self) -> &Termios {
        &self.settings
    }

    /// What waits for the device.
    pub fn stage(&mut self) -> &mut Stage {
        &mut self.stage
    }

    /// How many bytes wait for the device.
    pub fn waiting_output(&self) -> usize {
        self.stage.waiting()
    }

    /// Whether output is held back.
    pub fn is_stopped(&self) -> bool {
        self.flow != Flow::Running
    }

    /// Changes the settings. Readers and writers look again afterwards.
    pub fn set_settings(&mut self, settings: Termios) {
        let old = core::mem::replace(&mut self.settings, settings);
        if (old.local_flags ^ settings.local_flags) & (linux::ICANON | linux::EXTPROC) != 0 {
            self.input.change_mode();
            self.erasing = false;
            self.literal_next = false;
        }
        if old.input(linux::IXON) && !settings.input(linux::IXON) && self.flow == Flow::StoppedByInput {
            self.flow = Flow::Running;
        }
        self.note_special();
    }

    fn note_special(&mut self) {
        let settings = &self.settings;
        let mut special = [0u64; 4];
        let mut note = |byte: u8| special[usize::from(byte / 64)] |= 1 << (byte % 64);
        if settings.input(linux::IGNCR | linux::ICRNL) {
            note(b'\r');
        }
        if settings.input(linux::INLCR) || settings.local(linux::ICANON) {
            note(b'\n');
        }
        let groups: [(bool, &[u32]); 5] = [
            (settings.local(linux::ICANON), &[linux::VERASE, linux::VKILL, linux::VEOF, linux::VEOL]),
            (
                settings.local(linux::ICANON) && settings.local(linux::IEXTEN),
                &[linux::VWERASE, linux::VLNEXT, linux::VEOL2],
            ),
            (
                settings.local(linux::ICANON) && settings.local(linux::IEXTEN) && settings.local(linux::ECHO),
                &[linux::VREPRINT],
            ),
            (settings.input(linux::IXON), &[linux::VSTART, linux::VSTOP]),
            (settings.local(linux::ISIG), &[linux::VINTR, linux::VQUIT, linux::VSUSP]),
        ];
        for (_, indices) in groups.into_iter().filter(|(enabled, _)| *enabled) {
            for index in indices {
                let byte = settings.control_character(*index);
                if byte != DISABLED {
                    note(byte);
                }
            }
        }
        self.special = special;
    }

    #[inline]
    fn is_special(&self, byte: u8) -> bool {
        self.special[usize::from(byte / 64)] & (1 << (byte % 64)) != 0
    }

    #[inline]
    fn is_canonical(&self) -> bool {
        self.settings.local(linux::ICANON) && !self.settings.local(linux::EXTPROC)
    }

    #[inline]
    fn echoes(&self) -> bool {
        self.settings.local(linux::ECHO)
    }

    /// Takes typed bytes as far as there is room for them; returns how many. The rest is to be given again when a read
    /// has made room. A line that gets too long does not stop this: its last byte is replaced, as on Linux.
    pub fn receive(&mut self, bytes: &[u8], effects: &mut Effects) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            if !self.make_room() {
                return index;
            }
            self.input(*byte, effects);
        }
        bytes.len()
    }

    /// Whether a byte can be taken.
    fn make_room(&mut self) -> bool {
        // PARMRK can make two bytes of one; the last place is for the end of a line.
        let needed = if self.settings.input(linux::PARMRK) { 3 } else { 2 };
        if self.input.length() + needed <= input::CAPACITY {
            return true;
        }
        let overflows = self.settings.local(linux::ICANON) && self.input.line_length() == 0;
        if overflows && self.input.length() >= input::CAPACITY {
            self.input.truncate(self.input.head() - 1);
        }
        overflows
    }

    /// How many bytes can be taken for certain; at least one if any can be.
    pub fn input_available(&self) -> usize {
        let each = if self.settings.input(linux::PARMRK) { 2 } else { 1 };
        let free = (input::CAPACITY - self.input.length()).saturating_sub(1) / each;
        let overflows = self.settings.local(linux::ICANON) && self.input.line_length() == 0;
        if overflows { free.max(1) } else { free }
    }

    /// Takes one typed byte, for which there is room.
    fn input(&mut self, byte: u8, effects: &mut Effects) {
        let mut byte = byte;
        if self.settings.input(linux::ISTRIP) {
            byte &= 0x7f;
        }
        if self.settings.input(linux::IUCLC) && self.settings.local(linux::IEXTEN) {
            byte = to_lower(byte);
        }
        if self.settings.local(linux::EXTPROC) {
            self.input.push(byte);
        } else if core::mem::take(&mut self.literal_next) || !self.is_special(byte) {
            self.input_plain(byte, effects);
        } else {
            self.input_special(byte, effects);
        }
        effects.readable |= self.is_readable();
    }

    fn restart_on_any(&mut self, effects: &mut Effects) {
        if self.flow == Flow::StoppedByInput
            && self.settings.input(linux::IXON)
            && self.settings.input(linux::IXANY)
        {
            self.start(effects);
        }
    }

    fn start(&mut self, effects: &mut Effects) {
        if self.flow == Flow::StoppedByInput {
            self.flow = Flow::Running;
            effects.writable = true;
        }
    }

    fn input_plain(&mut self, byte: u8, effects: &mut Effects) {
        self.restart_on_any(effects);
        if self.echoes() {
            self.echo_typed(byte);
        }
        self.put(byte);
    }

    /// Echoes a byte that becomes part of the line.
    fn echo_typed(&mut self, byte: u8) {
        self.finish_erasing();
        if self.input.is_line_empty() {
            self.stage.mark_line_start();
        }
        self.stage.echo(byte, &self.settings);
    }

    /// Appends to the line; a byte that could be mistaken for a mark is doubled with `PARMRK`.
    fn put(&mut self, byte: u8) {
        if byte == 0xff && self.settings.input(linux::PARMRK) {
            self.input.push(byte);
        }
        self.input.push(byte);
    }

    fn input_special(&mut self, byte: u8, effects: &mut Effects) {
        if self.settings.input(linux::IXON) {
            if self.settings.is(byte, linux::VSTART) {
                return self.start(effects);
            }
            if self.settings.is(byte, linux::VSTOP) {
                if self.flow == Flow::Running {
                    self.flow = Flow::StoppedByInput;
                }
                return;
            }
        }
        if let Some(signal) = self.signal_of(byte) {
            return self.input_signal(byte, signal, effects);
        }
        self.restart_on_any(effects);
        let byte = match byte {
            b'\r' if self.settings.input(linux::IGNCR) => return,
            b'\r' if self.settings.input(linux::ICRNL) => b'\n',
            b'\n' if self.settings.input(linux::INLCR) => b'\r',
            other => other,
        };
        if self.settings.local(linux::ICANON) && self.input_editing(byte) {
            return;
        }
        if self.echoes() {
            if byte == b'\n' {
                self.finish_erasing();
                self.stage.echo_raw(byte, &self.settings);
            } else {
                self.echo_typed(byte);
            }
        }
        self.put(byte);
    }

    fn signal_of(&self, byte: u8) -> Option<Signals> {
        let table = [
            (linux::VINTR, Signals::INTERRUPT),
            (linux::VQUIT, Signals::QUIT),
            (linux::VSUSP, Signals::SUSPEND),
        ];
        let enabled = self.settings.local(linux::ISIG);
        table
            .into_iter()
            .find(|(index, _)| enabled && self.settings.is(byte, *index))
            .map(|(_, signal)| signal)
    }

    fn input_signal(&mut self, byte: u8, signal: Signals, effects: &mut Effects) {
        effects.signals |= signal;
        if !self.settings.local(linux::NOFLSH) {
            self.flush_input();
            self.stage.flush();
            effects.writable = true;
        }
        if self.settings.input(linux::IXON) {
            self.start(effects);
        }
        if self.echoes() {
            self.stage.echo(byte, &self.settings);
        }
    }

    /// Line editing and line ends. Returns whether `byte` was one of those.
    fn input_editing(&mut self, byte: u8) -> bool {
        let settings = self.settings;
        let extended = settings.local(linux::IEXTEN);
        if settings.is(byte, linux::VERASE) {
            self.erase(Erasure::Character);
        } else if settings.is(byte, linux::VKILL) {
            self.erase(Erasure::Line);
        } else if extended && settings.is(byte, linux::VWERASE) {
            self.erase(Erasure::Word);
        } else if extended && settings.is(byte, linux::VLNEXT) {
            self.literal_next = true;
            if self.echoes() {
                self.finish_erasing();
                if settings.local(linux::ECHOCTL) {
                    self.stage.echo_raw(b'^', &settings);
                    self.stage.echo_raw(0x08, &settings);
                }
            }
        } else if extended && self.echoes() && settings.is(byte, linux::VREPRINT) {
            self.reprint(byte);
        } else if byte == b'\n' {
            if settings.local(linux::ECHO | linux::ECHONL) {
                self.stage.echo_raw(b'\n', &settings);
            }
            self.input.push_line_end(byte);
        } else if settings.is(byte, linux::VEOF) {
            self.input.push_line_end(DISABLED);
        } else if settings.is(byte, linux::VEOL) || (extended && settings.is(byte, linux::VEOL2)) {
            if self.echoes() {
                if self.input.is_line_empty() {
                    self.stage.mark_line_start();
                }
                self.stage.echo(byte, &settings);
            }
            if byte == 0xff && settings.input(linux::PARMRK) {
                self.input.push(byte);
            }
            self.input.push_line_end(byte);
        } else {
            return false;
        }
        true
    }

    fn reprint(&mut self, byte: u8) {
        self.finish_erasing();
        self.stage.echo(byte, &self.settings);
        self.stage.echo_raw(b'\n', &self.settings);
        for position in self.input.line_start()..self.input.head() {
            self.stage.echo(self.input.at(position), &self.settings);
        }
    }

    fn finish_erasing(&mut self) {
        if core::mem::take(&mut self.erasing) {
            self.stage.echo_raw(b'/', &self.settings);
        }
    }

    fn erase(&mut self, erasure: Erasure) {
        if self.input.is_line_empty() {
            return;
        }
        if erasure == Erasure::Line && !self.shows_line_erasure() {
            self.input.truncate(self.input.line_start());
            if self.echoes() {
                self.finish_erasing();
                self.stage.echo(self.settings.control_character(linux::VKILL), &self.settings);
                if self.settings.local(linux::ECHOK) {
                    self.stage.echo_raw(b'\n', &self.settings);
                }
            }
            return;
        }
        let mut in_word = false;
        while !self.input.is_line_empty() {
            let start = self.last_character();
            let first = self.input.at(start);
            if is_continuation(first, &self.settings) {
                // The rest of a character whose beginning is not there: never erase half of one.
                break;
            }
            if erasure == Erasure::Word {
                let is_word = first.is_ascii_alphanumeric() || first == b'_' || is_latin_letter(first);
                if in_word && !is_word {
                    break;
                }
                in_word |= is_word;
            }
            self.erase_from(start, erasure);
            if erasure == Erasure::Character {
                break;
            }
        }
        if self.input.is_line_empty() && self.echoes() {
            self.finish_erasing();
        }
    }

    fn shows_line_erasure(&self) -> bool {
        let all = linux::ECHO | linux::ECHOK | linux::ECHOKE | linux::ECHOE;
        self.settings.local_flags & all == all
    }

    /// Where the last character of the line begins.
    fn last_character(&self) -> usize {
        let mut position = self.input.head() - 1;
        while position > self.input.line_start() && is_continuation(self.input.at(position), &self.settings) {
            position -= 1;
        }
        position
    }

    /// Takes back the last character, which begins at `start`, and shows that.
    fn erase_from(&mut self, start: usize, erasure: Erasure) {
        let (first, end) = (self.input.at(start), self.input.head());
        self.input.truncate(start);
        if !self.echoes() {
            return;
        }
        let settings = self.settings;
        if settings.local(linux::ECHOPRT) {
            if !self.erasing {
                self.stage.echo_raw(b'\\', &settings);
                self.erasing = true;
            }
            self.stage.echo(first, &settings);
            for position in start + 1..end {
                self.stage.echo_raw(self.input.at(position), &settings);
                self.stage.move_back();
            }
        } else if erasure == Erasure::Character && !settings.local(linux::ECHOE) {
            self.stage.echo(settings.control_character(linux::VERASE), &settings);
        } else if first == b'\t' {
            self.erase_tab(start);
        } else {
            let is_control = first.is_ascii_control();
            if is_control && settings.local(linux::ECHOCTL) {
                self.stage.erase_character(&settings);
            }
            if !is_control || settings.local(linux::ECHOCTL) {
                self.stage.erase_character(&settings);
            }
        }
    }

    /// Shows the erasure of a tab that stood at `position`: the columns before it say how wide it was.
    fn erase_tab(&mut self, position: usize) {
        let mut columns = 0;
        for before in (self.input.line_start()..position).rev() {
            let byte = self.input.at(before);
            if byte == b'\t' {
                return self.stage.erase_tab(columns, true);
            }
            if byte.is_ascii_control() {
                columns += if self.settings.local(linux::ECHOCTL) { 2 } else { 0 };
            } else if !is_continuation(byte, &self.settings) {
                columns += 1;
            }
        }
        self.stage.erase_tab(columns, false);
    }

    /// Whether a read gives something now (an end of file included).
    #[inline]
    pub fn is_readable(&self) -> bool {
        if self.is_canonical() { self.input.line_length() > 0 } else { self.input.length() > 0 }
    }

    /// Whether `poll` says so: without a timer, only when as many bytes are there as a read waits for.
    pub fn polls_readable(&self) -> bool {
        let minimum = usize::from(self.settings.control_character(linux::VMIN));
        let timed = self.settings.control_character(linux::VTIME) != 0;
        if self.is_canonical() || timed || minimum == 0 {
            return self.is_readable();
        }
        self.input.length() >= minimum
    }

    /// Reads what is there: a line or part of it, or bytes, by the mode. 0 means end of file, or no room in `sink`.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when nothing is there.
    pub fn read(&mut self, sink: &mut Sink<'_>) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        if !self.is_readable() {
            return Err(Error::WouldBlock);
        }
        Ok(if self.is_canonical() { self.input.read_line(sink) } else { self.input.read_bytes(sink) })
    }

    /// How many bytes `FIONREAD` tells.
    pub fn readable_length(&self) -> usize {
        if self.is_canonical() { self.input.readable_in_lines() } else { self.input.length() }
    }

    /// Processes a program's output as far as there is room; returns how many of its bytes were taken.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is no room.
    pub fn write(&mut self, source: &mut Source<'_>) -> Result<usize> {
        let before = source.remaining();
        let mut chunk = [0; 128];
        while source.remaining() > 0 {
            let room = self.stage.room(&self.settings).min(chunk.len());
            if room == 0 {
                break;
            }
            let count = source.copy_to(&mut chunk[..room]);
            self.stage.write(&chunk[..count], &self.settings);
        }
        let count = before - source.remaining();
        if count == 0 && before > 0 { Err(Error::WouldBlock) } else { Ok(count) }
    }

    /// Whether a write finds room.
    pub fn is_writable(&self) -> bool {
        self.stage.room(&self.settings) > 0
    }

    /// Drops what was typed and not read.
    pub fn flush_input(&mut self) {
        self.input.clear();
        self.literal_next = false;
        self.erasing = false;
    }

    /// Drops what was written and not shown.
    pub fn flush_output(&mut self) {
        self.stage.flush();
    }

    /// Holds output back (`TCOOFF`).
    pub fn stop_output(&mut self) {
        self.flow = Flow::StoppedByRequest;
    }

    /// Lets output go on (`TCOON`); as on Linux only if a request had held it back.
    pub fn start_output(&mut self) {
        if self.flow == Flow::StoppedByRequest {
            self.flow = Flow::Running;
        }
    }
}

/// Whether Latin-1, by which Linux tells words apart, has a letter here; the first bytes of UTF-8 sequences are among them.
fn is_latin_letter(byte: u8) -> bool {
    byte >= 0xc0 && byte != 0xd7 && byte != 0xf7
}
