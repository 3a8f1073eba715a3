//! Terminals as devices: their open files, the sessions that they control, and what a system call asks of them first.
//!
//! A file of the virtual file system does not know who calls. So the calls that read, write, open and control files ask here when
//! the file is a terminal's ([`of`]): whether the caller may ([`before_write`]), how long a read lasts ([`read`]), what a
//! request does to sessions and groups ([`control`]).
//!
//! # Locks
//! [`SESSIONS`] is taken alone: the answers of [`process::TABLE`] and of the terminal are fetched before or after.

use crate::process::{self, Process};
use crate::pseudo_terminal::{self, Channel};
use crate::signals;
use crate::thread::Caller;
use ::process::signal::{Disposition, SigInfo, Signal};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use base::address::VirtualAddress;
use base::bytes::{Sink, Source};
use base::hal::now_ns;
use base::operation::Operation;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU32, Ordering};
use base::{Error, Result};
use memory::space;
use terminal::device::ReadStep;
use terminal::job_control::{self, Access, GroupState, Privilege, Standing, StopSignal};
use terminal::{FollowUp, Request, Terminal};
use vfs::environment::Device;
use vfs::inode::{WaitQueues, WritePosition, Written};
use vfs::metadata::DeviceNumber;
use vfs::{Capabilities, File, OpenFile, OpenFlags, Readiness};

/// Which terminal controls each session that has one.
static SESSIONS: SpinLock<BTreeMap<u32, Arc<TerminalDevice>>> = SpinLock::new(BTreeMap::new());

/// A terminal with its number.
pub struct TerminalDevice {
    /// The terminal.
    pub terminal: Terminal,
    /// Its number, as `/proc` shows it.
    pub number: DeviceNumber,
    /// How often its session ended and took the open files with it.
    hang_ups: AtomicU32,
    /// The other side, of a pseudo-terminal.
    master: Option<Arc<Channel>>,
}

/// What opening a terminal's node means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenedAs {
    /// The terminal itself: it may become the controlling terminal, and is lost with its session.
    Terminal,
    /// The system's console, which is neither.
    Console,
}

/// An open file of a terminal.
pub struct TerminalFile {
    device: Arc<TerminalDevice>,
    opened_as: OpenedAs,
    /// `hang_ups` when it was opened.
    opened_at: u32,
}

/// The device of a terminal's node.
pub struct TerminalNode {
    device: Arc<TerminalDevice>,
    opened_as: OpenedAs,
}

/// The device of `/dev/tty`: whoever opens it gets the terminal that controls their session ([`opened`]).
pub struct ControllingTerminalNode;

/// What [`ControllingTerminalNode`] opens, until [`opened`] puts the terminal in its place.
struct ControllingTerminal;

impl TerminalDevice {
    /// A device for this terminal.
    pub fn new(terminal: Terminal, number: DeviceNumber) -> Arc<Self> {
        Arc::new(Self { terminal, number, hang_ups: AtomicU32::new(0), master: None })
    }

    /// A device for the terminal of a pair.
    pub fn with_master(terminal: Terminal, number: DeviceNumber, master: Arc<Channel>) -> Arc<Self> {
        Arc::new(Self { terminal, number, hang_ups: AtomicU32::new(0), master: Some(master) })
    }

    /// What leads to the master, of the terminal of a pair.
    pub fn master(&self) -> Option<&Arc<Channel>> {
        self.master.as_ref()
    }

    /// Wakes who reads from the master, if there is one.
    fn announce(&self) {
        if let Some(master) = &self.master {
            master.announce();
        }
    }

    /// An open file of it.
    pub fn open(self: &Arc<Self>, opened_as: OpenedAs) -> Arc<dyn File> {
        let opened_at = self.hang_ups.load(Ordering::Relaxed);
        if let Some(master) = &self.master {
            master.opened();
        }
        Arc::new(TerminalFile { device: self.clone(), opened_as, opened_at })
    }

