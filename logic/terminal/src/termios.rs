//! The settings of a terminal: `struct termios` and `struct termios2` of Linux on riscv64.

use abi::linux::general as linux;

/// How many control characters there are (`NCCS`).
pub const CONTROL_CHARACTERS: usize = linux::NCCS as usize;
/// Bytes of `struct termios`: without the speeds.
pub const TERMIOS_SIZE: usize = 36;
/// Bytes of `struct termios2`: with the speeds.
pub const TERMIOS2_SIZE: usize = 44;
/// The value that switches a control character off (`_POSIX_VDISABLE`).
pub const DISABLED: u8 = 0;

const _: () = assert!(size_of::<linux::termios>() == TERMIOS_SIZE);
const _: () = assert!(size_of::<linux::termios2>() == TERMIOS2_SIZE);

/// The settings of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termios {
    /// `c_iflag`.
    pub input_flags: u32,
    /// `c_oflag`.
    pub output_flags: u32,
    /// `c_cflag`.
    pub control_flags: u32,
    /// `c_lflag`.
    pub local_flags: u32,
    /// `c_line`: the number of the line discipline; only 0 exists.
    pub line: u8,
    /// `c_cc`.
    pub control_characters: [u8; CONTROL_CHARACTERS],
    /// `c_ispeed`, in bits per second.
    pub input_speed: u32,
    /// `c_ospeed`, in bits per second.
    pub output_speed: u32,
}

/// Speeds in the order of their codes: 0 to 15, then `CBAUDEX` and 1 to 15.
const SPEEDS: [u32; 31] = [
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200,
    230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000,
    3_000_000, 3_500_000, 4_000_000,
];
/// The bit that starts the second row of speeds; alone it means "as `c_ospeed` says" (`BOTHER`).
const EXTENDED_SPEED: u32 = 0o10000;

impl Default for Termios {
    fn default() -> Self {
        Self::new()
    }
}

impl Termios {
    /// What Linux gives to a new terminal.
    pub const fn new() -> Self {
        let mut control_characters = [DISABLED; CONTROL_CHARACTERS];
        control_characters[linux::VINTR as usize] = 0x03;
        control_characters[linux::VQUIT as usize] = 0x1c;
        control_characters[linux::VERASE as usize] = 0x7f;
        control_characters[linux::VKILL as usize] = 0x15;
        control_characters[linux::VEOF as usize] = 0x04;
        control_characters[linux::VMIN as usize] = 1;
        control_characters[linux::VSTART as usize] = 0x11;
        control_characters[linux::VSTOP as usize] = 0x13;
        control_characters[linux::VSUSP as usize] = 0x1a;
        control_characters[linux::VREPRINT as usize] = 0x12;
        control_characters[linux::VDISCARD as usize] = 0x0f;
        control_characters[linux::VWERASE as usize] = 0x17;
        control_characters[linux::VLNEXT as usize] = 0x16;
        Self {
            input_flags: linux::ICRNL | linux::IXON,
            output_flags: linux::OPOST | linux::ONLCR,
            control_flags: linux::B38400 | linux::CS8 | linux::CREAD | linux::HUPCL,
            local_flags: linux::ISIG
                | linux::ICANON
                | linux::ECHO
                | linux::ECHOE
                | linux::ECHOK
                | linux::ECHOCTL
                | linux::ECHOKE
                | linux::IEXTEN,
            line: 0,
            control_characters,
            input_speed: 38_400,
            output_speed: 38_400,
        }
    }

    /// Whether any of these bits of `c_iflag` is set.
    #[inline]
    pub const fn input(&self, flags: u32) -> bool {
        self.input_flags & flags != 0
    }

    /// Whether any of these bits of `c_oflag` is set.
    #[inline]
    pub const fn output(&self, flags: u32) -> bool {
        self.output_flags & flags != 0
    }

    /// Whether any of these bits of `c_lflag` is set.
    #[inline]
    pub const fn local(&self, flags: u32) -> bool {
        self.local_flags & flags != 0
    }

    /// The control character with this index (`VINTR` and so on).
    #[inline]
    pub const fn control_character(&self, index: u32) -> u8 {
        self.control_characters[index as usize]
    }

