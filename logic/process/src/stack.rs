//! The first bytes on a new program's stack: arguments, environment, auxiliary vector.
//!
//! From the stack pointer up (System V ABI, "Process Initialization"): the count of arguments, pointers to them, null,
//! pointers to the environment, null, the auxiliary vector; then 16 random bytes, the strings (arguments, environment,
//! path of the program) and 8 zero bytes at the very top. Linux puts them in the same order, and programs such as `ps`
//! that overwrite their arguments rely on the strings being contiguous.

use abi::Error;
use abi::linux::auxvec;
use alloc::vec::Vec;
use base::Result;
use base::address::{PAGE_SIZE, VirtualAddress};

/// The longest single string with its NUL (`MAX_ARG_STRLEN`).
pub const STRING_MAX: usize = 32 * PAGE_SIZE;
/// What strings and pointers together may always take, whatever the stack's limit is (`ARG_MAX`).
pub const TOTAL_MIN: usize = 131_072;
/// What they may take at most: three quarters of the default stack.
pub const TOTAL_MAX: usize = 6 << 20;

/// Ticks per second of the times in the kernel's interfaces (`AT_CLKTCK`).
pub const CLOCK_TICKS: u64 = 100;

/// `AT_HWCAP` of a hart with these single-letter extensions (`b"imafdcv"`, any case): bit 0 is A, as on Linux.
pub const fn hardware_capabilities(letters: &[u8]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < letters.len() {
        let letter = letters[index].to_ascii_lowercase();
        // Linux tells user programs about these letters alone; the others are asked for with riscv_hwprobe.
        if matches!(letter, b'i' | b'm' | b'a' | b'f' | b'd' | b'c' | b'v') {
            bits |= 1 << (letter - b'a');
        }
        index += 1;
    }
    bits
}

/// The arguments and the environment of a program to be started, with Linux's limits on their size.
#[derive(Clone, Debug)]
pub struct Strings {
    arguments: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
    used: usize,
    limit: usize,
}

impl Strings {
    /// None yet. `stack_limit` is the soft `RLIMIT_STACK` in bytes; a quarter of it may be used.
    pub fn new(stack_limit: u64) -> Self {
        let quarter = usize::try_from(stack_limit / 4).unwrap_or(usize::MAX);
        let limit = quarter.clamp(TOTAL_MIN, TOTAL_MAX);
        Self { arguments: Vec::new(), environment: Vec::new(), used: 0, limit }
    }

    /// Counts one string of `length` bytes without its NUL.
    ///
    /// # Errors
    /// [`Error::ArgumentListTooLong`] when it or all of them are too long.
    fn charge(&mut self, length: usize) -> Result<()> {
        let bytes =
            length.checked_add(1).filter(|bytes| *bytes <= STRING_MAX).ok_or(Error::ArgumentListTooLong)?;
        let used = self.used + bytes + size_of::<u64>();
        if used > self.limit {
            return Err(Error::ArgumentListTooLong);
        }
        self.used = used;
        Ok(())
    }

    /// Adds an argument, without its NUL.
    ///
    /// # Errors
    /// [`Error::ArgumentListTooLong`] when it or all of them are too long.
    pub fn push_argument(&mut self, text: Vec<u8>) -> Result<()> {
        self.charge(text.len())?;
        self.arguments.push(text);
        Ok(())
    }

    /// Adds a string of the environment, without its NUL.
    ///
    /// # Errors
    /// [`Error::ArgumentListTooLong`] when it or all of them are too long.
    pub fn push_environment(&mut self, text: Vec<u8>) -> Result<()> {
        self.charge(text.len())?;
        self.environment.push(text);
        Ok(())
    }

    /// Replaces the first argument by those that a script is run with: `[interpreter, (its argument), path of the script]`.
    ///
    /// # Errors
    /// [`Error::ArgumentListTooLong`] when the list gets too long.
    pub fn prepend_interpreter(
        &mut self,
        interpreter: &[u8],
        argument: Option<&[u8]>,
        script: &[u8],
    ) -> Result<()> {
        let replaced = usize::from(!self.arguments.is_empty());
        let front = [Some(interpreter), argument, Some(script)];
        if let Some(first) = self.arguments.first() {
            self.used -= first.len() + 1 + size_of::<u64>();
        }
        for text in front.into_iter().flatten() {
            self.charge(text.len())?;
        }
        self.arguments.splice(..replaced, front.into_iter().flatten().map(<[u8]>::to_vec));
        Ok(())
    }

