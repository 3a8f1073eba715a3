//! The call about futexes.

use super::Attempt;
use super::time as time_calls;
use crate::futex::{self, ANY, Key, Scope, Wait};
use crate::futex_inheritance::{self, How};
use crate::thread::Caller;
use crate::time;
use ::process::signal::action::Interruption;
use abi::linux::general as number;
use alloc::boxed::Box;
use alloc::vec::Vec;
use arch_riscv64::trap::register;
use base::address::VirtualAddress;
use base::hal::now_ns;
use base::{Error, Result};

const SECOND_NS: u64 = 1_000_000_000;

/// `futex`
#[inline]
pub async fn futex(caller: &mut Caller, arguments: [usize; 6]) -> Result<usize> {
    let operation = Operation::decode(arguments)?;
    let bits = operation.bits;
    match operation.command {
        _ if bits == 0 => Err(Error::InvalidArgument),
        number::FUTEX_WAIT | number::FUTEX_WAIT_BITSET => {
            let deadline_ns = deadline(caller, &operation, arguments[3]).await?;
            let wanted = Wait {
                address: arguments[0],
                scope: operation.scope,
                expected: arguments[2] as u32,
                bits,
                deadline_ns,
            };
            match futex::wait(caller, &wanted).await {
                Err(Error::Interrupted) => interrupted(caller, deadline_ns),
                outcome => outcome.map(|()| 0),
            }
        }
        number::FUTEX_WAKE | number::FUTEX_WAKE_BITSET => {
            let key = futex::key(&caller.space, arguments[0], operation.scope).await?;
            Ok(futex::wake(&key, bits, wake_count(arguments[2])))
        }
        number::FUTEX_LOCK_PI
        | number::FUTEX_LOCK_PI2
        | number::FUTEX_TRYLOCK_PI
        | number::FUTEX_UNLOCK_PI
        | number::FUTEX_WAIT_REQUEUE_PI
        | number::FUTEX_CMP_REQUEUE_PI => Box::pin(with_inheritance(caller, arguments, operation)).await,
        number::FUTEX_WAKE_OP => Box::pin(wake_op(caller, arguments, operation.scope)).await,
        _ => Box::pin(requeue(caller, arguments, operation)).await,
    }
}

/// `futex` of one address space: a wake-up, or a wait without a limit that need not begin or can begin at once.
#[inline]
pub fn attempt(caller: &Caller) -> Attempt {
    const WAIT: u32 = number::FUTEX_WAIT | number::FUTEX_PRIVATE_FLAG;
    const WAKE: u32 = number::FUTEX_WAKE | number::FUTEX_PRIVATE_FLAG;
    let [address, operation, value, limit] =
        core::array::from_fn(|index| caller.context.registers[register::A0 + index]);
    let Some(key) = futex::private_key(&caller.space, address) else { return Attempt::InFull };
    match operation as u32 {
        WAKE => Attempt::Done(Ok(futex::wake(&key, ANY, wake_count(value)))),
        WAIT if limit == 0 => {
            let (scope, expected) = (Scope::Private, value as u32);
            Attempt::WaitForWord(Wait { address, scope, expected, bits: ANY, deadline_ns: None })
        }
        _ => Attempt::InFull,
    }
}

/// What the second argument says, with the bits of the last where it has them.
#[derive(Clone, Copy)]
struct Operation {
    command: u32,
    scope: Scope,
    by_realtime: bool,
    bits: u32,
}

impl Operation {
    fn decode(arguments: [usize; 6]) -> Result<Self> {
        let word = arguments[1] as u32;
        let command = word & !(number::FUTEX_PRIVATE_FLAG | number::FUTEX_CLOCK_REALTIME);
        let by_realtime = word & number::FUTEX_CLOCK_REALTIME != 0;
        let known = match command {
            number::FUTEX_WAIT_BITSET | number::FUTEX_WAIT_REQUEUE_PI | number::FUTEX_LOCK_PI2 => true,
            // The others know no clock but one.
            _ if by_realtime => false,
            number::FUTEX_WAIT | number::FUTEX_WAKE | number::FUTEX_WAKE_BITSET => true,
            number::FUTEX_REQUEUE | number::FUTEX_CMP_REQUEUE | number::FUTEX_WAKE_OP => true,
            number::FUTEX_LOCK_PI | number::FUTEX_TRYLOCK_PI | number::FUTEX_UNLOCK_PI => true,
            number::FUTEX_CMP_REQUEUE_PI => true,
            _ => false,
        };
        if !known {
            return Err(Error::NotImplemented);
        }
        let scope = if word & number::FUTEX_PRIVATE_FLAG == 0 { Scope::Shared } else { Scope::Private };
        let bits = match command {
            number::FUTEX_WAIT_BITSET | number::FUTEX_WAKE_BITSET => arguments[5] as u32,
            _ => ANY,
        };
        Ok(Self { command, scope, by_realtime, bits })
    }
}

