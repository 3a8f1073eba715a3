//! Which extensions a hart has, from either way in which a device tree says it.

bitflags::bitflags! {
    /// The extensions that the kernel asks about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Extensions: u32 {
        /// Single-precision floating point.
        const F = 1 << 0;
        /// Double-precision floating point.
        const D = 1 << 1;
        /// Vectors.
        const V = 1 << 2;
        /// The hypervisor extension.
        const H = 1 << 3;
        /// The supervisor's and the guest's own timer comparison.
        const SSTC = 1 << 4;
        /// AIA at machine level.
        const SMAIA = 1 << 5;
        /// AIA at supervisor level.
        const SSAIA = 1 << 6;
        /// Memory types in page tables.
        const SVPBMT = 1 << 7;
        /// Finer address-translation cache invalidation.
        const SVINVAL = 1 << 8;
        /// Naturally aligned runs of pages.
        const SVNAPOT = 1 << 9;
        /// Hardware updates of accessed and dirty bits.
        const SVADU = 1 << 10;
        /// Cache block management.
        const ZICBOM = 1 << 11;
        /// Cache block zeroing.
        const ZICBOZ = 1 << 12;
        /// Cache block prefetch.
        const ZICBOP = 1 << 13;
        /// The entropy source.
        const ZKR = 1 << 14;
        /// Address generation instructions.
        const ZBA = 1 << 15;
        /// Basic bit manipulation.
        const ZBB = 1 << 16;
        /// Single-bit instructions.
        const ZBS = 1 << 17;
        /// The pause hint.
        const ZIHINTPAUSE = 1 << 18;
        /// Waiting on a reservation set.
        const ZAWRS = 1 << 19;
        /// Compare and swap.
        const ZACAS = 1 << 20;
        /// Counter overflow and mode filtering.
        const SSCOFPMF = 1 << 21;
        /// State enable bits.
        const SMSTATEEN = 1 << 22;
        /// Pointer masking for user mode.
        const SSNPM = 1 << 23;
        /// Carry-less multiplication.
        const ZBC = 1 << 24;
        /// Page-fault answers that PTE valid bits are not cached.
        const SVVPTC = 1 << 25;
    }
}

impl Extensions {
    /// From an ISA string, such as `rv64imafdch_zicsr_sstc`; versions (`i2p1`) are passed over. Not an error for a
    /// name that is not known: it is of no interest here.
    pub fn from_isa_string(isa: &str) -> Extensions {
        let mut extensions = Extensions::empty();
        for (index, part) in isa.split('_').enumerate() {
            // The single letters stand in the first part, after "rv64", up to the first name of several letters.
            let named = match index {
                0 => {
                    let letters = part.get(4..).unwrap_or("");
                    let end = letters.find(['s', 'x', 'z']).unwrap_or(letters.len());
                    for letter in letters[..end].chars() {
                        let mut buffer = [0; 4];
                        extensions |= Extensions::named(letter.encode_utf8(&mut buffer));
                    }
                    &letters[end..]
                }
                _ => part,
            };
            extensions |= Extensions::named(without_version(named));
        }
        extensions
    }

    /// From one extension's name in lower case; nothing for a name that is not known. `g` stands for several.
    pub fn named(name: &str) -> Extensions {
        match name {
            "g" => Extensions::F | Extensions::D,
            "b" => Extensions::ZBA | Extensions::ZBB | Extensions::ZBS,
            _ => Extensions::FLAGS
                .iter()
                .find(|flag| flag.name().eq_ignore_ascii_case(name))
                .map_or(Extensions::empty(), |flag| *flag.value()),
        }
    }
}

use bitflags::Flags;

/// `name` without a version such as `2p0` at its end.
fn without_version(name: &str) -> &str {
    let rest = name.trim_end_matches(|c: char| c.is_ascii_digit());
    match rest.strip_suffix('p') {
        Some(before) if rest.len() < name.len() && before.ends_with(|c: char| c.is_ascii_digit()) => {
            before.trim_end_matches(|c: char| c.is_ascii_digit())
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_qemu_s_strings() {
        let isa = "rv64imafdch_zicsr_zifencei_zihintpause_zba_zbb_zbc_zbs_smaia_ssaia_sstc";
        let extensions = Extensions::from_isa_string(isa);
        let expected = Extensions::F | Extensions::D | Extensions::H | Extensions::ZIHINTPAUSE;
        let bits = Extensions::ZBA | Extensions::ZBB | Extensions::ZBC | Extensions::ZBS;
        assert_eq!(extensions, expected | bits | Extensions::SMAIA | Extensions::SSAIA | Extensions::SSTC);
        let without = Extensions::from_isa_string("rv64imafdc_zicsr_sstc");
        assert_eq!(without, Extensions::F | Extensions::D | Extensions::SSTC);
    }

    #[test]
    fn passes_over_versions_and_junk() {
        let extensions = Extensions::from_isa_string("rv64i2p1m2p0f2p2d2p2v1p0zicbom1p0_svpbmt1p0_xfoo9p9");
        let expected =
            Extensions::F | Extensions::D | Extensions::V | Extensions::ZICBOM | Extensions::SVPBMT;
        assert_eq!(extensions, expected);
        for junk in ["", "_", "rv", "rv6", "rv64", "rv64\u{e9}h", "\u{20ac}\u{20ac}", "rv64__p_2p0"] {
            Extensions::from_isa_string(junk);
        }
    }
}
