//! The terminal as an object: the line discipline under a lock, those who wait for it, and whom it controls.

use crate::discipline::{Effects, LineDiscipline};
use crate::job_control::{Access, Caller, GroupState, Privilege, Standing, StopSignal};
use crate::job_control::{check_background_read, check_background_write};
use crate::output::Output;
use crate::request::{FollowUp, Queue, Reply, Request, When};
use crate::termios::{TERMIOS_SIZE, TERMIOS2_SIZE, Termios};
use abi::Error;
use abi::linux::general as linux;
use alloc::boxed::Box;
use base::Result;
use base::bytes::{Sink, Source};
use base::sync::{SpinLock, WaitQueue};
use bitflags::bitflags;

bitflags! {
    /// What can be done without waiting; the bits are those of `poll`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Readiness: u32 {
        /// `POLLIN | POLLRDNORM`: a read would give something, an end of file included.
        const READABLE = linux::POLLIN | linux::POLLRDNORM;
        /// `POLLOUT | POLLWRNORM`: a write would find room.
        const WRITABLE = linux::POLLOUT | linux::POLLWRNORM;
        /// `POLLHUP`: the other side is gone.
        const HUNG_UP = linux::POLLHUP;
    }
}

/// The size of the window, as `struct winsize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines of characters.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
}

impl WindowSize {
    /// Bytes of the structure.
    pub const SIZE: usize = 8;

    /// From the bytes that a program gives.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |index: usize| u16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]]);
        Self { rows: word(0), columns: word(1), width: word(2), height: word(3) }
    }

    /// As a program sees it.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        for (chunk, word) in bytes.chunks_exact_mut(2).zip([self.rows, self.columns, self.width, self.height])
        {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// When a read is complete: `VMIN` and `VTIME`, or a line. Taken once, when the read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequirement {
    mode: ReadMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadMode {
    Line,
    /// At least so many bytes; once the first came, each within `between_ns` of the one before (0: no bound).
    Bytes {
        minimum: usize,
        between_ns: u64,
    },
    /// Whatever comes within this time.
    Within {
        timeout_ns: u64,
    },
}

/// What a reader does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Return the bytes that it has, which may be none.
    Return,
    /// Wait for the terminal to be readable, and if there is a time, no longer than that: when it is over, return the bytes
    /// that it has. (A reader that must not wait returns its bytes, or `EAGAIN` if it has none.)
    Wait {
        /// How long, in nanoseconds.
        timeout_ns: Option<u64>,
    },
}

impl ReadRequirement {
    fn new(settings: &Termios) -> Self {
        const UNIT_NS: u64 = 100_000_000;
        let minimum = usize::from(settings.control_character(linux::VMIN));
        let time_ns = u64::from(settings.control_character(linux::VTIME)) * UNIT_NS;
        let mode = if settings.local(linux::ICANON) && !settings.local(linux::EXTPROC) {
            ReadMode::Line
        } else if minimum > 0 {
            ReadMode::Bytes { minimum, between_ns: time_ns }
        } else {
            ReadMode::Within { timeout_ns: time_ns }
        };
        Self { mode }
    }

    /// What to do after [`Terminal::read`] gave `last`, so that there are `total` bytes and room for `remaining` more.
    pub fn next(&self, last: &Result<usize>, total: usize, remaining: usize) -> ReadStep {
        let waits = matches!(last, Err(Error::WouldBlock));
        if remaining == 0 || matches!(last, Ok(0)) || !(waits || last.is_ok()) {
            return ReadStep::Return;
        }
        match self.mode {
            ReadMode::Line if !waits => ReadStep::Return,
            ReadMode::Line => ReadStep::Wait { timeout_ns: None },
            ReadMode::Bytes { minimum, .. } if total >= minimum => ReadStep::Return,
            ReadMode::Bytes { between_ns, .. } if total > 0 && between_ns > 0 => {
                ReadStep::Wait { timeout_ns: Some(between_ns) }
            }
            ReadMode::Bytes { .. } => ReadStep::Wait { timeout_ns: None },
            ReadMode::Within { .. } if total > 0 => ReadStep::Return,
            ReadMode::Within { timeout_ns: 0 } => ReadStep::Return,
            ReadMode::Within { timeout_ns } => ReadStep::Wait { timeout_ns: Some(timeout_ns) },
        }
    }
}

