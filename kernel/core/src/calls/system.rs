//! Calls about the system as a whole: its name, its state, its log, its end.

use super::length;
use crate::thread::Caller;
use crate::{entropy, log, power, process};
use ::process::credentials::Capability;
use abi::linux::{general as number, system as structure};
use base::address::{PAGE_SIZE, VirtualAddress};
use base::hal::now_ns;
use base::sync::SpinLock;
use base::{Error, Result};

/// Bytes of each field of `struct utsname`.
const FIELD: usize = 65;

/// `sysname`.
pub const KERNEL_NAME: &str = "Linux";
/// `release`: the Linux whose interface this is, as programs compare it, and what it really is.
pub const RELEASE: &str = "6.12.0-asyncos";
/// `version`: which build.
pub const VERSION: &str = concat!("#1 SMP AsyncOS ", env!("CARGO_PKG_VERSION"));
/// `machine`.
pub const MACHINE: &str = "riscv64";

/// A name that can be set.
pub struct SettableName {
    bytes: [u8; FIELD],
    length: usize,
}

impl SettableName {
    const fn new(text: &str) -> Self {
        let mut bytes = [0; FIELD];
        let mut index = 0;
        while index < text.len() {
            bytes[index] = text.as_bytes()[index];
            index += 1;
        }
        Self { bytes, length: text.len() }
    }

    /// The name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Sets it, cut off where a field ends.
    pub fn set(&mut self, name: &[u8]) {
        self.length = name.len().min(FIELD - 1);
        self.bytes = [0; FIELD];
        self.bytes[..self.length].copy_from_slice(&name[..self.length]);
    }
}

/// `nodename`.
pub static HOST_NAME: SpinLock<SettableName> = SpinLock::new(SettableName::new("asyncos"));
/// `domainname`.
pub static DOMAIN_NAME: SpinLock<SettableName> = SpinLock::new(SettableName::new("(none)"));

/// `uname`
pub async fn uname(caller: &Caller, address: usize) -> Result<usize> {
    let mut answer = [[0u8; FIELD]; 6];
    let host = HOST_NAME.lock().bytes;
    let domain = DOMAIN_NAME.lock().bytes;
    for (field, text) in [(0, KERNEL_NAME), (2, RELEASE), (3, VERSION), (4, MACHINE)] {
        answer[field][..text.len()].copy_from_slice(text.as_bytes());
    }
    answer[1] = host;
    answer[5] = domain;
    caller.space.write_bytes(VirtualAddress::new(address), answer.as_flattened()).await?;
    Ok(0)
}

async fn set_name(
    caller: &Caller,
    name: &SpinLock<SettableName>,
    address: usize,
    count: usize,
) -> Result<usize> {
    if !caller.process().identity().credentials.has(Capability::SystemAdministration) {
        return Err(Error::NotPermitted);
    }
    if count as i32 as isize != count as isize || count > FIELD - 1 {
        return Err(Error::InvalidArgument);
    }
    let mut bytes = [0; FIELD];
    caller.space.read_bytes(VirtualAddress::new(address), &mut bytes[..count]).await?;
    name.lock().set(&bytes[..count]);
    Ok(0)
}

/// `sethostname`
pub async fn sethostname(caller: &Caller, address: usize, count: usize) -> Result<usize> {
    set_name(caller, &HOST_NAME, address, count).await
}

/// `setdomainname`
pub async fn setdomainname(caller: &Caller, address: usize, count: usize) -> Result<usize> {
    set_name(caller, &DOMAIN_NAME, address, count).await
}

/// `sysinfo`. There is no swap and no high memory.
pub async fn sysinfo(caller: &Caller, address: usize) -> Result<usize> {
    const _: () = assert!(size_of::<structure::sysinfo>() == 112);
    let (threads, _) = process::counts();
    let mut words = [0u64; 14];
    words[0] = now_ns() / 1_000_000_000;
    for (word, average) in words[1..4].iter_mut().zip(crate::load_average::averages()) {
        *word = average.to_sysinfo();
    }
    words[4] = (memory::frames::total_frames() * PAGE_SIZE) as u64;
    words[5] = (memory::frames::free_frames() * PAGE_SIZE) as u64;
    // `procs`, 16 bits, and behind the two words of high memory the unit, 32 bits.
    words[10] = threads.min(usize::from(u16::MAX)) as u64;
    words[13] = 1;
    caller.space.write_object(VirtualAddress::new(address), &words).await?;
    Ok(0)
}

