//! Pseudo-terminals: a terminal whose other side is a program, and `devpts`, where such terminals have their names.
//!
//! Opening `/dev/ptmx` makes a pair. What is written to the [`Master`] is typed at the terminal; what programs write to the
//! terminal is read from the master, through a [`Channel`]. The terminal is an ordinary one (`terminal_device.rs`), whose
//! node is `/dev/pts/N` for as long as the master is open. Its number is free again once nobody has it open either.
//!
//! # Locks
//! The terminal calls [`Output::write`] under its lock, which takes the channel's. Nothing else is called under that one, and
//! those who wait for the master are woken when the terminal's lock has been let go of ([`Channel::announce`]).

use crate::file_systems::{self, FileSystemType, MountRequest, Storage};
use crate::terminal_device::{self, OpenedAs, TerminalDevice};
use crate::thread::Caller;
use crate::{devices, process, signals};
use ::process::signal::{SigInfo, Signal};
use abi::linux::ioctl;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::address::VirtualAddress;
use base::bytes::{Sink, Source};
use base::operation::Operation;
use base::sync::{OnceCell, SpinLock, WaitQueue};
use base::{Error, Result};
use terminal::{Output, Request, Terminal, WindowSize};
use vfs::environment::Device;
use vfs::inode::{DirectoryEntry, EntryVisitor, Opened, WaitQueues, WritePosition, Written};
use vfs::metadata::{DeviceNumber, Metadata, MetadataChange, Ownership};
use vfs::synthetic::{Entries, FIRST_DYNAMIC_COOKIE, Origin, SyntheticDirectory, SyntheticFileSystem};
use vfs::{Dentry, File, FileKind, FileSystem, Inode, Location, Mount, OpenFile, OpenFlags, Readiness};

/// `/dev/ptmx`
pub const MULTIPLEXER: DeviceNumber = DeviceNumber::new(5, 2);
/// The driver of the terminals (`UNIX98_PTY_SLAVE_MAJOR`).
const TERMINAL_MAJOR: u32 = 136;
/// `DEVPTS_SUPER_MAGIC`
const MAGIC: u64 = 0x1cd1;
/// The inode number of the first terminal.
const FIRST_INODE: u64 = 3;
/// Terminals at most (`kernel.pty.max`).
const PAIRS_MAX: u32 = 4096;
/// Who may use a new terminal: its owner, and the group `tty` may write to it.
const PERMISSIONS: u16 = 0o620;
/// The group `tty`.
const GROUP: u32 = 5;
/// What programs have written and the master has not read, at most, in bytes.
const CHANNEL_SIZE: usize = 4096;
/// How many bytes are typed at a time.
const TYPED_AT_ONCE: usize = 256;

static FILE_SYSTEM: OnceCell<Arc<dyn FileSystem>> = OnceCell::new();
static MOUNT: OnceCell<Arc<Mount>> = OnceCell::new();
/// The terminals that have a name, by their number.
static NAMED: SpinLock<BTreeMap<u32, Arc<Node>>> = SpinLock::new(BTreeMap::new());
/// Numbers in use, of terminals with and without a name.
static NUMBERS: SpinLock<Vec<bool>> = SpinLock::new(Vec::new());

/// A number in use.
struct Number(u32);

impl Number {
    fn lowest_free() -> Result<Self> {
        let mut numbers = NUMBERS.lock();
        let index = numbers.iter().position(|used| !used).unwrap_or(numbers.len());
        if index as u32 >= PAIRS_MAX {
            return Err(Error::NoSpace);
        }
        if index == numbers.len() {
            numbers.push(true);
        }
        numbers[index] = true;
        Ok(Self(index as u32))
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        NUMBERS.lock()[self.0 as usize] = false;
    }
}

/// What goes from the terminal to the master.
pub struct Channel {
    state: SpinLock<ChannelState>,
    /// Where who reads from the master waits.
    readers: WaitQueue,
    /// Free again with the channel: when neither side is open.
    number: Number,
}

