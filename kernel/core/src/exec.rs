//! Starting programs: from a file to an address space in which it can run, and from one program to the next.

use crate::process::{self, Identity, Place, TABLE};
use crate::signals;
use crate::thread::{ATTENTION_EXIT, Caller};
use crate::{entropy, translation, vdso};
use ::process::credentials::{Credentials, SetIds};
use ::process::elf::{self, Header, Image, Kind, Segment};
use ::process::limits::Resource;
use ::process::script::{self, Script};
use ::process::signal::AlternateStack;
use ::process::signal::frame::FRAME_SIZE;
use ::process::stack::{Auxiliary, InitialStack, Strings, hardware_capabilities};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::bytes::Sink;
use base::sync::SpinLock;
use base::sync::atomic::Ordering;
use base::{Error, Result};
use memory::space::{
    AddressSpace, Attributes, Bases, Limits, MapRequest, MappedObject, Placement, Protection, Sharing,
    randomise,
};
use vfs::metadata::{SET_GROUP_ID, SET_USER_ID};
use vfs::mount::MountFlags;
use vfs::tmpfs::TmpfsInode;
use vfs::{At, Context, Location, OpenFile, OpenFlags, namespace};

/// What the stack may grow to is mapped by and by; so much is there at once.
const INITIAL_STACK: usize = 32 * PAGE_SIZE;

/// The permission bit that makes a set-group-id bit one (without it, it once meant mandatory locking).
const GROUP_EXECUTE: u16 = 0o010;

/// A program that is ready to run.
pub struct Loaded {
    /// Its address space.
    pub space: Arc<AddressSpace>,
    /// Where it starts.
    pub entry: usize,
    /// Its first stack.
    pub stack: InitialStack,
    /// The program's file (the interpreter's, for a script).
    pub executable: Location,
    /// The last part of its path: what the process is called.
    pub name: [u8; 16],
    /// Where signal handlers return to.
    pub signal_return: usize,
    /// Who the process is when it runs it.
    pub credentials: Credentials,
    /// It got privileges from its file.
    pub secure: bool,
    /// Keeps its file from being written.
    pub execution: Option<Arc<Execution>>,
}

/// Who loads a program, and within which limits.
pub struct Loader<'a> {
    /// Where names start, and who asks.
    pub place: &'a Place,
    /// Who asks.
    pub credentials: &'a vfs::Credentials,
    /// Who asks, in full: what set-id bits change.
    pub identity: &'a Credentials,
    /// Set-id bits have no effect.
    pub no_new_privileges: bool,
    /// The new space's limits.
    pub limits: Limits,
}

/// The file of a program, opened, and its first bytes.
pub struct Program {
    file: Arc<OpenFile>,
    prefix: Vec<u8>,
    execution: Option<Arc<Execution>>,
}

/// A file that is being executed, and so cannot be written.
pub struct Execution {
    location: Location,
}

impl Execution {
    /// Begins it. `None` where the file system does not count.
    ///
    /// # Errors
    /// `TextBusy` while somebody has the file open for writing.
    fn begin(location: &Location) -> Result<Option<Arc<Execution>>> {
        let Some(inode) = location.inode().downcast_ref::<TmpfsInode>() else { return Ok(None) };
        inode.begin_execution()?;
        Ok(Some(Arc::new(Execution { location: location.clone() })))
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        if let Some(inode) = self.location.inode().downcast_ref::<TmpfsInode>() {
            inode.end_execution();
        }
    }
}

async fn read_at(file: &OpenFile, offset: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| Error::OutOfMemory)?;
    bytes.resize(length, 0);
    let mut done = 0;
    while done < length {
        let count = file.read_at(&mut Sink::new(&mut bytes[done..]), offset + done as u64).await?;
        if count == 0 {
            break;
        }
        done += count;
    }
    bytes.truncate(done);
    Ok(bytes)
}