/// `getrandom`. The pool is seeded at boot, so that no flag makes a difference.
pub async fn getrandom(caller: &Caller, address: usize, count: usize, how: usize) -> Result<usize> {
    let how = how as u32;
    let exclusive = number::GRND_RANDOM | number::GRND_INSECURE;
    if how & !(number::GRND_NONBLOCK | exclusive) != 0 || how & exclusive == exclusive {
        return Err(Error::InvalidArgument);
    }
    let count = length(count).unwrap_or(isize::MAX as usize).min(0x7fff_f000);
    let mut bytes = [0; 256];
    let mut done = 0;
    while done < count {
        let part = (count - done).min(bytes.len());
        entropy::fill(&mut bytes[..part]);
        match caller.space.write_bytes(VirtualAddress::new(address.wrapping_add(done)), &bytes[..part]).await
        {
            Ok(()) => done += part,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
        // A long request ends early for a signal, as on Linux.
        if done % PAGE_SIZE == 0 && crate::signals::interrupts(&caller.thread) {
            break;
        }
    }
    Ok(done)
}

/// `reboot`
pub async fn reboot(caller: &Caller, first: usize, second: usize, command: usize) -> Result<usize> {
    if !caller.process().identity().credentials.has(Capability::Boot) {
        return Err(Error::NotPermitted);
    }
    let magic = [
        number::LINUX_REBOOT_MAGIC2,
        number::LINUX_REBOOT_MAGIC2A,
        number::LINUX_REBOOT_MAGIC2B,
        number::LINUX_REBOOT_MAGIC2C,
    ];
    if first as u32 != number::LINUX_REBOOT_MAGIC1 || !magic.contains(&(second as u32)) {
        return Err(Error::InvalidArgument);
    }
    match command as u32 {
        number::LINUX_REBOOT_CMD_POWER_OFF | number::LINUX_REBOOT_CMD_HALT => {
            log!("powering off");
            power::off(0)
        }
        number::LINUX_REBOOT_CMD_RESTART | number::LINUX_REBOOT_CMD_RESTART2 => {
            log!("restarting");
            power::restart()
        }
        // No key on the console restarts the machine, whatever is asked for.
        number::LINUX_REBOOT_CMD_CAD_ON | number::LINUX_REBOOT_CMD_CAD_OFF => Ok(0),
        _ => Err(Error::InvalidArgument),
    }
}

/// What `syslog` is asked to do.
mod action {
    pub const CLOSE: usize = 0;
    pub const OPEN: usize = 1;
    pub const READ: usize = 2;
    pub const READ_ALL: usize = 3;
    pub const READ_CLEAR: usize = 4;
    pub const CLEAR: usize = 5;
    pub const CONSOLE_OFF: usize = 6;
    pub const CONSOLE_ON: usize = 7;
    pub const CONSOLE_LEVEL: usize = 8;
    pub const SIZE_UNREAD: usize = 9;
    pub const SIZE_BUFFER: usize = 10;
}

/// `syslog`: the kernel's log. All its lines have one level, informational.
pub async fn syslog(caller: &Caller, what: usize, address: usize, count: usize) -> Result<usize> {
    let harmless = matches!(what, action::READ_ALL | action::SIZE_BUFFER);
    if !harmless && !caller.process().identity().credentials.has(Capability::SystemAdministration) {
        return Err(Error::NotPermitted);
    }
    match what {
        action::CLOSE | action::OPEN => Ok(0),
        action::READ | action::READ_ALL | action::READ_CLEAR => {
            if address == 0 || count as i32 <= 0 {
                return if count as i32 == 0 && address != 0 { Ok(0) } else { Err(Error::InvalidArgument) };
            }
            let text = match what {
                action::READ => caller.interruptible(log::read_new(count)).await??,
                _ => log::newest(count)?,
            };
            caller.space.write_bytes(VirtualAddress::new(address), &text).await?;
            if what == action::READ_CLEAR {
                log::clear();
            }
            Ok(text.len())
        }
        action::CLEAR => {
            log::clear();
            Ok(0)
        }
        action::CONSOLE_OFF | action::CONSOLE_ON => Err(Error::InvalidArgument),
        action::CONSOLE_LEVEL => Err(Error::InvalidArgument),
        action::SIZE_UNREAD => Ok(log::unread()),
        action::SIZE_BUFFER => Ok(log::RING_SIZE),
        _ => Err(Error::InvalidArgument),
    }
}