struct ChannelState {
    bytes: VecDeque<u8>,
    /// `TIOCSPTLCK`: the terminal cannot be opened yet.
    locked: bool,
    /// Open files of the terminal.
    opened: usize,
    /// The terminal was opened, so that having no open files means its end.
    was_opened: bool,
}

impl Channel {
    /// To be called when the terminal's programs have written: wakes who reads from the master.
    pub fn announce(&self) {
        self.readers.wake_all();
    }

    /// The terminal was opened once more.
    pub fn opened(&self) {
        let mut state = self.state.lock();
        state.opened += 1;
        state.was_opened = true;
    }

    /// One of the terminal's open files is gone.
    pub fn closed(&self) {
        self.state.lock().opened -= 1;
        self.readers.wake_all();
    }

    fn has_ended(state: &ChannelState) -> bool {
        state.was_opened && state.opened == 0
    }
}

struct ToMaster(Arc<Channel>);

impl Output for ToMaster {
    fn write(&self, bytes: &[u8]) -> usize {
        let mut state = self.0.state.lock();
        let count = bytes.len().min(CHANNEL_SIZE - state.bytes.len());
        state.bytes.extend(&bytes[..count]);
        count
    }
}

/// The side of a pair that is no terminal.
pub struct Master {
    device: Arc<TerminalDevice>,
    channel: Arc<Channel>,
}

impl Master {
    fn new() -> Result<Arc<Self>> {
        let number = Number::lowest_free()?;
        let index = number.0;
        let state = ChannelState { bytes: VecDeque::new(), locked: true, opened: 0, was_opened: false };
        let channel = Arc::new(Channel { state: SpinLock::new(state), readers: WaitQueue::new(), number });
        let terminal = Terminal::new(Box::new(ToMaster(channel.clone())), WindowSize::default());
        let device_number = DeviceNumber::new(TERMINAL_MAJOR + (index >> 8), index & 0xff);
        let device = TerminalDevice::with_master(terminal, device_number, channel.clone());
        let ownership = Ownership { permissions: PERMISSIONS, uid: 0, gid: GROUP };
        let node = Arc::new(Node {
            index,
            device: Arc::downgrade(&device),
            number: device_number,
            ownership: SpinLock::new(ownership),
            created_ns: devices::environment().clock.now_ns(),
        });
        devices::environment().register(
            FileKind::CharacterDevice,
            device_number,
            Arc::new(NodeDevice(node.clone())),
        )?;
        let former = NAMED.lock().insert(index, node);
        drop(former);
        Ok(Arc::new(Self { device, channel }))
    }

    fn index(&self) -> u32 {
        self.channel.number.0
    }

    /// Makes the terminal's node somebody's: who opened the master.
    pub fn set_owner(&self, uid: u32) {
        let node = NAMED.lock().get(&self.index()).cloned();
        if let Some(node) = node {
            node.ownership.lock().uid = uid;
        }
    }

    fn read_now(&self, sink: &mut Sink<'_>) -> Result<usize> {
        let count = {
            let mut state = self.channel.state.lock();
            if state.bytes.is_empty() && sink.remaining() > 0 {
                let ended = Channel::has_ended(&state);
                return Err(if ended { Error::InputOutput } else { Error::WouldBlock });
            }
            let (first, second) = state.bytes.as_slices();
            let count = sink.copy_from(first);
            let count = if count == first.len() { count + sink.copy_from(second) } else { count };
            state.bytes.drain(..count);
            count
        };
        if count > 0 {
            self.device.terminal.drain();
        }
        Ok(count)
    }

