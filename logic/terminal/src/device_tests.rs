//! The terminal as an object: output that is slow, readers with their timers, job control and requests.

use super::*;
use crate::job_control::{GroupState, Privilege, Standing, StopSignal};
use abi::Error;
use abi::linux::general as linux;
use base::bytes::{Sink, Source};
use std::boxed::Box;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

/// A device that takes only so many bytes until it is given more room.
#[derive(Default)]
struct Device {
    shown: Vec<u8>,
    room: usize,
}

struct DeviceOutput(Arc<Mutex<Device>>);

impl Output for DeviceOutput {
    fn write(&self, bytes: &[u8]) -> usize {
        let mut device = self.0.lock().unwrap();
        let count = bytes.len().min(device.room);
        device.shown.extend_from_slice(&bytes[..count]);
        device.room -= count;
        count
    }
}

fn terminal(room: usize) -> (Terminal, Arc<Mutex<Device>>) {
    let device = Arc::new(Mutex::new(Device { shown: Vec::new(), room }));
    (Terminal::new(Box::new(DeviceOutput(device.clone())), WindowSize::default()), device)
}

const CALLER: Caller =
    Caller { session: 10, group: 20, standing: Standing::ControlledHere, privilege: Privilege::Ordinary };

fn control(
    terminal: &Terminal,
    caller: &Caller,
    number: u32,
    input: &[u8],
    argument: usize,
) -> Result<Reply, Error> {
    let request = Request::decode(number).unwrap();
    let session_of_group = |group| [(20, 10), (21, 10), (30, 11)].into_iter().find(|(id, _)| *id == group);
    terminal.control(request, caller, input, argument, &|group| {
        session_of_group(group).map(|(_, session)| session)
    })
}

#[test]
fn a_slow_device_gets_everything_in_order() {
    let (terminal, device) = terminal(3);
    assert_eq!(terminal.write(&mut Source::new(b"hello\n")), Ok(6));
    assert_eq!(terminal.receive(b"x").count, 1);
    assert_eq!(device.lock().unwrap().shown, b"hel");
    let waiting = control(&terminal, &CALLER, linux_ioctl::TIOCOUTQ, &[], 0).unwrap();
    assert_eq!(waiting.bytes(), 5u32.to_le_bytes());
    device.lock().unwrap().room = 100;
    terminal.drain();
    assert_eq!(device.lock().unwrap().shown, b"hello\r\nx");
}

use abi::linux::ioctl as linux_ioctl;

#[test]
fn writers_get_room_only_as_the_device_takes() {
    let (terminal, device) = terminal(0);
    let text = [b'x'; 10_000];
    let mut source = Source::new(&text);
    let first = terminal.write(&mut source).unwrap();
    assert!(first < 4096 && terminal.write(&mut source) == Err(Error::WouldBlock));
    assert!(!terminal.readiness().contains(Readiness::WRITABLE));
    device.lock().unwrap().room = usize::MAX;
    terminal.drain();
    assert_eq!(terminal.write(&mut source), Ok(10_000 - first));
    assert_eq!(device.lock().unwrap().shown.len(), 10_000);
}

#[test]
fn stopped_output_waits_for_start() {
    let (terminal, device) = terminal(100);
    let _ = terminal.receive(b"\x13");
    assert_eq!(terminal.write(&mut Source::new(b"held")), Ok(4));
    assert!(device.lock().unwrap().shown.is_empty());
    let _ = terminal.receive(b"\x11");
    assert_eq!(device.lock().unwrap().shown, b"held");
}