struct State {
    discipline: LineDiscipline,
    window: WindowSize,
    /// The session that it controls; 0 for none.
    session: u32,
    /// The process group that may read; 0 for none.
    foreground: u32,
    exclusive: bool,
    hung_up: bool,
}

/// What came of typed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes were taken. The rest is to be given again once [`Terminal::input_room`] is woken.
    pub count: usize,
    /// What to tell the foreground process group.
    pub signals: crate::Signals,
    /// That group; 0 for none.
    pub foreground: u32,
}

/// A terminal. Programs share it; everything that it does is done under one short lock.
pub struct Terminal {
    state: SpinLock<State>,
    output: Box<dyn Output>,
    readable: WaitQueue,
    writable: WaitQueue,
    input_room: WaitQueue,
}

impl Terminal {
    /// A terminal with Linux's settings that shows what is written on `output`.
    pub fn new(output: Box<dyn Output>, window: WindowSize) -> Self {
        let state = State {
            discipline: LineDiscipline::new(),
            window,
            session: 0,
            foreground: 0,
            exclusive: false,
            hung_up: false,
        };
        Self {
            state: SpinLock::new(state),
            output,
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
            input_room: WaitQueue::new(),
        }
    }

    /// Woken when there is something to read.
    pub fn readable(&self) -> &WaitQueue {
        &self.readable
    }

    /// Woken when a write finds room, or everything written is shown.
    pub fn writable(&self) -> &WaitQueue {
        &self.writable
    }

    /// Woken when typed bytes find room again.
    pub fn input_room(&self) -> &WaitQueue {
        &self.input_room
    }

    /// Gives to the output what waits for it, unless output is held back.
    fn pump(&self, state: &mut State) {
        if !state.discipline.is_stopped() {
            state.discipline.stage().drain(&*self.output);
        }
    }

    /// Takes bytes that were typed. The caller sends the signals to the foreground group.
    #[must_use = "signals are to be sent, bytes that were not taken to be given again"]
    pub fn receive(&self, bytes: &[u8]) -> Received {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        let count = state.discipline.receive(bytes, &mut effects);
        let foreground = state.foreground;
        self.pump(&mut state);
        drop(state);
        if effects.readable {
            self.readable.wake_all();
        }
        if effects.writable {
            self.writable.wake_all();
        }
        Received { count, signals: effects.signals, foreground }
    }

    /// How many typed bytes can be taken now. After the other side has gone it is of no use to ask.
    pub fn input_available(&self) -> usize {
        self.state.lock().discipline.input_available()
    }

    /// The output has room again.
    pub fn drain(&self) {
        let mut state = self.state.lock();
        self.pump(&mut state);
        let wake = state.discipline.is_writable();
        drop(state);
        if wake {
            self.writable.wake_all();
        }
    }

    /// When a read that begins now will be complete.
    pub fn read_requirement(&self) -> ReadRequirement {
        ReadRequirement::new(self.state.lock().discipline.settings())
    }

    /// Reads what is there, in line mode at most one line. 0 means end of file.
    ///
    /// A reader first asks [`Terminal::check_read`], and repeats both as [`ReadRequirement::next`] says.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when nothing is there.
    pub fn read(&self, sink: &mut Sink<'_>) -> Result<usize> {
        let mut state = self.state.lock();
        let result = state.discipline.read(sink);
        let hung_up = state.hung_up;
        drop(state);
        match result {
            Ok(_) => self.input_room.wake_all(),
            Err(_) if hung_up => return Ok(0),
            Err(_) => {}
        }
        result
    }

