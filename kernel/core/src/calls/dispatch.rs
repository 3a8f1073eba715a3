//! From a number to a call.

use super::{execution, file, memory, unimplemented};
use crate::thread::Caller;
use abi::linux::general as number;
use alloc::boxed::Box;
use base::Result;

/// Makes the call with this number. A call whose state is large is boxed, so that a waiting thread stays small.
#[inline]
pub async fn call(caller: &mut Caller, number: usize, arguments: [usize; 6]) -> Result<usize> {
    let [a, b, c, d, e, f] = arguments;
    match number as u32 {
        number::__NR_getppid => execution::getppid(caller).await,
        number::__NR_getpid => execution::getpid(caller).await,
        number::__NR_exit => execution::exit(caller, a).await,
        number::__NR_exit_group => execution::exit_group(caller, a).await,
        number::__NR_read => Box::pin(file::read(caller, a, b, c)).await,
        number::__NR_ioctl => Box::pin(file::ioctl(caller, a, b, c)).await,
        number::__NR_write => Box::pin(file::write(caller, a, b, c)).await,
        number::__NR_brk => memory::brk(caller, a).await,
        number::__NR_mmap => Box::pin(memory::mmap(caller, [a, b, c, d, e, f])).await,
        _ => unimplemented::refuse(number),
    }
}