    /// A node of it.
    pub fn node(self: &Arc<Self>, opened_as: OpenedAs) -> Arc<dyn Device> {
        Arc::new(TerminalNode { device: self.clone(), opened_as })
    }

    /// The session that it controlled has ended, or the other side is gone: files that were opened before are of no use any more.
    pub fn hang_up_files(&self) {
        self.hang_ups.fetch_add(1, Ordering::Relaxed);
        self.terminal.readable().wake_all();
        self.terminal.writable().wake_all();
    }
}

impl TerminalFile {
    /// The terminal.
    pub fn terminal(&self) -> &Terminal {
        &self.device.terminal
    }

    fn is_hung_up(&self) -> bool {
        self.opened_as == OpenedAs::Terminal && self.opened_at != self.device.hang_ups.load(Ordering::Relaxed)
    }

    fn is_readable(&self) -> bool {
        self.is_hung_up() || self.device.terminal.is_readable()
    }

    fn read_now(&self, sink: &mut Sink<'_>) -> Result<usize> {
        if self.is_hung_up() { Ok(0) } else { self.device.terminal.read(sink) }
    }
}

impl File for TerminalFile {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, _offset: u64) -> Operation<'a, Result<usize>> {
        Operation::Ready(self.read_now(sink))
    }

    fn write<'a>(&'a self, source: &'a mut Source<'_>, _: WritePosition) -> Operation<'a, Result<Written>> {
        let count =
            if self.is_hung_up() { Err(Error::InputOutput) } else { self.device.terminal.write(source) };
        self.device.announce();
        Operation::Ready(count.map(|count| Written { count, end: 0 }))
    }

    fn readiness(&self) -> Readiness {
        if self.is_hung_up() {
            return Readiness::READABLE | Readiness::WRITABLE | Readiness::ALWAYS;
        }
        Readiness::from_bits_truncate(self.device.terminal.readiness().bits() as u16)
    }

    fn wait_queues(&self, interest: Readiness) -> WaitQueues<'_> {
        let terminal = &self.device.terminal;
        match (interest.intersects(Readiness::READABLE), interest.intersects(Readiness::WRITABLE)) {
            (true, true) => {
                WaitQueues { first: Some(terminal.readable()), second: Some(terminal.writable()) }
            }
            (false, true) => WaitQueues::one(terminal.writable()),
            (_, false) => WaitQueues::one(terminal.readable()),
        }
    }

    fn concerns_caller(&self) -> bool {
        true
    }

    fn seekable(&self) -> bool {
        false
    }
}

impl Drop for TerminalFile {
    fn drop(&mut self) {
        if let Some(master) = &self.device.master {
            master.closed();
        }
    }
}

impl Device for TerminalNode {
    fn open(&self, _: OpenFlags) -> Operation<'static, Result<Arc<dyn File>>> {
        Operation::Ready(Ok(self.device.open(self.opened_as)))
    }
}

impl File for ControllingTerminal {
    fn seekable(&self) -> bool {
        false
    }
}

impl Device for ControllingTerminalNode {
    fn open(&self, _: OpenFlags) -> Operation<'static, Result<Arc<dyn File>>> {
        Operation::Ready(Ok(Arc::new(ControllingTerminal)))
    }
}

/// The terminal that a file is open on, if it is one.
#[inline]
pub fn of(file: &OpenFile) -> Option<&TerminalFile> {
    if file.concerns_caller() { file.file().downcast_ref() } else { None }
}