    fn write_now(&self, source: &mut Source<'_>) -> Result<usize> {
        let mut total = 0;
        while source.remaining() > 0 {
            let mut bytes = [0; TYPED_AT_ONCE];
            let wanted = source.remaining().min(TYPED_AT_ONCE).min(self.device.terminal.input_available());
            if wanted == 0 {
                break;
            }
            let count = source.copy_to(&mut bytes[..wanted]);
            total += self.type_bytes(&bytes[..count]);
        }
        self.channel.announce();
        if total == 0 { Err(Error::WouldBlock) } else { Ok(total) }
    }

    /// Types bytes for which there is room; those that another writer left no room for are lost, as they are when nobody
    /// reads on a serial line.
    fn type_bytes(&self, bytes: &[u8]) -> usize {
        let received = self.device.terminal.receive(bytes);
        for signal in received.signals.numbers() {
            terminal_device::send(received.foreground, signal);
        }
        bytes.len()
    }
}

impl File for Master {
    fn read<'a>(&'a self, sink: &'a mut Sink<'_>, _offset: u64) -> Operation<'a, Result<usize>> {
        Operation::Ready(self.read_now(sink))
    }

    fn write<'a>(&'a self, source: &'a mut Source<'_>, _: WritePosition) -> Operation<'a, Result<Written>> {
        if source.remaining() == 0 {
            return Operation::Ready(Ok(Written { count: 0, end: 0 }));
        }
        Operation::Ready(self.write_now(source).map(|count| Written { count, end: 0 }))
    }

    fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::empty();
        {
            let state = self.channel.state.lock();
            let ended = Channel::has_ended(&state);
            readiness.set(Readiness::READABLE, !state.bytes.is_empty());
            readiness.set(Readiness::HANG_UP, ended);
        }
        readiness.set(Readiness::WRITABLE, self.device.terminal.input_available() > 0);
        readiness
    }

    fn wait_queues(&self, interest: Readiness) -> WaitQueues<'_> {
        let room = self.device.terminal.input_room();
        match (interest.intersects(Readiness::READABLE), interest.intersects(Readiness::WRITABLE)) {
            (true, true) => WaitQueues { first: Some(&self.channel.readers), second: Some(room) },
            (false, true) => WaitQueues::one(room),
            (_, false) => WaitQueues::one(&self.channel.readers),
        }
    }

    fn seekable(&self) -> bool {
        false
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let index = self.index();
        let node = NAMED.lock().remove(&index);
        drop(node);
        drop(devices::environment().unregister(FileKind::CharacterDevice, self.device.number));
        let session = self.device.terminal.session();
        let group = self.device.terminal.hang_up();
        self.device.hang_up_files();
        terminal_device::forget_session(session, &self.device);
        if let Some(leader) = process::find(session) {
            for signal in [Signal::HUP, Signal::CONT] {
                signals::send_to_process(&leader, SigInfo::kernel(signal));
            }
        }
        terminal_device::send(group, Signal::HUP.number().into());
        terminal_device::send(group, Signal::CONT.number().into());
    }
}

/// The master that a file is, if it is one.
pub fn of(file: &OpenFile) -> Option<&Master> {
    if file.location().kind() != FileKind::CharacterDevice {
        return None;
    }
    file.file().downcast_ref::<Master>()
}

/// `ioctl` of a master: what is about the pair is done here, the rest is the terminal's.
///
/// # Errors
/// `NotTerminal` for a request that is not known; `InvalidArgument` for packets (`TIOCPKT`), which are not implemented.
pub async fn control(caller: &Caller, master: &Master, request: u32, argument: usize) -> Result<usize> {
    let address = VirtualAddress::new(argument);
    let answer: u32 = match request {
        ioctl::TIOCGPTN => master.index(),
        ioctl::TIOCGPTLCK => u32::from(master.channel.state.lock().locked),
        ioctl::TIOCSPTLCK => {
            let locked = caller.space.read_object::<i32>(address).await? != 0;
            master.channel.state.lock().locked = locked;
            return Ok(0);
        }
        ioctl::TIOCGPKT => 0,
        ioctl::TIOCPKT => {
            // Packets are not implemented; see docs/status.md.
            let on = caller.space.read_object::<i32>(address).await? != 0;
            return if on { Err(Error::InvalidArgument) } else { Ok(0) };
        }
        ioctl::TIOCGPTPEER => return open_peer(caller, master, argument),
        ioctl::TIOCSIG => {
            let signal = Signal::new(argument as u32).ok_or(Error::InvalidArgument)?;
            terminal_device::send(master.device.terminal.foreground(), signal.number().into());
            return Ok(0);
        }
        ioctl::FIONREAD => master.channel.state.lock().bytes.len() as u32,
        ioctl::TIOCOUTQ => 0,
        _ => return control_terminal(caller, master, request, argument).await,
    };
    caller.space.write_object(address, &answer).await?;
    Ok(0)
}