    /// Takes as much of a program's output as there is room for; returns how much.
    ///
    /// A writer first asks [`Terminal::check_write`], and waits on [`Terminal::writable`] for the rest.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is no room; [`Error::InputOutput`] when the other side is gone.
    pub fn write(&self, source: &mut Source<'_>) -> Result<usize> {
        let before = source.remaining();
        let mut state = self.state.lock();
        if state.hung_up {
            return Err(Error::InputOutput);
        }
        loop {
            let result = state.discipline.write(source);
            self.pump(&mut state);
            // Again only while the output takes what is given to it.
            if result.is_err() || source.remaining() == 0 || !state.discipline.is_writable() {
                let count = before - source.remaining();
                return if count > 0 { Ok(count) } else { result };
            }
        }
    }

    /// What can be done without waiting.
    pub fn readiness(&self) -> Readiness {
        let state = self.state.lock();
        let mut readiness = Readiness::empty();
        readiness.set(Readiness::READABLE, state.hung_up || state.discipline.polls_readable());
        readiness.set(Readiness::WRITABLE, state.hung_up || state.discipline.is_writable());
        readiness.set(Readiness::HUNG_UP, state.hung_up);
        readiness
    }

    /// Whether a read would give something or fail at once; for [`WaitQueue::wait_until`].
    pub fn is_readable(&self) -> bool {
        let state = self.state.lock();
        state.hung_up || state.discipline.is_readable()
    }

    /// Waits until everything written is shown (or dropped, or the other side gone).
    pub async fn wait_drained(&self) {
        let drained = || {
            let state = self.state.lock();
            (state.hung_up || state.discipline.waiting_output() == 0).then_some(())
        };
        self.writable.wait_until(drained).await;
    }

    /// The other side is gone: reads see the end of the file once what was typed is read, writes fail.
    /// Returns the foreground process group, which gets `SIGHUP` and `SIGCONT` if it is not 0.
    pub fn hang_up(&self) -> u32 {
        let mut state = self.state.lock();
        state.hung_up = true;
        state.discipline.flush_output();
        let foreground = state.foreground;
        drop(state);
        self.wake_all();
        foreground
    }

    fn wake_all(&self) {
        for queue in [&self.readable, &self.writable, &self.input_room] {
            queue.wake_all();
        }
    }

    /// The foreground process group; 0 for none.
    pub fn foreground(&self) -> u32 {
        self.state.lock().foreground
    }

    /// The session that it controls; 0 for none.
    pub fn session(&self) -> u32 {
        self.state.lock().session
    }

    /// Whether nobody but administrators may open it any more.
    pub fn is_exclusive(&self) -> bool {
        self.state.lock().exclusive
    }

    /// Whether the caller may read now. `stop` tells what it does with `SIGTTIN` and whether its group is orphaned; it is
    /// asked only of a process in the background.
    pub fn check_read(&self, caller: &Caller, stop: impl FnOnce() -> (StopSignal, GroupState)) -> Access {
        if !caller.is_in_background(self.foreground()) {
            return Access::Allow;
        }
        let (signal, group) = stop();
        check_background_read(signal, group)
    }

    /// Whether anybody may have to be stopped for writing: without `TOSTOP` or a foreground group, [`Terminal::check_write`]
    /// allows everything, and need not be asked.
    pub fn stops_writers(&self) -> bool {
        let state = self.state.lock();
        state.foreground != 0 && state.discipline.settings().local(linux::TOSTOP)
    }

    /// Whether the caller may write now. `stop` is as for [`Terminal::check_read`], with `SIGTTOU`.
    pub fn check_write(&self, caller: &Caller, stop: impl FnOnce() -> (StopSignal, GroupState)) -> Access {
        let state = self.state.lock();
        let stops =
            state.discipline.settings().local(linux::TOSTOP) && caller.is_in_background(state.foreground);
        drop(state);
        if stops { Self::check_stop(stop) } else { Access::Allow }
    }

    /// Whether the caller may change the terminal now ([`Request::changes_terminal`]). `stop` is as for
    /// [`Terminal::check_write`].
    pub fn check_change(&self, caller: &Caller, stop: impl FnOnce() -> (StopSignal, GroupState)) -> Access {
        if caller.is_in_background(self.foreground()) { Self::check_stop(stop) } else { Access::Allow }
    }

    fn check_stop(stop: impl FnOnce() -> (StopSignal, GroupState)) -> Access {
        let (signal, group) = stop();
        check_background_write(signal, group)
    }