/// How many to wake: at least one, as on Linux.
fn wake_count(register: usize) -> usize {
    usize::try_from(register as u32 as i32).unwrap_or(1).max(1)
}

/// Until when to wait, in nanoseconds since boot: `FUTEX_WAIT` gives a duration, the other a moment of one of two clocks.
async fn deadline(caller: &Caller, operation: &Operation, address: usize) -> Result<Option<u64>> {
    if address == 0 {
        return Ok(None);
    }
    let [seconds, nanoseconds] = caller.space.read_object::<[u64; 2]>(VirtualAddress::new(address)).await?;
    if seconds > i64::MAX as u64 || nanoseconds >= SECOND_NS {
        return Err(Error::InvalidArgument);
    }
    let given = seconds.saturating_mul(SECOND_NS).saturating_add(nanoseconds);
    Ok(Some(match operation.command {
        number::FUTEX_WAIT => now_ns().saturating_add(given),
        command if !operation.by_realtime && command != number::FUTEX_LOCK_PI => given,
        _ => now_ns().saturating_add(given.saturating_sub(time::realtime_ns().max(0) as u64)),
    }))
}

/// The operations with priority inheritance.
async fn with_inheritance(caller: &mut Caller, arguments: [usize; 6], operation: Operation) -> Result<usize> {
    let [address, _, value, timeout, other, expected] = arguments;
    let scope = operation.scope;
    // Whatever interrupts them, they are made again: all times are moments.
    caller.call.interruption = Interruption::Always;
    match operation.command {
        number::FUTEX_UNLOCK_PI => futex_inheritance::unlock(caller, address, scope).await.map(|()| 0),
        number::FUTEX_TRYLOCK_PI => {
            futex_inheritance::lock(caller, address, scope, How::Try).await.map(|()| 0)
        }
        number::FUTEX_LOCK_PI | number::FUTEX_LOCK_PI2 => {
            let deadline_ns = deadline(caller, &operation, timeout).await?;
            futex_inheritance::lock(caller, address, scope, How::Wait(deadline_ns)).await.map(|()| 0)
        }
        number::FUTEX_WAIT_REQUEUE_PI => {
            let deadline_ns = deadline(caller, &operation, timeout).await?;
            let condition = (address, value as u32);
            futex_inheritance::wait_and_lock(caller, scope, condition, other, deadline_ns).await.map(|()| 0)
        }
        _ => {
            // One is woken: it has the other futex then.
            if value as u32 != 1 || (timeout as u32 as i32) < 0 {
                return Err(Error::InvalidArgument);
            }
            let condition = (address, expected as u32);
            futex_inheritance::requeue(caller, scope, condition, other, timeout as u32 as usize).await
        }
    }
}

/// `futex_waitv`
pub async fn futex_waitv(caller: &Caller, arguments: [usize; 5]) -> Result<usize> {
    const WORDS_MAX: usize = 128;
    let [address, count, flags, timeout, clock] = arguments;
    let count = count as u32 as usize;
    if flags as u32 != 0 || address == 0 || !(1..=WORDS_MAX).contains(&count) {
        return Err(Error::InvalidArgument);
    }
    let deadline_ns = match timeout {
        0 => None,
        _ => {
            let moment = time_calls::read_timespec(caller, timeout).await?;
            Some(match clock as u32 {
                number::CLOCK_MONOTONIC => moment,
                number::CLOCK_REALTIME => {
                    now_ns().saturating_add(moment.saturating_sub(time::realtime_ns().max(0) as u64))
                }
                _ => return Err(Error::InvalidArgument),
            })
        }
    };
    let mut words = Vec::new();
    for index in 0..count {
        words.push(read_waited_word(caller, address, index).await?);
    }
    futex::wait_for_any(caller, &words, deadline_ns).await
}

/// An element of an array of `struct futex_waitv`.
async fn read_waited_word(caller: &Caller, array: usize, index: usize) -> Result<futex::Word> {
    const SIZE: usize = 24;
    let place = VirtualAddress::new(array).checked_add(index * SIZE).ok_or(Error::BadAddress)?;
    let [expected, address, rest] = caller.space.read_object::<[u64; 3]>(place).await?;
    let (flags, reserved) = (rest as u32, rest >> 32);
    if flags & !number::FUTEX2_PRIVATE != number::FUTEX2_SIZE_U32 || reserved != 0 {
        return Err(Error::InvalidArgument);
    }
    let scope = if flags & number::FUTEX2_PRIVATE == 0 { Scope::Shared } else { Scope::Private };
    Ok(futex::Word { address: address as usize, scope, expected: expected as u32 })
}

