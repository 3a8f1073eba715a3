//! `#!` scripts: which interpreter a script names, with which argument.

use crate::elf::PREFIX_LENGTH;
use abi::Error;
use base::Result;

/// How many times an interpreter may itself be a script before `execve` fails with `ELOOP`.
pub const NESTING_MAX: usize = 5;

/// The first line of a script, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script<'a> {
    /// The path of the interpreter, not empty.
    pub interpreter: &'a [u8],
    /// What follows it: one argument, spaces inside kept; never empty.
    pub argument: Option<&'a [u8]>,
}

/// Whether a file that starts so is a script.
pub fn is_script(prefix: &[u8]) -> bool {
    prefix.starts_with(b"#!")
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

impl<'a> Script<'a> {
    /// Reads the first line. `prefix` is the start of the file: [`PREFIX_LENGTH`] bytes, or the whole file if shorter.
    ///
    /// As on Linux, a line that does not end within the prefix is cut there, which is accepted only if the path of the
    /// interpreter is complete.
    ///
    /// # Errors
    /// [`Error::ExecFormat`] when it is no script, names no interpreter, or the path is cut.
    pub fn parse(prefix: &'a [u8]) -> Result<Script<'a>> {
        let prefix = &prefix[..prefix.len().min(PREFIX_LENGTH)];
        let text = prefix.strip_prefix(b"#!").ok_or(Error::ExecFormat)?;
        let end = text.iter().position(|byte| matches!(byte, b'\n' | 0));
        let cut = end.is_none() && prefix.len() == PREFIX_LENGTH;
        let line = &text[..end.unwrap_or(text.len())];
        let start = line.iter().position(|byte| !is_blank(byte)).ok_or(Error::ExecFormat)?;
        let line = &line[start..];
        let Some(gap) = line.iter().position(is_blank) else {
            return if cut {
                Err(Error::ExecFormat)
            } else {
                Ok(Script { interpreter: line, argument: None })
            };
        };
        let (interpreter, rest) = line.split_at(gap);
        Ok(Script { interpreter, argument: Some(rest.trim_ascii()).filter(|text| !text.is_empty()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
        Script::parse(text).ok().map(|script| (script.interpreter, script.argument))
    }

    #[test]
    fn takes_one_argument_with_its_inner_spaces() {
        assert_eq!(parse(b"#!/bin/sh\necho"), Some((&b"/bin/sh"[..], None)));
        assert_eq!(parse(b"#! \t/bin/sh  \n"), Some((&b"/bin/sh"[..], None)));
        assert_eq!(parse(b"#!/bin/awk -f  x \n"), Some((&b"/bin/awk"[..], Some(&b"-f  x"[..]))));
        assert_eq!(parse(b"#!/bin/sh"), Some((&b"/bin/sh"[..], None)));
        assert_eq!(parse(b"#!/bin/sh\0junk"), Some((&b"/bin/sh"[..], None)));
        for bad in [&b"#!"[..], b"#!\n/bin/sh", b"#!  \t ", b"", b"/bin/sh", b"#"] {
            assert_eq!(Script::parse(bad), Err(Error::ExecFormat));
        }
    }

    #[test]
    fn a_cut_path_is_no_path_and_a_cut_argument_is_cut() {
        let mut long = alloc::vec![b'x'; 400];
        long[..3].copy_from_slice(b"#!/");
        assert_eq!(Script::parse(&long), Err(Error::ExecFormat));
        long[10] = b' ';
        let script = Script::parse(&long).unwrap();
        assert_eq!(script.interpreter.len(), 8);
        assert_eq!(script.argument.unwrap().len(), PREFIX_LENGTH - 11);
    }
}