    /// Makes it the controlling terminal of `session`, with `group` in the foreground: what opening a terminal does for a
    /// session leader without one. Returns whether it was free.
    pub fn acquire(&self, session: u32, group: u32) -> bool {
        let mut state = self.state.lock();
        if state.session != 0 {
            return false;
        }
        (state.session, state.foreground) = (session, group);
        true
    }

    /// The leader of `session` ended or gave the terminal up: it controls no session any more. Returns the process group
    /// that was in the foreground, which gets `SIGHUP` and `SIGCONT`; 0 for none, or when the terminal is not the session's.
    pub fn disassociate(&self, session: u32) -> u32 {
        let mut state = self.state.lock();
        if state.session != session || session == 0 {
            return 0;
        }
        state.session = 0;
        core::mem::take(&mut state.foreground)
    }

    /// Carries out a request, after [`Terminal::check_change`] and [`Terminal::wait_drained`] as the request demands.
    ///
    /// `input` are the [`Request::input_size`] bytes at the argument's address, `argument` is the argument itself;
    /// `session_of_group` tells the session of a process group, if there is such a group.
    ///
    /// # Errors
    /// As Linux has them for each request; [`Error::InvalidArgument`] when `input` is too short.
    pub fn control(
        &self,
        request: Request,
        caller: &Caller,
        input: &[u8],
        argument: usize,
        session_of_group: &dyn Fn(u32) -> Option<u32>,
    ) -> Result<Reply> {
        if input.len() < request.input_size() {
            return Err(Error::InvalidArgument);
        }
        match request {
            Request::SetSettings(_, when) => self.change_settings(when, input),
            Request::Flush => return self.flush(argument),
            Request::ControlFlow => return self.control_flow(argument),
            Request::Drain => {}
            Request::Insert => return Err(Error::InputOutput),
            Request::SetDiscipline if input[..4] != [0; 4] => return Err(Error::InvalidArgument),
            Request::SetDiscipline => {}
            Request::SetExclusive => self.state.lock().exclusive = true,
            Request::ClearExclusive => self.state.lock().exclusive = false,
            Request::SetWindowSize => return Ok(self.set_window(input)),
            Request::SetForeground => return self.set_foreground(caller, input, session_of_group),
            Request::AcquireControl => return self.acquire_control(caller, argument),
            Request::ReleaseControl if caller.standing != Standing::ControlledHere => {
                return Err(Error::NotTerminal);
            }
            Request::ReleaseControl => return Ok(Reply::then(FollowUp::ControlReleased)),
            _ => return self.query(request, caller),
        }
        Ok(Reply::nothing())
    }

    /// Requests that only tell something.
    fn query(&self, request: Request, caller: &Caller) -> Result<Reply> {
        let state = self.state.lock();
        Ok(match request {
            Request::GetSettings(layout) => {
                let bytes = state.discipline.settings().to_bytes();
                let size =
                    if layout == crate::request::Layout::Termios { TERMIOS_SIZE } else { TERMIOS2_SIZE };
                Reply::with_bytes(&bytes[..size])
            }
            Request::GetWindowSize => Reply::with_bytes(&state.window.to_bytes()),
            Request::GetReadable => Reply::with_number(state.discipline.readable_length() as u32),
            Request::GetWaitingOutput => Reply::with_number(state.discipline.waiting_output() as u32),
            Request::GetExclusive => Reply::with_number(u32::from(state.exclusive)),
            Request::GetDiscipline => Reply::with_number(0),
            Request::GetForeground | Request::GetSession if caller.standing != Standing::ControlledHere => {
                return Err(Error::NotTerminal);
            }
            Request::GetForeground => Reply::with_number(state.foreground),
            Request::GetSession if state.session == 0 => return Err(Error::NotTerminal),
            Request::GetSession => Reply::with_number(state.session),
            _ => return Err(Error::NotTerminal),
        })
    }