impl Loader<'_> {
    fn context(&self) -> Context<'_> {
        Context { root: &self.place.root, credentials: self.credentials, umask: self.place.umask }
    }

    async fn open_path(&self, base: &Location, path: &[u8]) -> Result<Program> {
        let at = At::new(base, path);
        let location = namespace::resolve(&self.context(), at, vfs::path::Follow::Yes).await?;
        self.open(location).await
    }

    /// Opens the file of a program.
    ///
    /// # Errors
    /// `AccessDenied`, `TextBusy`, and what its file system finds.
    pub async fn open(&self, location: Location) -> Result<Program> {
        if location.kind() != vfs::FileKind::Regular
            || location.mount.flags().contains(MountFlags::NO_EXECUTE)
        {
            return Err(Error::AccessDenied);
        }
        namespace::access(&self.context(), &location, vfs::credentials::Permission::EXECUTE)?;
        let execution = Execution::begin(&location)?;
        let file = OpenFile::open(location, OpenFlags::empty(), vfs::open_file::Opener::Ordinary).await?;
        let prefix = read_at(&file, 0, elf::PREFIX_LENGTH).await?;
        Ok(Program { file, prefix, execution })
    }

    /// Loads a program; `path` is what it was called.
    ///
    /// # Errors
    /// Those of `execve(2)`.
    pub async fn load(&self, mut program: Program, path: &[u8], mut strings: Strings) -> Result<Loaded> {
        let mut path = path.to_vec();
        let name = name_of(&path);
        for _ in 0..script::NESTING_MAX {
            if !script::is_script(&program.prefix) {
                return self.load_image(program, &path, name, &strings).await;
            }
            let parsed = Script::parse(&program.prefix)?;
            strings.prepend_interpreter(parsed.interpreter, parsed.argument, &path)?;
            path = parsed.interpreter.to_vec();
            program = self.open_path(&self.place.current, &path).await?;
        }
        Err(Error::TooManySymbolicLinks)
    }

    async fn load_image(
        &self,
        program: Program,
        path: &[u8],
        name: [u8; 16],
        strings: &Strings,
    ) -> Result<Loaded> {
        let image = parse(&program).await?;
        let interpreter = match image.interpreter {
            Some(range) => {
                let bytes = read_at(&program.file, range.offset, range.length).await?;
                let interpreter = self.open_path(&self.place.current, elf::interpreter_path(&bytes)?).await?;
                let image = parse(&interpreter).await?;
                Some((interpreter, image))
            }
            None => None,
        };
        let mut credentials = self.identity.clone();
        let secure = credentials.exec(self.set_ids(&program).await?);
        let bases = randomise(entropy::words(), self.limits.stack);
        let space = AddressSpace::new(translation::environment(), self.limits, bases)?;
        let bias = bias_for(&image, bases.executable as u64);
        map_image(&space, &program.file, &image, bias, Placing::Fixed).await?;
        let heap = (image.break_start + bias) as usize + bases.heap_offset;
        space.set_heap_start(VirtualAddress::new(heap.next_multiple_of(PAGE_SIZE))).await;
        let (entry, interpreter_base) = match &interpreter {
            Some((file, interpreter)) => {
                let bias = map_image(&space, &file.file, interpreter, 0, Placing::of(interpreter)).await?;
                (interpreter.header.entry + bias, bias)
            }
            None => (image.header.entry + bias, 0),
        };
        let vdso = vdso::map(&space).await?;
        let signal_return = vdso.signal_return.value();
        let mut auxiliary = Self::auxiliary(&image, bias, interpreter_base);
        auxiliary.vdso = vdso.header.value() as u64;
        auxiliary.secure = secure;
        let (user, group) = (credentials.user, credentials.group);
        auxiliary.identities = [user.real, user.effective, group.real, group.effective];
        let stack = self.map_stack(&space, &bases, &image, strings, path, &auxiliary).await?;
        let executable = program.file.location().clone();
        Ok(Loaded {
            space,
            entry: entry as usize,
            stack,
            executable,
            name,
            signal_return,
            credentials,
            secure: secure != 0,
            execution: program.execution,
        })
    }

    /// What the set-id bits of a program's file do, where they are honoured.
    async fn set_ids(&self, program: &Program) -> Result<SetIds> {
        let location = program.file.location();
        if self.no_new_privileges || location.mount.flags().contains(MountFlags::NO_SET_ID) {
            return Ok(SetIds::default());
        }
        let owner = namespace::metadata(location).await?.ownership;
        let has = |bits: u16| owner.permissions & bits == bits;
        Ok(SetIds {
            user: has(SET_USER_ID).then_some(owner.uid),
            group: has(SET_GROUP_ID | GROUP_EXECUTE).then_some(owner.gid),
        })
    }

    fn auxiliary(image: &Image, bias: u64, interpreter_base: u64) -> Auxiliary {
        Auxiliary {
            program_headers: image.program_headers_address.map_or(0, |address| address + bias),
            program_headers_count: image.header.program_headers_count.into(),
            interpreter_base,
            entry: image.header.entry + bias,
            identities: [0; 4],
            secure: 0,
            hardware_capabilities: hardware_capabilities(b"imafdc"),
            vdso: 0,
            minimum_signal_stack: FRAME_SIZE as u64,
        }
    }

    async fn map_stack(
        &self,
        space: &Arc<AddressSpace>,
        bases: &Bases,
        image: &Image,
        strings: &Strings,
        path: &[u8],
        auxiliary: &Auxiliary,
    ) -> Result<InitialStack> {
        let top = VirtualAddress::new(bases.stack);
        let mut random = [0; 16];
        entropy::fill(&mut random);
        let stack = InitialStack::build(top, strings, path, auxiliary, random)?;
        let needed = stack.bytes.len().next_multiple_of(PAGE_SIZE) + INITIAL_STACK;
        let mut protection = Protection::READ | Protection::WRITE;
        protection.set(Protection::EXECUTE, image.executable_stack);
        let mut request = MapRequest::anonymous(needed, protection);
        request.placement = Placement::Fixed(VirtualAddress::new(bases.stack - needed));
        request.attributes = Attributes::GROWS_DOWN | Attributes::STACK;
        space.map(request).await?;
        space.write_bytes(stack.stack_pointer, &stack.bytes).await?;
        Ok(stack)
    }
}