/// A wait with a time limit goes on with what is left of it.
fn interrupted(caller: &mut Caller, deadline_ns: Option<u64>) -> Result<usize> {
    if let Some(deadline_ns) = deadline_ns {
        caller.call.interruption = Interruption::Continued;
        caller.call.restart_deadline_ns = deadline_ns;
    }
    Err(Error::Interrupted)
}

/// Goes on with a wait that was interrupted and had a time limit.
pub async fn continue_wait(caller: &mut Caller, arguments: [usize; 6], deadline_ns: u64) -> Result<usize> {
    let Operation { scope, bits, .. } = Operation::decode(arguments)?;
    let deadline_ns = Some(deadline_ns);
    let wanted = Wait { address: arguments[0], scope, expected: arguments[2] as u32, bits, deadline_ns };
    match futex::wait(caller, &wanted).await {
        Err(Error::Interrupted) => interrupted(caller, deadline_ns),
        outcome => outcome.map(|()| 0),
    }
}

async fn both_keys(caller: &Caller, arguments: [usize; 6], scope: Scope) -> Result<(Key, Key)> {
    let first = futex::key(&caller.space, arguments[0], scope).await?;
    Ok((first, futex::key(&caller.space, arguments[4], scope).await?))
}

async fn requeue(caller: &Caller, arguments: [usize; 6], operation: Operation) -> Result<usize> {
    let [address, _, wake, limit, _, expected] = arguments;
    let count = |register: usize| usize::try_from(register as u32 as i32).map_err(|_| Error::InvalidArgument);
    let counts = [count(wake)?, count(limit)?];
    let (from, to) = both_keys(caller, arguments, operation.scope).await?;
    let expected = (operation.command == number::FUTEX_CMP_REQUEUE).then_some((address, expected as u32));
    futex::requeue(caller, [&from, &to], counts, expected).await
}

/// What `FUTEX_WAKE_OP` does to the second word, and when it wakes there.
struct WordOperation {
    operation: u32,
    operand: u32,
    comparison: u32,
    comparand: i32,
}

impl WordOperation {
    fn decode(word: u32) -> Result<Self> {
        // The fields of twelve bits are signed.
        let operand = ((word << 8) as i32 >> 20) as u32;
        let shifted = word >> 28 & number::FUTEX_OP_OPARG_SHIFT != 0;
        let decoded = Self {
            operation: word >> 28 & !number::FUTEX_OP_OPARG_SHIFT,
            operand: if shifted { 1 << (operand & 31) } else { operand },
            comparison: word >> 24 & 0xf,
            comparand: (word << 20) as i32 >> 20,
        };
        let known =
            decoded.operation <= number::FUTEX_OP_XOR && decoded.comparison <= number::FUTEX_OP_CMP_GE;
        if known { Ok(decoded) } else { Err(Error::NotImplemented) }
    }

    fn apply(&self, value: u32) -> u32 {
        match self.operation {
            number::FUTEX_OP_SET => self.operand,
            number::FUTEX_OP_ADD => value.wrapping_add(self.operand),
            number::FUTEX_OP_OR => value | self.operand,
            number::FUTEX_OP_ANDN => value & !self.operand,
            _ => value ^ self.operand,
        }
    }

    fn holds(&self, former: u32) -> bool {
        let former = former as i32;
        match self.comparison {
            number::FUTEX_OP_CMP_EQ => former == self.comparand,
            number::FUTEX_OP_CMP_NE => former != self.comparand,
            number::FUTEX_OP_CMP_LT => former < self.comparand,
            number::FUTEX_OP_CMP_LE => former <= self.comparand,
            number::FUTEX_OP_CMP_GT => former > self.comparand,
            _ => former >= self.comparand,
        }
    }
}

async fn wake_op(caller: &Caller, arguments: [usize; 6], scope: Scope) -> Result<usize> {
    let (first, second) = both_keys(caller, arguments, scope).await?;
    let operation = WordOperation::decode(arguments[5] as u32)?;
    let place = VirtualAddress::new(arguments[4]);
    let former = loop {
        match caller.space.fetch_update_u32(place, |value| Some(operation.apply(value))).await {
            Ok(former) => break former.unwrap_or_else(|former| former),
            // Others write it all the time; it is their processor time, too.
            Err(Error::WouldBlock) => crate::executor::yield_now().await,
            Err(error) => return Err(error),
        }
    };
    let mut woken = futex::wake(&first, ANY, wake_count(arguments[2]));
    if operation.holds(former) {
        woken += futex::wake(&second, ANY, wake_count(arguments[3]));
    }
    Ok(woken)
}