    fn change_settings(&self, when: When, input: &[u8]) {
        let mut state = self.state.lock();
        let old = *state.discipline.settings();
        let new = match <&[u8; TERMIOS2_SIZE]>::try_from(input) {
            Ok(bytes) => old.with_termios2(bytes),
            Err(_) => {
                let mut bytes = [0; TERMIOS_SIZE];
                bytes.copy_from_slice(&input[..TERMIOS_SIZE]);
                old.with_termios(&bytes)
            }
        };
        if when == When::AfterOutputFlushingInput {
            state.discipline.flush_input();
        }
        state.discipline.set_settings(new);
        self.pump(&mut state);
        drop(state);
        // What counts as readable or as room may have changed.
        self.wake_all();
    }

    fn flush(&self, argument: usize) -> Result<Reply> {
        let queue = u32::try_from(argument).ok().and_then(Queue::new).ok_or(Error::InvalidArgument)?;
        let mut state = self.state.lock();
        if queue != Queue::Output {
            state.discipline.flush_input();
        }
        if queue != Queue::Input {
            state.discipline.flush_output();
        }
        drop(state);
        self.input_room.wake_all();
        self.writable.wake_all();
        Ok(Reply::nothing())
    }

    fn control_flow(&self, argument: usize) -> Result<Reply> {
        let mut state = self.state.lock();
        let action = u32::try_from(argument).map_err(|_| Error::InvalidArgument)?;
        match action {
            linux::TCOOFF => state.discipline.stop_output(),
            linux::TCOON => state.discipline.start_output(),
            linux::TCIOFF => self.send_control_character(&mut state, linux::VSTOP),
            linux::TCION => self.send_control_character(&mut state, linux::VSTART),
            _ => return Err(Error::InvalidArgument),
        }
        self.pump(&mut state);
        drop(state);
        self.writable.wake_all();
        Ok(Reply::nothing())
    }

    fn send_control_character(&self, state: &mut State, index: u32) {
        let byte = state.discipline.settings().control_character(index);
        if byte != crate::termios::DISABLED {
            state.discipline.stage().echo_unprocessed(byte);
        }
    }

    fn set_window(&self, input: &[u8]) -> Reply {
        let mut bytes = [0; WindowSize::SIZE];
        bytes.copy_from_slice(&input[..WindowSize::SIZE]);
        let window = WindowSize::from_bytes(&bytes);
        let mut state = self.state.lock();
        let changed = core::mem::replace(&mut state.window, window) != window;
        if !changed || state.foreground == 0 {
            return Reply::nothing();
        }
        Reply::then(FollowUp::Signal { signal: linux::SIGWINCH, group: state.foreground })
    }

    fn set_foreground(
        &self,
        caller: &Caller,
        input: &[u8],
        session_of_group: &dyn Fn(u32) -> Option<u32>,
    ) -> Result<Reply> {
        let group = i32::from_le_bytes([input[0], input[1], input[2], input[3]]);
        let session = self.session();
        if caller.standing != Standing::ControlledHere || session != caller.session {
            return Err(Error::NotTerminal);
        }
        let group = u32::try_from(group).map_err(|_| Error::InvalidArgument)?;
        // Asked without the lock: the answer comes from under the lock of the processes.
        match session_of_group(group) {
            None => return Err(Error::NoSuchProcess),
            Some(other) if other != session => return Err(Error::NotPermitted),
            Some(_) => {}
        }
        let mut state = self.state.lock();
        if state.session != session {
            return Err(Error::NotTerminal);
        }
        state.foreground = group;
        drop(state);
        // A reader that went to the background, or came back from it, looks again.
        self.readable.wake_all();
        Ok(Reply::nothing())
    }

    fn acquire_control(&self, caller: &Caller, argument: usize) -> Result<Reply> {
        const STEAL: usize = 1;
        let mut state = self.state.lock();
        if caller.standing == Standing::ControlledHere && state.session == caller.session {
            return Ok(Reply::nothing());
        }
        let previous = state.session;
        let may_steal = argument == STEAL && caller.privilege == Privilege::Administrator;
        if caller.standing != Standing::LeaderWithoutTerminal || (previous != 0 && !may_steal) {
            return Err(Error::NotPermitted);
        }
        (state.session, state.foreground) = (caller.session, caller.group);
        Ok(Reply::then(FollowUp::ControlAcquired { previous }))
    }
}
