//! What a 64-bit little-endian ELF file says: its segments, for the boot image, and its symbols, for backtraces.

use anyhow::{Context, Result, bail};

const LOAD: u32 = 1;
const SYMBOL_TABLE: u32 = 2;
/// Types of symbols: 0 is what assembly leaves unsaid.
const UNTYPED: u8 = 0;
const FUNCTION: u8 = 2;
/// Section numbers from here on are none.
const FIRST_RESERVED_SECTION: u16 = 0xff00;
/// A kernel larger than this is a linking mistake, not a kernel.
const LARGEST_IMAGE: u64 = 256 << 20;

/// A checked view of the file's bytes.
pub struct Elf<'a> {
    bytes: &'a [u8],
}

/// The kernel's functions by address.
#[derive(Default)]
pub struct Symbols {
    /// Address, size (0: unknown), demangled name; sorted by address.
    functions: Vec<(u64, u64, String)>,
}

impl<'a> Elf<'a> {
    /// Checks the identification.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        if !bytes.starts_with(b"\x7fELF\x02\x01") {
            bail!("not a 64-bit little-endian ELF file");
        }
        Ok(Self { bytes })
    }

    fn slice(&self, at: u64, length: u64) -> Result<&'a [u8]> {
        let start = usize::try_from(at)?;
        let end =
            start.checked_add(usize::try_from(length)?).context("a length in the ELF file overflows")?;
        self.bytes.get(start..end).context("the ELF file is cut short")
    }

    fn u16(&self, at: u64) -> Result<u16> {
        Ok(u16::from_le_bytes(self.slice(at, 2)?.try_into().expect("two bytes")))
    }

    fn u32(&self, at: u64) -> Result<u32> {
        Ok(u32::from_le_bytes(self.slice(at, 4)?.try_into().expect("four bytes")))
    }

    fn u64(&self, at: u64) -> Result<u64> {
        Ok(u64::from_le_bytes(self.slice(at, 8)?.try_into().expect("eight bytes")))
    }

    /// The loadable segments laid out by physical address, gaps filled with zeros: what a boot loader copies.
    pub fn flatten(&self) -> Result<Vec<u8>> {
        let (table, size, count) = (self.u64(32)?, u64::from(self.u16(54)?), u64::from(self.u16(56)?));
        let mut segments = Vec::new();
        for index in 0..count {
            let header = table + index * size;
            let data = self.slice(self.u64(header + 8)?, self.u64(header + 32)?)?;
            if self.u32(header)? == LOAD && !data.is_empty() {
                segments.push((self.u64(header + 24)?, data));
            }
        }
        let start = segments.iter().map(|(address, _)| *address).min().context("nothing to load")?;
        let mut image = Vec::new();
        for (address, data) in segments {
            let from = address - start;
            if from + data.len() as u64 > LARGEST_IMAGE {
                bail!("the segments span more than {} MiB of physical memory", LARGEST_IMAGE >> 20);
            }
            let (from, to) = (from as usize, from as usize + data.len());
            if image.len() < to {
                image.resize(to, 0);
            }
            image[from..to].copy_from_slice(data);
        }
        Ok(image)
    }

    /// The names of the functions; empty when the file is stripped.
    pub fn symbols(&self) -> Result<Symbols> {
        let (table, size, count) = (self.u64(40)?, u64::from(self.u16(58)?), u64::from(self.u16(60)?));
        let mut functions = Vec::new();
        for index in 0..count {
            let header = table + index * size;
            if self.u32(header + 4)? != SYMBOL_TABLE {
                continue;
            }
            let strings = self.u64(table + u64::from(self.u32(header + 40)?) * size + 24)?;
            let entries = self.slice(self.u64(header + 24)?, self.u64(header + 32)?)?;
            for entry in entries.chunks_exact(24) {
                let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
                let name = u32::from_le_bytes(entry[..4].try_into().expect("four bytes"));
                let section = u16::from_le_bytes(entry[6..8].try_into().expect("two bytes"));
                if ![UNTYPED, FUNCTION].contains(&(entry[4] & 15))
                    || !(1..FIRST_RESERVED_SECTION).contains(&section)
                {
                    continue;
                }
                let name = self.string(strings + u64::from(name))?;
                // The assembler's own labels are no names.
                if !name.is_empty() && !name.starts_with(['.', '$']) {
                    functions.push((word(8), word(16), name));
                }
            }
        }
        functions.sort();
        Ok(Symbols { functions })
    }

    fn string(&self, at: u64) -> Result<String> {
        let rest = self.bytes.get(usize::try_from(at)?..).context("the ELF file is cut short")?;
        let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(format!("{:#}", rustc_demangle::demangle(&String::from_utf8_lossy(text))))
    }
}

impl Symbols {
    /// `name+0x12` for an address inside a function.
    pub fn name(&self, address: u64) -> Option<String> {
        let after = self.functions.partition_point(|(start, _, _)| *start <= address);
        let (start, size, name) = self.functions.get(after.checked_sub(1)?)?;
        let offset = address - start;
        (*size == 0 || offset < *size).then(|| format!("{name}+{offset:#x}"))
    }

    /// `text` with a name after every address of the kernel (`0x` and sixteen digits, the upper half).
    pub fn annotate(&self, text: &str) -> String {
        let mut annotated = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("0x") {
            let digits = rest[at + 2..].bytes().take_while(u8::is_ascii_hexdigit).count();
            let (before, after) = rest.split_at(at + 2 + digits);
            annotated.push_str(before);
            rest = after;
            if digits == 16
                && let Ok(address) = u64::from_str_radix(&before[at + 2..], 16)
                && address >> 63 == 1
                && let Some(name) = self.name(address)
            {
                annotated.push_str(&format!(" <{name}>"));
            }
        }
        annotated.push_str(rest);
        annotated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of program headers alone: physical address and data of each segment.
    fn file(segments: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = segments.len() as u8;
        let mut data_at = 64 + 56 * segments.len() as u64;
        for (address, data) in segments {
            let words = [LOAD as u64, data_at, 0, *address, data.len() as u64, data.len() as u64, 0];
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            data_at += data.len() as u64;
        }
        bytes.extend(segments.iter().flat_map(|(_, data)| data.iter().copied()));
        bytes
    }

    #[test]
    fn segments_are_laid_out_by_physical_address() {
        let bytes = file(&[(0x8020_0004, b"data"), (0x8020_0000, b"te")]);
        assert_eq!(Elf::new(&bytes).unwrap().flatten().unwrap(), b"te\0\0data");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Elf::new(b"#!/bin/sh").is_err());
        assert!(Elf::new(&file(&[])).unwrap().flatten().is_err());
        assert!(Elf::new(&file(&[(0, b"a"), (1 << 40, b"b")])).unwrap().flatten().is_err());
        let mut short = file(&[(0, b"text")]);
        short.truncate(100);
        assert!(Elf::new(&short).unwrap().flatten().is_err());
    }

    #[test]
    fn addresses_of_the_kernel_get_names() {
        let base = 0xffff_ffff_8020_0000;
        let symbols = Symbols { functions: vec![(base, 16, "start".into()), (base + 32, 8, "stop".into())] };
        let text = "at 0xffffffff80200004, 0xffffffff80200010, 0xffffffff80200021 and 0x80200004";
        let expected = "at 0xffffffff80200004 <start+0x4>, 0xffffffff80200010, 0xffffffff80200021 <stop+0x1> and 0x80200004";
        assert_eq!(symbols.annotate(text), expected);
    }
}