async fn parse(program: &Program) -> Result<Image> {
    let header = Header::parse(&program.prefix)?;
    let range = header.program_headers();
    let headers = read_at(&program.file, range.offset, range.length).await?;
    let length = vfs::namespace::metadata(program.file.location()).await?.size;
    Image::parse(header, &headers, length)
}

/// The last part of a path, cut to what a name holds.
fn name_of(path: &[u8]) -> [u8; 16] {
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let mut name = [0; 16];
    let count = last.len().min(15);
    name[..count].copy_from_slice(&last[..count]);
    name
}

/// How far from the file's addresses a program is mapped.
fn bias_for(image: &Image, executable_base: u64) -> u64 {
    match image.header.kind {
        Kind::Fixed => 0,
        Kind::Relocatable => (executable_base & !(image.alignment - 1)) - image.start,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Placing {
    /// Where the file, and the bias that was given, say.
    Fixed,
    /// Wherever there is room for all of it.
    Anywhere,
}

impl Placing {
    fn of(image: &Image) -> Self {
        match image.header.kind {
            Kind::Fixed => Placing::Fixed,
            Kind::Relocatable => Placing::Anywhere,
        }
    }
}

/// Maps all segments; returns the bias.
async fn map_image(
    space: &Arc<AddressSpace>,
    file: &Arc<OpenFile>,
    image: &Image,
    bias: u64,
    placing: Placing,
) -> Result<u64> {
    let object = file.mapped_object().map_err(|_| Error::ExecFormat)?;
    let bias = match placing {
        Placing::Fixed => bias,
        Placing::Anywhere => {
            // Reserves the whole span in one piece; the segments are then mapped over it.
            let span = (image.end - image.start) as usize;
            let found = space.map(MapRequest::anonymous(span, Protection::empty())).await?;
            space.unmap(found, span).await?;
            found.value() as u64 - image.start
        }
    };
    for segment in &image.segments {
        map_segment(space, &object, segment, bias).await?;
    }
    Ok(bias)
}

async fn map_segment(
    space: &Arc<AddressSpace>,
    object: &Arc<dyn MappedObject>,
    segment: &Segment,
    bias: u64,
) -> Result<()> {
    let protection = Protection::from_bits_truncate(segment.protection.bits() as u8);
    let at = |address: u64| Placement::Fixed(VirtualAddress::new((address + bias) as usize));
    if segment.file_length > 0 {
        let length = segment.file_length as usize;
        let request =
            MapRequest::object(object.clone(), segment.file_offset, length, protection, Sharing::Private);
        space.map(request.at(at(segment.address))).await?;
    }
    if segment.zero_length > 0 {
        let start = VirtualAddress::new((segment.zero_address + bias) as usize);
        space.fill_zero(start, segment.zero_length as usize).await?;
    }
    if segment.anonymous_length > 0 {
        let request = MapRequest::anonymous(segment.anonymous_length as usize, protection);
        space.map(request.at(at(segment.anonymous_address))).await?;
    }
    Ok(())
}

/// The strings of a vector in the kernel, for process 1.
///
/// # Errors
/// `ArgumentListTooLong`.
pub fn strings(arguments: Vec<Vec<u8>>, environment: Vec<Vec<u8>>, stack_limit: u64) -> Result<Strings> {
    let mut strings = Strings::new(stack_limit);
    for argument in arguments {
        strings.push_argument(argument)?;
    }
    for variable in environment {
        strings.push_environment(variable)?;
    }
    Ok(strings)
}

/// The limits of a process as its address space has them.
pub fn memory_limits(limits: &::process::limits::Limits) -> Limits {
    let of = |resource| usize::try_from(limits.soft(resource)).unwrap_or(usize::MAX);
    Limits {
        address_space: of(Resource::AddressSpace),
        data: of(Resource::Data),
        stack: of(Resource::Stack),
        locked: of(Resource::LockedMemory),
    }
}

/// Ends all other threads of the caller's process and waits until they are gone; the caller then is the first thread.
///
/// # Errors
/// `Interrupted` when the caller itself must end.
pub async fn become_only_thread(caller: &Caller) -> Result<()> {
    let (thread, process) = (&caller.thread, caller.process());
    {
        let mut state = process.state.lock();
        // Whoever was faster ends this thread.
        if state.ending.is_some() || state.replacing {
            return Err(Error::Interrupted);
        }
        state.replacing = true;
        for other in state.threads.iter().filter(|other| !Arc::ptr_eq(other, thread)) {
            other.notify(ATTENTION_EXIT);
        }
    }
    let settled = || (process.state.lock().threads.len() == 1 || thread.must_exit()).then_some(());
    process.children_changed.wait_until(settled).await;
    let mut table = TABLE.lock();
    let mut state = process.state.lock();
    state.replacing = false;
    if thread.must_exit() {
        return Err(Error::Interrupted);
    }
    state.leader_status = None;
    let id = thread.id();
    if id != process.id {
        table.threads.remove(&id);
        table.identifiers.release(id);
        thread.set_id(process.id);
        table.threads.insert(process.id, thread.clone());
    }
    Ok(())
}

/// A program that takes the place of another.
pub struct Replacement<'a> {
    /// The new program.
    pub loaded: Loaded,
    /// Who the process was.
    pub former: &'a Arc<Identity>,
}

/// Makes the only thread of a process run another program. From here on nothing can fail.
pub async fn replace_program(caller: &mut Caller, replacement: Replacement<'_>) {
    let Replacement { loaded, former } = replacement;
    let process = caller.process().clone();
    crate::futex::thread_leaves(caller).await;
    crate::futex::tell_end(caller).await;
    crate::futex_inheritance::thread_leaves(&caller.thread);
    let shared = process.signals.lock().actions.clone();
    let mut actions = shared.lock().clone();
    actions.reset_for_exec();
    // Others that share them keep theirs.
    let replaced = core::mem::replace(&mut process.signals.lock().actions, Arc::new(SpinLock::new(actions)));
    drop((shared, replaced));
    // This thread and the process have one reference each; whatever else there is may be another process.
    if Arc::strong_count(&caller.files) > 2 {
        let files = Arc::new(caller.files.duplicate());
        let former = process.state.lock().files.replace(files.clone());
        drop((former, core::mem::replace(&mut caller.files, files)));
    }
    caller.files.sweep_on_exec();
    process.posix_timers.clear();
    caller.thread.signals.lock().alternate = AlternateStack::default();
    if loaded.credentials != former.credentials {
        process.set_identity(Identity::new(loaded.credentials.clone()));
    }
    if loaded.secure {
        process.death_signal.store(0, Ordering::Relaxed);
    }
    process.set_trait(process::traits::DUMPABLE, !loaded.secure);
    process.set_trait(process::traits::BARRIERS, false);
    process.exit_signal.store(::process::signal::Signal::CHLD.number().into(), Ordering::Relaxed);
    TABLE.lock().identifiers.note_exec(process.id);
    crate::calls::enter_program(caller, loaded);
    process.release_vfork();
    caller.call.registers_replaced = true;
    signals::look_again(&caller.thread);
}