/// Requests that mean the terminal, whichever side they are made on.
async fn control_terminal(caller: &Caller, master: &Master, request: u32, argument: usize) -> Result<usize> {
    match Request::decode(request).ok_or(Error::NotTerminal)? {
        Request::AcquireControl | Request::ReleaseControl => Err(Error::NotTerminal),
        Request::Drain | Request::Insert | Request::ControlFlow => Ok(0),
        request => {
            terminal_device::control_from_master(caller, &master.device, request, argument).await?;
            master.channel.announce();
            Ok(0)
        }
    }
}

/// `TIOCGPTPEER`: a descriptor of the terminal, wherever `devpts` is mounted.
fn open_peer(caller: &Caller, master: &Master, flags: usize) -> Result<usize> {
    let flags = OpenFlags::from_bits_truncate(flags as u32);
    let mount = MOUNT.get().ok_or(Error::InputOutput)?;
    let node = NAMED.lock().get(&master.index()).cloned().ok_or(Error::InputOutput)?;
    let label = format!("/dev/pts/{}", master.index());
    let file = node.open_terminal()?;
    let location = Location { mount: mount.clone(), dentry: Dentry::anonymous(node, label.as_bytes()) };
    let open = OpenFile::from_file(file, location, flags | OpenFlags::LARGE_FILE);
    let open = terminal_device::opened(caller, open, flags)?;
    let on_exec = crate::calls::descriptors::on_exec(flags.contains(OpenFlags::CLOSE_ON_EXEC));
    Ok(caller.files.insert(open, on_exec, crate::calls::descriptors::limit(caller))? as usize)
}

/// The device of `/dev/ptmx`.
struct MultiplexerDevice;

impl Device for MultiplexerDevice {
    fn open(&self, _: OpenFlags) -> Operation<'static, Result<Arc<dyn File>>> {
        Operation::Ready(Master::new().map(|master| master as Arc<dyn File>))
    }
}

/// `/dev/pts/N`
struct Node {
    index: u32,
    device: Weak<TerminalDevice>,
    number: DeviceNumber,
    ownership: SpinLock<Ownership>,
    created_ns: i64,
}

impl Node {
    fn open_terminal(&self) -> Result<Arc<dyn File>> {
        let device = self.device.upgrade().ok_or(Error::InputOutput)?;
        let locked = device.master().is_none_or(|channel| channel.state.lock().locked);
        if locked { Err(Error::InputOutput) } else { Ok(device.open(OpenedAs::Terminal)) }
    }
}

/// The same by its number, for nodes that somebody made elsewhere.
struct NodeDevice(Arc<Node>);

impl Device for NodeDevice {
    fn open(&self, _: OpenFlags) -> Operation<'static, Result<Arc<dyn File>>> {
        Operation::Ready(self.0.open_terminal())
    }
}

impl File for Node {
    fn seekable(&self) -> bool {
        false
    }
}

impl Inode for Node {
    fn number(&self) -> u64 {
        FIRST_INODE + u64::from(self.index)
    }

    fn kind(&self) -> FileKind {
        FileKind::CharacterDevice
    }

