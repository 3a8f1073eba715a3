//! Starting programs: from a file to an address space in which it can run.

use crate::process::Place;
use crate::{entropy, translation, vdso};
use ::process::elf::{self, Header, Image, Kind, Segment};
use ::process::script::{self, Script};
use ::process::signal::frame::FRAME_SIZE;
use ::process::stack::{Auxiliary, InitialStack, Strings, hardware_capabilities};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::{PAGE_SIZE, VirtualAddress};
use base::bytes::Sink;
use base::{Error, Result};
use memory::space::{
    AddressSpace, Attributes, Bases, Limits, MapRequest, MappedObject, Placement, Protection, Sharing, randomise,
};
use vfs::{At, Context, Location, OpenFile, OpenFlags, namespace};

/// What the stack may grow to is mapped by and by; so much is there at once.
const INITIAL_STACK: usize = 32 * PAGE_SIZE;

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
}

/// Who loads a program, and within which limits.
pub struct Loader<'a> {
    /// Where names start, and who asks.
    pub place: &'a Place,
    /// Who asks.
    pub credentials: &'a vfs::Credentials,
    /// Real and effective user, real and effective group.
    pub identities: [u32; 4],
    /// The new space's limits.
    pub limits: Limits,
}

/// The file of a program, opened, and its first bytes.
struct Program {
    file: Arc<OpenFile>,
    prefix: Vec<u8>,
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
        self.open_location(location).await
    }

    async fn open_location(&self, location: Location) -> Result<Program> {
        if location.kind() != vfs::FileKind::Regular {
            return Err(Error::AccessDenied);
        }
        namespace::access(&self.context(), &location, vfs::credentials::Permission::EXECUTE)?;
        let file = OpenFile::open(location, OpenFlags::empty(), vfs::open_file::Opener::Ordinary).await?;
        let prefix = read_at(&file, 0, elf::PREFIX_LENGTH).await?;
        Ok(Program { file, prefix })
    }

    /// Loads the program at `location` (an open file's, or what `path` names).
    ///
    /// # Errors
    /// Those of `execve(2)`.
    pub async fn load(&self, location: Location, path: &[u8], mut strings: Strings) -> Result<Loaded> {
        let mut program = self.open_location(location).await?;
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

    async fn load_image(&self, program: Program, path: &[u8], name: [u8; 16], strings: &Strings) -> Result<Loaded> {
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
        let signal_return = vdso::map(&space).await?.value();
        let auxiliary = self.auxiliary(&image, bias, interpreter_base);
        let stack = self.map_stack(&space, &bases, &image, strings, path, &auxiliary).await?;
        let executable = program.file.location().clone();
        Ok(Loaded { space, entry: entry as usize, stack, executable, name, signal_return })
    }

    fn auxiliary(&self, image: &Image, bias: u64, interpreter_base: u64) -> Auxiliary {
        Auxiliary {
            program_headers: image.program_headers_address.map_or(0, |address| address + bias),
            program_headers_count: image.header.program_headers_count.into(),
            interpreter_base,
            entry: image.header.entry + bias,
            identities: self.identities,
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
async fn map_image(space: &Arc<AddressSpace>, file: &OpenFile, image: &Image, bias: u64, placing: Placing) -> Result<u64> {
    let object = file.file().clone().mapped_object().ok_or(Error::ExecFormat)?;
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

async fn map_segment(space: &Arc<AddressSpace>, object: &Arc<dyn MappedObject>, segment: &Segment, bias: u64) -> Result<()> {
    let protection = Protection::from_bits_truncate(segment.protection.bits() as u8);
    let at = |address: u64| Placement::Fixed(VirtualAddress::new((address + bias) as usize));
    if segment.file_length > 0 {
        let length = segment.file_length as usize;
        let request = MapRequest::object(object.clone(), segment.file_offset, length, protection, Sharing::Private);
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