    /// The arguments.
    pub fn arguments(&self) -> &[Vec<u8>] {
        &self.arguments
    }

    /// The environment.
    pub fn environment(&self) -> &[Vec<u8>] {
        &self.environment
    }
}

/// What the auxiliary vector tells the program about itself and the machine. Addresses are final, bias included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Auxiliary {
    /// Where the program headers are in memory (`AT_PHDR`); 0 when they are not.
    pub program_headers: u64,
    /// How many there are (`AT_PHNUM`).
    pub program_headers_count: u64,
    /// Where the interpreter was loaded (`AT_BASE`); 0 without one.
    pub interpreter_base: u64,
    /// The program's own entry point (`AT_ENTRY`).
    pub entry: u64,
    /// Real and effective user, real and effective group (`AT_UID`, `AT_EUID`, `AT_GID`, `AT_EGID`).
    pub identities: [u32; 4],
    /// 1 when the program got privileges from its file, else 0 (`AT_SECURE`).
    pub secure: u64,
    /// `AT_HWCAP`; see [`hardware_capabilities`].
    pub hardware_capabilities: u64,
    /// Where the vDSO's ELF header is (`AT_SYSINFO_EHDR`); left out when 0.
    pub vdso: u64,
    /// Bytes that a signal frame needs (`AT_MINSIGSTKSZ`).
    pub minimum_signal_stack: u64,
}

/// The initial stack of a program: `bytes` go to `stack_pointer`, and end at the top of the stack.
#[derive(Clone, Debug)]
pub struct InitialStack {
    /// What to put there; its end is the top of the stack.
    pub bytes: Vec<u8>,
    /// Where it starts, a multiple of 16: the program's first stack pointer.
    pub stack_pointer: VirtualAddress,
    /// Where the strings of the arguments start and end (`/proc/PID/cmdline`).
    pub arguments: core::ops::Range<VirtualAddress>,
    /// Where the strings of the environment start and end (`/proc/PID/environ`).
    pub environment: core::ops::Range<VirtualAddress>,
    /// The auxiliary vector as it was written, with its end mark (`/proc/PID/auxv`).
    pub auxiliary: Vec<(u64, u64)>,
}

fn append_strings(target: &mut Vec<u8>, strings: &[Vec<u8>]) {
    for text in strings {
        target.extend_from_slice(text);
        target.push(0);
    }
}

impl Auxiliary {
    fn entries(&self, random: u64, program_path: u64) -> Vec<(u64, u64)> {
        let mut entries = Vec::with_capacity(20);
        let mut add = |kind: u32, value: u64| entries.push((u64::from(kind), value));
        if self.vdso != 0 {
            add(auxvec::AT_SYSINFO_EHDR, self.vdso);
        }
        add(auxvec::AT_MINSIGSTKSZ, self.minimum_signal_stack);
        add(auxvec::AT_HWCAP, self.hardware_capabilities);
        add(auxvec::AT_PAGESZ, PAGE_SIZE as u64);
        add(auxvec::AT_CLKTCK, CLOCK_TICKS);
        add(auxvec::AT_PHDR, self.program_headers);
        add(auxvec::AT_PHENT, crate::elf::PROGRAM_HEADER_LENGTH as u64);
        add(auxvec::AT_PHNUM, self.program_headers_count);
        add(auxvec::AT_BASE, self.interpreter_base);
        add(auxvec::AT_FLAGS, 0);
        add(auxvec::AT_ENTRY, self.entry);
        let kinds = [auxvec::AT_UID, auxvec::AT_EUID, auxvec::AT_GID, auxvec::AT_EGID];
        for (kind, value) in kinds.into_iter().zip(self.identities) {
            add(kind, u64::from(value));
        }
        add(auxvec::AT_SECURE, self.secure);
        add(auxvec::AT_RANDOM, random);
        add(auxvec::AT_EXECFN, program_path);
        add(auxvec::AT_NULL, 0);
        entries
    }
}

