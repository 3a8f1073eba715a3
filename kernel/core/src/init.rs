//! Process 1 and what must be there before it.

use crate::command_line::RealmPolicy;
use crate::process::{self, FreshId, Identity, Inheritance, Place, Process};
use crate::thread::{Caller, Thread, ThreadSignals};
use crate::{
    boot, console_terminal, devices, entropy, exec, executor, file_systems, log, vdso, virtio_devices,
};
use ::process::credentials::Credentials;
use ::process::limits::{Limits, Resource};
use ::process::signal::action::Protection;
use ::process::signal::{SignalActions, SignalSet};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use arch_riscv64::trap::{UserContext, register};
use base::hal::direct_map;
use base::sync::SpinLock;
use base::task::Priority;
use base::{Error, Result};
use vfs::file_table::OnExec;
use vfs::mount::MountFlags;
use vfs::path::Follow;
use vfs::{At, Context, FileKind, FileTable, Location, Mount, OpenFile, OpenFlags, namespace};

/// Where process 1 is looked for when nobody says.
const CANDIDATES: [&str; 5] = ["/init", "/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// What process 1 reads and writes until it opens something else.
const CONSOLE_PATH: &[u8] = b"/dev/console";

/// The first coroutine: makes the root file system and process 1.
pub async fn run() {
    if let Err(error) = start().await {
        log!("there is no process 1: {error}");
        panic!("there is no process 1: {error}");
    }
}

async fn start() -> Result<()> {
    let seed = &boot::system().machine.chosen.rng_seed;
    entropy::reseed(seed, seed.len() as u32 * 8);
    crate::time::start_wall_clock();
    vdso::initialise().await?;
    console_terminal::start()?;
    devices::register()?;
    let root = make_root().await?;
    unpack(&root).await?;
    let options = &boot::system().options;
    let mut error = Error::NotFound;
    let chosen: Vec<String> = match &options.init {
        Some(path) => vec![path.clone()],
        None => CANDIDATES.iter().map(|path| String::from(*path)).collect(),
    };
    for path in chosen {
        match start_process(&root, path.as_bytes()).await {
            Ok(()) => {
                // Behind process 1, which does not wait for it.
                executor::spawn(Priority::NORMAL, async { virtio_devices::start() })?;
                return Ok(());
            }
            Err(found) => {
                log!("{path} cannot be process 1: {found}");
                error = found;
            }
        }
    }
    Err(error)
}

async fn make_root() -> Result<Location> {
    file_systems::initialise().await?;
    crate::procfs::register()?;
    crate::sysfs::register()?;
    crate::pseudo_terminal::register()?;
    let mut options = vfs::tmpfs::Options::default();
    options.root.permissions = 0o755;
    let file_system = vfs::tmpfs::Tmpfs::named("rootfs", devices::environment().clone(), options);
    let root = Mount::new(file_system, b"rootfs", MountFlags::empty()).top();
    let credentials = vfs::Credentials::root();
    let context = Context { root: &root, credentials: &credentials, umask: 0 };
    // What Linux's own first root image has.
    namespace::make_directory(&context, At::new(&root, b"/dev"), 0o755).await?;
    namespace::make_directory(&context, At::new(&root, b"/root"), 0o700).await?;
    let (kind, number) = (FileKind::CharacterDevice, console_terminal::CONSOLE);
    namespace::make_node(&context, At::new(&root, CONSOLE_PATH), kind, 0o600, number).await?;
    Ok(root)
}

/// Unpacks the initial root image and frees its memory.
async fn unpack(root: &Location) -> Result<()> {
    let Some(region) = boot::system().machine.chosen.initial_ram_disk else {
        log!("no initial root image");
        return Ok(());
    };
    // SAFETY: the boot loader put the image there, and `memory_map` kept it out of the free memory.
    let archive = unsafe { core::slice::from_raw_parts(direct_map(region.start), region.size) };
    let credentials = vfs::Credentials::root();
    let context = Context { root, credentials: &credentials, umask: 0 };
    match vfs::cpio::unpack(&context, root, archive, None).await {
        Ok(summary) => log!("root image: {} members, {} bytes", summary.members, summary.content),
        Err(error) => log!("root image: {error}"),
    }
    let end = region.start + region.size;
    // SAFETY: nobody reads the image any more.
    unsafe { memory::frames::add_region(region.start..end) }
}

/// The descriptors 0, 1 and 2 of process 1: the console, whatever the root image has made of its node.
async fn open_console(root: &Location) -> Result<FileTable> {
    let files = FileTable::new();
    let Some(console) = console_terminal::open() else { return Ok(files) };
    let credentials = vfs::Credentials::root();
    let context = Context { root, credentials: &credentials, umask: 0 };
    let found = namespace::resolve(&context, At::new(root, CONSOLE_PATH), Follow::Yes).await;
    let location = found.unwrap_or_else(|_| root.clone());
    let open = OpenFile::from_file(console, location, OpenFlags::READ_WRITE);
    for _ in 0..3 {
        files.insert(open.clone(), OnExec::Keep, 3)?;
    }
    Ok(files)
}

async fn start_process(root: &Location, path: &[u8]) -> Result<()> {
    let options = &boot::system().options;
    let identity = Identity::new(Credentials::root());
    let place = Place { root: root.clone(), current: root.clone(), umask: 0o022 };
    let limits = Limits::new(process::THREADS_MAX);
    let mut arguments = vec![path.to_vec()];
    arguments.extend(options.init_arguments.iter().map(|argument| argument.as_bytes().to_vec()));
    let mut environment = vec![b"HOME=/".to_vec(), b"TERM=linux".to_vec()];
    for variable in &options.init_environment {
        let name = variable.split_inclusive('=').next().unwrap_or_default();
        environment.retain(|other| !other.starts_with(name.as_bytes()));
        environment.push(variable.as_bytes().to_vec());
    }
    let strings = exec::strings(arguments, environment, limits.soft(Resource::Stack))?;
    let loader = exec::Loader {
        place: &place,
        credentials: &identity.files,
        identity: &identity.credentials,
        no_new_privileges: false,
        limits: exec::memory_limits(&limits),
    };
    let context = Context { root, credentials: &identity.files, umask: 0 };
    let location = namespace::resolve(&context, At::new(root, path), Follow::Yes).await?;
    let loaded = loader.load(loader.open(location).await?, path, strings).await?;
    let quota = identity.user.signals.clone();
    let inheritance = Inheritance {
        space: loaded.space.clone(),
        files: Arc::new(open_console(root).await?),
        place: Arc::new(SpinLock::new(place)),
        identity,
        actions: Arc::new(SpinLock::new(SignalActions::new())),
    };
    let id = FreshId::allocate()?.keep();
    let files = inheritance.files.clone();
    let process = Process::new(id, inheritance, limits);
    process.signals.lock().protection = Protection::Init;
    let thread = Thread::new(id, process.clone(), ThreadSignals::new(SignalSet::EMPTY, quota), loaded.name);
    thread.set_isolated(options.realm == RealmPolicy::Isolated && boot::system().isolated_realm);
    let mut caller = Caller::new(thread.clone(), Box::new(UserContext::new()), loaded.space.clone(), files);
    crate::calls::enter_program(&mut caller, loaded);
    let runnable = thread.prepare(caller)?;
    {
        let mut table = process::TABLE.lock();
        table.identifiers.add_first_process(id);
        table.processes.insert(id, process.clone());
        table.add_thread(&thread);
    }
    boot::note_first_program();
    runnable.schedule();
    Ok(())
}

/// Sets the first registers of a program.
pub fn set_entry(context: &mut UserContext, entry: usize, stack_pointer: usize) {
    *context = UserContext::new();
    context.registers[register::PC] = entry;
    context.registers[register::SP] = stack_pointer;
}