#[test]
fn reads_are_complete_by_line_minimum_or_time() {
    const TENTH_NS: u64 = 100_000_000;
    let (terminal, _) = terminal(100);
    let requirement = |minimum: u8, time: u8| {
        let mut settings = Termios::new();
        settings.local_flags &= !linux::ICANON;
        settings.control_characters[linux::VMIN as usize] = minimum;
        settings.control_characters[linux::VTIME as usize] = time;
        control(&terminal, &CALLER, linux_ioctl::TCSETS2, &settings.to_bytes(), 0).unwrap();
        terminal.read_requirement()
    };
    let nothing = Err(Error::WouldBlock);
    let wait = |timeout_ns| ReadStep::Wait { timeout_ns };
    let line = terminal.read_requirement();
    assert_eq!([line.next(&nothing, 0, 9), line.next(&Ok(1), 1, 8)], [wait(None), ReadStep::Return]);
    assert_eq!(line.next(&Ok(0), 0, 9), ReadStep::Return);
    let polling = requirement(0, 0);
    assert_eq!(polling.next(&nothing, 0, 9), ReadStep::Return);
    let timed = requirement(0, 5);
    assert_eq!(timed.next(&nothing, 0, 9), wait(Some(5 * TENTH_NS)));
    assert_eq!(timed.next(&Ok(1), 1, 8), ReadStep::Return);
    let five = requirement(5, 0);
    assert_eq!([five.next(&Ok(4), 4, 5), five.next(&Ok(1), 5, 4)], [wait(None), ReadStep::Return]);
    assert_eq!(five.next(&Ok(3), 3, 0), ReadStep::Return);
    let between = requirement(5, 2);
    assert_eq!(between.next(&nothing, 0, 9), wait(None));
    assert_eq!(between.next(&Ok(1), 1, 8), wait(Some(2 * TENTH_NS)));
    let _ = terminal.receive(b"abc");
    assert!(!terminal.readiness().contains(Readiness::READABLE) || between == requirement(5, 2));
    let mut bytes = [0; 8];
    assert_eq!(terminal.read(&mut Sink::new(&mut bytes)), Ok(3));
}

#[test]
fn the_background_is_stopped_or_refused() {
    let (terminal, _) = terminal(100);
    assert!(terminal.acquire(10, 21) && !terminal.acquire(11, 30));
    let attended = || (StopSignal::Effective, GroupState::Attended);
    let ignoring = || (StopSignal::Ignored, GroupState::Attended);
    let orphaned = || (StopSignal::Effective, GroupState::Orphaned);
    let io = Access::Error(Error::InputOutput);
    assert_eq!(terminal.check_read(&CALLER, attended), Access::Signal(linux::SIGTTIN));
    assert_eq!([terminal.check_read(&CALLER, ignoring), terminal.check_read(&CALLER, orphaned)], [io, io]);
    assert_eq!(terminal.check_change(&CALLER, attended), Access::Signal(linux::SIGTTOU));
    assert_eq!(terminal.check_change(&CALLER, ignoring), Access::Allow);
    assert_eq!(terminal.check_change(&CALLER, orphaned), io);
    assert_eq!(terminal.check_write(&CALLER, attended), Access::Allow);
    let mut settings = Termios::new();
    settings.local_flags |= linux::TOSTOP;
    control(&terminal, &CALLER, linux_ioctl::TCSETS2, &settings.to_bytes(), 0).unwrap();
    assert_eq!(terminal.check_write(&CALLER, attended), Access::Signal(linux::SIGTTOU));
    let foreground = Caller { group: 21, ..CALLER };
    let elsewhere = Caller { standing: Standing::ControlledElsewhere, ..CALLER };
    for caller in [foreground, elsewhere] {
        assert_eq!(terminal.check_read(&caller, attended), Access::Allow);
        assert_eq!(terminal.check_write(&caller, attended), Access::Allow);
    }
}

#[test]
fn sessions_acquire_steal_and_lose_the_terminal() {
    let (terminal, _) = terminal(100);
    let acquire =
        |caller: &Caller, argument| control(&terminal, caller, linux_ioctl::TIOCSCTTY, &[], argument);
    let leader = Caller { standing: Standing::LeaderWithoutTerminal, ..CALLER };
    let follower = Caller { standing: Standing::WithoutTerminal, ..CALLER };
    assert_eq!(acquire(&follower, 0), Err(Error::NotPermitted));
    assert_eq!(acquire(&leader, 0).unwrap().follow_up, FollowUp::ControlAcquired { previous: 0 });
    assert_eq!((terminal.session(), terminal.foreground()), (10, 20));
    assert_eq!(acquire(&CALLER, 0).unwrap().follow_up, FollowUp::None);
    let other = Caller { session: 11, group: 30, ..leader };
    assert_eq!(acquire(&other, 1), Err(Error::NotPermitted));
    let thief = Caller { privilege: Privilege::Administrator, ..other };
    assert_eq!(acquire(&thief, 0), Err(Error::NotPermitted));
    assert_eq!(acquire(&thief, 1).unwrap().follow_up, FollowUp::ControlAcquired { previous: 10 });
    assert_eq!([terminal.disassociate(10), terminal.disassociate(11), terminal.session()], [0, 30, 0]);
}

