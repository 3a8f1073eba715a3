//! Arguments of a system call with the lifetimes of what they point to, so that a call reads like its manual page.

use std::ffi::CStr;
use std::fmt;
use std::marker::PhantomData;

use super::trap::trap;

/// An errno value, printed with its text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl fmt::Debug for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        formatter.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// One argument register: a number, or the address of something that outlives the call.
#[derive(Clone, Copy)]
pub struct Argument<'a> {
    value: usize,
    borrowed: PhantomData<&'a ()>,
}

impl Argument<'_> {
    /// No pointer.
    pub const NULL: Argument<'static> = Argument { value: 0, borrowed: PhantomData };
}

macro_rules! number_arguments {
    ($($number:ty),*) => {$(
        impl From<$number> for Argument<'_> {
            fn from(value: $number) -> Self {
                Argument { value: value as usize, borrowed: PhantomData }
            }
        }
    )*};
}

number_arguments!(i32, u32, i64, u64, isize, usize);

impl<'a> From<&'a CStr> for Argument<'a> {
    fn from(text: &'a CStr) -> Self {
        Argument { value: text.as_ptr() as usize, borrowed: PhantomData }
    }
}

impl<'a> From<&'a [u8]> for Argument<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Argument { value: bytes.as_ptr() as usize, borrowed: PhantomData }
    }
}

impl<'a> From<&'a mut [u8]> for Argument<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Argument { value: bytes.as_mut_ptr() as usize, borrowed: PhantomData }
    }
}

impl<'a, T: Copy> From<&'a T> for Argument<'a> {
    fn from(value: &'a T) -> Self {
        Argument { value: std::ptr::from_ref(value) as usize, borrowed: PhantomData }
    }
}

impl<'a, T: Copy> From<&'a mut T> for Argument<'a> {
    fn from(value: &'a mut T) -> Self {
        Argument { value: std::ptr::from_mut(value) as usize, borrowed: PhantomData }
    }
}

/// Makes system call `number` (`libc::SYS_*`).
///
/// References carry what the kernel reads and writes; an address given as a plain number must be one of a
/// [`Mapping`](super::Mapping), or one that the kernel refuses.
pub fn call(number: libc::c_long, arguments: &[Argument<'_>]) -> Result<usize, Errno> {
    let mut registers = [0; 6];
    for (register, argument) in registers.iter_mut().zip(arguments) {
        *register = argument.value;
    }
    // SAFETY: memory that the call writes is borrowed by its arguments, or lies in a mapping that only the kernel and
    // volatile accesses touch; the programs here give no other addresses.
    let result = unsafe { trap(number as usize, registers) };
    if (-4095..0).contains(&result) { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

/// `call!(SYS_close, descriptor)`: a system call by its name in `libc`, its arguments converted.
#[macro_export]
macro_rules! call {
    ($number:ident $(, $argument:expr)* $(,)?) => {
        $crate::system::call(libc::$number, &[$($crate::system::Argument::from($argument)),*])
    };
}