/// What a caller is to a terminal.
fn caller_at(caller: &Caller, device: &Arc<TerminalDevice>) -> job_control::Caller {
    let process = caller.process();
    let (session, group, leads) = {
        let table = process::TABLE.lock();
        let identifiers = &table.identifiers;
        let session = identifiers.session(process.id).unwrap_or(0);
        (session, identifiers.group(process.id).unwrap_or(0), identifiers.is_session_leader(process.id))
    };
    let standing = match controlling(process, session) {
        Some(terminal) if Arc::ptr_eq(&terminal, device) => Standing::ControlledHere,
        Some(_) => Standing::ControlledElsewhere,
        None if leads => Standing::LeaderWithoutTerminal,
        None => Standing::WithoutTerminal,
    };
    let administrator = process.identity().files.capabilities.contains(Capabilities::SYS_ADMIN);
    let privilege = if administrator { Privilege::Administrator } else { Privilege::Ordinary };
    job_control::Caller { session, group, standing, privilege }
}

/// The terminal that controls a process of this session.
fn controlling(process: &Process, session: u32) -> Option<Arc<TerminalDevice>> {
    if process.gave_terminal_up.load(Ordering::Relaxed) {
        return None;
    }
    SESSIONS.lock().get(&session).cloned()
}

/// What a stop signal would do to the caller.
fn stop_state(caller: &Caller, signal: Signal, group: u32) -> (StopSignal, GroupState) {
    let shared = caller.process().signals.lock();
    let blocked = caller.thread.signals.lock().mask.contains(signal);
    let ignored = shared.actions.lock().get(signal).disposition() == Disposition::Ignore;
    drop(shared);
    let signal = if blocked || ignored { StopSignal::Ignored } else { StopSignal::Effective };
    let orphaned = process::TABLE.lock().identifiers.is_orphaned(group);
    (signal, if orphaned { GroupState::Orphaned } else { GroupState::Attended })
}

fn permit(access: Access, group: u32) -> Result<()> {
    match access {
        Access::Allow => Ok(()),
        Access::Error(error) => Err(error),
        Access::Signal(number) => {
            send(group, number);
            Err(Error::Interrupted)
        }
    }
}

/// Sends a signal of the kernel's to a process group; nothing to group 0.
pub fn send(group: u32, number: u32) {
    if group != 0
        && let Some(signal) = Signal::new(number)
    {
        signals::send_to_group(group, SigInfo::kernel(signal));
    }
}

/// Whether the caller may read now.
///
/// # Errors
/// `Interrupted`: it is in the background, and its group was sent `SIGTTIN`. `InputOutput`: it is, and that would not stop
/// it.
pub fn before_read(caller: &Caller, file: &TerminalFile) -> Result<()> {
    let terminal = file.terminal();
    if terminal.foreground() == 0 {
        return Ok(());
    }
    let who = caller_at(caller, &file.device);
    permit(terminal.check_read(&who, || stop_state(caller, Signal::TTIN, who.group)), who.group)
}

/// Whether the caller may write now.
///
/// # Errors
/// `Interrupted`: it is in the background of a terminal with `TOSTOP`, and its group was sent `SIGTTOU`. `InputOutput`: it
/// is, and its group is orphaned.
pub fn before_write(caller: &Caller, file: &TerminalFile) -> Result<()> {
    let terminal = file.terminal();
    if !terminal.stops_writers() {
        return Ok(());
    }
    let who = caller_at(caller, &file.device);
    permit(terminal.check_write(&who, || stop_state(caller, Signal::TTOU, who.group)), who.group)
}