#[test]
fn the_foreground_group_is_of_the_session() {
    let (terminal, _) = terminal(100);
    assert!(terminal.acquire(10, 20));
    let set =
        |group: i32| control(&terminal, &CALLER, linux_ioctl::TIOCSPGRP, &group.to_le_bytes(), 0).map(|_| ());
    assert_eq!(
        [set(21), set(30), set(99), set(-1)],
        [Ok(()), Err(Error::NotPermitted), Err(Error::NoSuchProcess), Err(Error::InvalidArgument)]
    );
    let get = |caller: &Caller| control(&terminal, caller, linux_ioctl::TIOCGPGRP, &[], 0);
    assert_eq!(get(&CALLER).unwrap().bytes(), 21u32.to_le_bytes());
    let other = Caller { standing: Standing::ControlledElsewhere, ..CALLER };
    assert_eq!(get(&other), Err(Error::NotTerminal));
    let received = terminal.receive(b"\x03");
    assert_eq!((received.signals, received.foreground), (Signals::INTERRUPT, 21));
}

#[test]
fn requests_get_and_set_what_they_say() {
    let (terminal, _) = terminal(100);
    assert!(terminal.acquire(10, 20));
    let size = WindowSize { rows: 24, columns: 80, ..WindowSize::default() }.to_bytes();
    let set = || control(&terminal, &CALLER, linux_ioctl::TIOCSWINSZ, &size, 0).unwrap().follow_up;
    assert_eq!(set(), FollowUp::Signal { signal: linux::SIGWINCH, group: 20 });
    assert_eq!(set(), FollowUp::None);
    let get = |number| control(&terminal, &CALLER, number, &[], 0);
    assert_eq!(get(linux_ioctl::TIOCGWINSZ).unwrap().bytes(), size);
    assert_eq!(get(linux_ioctl::TCGETS).unwrap().bytes(), &Termios::new().to_bytes()[..36]);
    assert_eq!(control(&terminal, &CALLER, linux_ioctl::TIOCSTI, b"x", 0), Err(Error::InputOutput));
    let _ = terminal.receive(b"abc\nde");
    assert_eq!(get(linux_ioctl::FIONREAD).unwrap().bytes(), 4u32.to_le_bytes());
    assert_eq!(control(&terminal, &CALLER, linux_ioctl::TCFLSH, &[], 3), Err(Error::InvalidArgument));
    control(&terminal, &CALLER, linux_ioctl::TCFLSH, &[], 0).unwrap();
    assert_eq!(get(linux_ioctl::FIONREAD).unwrap().bytes(), [0; 4]);
    assert_eq!(control(&terminal, &CALLER, linux_ioctl::TCSETS, &[0; 35], 0), Err(Error::InvalidArgument));
}

#[test]
fn a_terminal_that_hung_up_ends_reads_and_refuses_writes() {
    let (terminal, _) = terminal(100);
    assert!(terminal.acquire(10, 20));
    let _ = terminal.receive(b"last\n");
    assert_eq!(terminal.hang_up(), 20);
    let mut bytes = [0; 8];
    assert_eq!(terminal.read(&mut Sink::new(&mut bytes)), Ok(5));
    assert_eq!(terminal.read(&mut Sink::new(&mut bytes)), Ok(0));
    assert_eq!(terminal.write(&mut Source::new(b"x")), Err(Error::InputOutput));
    assert_eq!(terminal.readiness(), Readiness::all());
}
