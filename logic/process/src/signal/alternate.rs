//! The alternate signal stack of a thread.

use abi::Error;
use base::Result;

/// `SS_ONSTACK`: the thread is on it.
pub const SS_ONSTACK: i32 = 1;
/// `SS_DISABLE`: there is none.
pub const SS_DISABLE: i32 = 2;
/// `SS_AUTODISARM`: there is none while a handler is on it.
pub const SS_AUTODISARM: i32 = i32::MIN;
/// The smallest stack that may be given, in bytes (`MINSIGSTKSZ`).
pub const MINIMUM_SIZE: u64 = 2048;

/// What `sigaltstack` set, as `stack_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct AlternateStack {
    /// Its lowest address.
    pub base: u64,
    /// `SS_` bits.
    pub flags: i32,
    padding: u32,
    /// Bytes; 0 when there is none.
    pub size: u64,
}

const _: () = assert!(size_of::<AlternateStack>() == AlternateStack::SIZE);
const _: () = assert!(core::mem::offset_of!(AlternateStack, size) == 16);

impl Default for AlternateStack {
    fn default() -> Self {
        Self::DISABLED
    }
}

impl AlternateStack {
    /// Bytes of `stack_t`.
    pub const SIZE: usize = 24;
    /// None.
    pub const DISABLED: Self = Self { base: 0, flags: SS_DISABLE, padding: 0, size: 0 };

    /// A stack, or the request for one.
    pub const fn new(base: u64, flags: i32, size: u64) -> Self {
        Self { base, flags, padding: 0, size }
    }

    /// From the bytes that a program gives, unchecked.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |index: usize| crate::word_at(bytes, index * 8);
        Self::new(word(0), word(1) as u32 as i32, word(2))
    }

    /// As a program sees it, in its words.
    #[inline]
    pub fn to_words(&self) -> [u64; 3] {
        [self.base, u64::from(self.flags as u32), self.size]
    }

    /// As a program sees it.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.base.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[16..].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }

    fn covers(&self, stack_pointer: u64) -> bool {
        stack_pointer > self.base && stack_pointer - self.base <= self.size
    }

    /// Whether a thread with this stack pointer is on it. One that disarms itself never is.
    pub fn is_in_use(&self, stack_pointer: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.covers(stack_pointer)
    }

    /// What `sigaltstack` tells a thread with this stack pointer.
    pub fn report(&self, stack_pointer: u64) -> AlternateStack {
        let state = match self.size {
            0 => SS_DISABLE,
            _ if self.is_in_use(stack_pointer) => SS_ONSTACK,
            _ => 0,
        };
        Self::new(self.base, state | (self.flags & SS_AUTODISARM), self.size)
    }

    /// Sets it to `request`, for a thread with this stack pointer.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] while it is in use, [`Error::InvalidArgument`] for unknown flags,
    /// [`Error::OutOfMemory`] when it is smaller than [`MINIMUM_SIZE`].
    pub fn set(&mut self, request: &AlternateStack, stack_pointer: u64) -> Result<()> {
        if self.is_in_use(stack_pointer) {
            return Err(Error::NotPermitted);
        }
        match request.flags & !SS_AUTODISARM {
            SS_DISABLE => *self = Self::new(0, request.flags, 0),
            0 | SS_ONSTACK if request.size < MINIMUM_SIZE => return Err(Error::OutOfMemory),
            0 | SS_ONSTACK => *self = Self::new(request.base, request.flags, request.size),
            _ => return Err(Error::InvalidArgument),
        }
        Ok(())
    }

    /// Where the frame of a handler that wants this stack goes: its top, unless there is none or it is in use already.
    pub fn top_for_handler(&self, stack_pointer: u64) -> Option<u64> {
        if self.size == 0 || self.is_in_use(stack_pointer) {
            None
        } else {
            Some(self.base.wrapping_add(self.size))
        }
    }

    /// After the frame is built: a stack that disarms itself is gone until the frame brings it back.
    pub fn disarm(&mut self) {
        if self.flags & SS_AUTODISARM != 0 {
            *self = Self::DISABLED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_use_means_between_base_and_top() {
        let stack = AlternateStack::new(0x1000, 0, 0x2000);
        let states = [0x1000, 0x1001, 0x3000, 0x3001].map(|pointer| stack.report(pointer).flags);
        assert_eq!(states, [0, SS_ONSTACK, SS_ONSTACK, 0]);
        assert_eq!(AlternateStack::DISABLED.report(0x10).flags, SS_DISABLE);
        assert_eq!(AlternateStack::from_bytes(&stack.to_bytes()), stack);
    }

    #[test]
    fn setting_follows_linux_s_rules() {
        let mut stack = AlternateStack::DISABLED;
        assert_eq!(stack.set(&AlternateStack::new(0x1000, 4, 0x2000), 0), Err(Error::InvalidArgument));
        assert_eq!(stack.set(&AlternateStack::new(0x1000, 0, 2047), 0), Err(Error::OutOfMemory));
        assert_eq!(stack.set(&AlternateStack::new(0x1000, SS_ONSTACK, 2048), 0), Ok(()));
        assert_eq!(stack.set(&AlternateStack::new(0x8000, 0, 4096), 0x1100), Err(Error::NotPermitted));
        assert_eq!(stack.set(&AlternateStack::new(0x9, SS_DISABLE, 9), 0), Ok(()));
        assert_eq!((stack.base, stack.size), (0, 0));
    }

    #[test]
    fn a_stack_that_disarms_itself_is_never_in_use() {
        let mut stack = AlternateStack::DISABLED;
        stack.set(&AlternateStack::new(0x1000, SS_AUTODISARM, 0x2000), 0).unwrap();
        assert_eq!(stack.report(0x2000).flags, SS_AUTODISARM);
        assert_eq!(stack.top_for_handler(0x2000), Some(0x3000));
        stack.disarm();
        assert_eq!(stack, AlternateStack::DISABLED);
        assert_eq!(stack.top_for_handler(0x2000), None);
    }
}