impl InitialStack {
    /// Lays out the stack below `top`.
    ///
    /// `path` is the program's path as `execve` was given it, without NUL; `random` becomes `AT_RANDOM`'s bytes.
    /// A program without arguments gets one empty one, as on Linux.
    ///
    /// # Errors
    /// [`Error::ArgumentListTooLong`] when the stack would reach below address 0 or the path is too long.
    pub fn build(
        top: VirtualAddress,
        strings: &Strings,
        path: &[u8],
        auxiliary: &Auxiliary,
        random: [u8; 16],
    ) -> Result<InitialStack> {
        const NO_ARGUMENTS: &[Vec<u8>] = &[Vec::new()];
        if path.len() >= STRING_MAX {
            return Err(Error::ArgumentListTooLong);
        }
        let arguments = if strings.arguments.is_empty() { NO_ARGUMENTS } else { &strings.arguments };
        let environment = &strings.environment;
        let length = |texts: &[Vec<u8>]| texts.iter().map(|text| text.len() + 1).sum::<usize>();
        let (arguments_length, environment_length) = (length(arguments), length(environment));
        let strings_length = arguments_length + environment_length + path.len() + 1 + size_of::<u64>();
        let below =
            |address: usize, bytes: usize| address.checked_sub(bytes).ok_or(Error::ArgumentListTooLong);

        let arguments_start = below(top.value(), strings_length)?;
        let environment_start = arguments_start + arguments_length;
        let path_start = environment_start + environment_length;
        let random_start = below(arguments_start, random.len())? & !15;
        let vector = auxiliary.entries(random_start as u64, path_start as u64);
        let words = 1 + arguments.len() + 1 + environment.len() + 1 + 2 * vector.len();
        let stack_pointer = below(random_start, words * size_of::<u64>())? & !15;

        let mut bytes = Vec::with_capacity(top.value() - stack_pointer);
        let mut word = |value: u64| bytes.extend_from_slice(&value.to_le_bytes());
        word(arguments.len() as u64);
        for (texts, start) in [(arguments, arguments_start), (environment.as_slice(), environment_start)] {
            let mut address = start as u64;
            for text in texts {
                word(address);
                address += text.len() as u64 + 1;
            }
            word(0);
        }
        for (kind, value) in &vector {
            word(*kind);
            word(*value);
        }
        bytes.resize(random_start - stack_pointer, 0);
        bytes.extend_from_slice(&random);
        bytes.resize(arguments_start - stack_pointer, 0);
        append_strings(&mut bytes, arguments);
        append_strings(&mut bytes, environment);
        bytes.extend_from_slice(path);
        bytes.resize(top.value() - stack_pointer, 0);
        Ok(InitialStack {
            bytes,
            stack_pointer: VirtualAddress::new(stack_pointer),
            arguments: VirtualAddress::new(arguments_start)..VirtualAddress::new(environment_start),
            environment: VirtualAddress::new(environment_start)..VirtualAddress::new(path_start),
            auxiliary: vector,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const TOP: usize = 0x3f_ffff_f000;

    struct Reader<'a>(&'a InitialStack);

    impl Reader<'_> {
        fn word(&self, address: u64) -> u64 {
            crate::word_at(&self.0.bytes, address as usize - self.0.stack_pointer.value())
        }

        fn text(&self, address: u64) -> &[u8] {
            let rest = &self.0.bytes[address as usize - self.0.stack_pointer.value()..];
            &rest[..rest.iter().position(|byte| *byte == 0).unwrap()]
        }

        /// The strings that a null-terminated list at `address` points to, and where the list ends.
        fn list(&self, mut address: u64) -> (Vec<&[u8]>, u64) {
            let mut texts = Vec::new();
            while self.word(address) != 0 {
                texts.push(self.text(self.word(address)));
                address += 8;
            }
            (texts, address + 8)
        }
    }

    fn strings(arguments: &[&str], environment: &[&str]) -> Strings {
        let mut strings = Strings::new(8 << 20);
        for text in arguments {
            strings.push_argument(text.as_bytes().to_vec()).unwrap();
        }
        for text in environment {
            strings.push_environment(text.as_bytes().to_vec()).unwrap();
        }
        strings
    }

    #[test]
    fn a_program_finds_what_it_was_given() {
        let strings = strings(&["ls", "-l", ""], &["HOME=/", "A="]);
        let auxiliary =
            Auxiliary { entry: 0x1_0100, identities: [1, 2, 3, 4], vdso: 0x7000, ..Auxiliary::default() };
        let stack =
            InitialStack::build(VirtualAddress::new(TOP), &strings, b"/bin/ls", &auxiliary, [7; 16]).unwrap();
        let start = stack.stack_pointer.value();
        assert_eq!((start % 16, start + stack.bytes.len()), (0, TOP));
        let reader = Reader(&stack);
        assert_eq!(reader.word(start as u64), 3);
        let (arguments, next) = reader.list(start as u64 + 8);
        assert_eq!(arguments, [&b"ls"[..], b"-l", b""]);
        let (environment, mut next) = reader.list(next);
        assert_eq!(environment, [&b"HOME=/"[..], b"A="]);
        let mut vector = Vec::new();
        loop {
            vector.push((reader.word(next), reader.word(next + 8)));
            next += 16;
            if vector.last() == Some(&(0, 0)) {
                break;
            }
        }
        assert_eq!(vector, stack.auxiliary);
        let value = |kind: u32| vector.iter().find(|entry| entry.0 == u64::from(kind)).unwrap().1;
        assert_eq!(reader.text(value(auxvec::AT_EXECFN)), b"/bin/ls");
        assert_eq!(value(auxvec::AT_RANDOM) % 16, 0);
        assert_eq!(reader.word(value(auxvec::AT_RANDOM)), 0x0707_0707_0707_0707);
        assert_eq!([value(auxvec::AT_ENTRY), value(auxvec::AT_PAGESZ)], [0x1_0100, 4096]);
        assert_eq!(
            [value(auxvec::AT_UID), value(auxvec::AT_EGID), value(auxvec::AT_SYSINFO_EHDR)],
            [1, 4, 0x7000]
        );
        let range = |range: &core::ops::Range<VirtualAddress>| {
            stack.bytes[range.start.value() - start..range.end.value() - start].to_vec()
        };
        assert_eq!(range(&stack.arguments), b"ls\0-l\0\0");
        assert_eq!(range(&stack.environment), b"HOME=/\0A=\0");
    }

    #[test]
    fn every_combination_of_lengths_is_aligned() {
        for count in 0..8 {
            for length in 0..20 {
                let text = "x".repeat(length);
                let strings = strings(&vec![text.as_str(); count], &[&text]);
                let top = VirtualAddress::new(TOP);
                let stack = InitialStack::build(top, &strings, b"p", &Auxiliary::default(), [0; 16]).unwrap();
                assert_eq!(stack.stack_pointer.value() % 16, 0);
                let reader = Reader(&stack);
                let start = stack.stack_pointer.value() as u64;
                assert_eq!(reader.word(start), count.max(1) as u64);
                let (_, environment) = reader.list(start + 8);
                assert_eq!(reader.list(environment).0, [text.as_bytes()]);
            }
        }
    }

    #[test]
    fn too_much_is_refused() {
        let mut strings = Strings::new(0);
        assert_eq!(strings.push_argument(vec![b'x'; STRING_MAX]), Err(Error::ArgumentListTooLong));
        assert_eq!(strings.push_argument(vec![b'x'; STRING_MAX / 2]), Ok(()));
        assert_eq!(strings.push_environment(vec![b'x'; STRING_MAX / 2]), Err(Error::ArgumentListTooLong));
        let mut many = Strings::new(8 << 20);
        let empty =
            core::iter::repeat_with(|| many.push_argument(Vec::new())).take_while(Result::is_ok).count();
        assert_eq!(empty, (2 << 20) / 9);
        let top = VirtualAddress::new(0x1000);
        let built = InitialStack::build(top, &many, b"p", &Auxiliary::default(), [0; 16]);
        assert_eq!(built.err(), Some(Error::ArgumentListTooLong));
    }

    #[test]
    fn a_script_gets_its_interpreter_in_front() {
        let mut strings = strings(&["name", "arg"], &[]);
        strings.prepend_interpreter(b"/bin/awk", Some(b"-f"), b"/x/script").unwrap();
        assert_eq!(strings.arguments(), [&b"/bin/awk"[..], b"-f", b"/x/script", b"arg"]);
        let mut none = Strings::new(0);
        none.prepend_interpreter(b"/bin/sh", None, b"s").unwrap();
        assert_eq!(none.arguments(), [&b"/bin/sh"[..], b"s"]);
        assert_eq!(none.used, 8 + 2 + 2 * 8);
    }

    #[test]
    fn capabilities_of_the_hart_are_linux_s_bits() {
        assert_eq!(hardware_capabilities(b"imafdc"), 0x112d);
        assert_eq!(hardware_capabilities(b"IMAFDCVH"), 0x20_112d);
    }
}