    fn ownership(&self) -> Ownership {
        *self.ownership.lock()
    }

    fn special_device(&self) -> DeviceNumber {
        self.number
    }

    fn metadata(&self) -> Operation<'_, Result<Metadata>> {
        Operation::Ready(Ok(Metadata {
            number: self.number(),
            device: FILE_SYSTEM.get().map(|system| system.device()).unwrap_or_default(),
            kind: FileKind::CharacterDevice,
            ownership: self.ownership(),
            link_count: 1,
            size: 0,
            special_device: self.number,
            accessed_ns: self.created_ns,
            modified_ns: self.created_ns,
            changed_ns: self.created_ns,
            blocks: 0,
            block_size: 1024,
        }))
    }

    fn set_metadata<'a>(&'a self, change: &'a MetadataChange) -> Operation<'a, Result<()>> {
        if change.size.is_some() {
            return Operation::Ready(Err(Error::InvalidArgument));
        }
        let mut ownership = self.ownership.lock();
        ownership.permissions = change.permissions.unwrap_or(ownership.permissions);
        ownership.uid = change.uid.unwrap_or(ownership.uid);
        ownership.gid = change.gid.unwrap_or(ownership.gid);
        Operation::Ready(Ok(()))
    }

    fn open(self: Arc<Self>, _: OpenFlags) -> Operation<'static, Result<Opened>> {
        Operation::Ready(self.open_terminal().map(Opened::File))
    }
}

/// The terminals that have a name.
struct Terminals;

impl Entries for Terminals {
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let digits = core::str::from_utf8(name).map_err(|_| Error::NotFound)?;
        if digits.len() > 1 && digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::NotFound);
        }
        let index = digits.parse().map_err(|_| Error::NotFound)?;
        match NAMED.lock().get(&index) {
            Some(node) => Ok(node.clone()),
            None => Err(Error::NotFound),
        }
    }

    fn list(&self, cookie: u64, visitor: &mut EntryVisitor<'_>) {
        let mut next = (cookie - FIRST_DYNAMIC_COOKIE) as u32;
        loop {
            let found = NAMED.lock().range(next..).next().map(|(index, node)| (*index, node.number()));
            let Some((index, number)) = found else { return };
            next = index + 1;
            let name = format!("{index}");
            let entry = DirectoryEntry {
                name: name.as_bytes(),
                number,
                kind: FileKind::CharacterDevice,
                cookie: FIRST_DYNAMIC_COOKIE + u64::from(next),
            };
            if visitor(entry).is_break() {
                return;
            }
        }
    }
}

/// Makes `devpts` known to `mount(2)`, and puts the multiplexer behind its number.
///
/// # Errors
/// None that could happen at boot.
pub fn register() -> Result<()> {
    let origin = Origin::new(file_systems::environment().clone(), 1);
    let root = SyntheticDirectory::with_entries(origin.node(0o755), Terminals);
    let file_system: Arc<dyn FileSystem> = SyntheticFileSystem::new("devpts", MAGIC, &origin, root);
    let mount = Mount::new(file_system.clone(), b"devpts", vfs::mount::MountFlags::empty());
    // Set once, at boot.
    let _ = (FILE_SYSTEM.set(file_system), MOUNT.set(mount));
    file_systems::register(FileSystemType { name: "devpts", storage: Storage::None, mount: make_mount });
    let environment = file_systems::environment();
    environment.register(FileKind::CharacterDevice, MULTIPLEXER, Arc::new(MultiplexerDevice))
}

/// There is one `devpts`; its options choose nothing.
fn make_mount<'a>(request: &'a MountRequest<'a>) -> Operation<'a, Result<Arc<Mount>>> {
    let Some(file_system) = FILE_SYSTEM.get() else { return Operation::Ready(Err(Error::NoDevice)) };
    Operation::Ready(Ok(Mount::new(file_system.clone(), request.source, request.flags)))
}