/// `read` of a terminal into the caller's memory: a line, or as many bytes within such a time as the settings say.
///
/// # Errors
/// Those of [`before_read`]; `BadDescriptor`, `WouldBlock`, `Interrupted`, `BadAddress`.
pub async fn read(caller: &Caller, open: &OpenFile, address: usize, count: usize) -> Result<usize> {
    let file = of(open).ok_or(Error::NotTerminal)?;
    if !open.flags().reads() {
        return Err(Error::BadDescriptor);
    }
    let requirement = file.terminal().read_requirement();
    let mut total = 0;
    loop {
        let last = match before_read(caller, file) {
            Ok(()) if file.is_readable() => read_some(caller, file, address + total, count - total).await,
            Ok(()) => Err(Error::WouldBlock),
            Err(error) => return if total > 0 { Ok(total) } else { Err(error) },
        };
        total += last.unwrap_or(0);
        let timeout_ns = match requirement.next(&last, total, count - total) {
            ReadStep::Return if total == 0 && last != Err(Error::WouldBlock) => return last,
            ReadStep::Return => return Ok(total),
            ReadStep::Wait { timeout_ns } => timeout_ns,
        };
        if !open.may_wait() {
            return if total > 0 { Ok(total) } else { Err(Error::WouldBlock) };
        }
        let deadline_ns = timeout_ns.map(|timeout_ns| now_ns() + timeout_ns);
        let ready = file.terminal().readable().wait_until(|| file.is_readable().then_some(()));
        match caller.interruptible_until(ready, deadline_ns).await {
            Ok(()) => {}
            Err(Error::TimedOut) => return Ok(total),
            Err(error) => return if total > 0 { Ok(total) } else { Err(error) },
        }
    }
}

async fn read_some(caller: &Caller, file: &TerminalFile, address: usize, count: usize) -> Result<usize> {
    let pinned = caller.space.pin(VirtualAddress::new(address), count, space::Access::Write).await?;
    file.read_now(&mut Sink::scattered(pinned.pieces()))
}

/// `ioctl` of a terminal. Requests that every file knows (`FIONBIO` and its kind) are not among these.
///
/// # Errors
/// `NotTerminal` for a request that terminals do not know, and what Linux answers for each of the others.
pub async fn control(caller: &Caller, file: &TerminalFile, request: u32, argument: usize) -> Result<usize> {
    let terminal = file.terminal();
    let request = Request::decode(request).ok_or(Error::NotTerminal)?;
    if file.is_hung_up() {
        return Err(if request == Request::SetForeground { Error::NotTerminal } else { Error::InputOutput });
    }
    let who = caller_at(caller, &file.device);
    if request.changes_terminal() {
        permit(terminal.check_change(&who, || stop_state(caller, Signal::TTOU, who.group)), who.group)?;
    }
    let mut input = [0; terminal::termios::TERMIOS2_SIZE];
    let input = &mut input[..request.input_size()];
    let address = VirtualAddress::new(argument);
    if !input.is_empty() {
        caller.space.read_bytes(address, input).await?;
    }
    if request.waits_for_output() {
        caller.interruptible(terminal.wait_drained()).await?;
    }
    let session_of_group = |group| process::TABLE.lock().identifiers.session_of_group(group);
    let reply = terminal.control(request, &who, input, argument, &session_of_group)?;
    file.device.announce();
    match reply.follow_up {
        FollowUp::None => {}
        FollowUp::Signal { signal, group } => send(group, signal),
        FollowUp::ControlAcquired { previous } => {
            let lost = SESSIONS.lock().remove(&previous);
            drop(lost);
            give(&file.device, caller.process(), who.session);
        }
        FollowUp::ControlReleased => release(caller.process(), who.session),
    }
    if !reply.bytes().is_empty() {
        caller.space.write_bytes(address, reply.bytes()).await?;
    }
    Ok(0)
}

/// A request of the master's about its terminal, on which nobody is in the background.
///
/// # Errors
/// As [`control`].
pub async fn control_from_master(
    caller: &Caller,
    device: &Arc<TerminalDevice>,
    request: Request,
    argument: usize,
) -> Result<()> {
    let terminal = &device.terminal;
    let mut input = [0; terminal::termios::TERMIOS2_SIZE];
    let input = &mut input[..request.input_size()];
    let address = VirtualAddress::new(argument);
    if !input.is_empty() {
        caller.space.read_bytes(address, input).await?;
    }
    let mut who = caller_at(caller, device);
    // From the master, what concerns the terminal's session is told to anybody.
    who.standing = Standing::ControlledHere;
    who.session = terminal.session();
    let session_of_group = |group| process::TABLE.lock().identifiers.session_of_group(group);
    let reply = terminal.control(request, &who, input, argument, &session_of_group)?;
    if let FollowUp::Signal { signal, group } = reply.follow_up {
        send(group, signal);
    }
    if !reply.bytes().is_empty() {
        caller.space.write_bytes(address, reply.bytes()).await?;
    }
    Ok(())
}