    /// Whether `byte` is the control character with this index, and that is not switched off.
    #[inline]
    pub const fn is(&self, byte: u8, index: u32) -> bool {
        byte != DISABLED && byte == self.control_character(index)
    }

    /// As `struct termios2`; its first [`TERMIOS_SIZE`] bytes are `struct termios`.
    pub fn to_bytes(&self) -> [u8; TERMIOS2_SIZE] {
        let mut bytes = [0; TERMIOS2_SIZE];
        let flags = [self.input_flags, self.output_flags, self.control_flags, self.local_flags];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(flags) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes[16] = self.line;
        bytes[17..TERMIOS_SIZE].copy_from_slice(&self.control_characters);
        bytes[36..40].copy_from_slice(&self.input_speed.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.output_speed.to_le_bytes());
        bytes
    }

    fn from_flags(bytes: &[u8; TERMIOS_SIZE]) -> Self {
        let mut flags = [0; 4];
        for (flag, chunk) in flags.iter_mut().zip(bytes.chunks_exact(4)) {
            *flag = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        }
        let mut control_characters = [0; CONTROL_CHARACTERS];
        control_characters.copy_from_slice(&bytes[17..]);
        let [input_flags, output_flags, control_flags, local_flags] = flags;
        let line = bytes[16];
        let (input_speed, output_speed) = (0, 0);
        Self {
            input_flags,
            output_flags,
            control_flags,
            local_flags,
            line,
            control_characters,
            input_speed,
            output_speed,
        }
    }

    /// From the `struct termios` that a program gives; `self` are the settings so far. The speeds follow from `c_cflag`.
    pub fn with_termios(&self, bytes: &[u8; TERMIOS_SIZE]) -> Self {
        let mut settings = Self::from_flags(bytes);
        settings.set_speeds(self.input_speed, self.output_speed);
        settings
    }

    /// From the `struct termios2` that a program gives: its own speeds count where `c_cflag` says `BOTHER`.
    pub fn with_termios2(&self, bytes: &[u8; TERMIOS2_SIZE]) -> Self {
        let mut flags = [0; TERMIOS_SIZE];
        flags.copy_from_slice(&bytes[..TERMIOS_SIZE]);
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut settings = Self::from_flags(&flags);
        settings.set_speeds(word(36), word(40));
        settings
    }

    fn set_speeds(&mut self, input: u32, output: u32) {
        const INPUT_SHIFT: u32 = 16;
        self.output_speed = speed(self.control_flags, output);
        let input_code = self.control_flags >> INPUT_SHIFT;
        // A code of 0 for the input means "as the output".
        self.input_speed =
            if input_code & linux::CBAUD == 0 { self.output_speed } else { speed(input_code, input) };
    }
}

/// The speed that the low bits of `code` stand for; `other` when they say that it is given apart.
fn speed(code: u32, other: u32) -> u32 {
    let code = code & linux::CBAUD;
    if code == EXTENDED_SPEED {
        return other;
    }
    let index = (code & 0o17) + if code & EXTENDED_SPEED != 0 { 15 } else { 0 };
    SPEEDS[index as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_round_trips() {
        let settings = Termios::new();
        let bytes = settings.to_bytes();
        assert_eq!(bytes[..4], (linux::ICRNL | linux::IXON).to_le_bytes());
        assert_eq!((bytes[17], bytes[17 + linux::VMIN as usize]), (3, 1));
        assert_eq!(settings.with_termios2(&bytes), settings);
        let mut termios = [0; TERMIOS_SIZE];
        termios.copy_from_slice(&bytes[..TERMIOS_SIZE]);
        assert_eq!(settings.with_termios(&termios), settings);
    }

    #[test]
    fn speeds_follow_the_code() {
        let mut settings = Termios::new();
        for (code, expected) in [(0o15, 9600), (0o10001, 57_600), (0o10002, 115_200), (0o10017, 4_000_000)] {
            settings.control_flags = code;
            let bytes = settings.to_bytes();
            let seen = settings.with_termios2(&bytes);
            assert_eq!((seen.output_speed, seen.input_speed), (expected, expected));
        }
        settings.control_flags = linux::BOTHER;
        settings.output_speed = 12_345;
        let bytes = settings.to_bytes();
        assert_eq!(settings.with_termios2(&bytes).input_speed, 12_345);
    }
}
