//! Calls that read and write open files.

use super::{descriptor, length};
use crate::terminal_device;
use crate::thread::Caller;
use base::address::VirtualAddress;
use base::bytes::{Sink, Source};
use base::{Error, Result};
use memory::space::Access;
use vfs::{OpenFile, Readiness};

/// Waits until the file may be ready for `interest`, unless a signal comes first.
///
/// # Errors
/// `Interrupted`; `WouldBlock` when the file is not to be waited for.
pub async fn wait_ready(caller: &Caller, file: &OpenFile, interest: Readiness) -> Result<()> {
    if !file.may_wait() {
        return Err(Error::WouldBlock);
    }
    let wanted = interest | Readiness::ALWAYS;
    let queues = file.wait_queues(interest);
    let Some(queue) = queues.first else { return Err(Error::WouldBlock) };
    caller.interruptible(queue.wait_until(|| file.readiness().intersects(wanted).then_some(()))).await
}

/// `read`
pub async fn read(caller: &Caller, file: usize, address: usize, count: usize) -> Result<usize> {
    let file = caller.files.get(descriptor(file))?;
    let count = length(count)?;
    if terminal_device::of(&file).is_some() {
        return terminal_device::read(caller, &file, address, count).await;
    }
    loop {
        let pinned = caller.space.pin(VirtualAddress::new(address), count, Access::Write).await?;
        match file.read(&mut Sink::scattered(pinned.pieces())).await {
            Err(Error::WouldBlock) => wait_ready(caller, &file, Readiness::READABLE).await?,
            outcome => return outcome,
        }
    }
}

/// `ioctl`
pub async fn ioctl(caller: &Caller, file: usize, request: usize, argument: usize) -> Result<usize> {
    let file = caller.files.get(descriptor(file))?;
    match terminal_device::of(&file) {
        Some(terminal) => terminal_device::control(caller, terminal, request as u32, argument).await,
        None => Err(Error::NotTerminal),
    }
}

/// `write`
pub async fn write(caller: &Caller, file: usize, address: usize, count: usize) -> Result<usize> {
    let file = caller.files.get(descriptor(file))?;
    let count = length(count)?;
    if let Some(terminal) = terminal_device::of(&file) {
        terminal_device::before_write(caller, terminal)?;
    }
    let mut done = 0;
    while done < count || count == 0 {
        let pinned = caller.space.pin(VirtualAddress::new(address + done), count - done, Access::Read).await;
        let outcome = match pinned {
            Ok(pinned) => file.write(&mut Source::gathered(pinned.pieces())).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(0) => break,
            Ok(written) => done += written,
            Err(Error::WouldBlock) => {
                if let Err(error) = wait_ready(caller, &file, Readiness::WRITABLE).await {
                    return if done > 0 { Ok(done) } else { Err(error) };
                }
            }
            Err(error) => return if done > 0 { Ok(done) } else { Err(error) },
        }
    }
    Ok(done)
}