/// A terminal's other side is gone: it controls its session no longer.
pub fn forget_session(session: u32, device: &Arc<TerminalDevice>) {
    let mut sessions = SESSIONS.lock();
    let lost = match sessions.get(&session) {
        Some(found) if Arc::ptr_eq(found, device) => sessions.remove(&session),
        _ => None,
    };
    drop(sessions);
    drop(lost);
    device.terminal.disassociate(session);
}

/// The terminal controls this session from now on, whose leader `process` is.
fn give(device: &Arc<TerminalDevice>, process: &Process, session: u32) {
    process.gave_terminal_up.store(false, Ordering::Relaxed);
    let former = SESSIONS.lock().insert(session, device.clone());
    drop(former);
}

/// `TIOCNOTTY`: a leader takes the terminal from its whole session, anybody else only from itself.
fn release(process: &Process, session: u32) {
    if process.id != session {
        process.gave_terminal_up.store(true, Ordering::Relaxed);
        return;
    }
    let device = SESSIONS.lock().remove(&session);
    if let Some(device) = device {
        hang_up_group(device.terminal.disassociate(session));
    }
}

fn hang_up_group(group: u32) {
    for signal in [Signal::HUP, Signal::CONT] {
        send(group, signal.number().into());
    }
}

/// To be asked of every file that was just opened by name: puts the caller's terminal in the place of `/dev/tty`, and
/// makes a terminal the controlling one of a session leader that has none, unless `flags` forbid it.
///
/// # Errors
/// `NoSuchDeviceOrAddress`: there is no controlling terminal. `Busy`: somebody has the terminal for themselves.
pub fn opened(caller: &Caller, open: Arc<OpenFile>, flags: OpenFlags) -> Result<Arc<OpenFile>> {
    if open.file().downcast_ref::<ControllingTerminal>().is_some() {
        let device = controlling_terminal(caller.process()).ok_or(Error::NoSuchDeviceOrAddress)?;
        let file = device.open(OpenedAs::Terminal);
        return Ok(OpenFile::from_file(file, open.location().clone(), flags));
    }
    if let Some(master) = pseudo_terminal::of(&open) {
        master.set_owner(caller.process().identity().files.uid);
        return Ok(open);
    }
    let Some(file) = of(&open) else { return Ok(open) };
    let who = caller_at(caller, &file.device);
    if file.terminal().is_exclusive() && who.privilege != Privilege::Administrator {
        return Err(Error::Busy);
    }
    let acquires = file.opened_as == OpenedAs::Terminal
        && !flags.contains(OpenFlags::NO_CONTROLLING_TERMINAL)
        && open.flags().reads()
        && who.standing == Standing::LeaderWithoutTerminal;
    if acquires && file.terminal().acquire(who.session, who.group) {
        give(&file.device, caller.process(), who.session);
    }
    Ok(open)
}

/// The terminal that controls a process.
pub fn controlling_terminal(process: &Process) -> Option<Arc<TerminalDevice>> {
    let session = process::TABLE.lock().identifiers.session(process.id)?;
    controlling(process, session)
}

/// A session leader has ended: its terminal, if it has one, is free again, and who used it is told.
pub fn session_leader_ends(process: &Arc<Process>) {
    if !process::TABLE.lock().identifiers.is_session_leader(process.id) {
        return;
    }
    let device = SESSIONS.lock().remove(&process.id);
    let Some(device) = device else { return };
    let group = device.terminal.disassociate(process.id);
    // On a pseudo-terminal, what another session has open stays of use.
    if device.master.is_some() {
        return send(group, Signal::HUP.number().into());
    }
    device.hang_up_files();
    hang_up_group(group);
}
