//! A virtio device as a thread, which punishes whoever misuses it.
//!
//! It checks every rule that a driver could break: the order of the start, chains (bounds, loops, order, reuse while
//! in flight, change while in flight), and that all memory it is given stays in use until it gives it back or was reset.
//! What it finds wrong is a panic of its thread, which [`FakeDevice::finish`] passes on.

use super::{Cause, Features, QueueAddresses, Status, Transport, device_type};
use crate::machine::Region;
use crate::mmio::dma::fake::Live;
use crate::mmio::{Registers, fake::device_view};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::address::PhysicalAddress;
use base::{Error, Result};
use core::sync::atomic::{Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;

/// What the device does with requests.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Behaviour {
    /// Serves them in order.
    InOrder,
    /// Serves the newest first.
    NewestFirst,
    /// Serves none until told to go on in order.
    Holding,
    /// Says that it has used a chain that it was not given.
    Lying,
}

/// What kind of device it is.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) legacy: bool,
    pub(crate) features: Features,
    pub(crate) queue_size: u16,
    /// Whether it takes the features that the driver chose.
    pub(crate) agreeable: bool,
}

#[derive(Clone, PartialEq, Debug)]
struct Piece {
    address: u64,
    length: u32,
    writable: bool,
}

struct InFlight {
    head: u16,
    pieces: Vec<Piece>,
}

struct State {
    status: Status,
    accepted: Features,
    queue: Option<QueueAddresses>,
    seen: u16,
    used: u16,
    in_flight: Vec<InFlight>,
    behaviour: Behaviour,
    notified: bool,
    interrupt: bool,
    interrupts_sent: usize,
    notifications: usize,
    served: u64,
    stopped: bool,
}

struct Shared {
    kind: Kind,
    live: Live,
    state: Mutex<State>,
    changed: Condvar,
    interrupt: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the device thread did not panic")
    }
}

/// The test's side.
pub(crate) struct FakeDevice {
    shared: Arc<Shared>,
    threads: [JoinHandle<()>; 2],
}

/// The driver's side.
pub(crate) struct FakeTransport {
    shared: Arc<Shared>,
}

impl FakeDevice {
    pub(crate) fn new(kind: Kind, behaviour: Behaviour, live: Live) -> (FakeDevice, FakeTransport) {
        let state = State {
            status: Status::empty(),
            accepted: Features::empty(),
            queue: None,
            seen: 0,
            used: 0,
            in_flight: Vec::new(),
            behaviour,
            notified: false,
            interrupt: false,
            interrupts_sent: 0,
            notifications: 0,
            served: 0,
            stopped: false,
        };
        let (changed, interrupt) = (Condvar::new(), OnceLock::new());
        let shared = Arc::new(Shared { kind, live, state: Mutex::new(state), changed, interrupt });
        let (runner, hart) = (shared.clone(), shared.clone());
        let threads =
            [std::thread::spawn(move || run(&runner)), std::thread::spawn(move || take_interrupts(&hart))];
        (FakeDevice { shared: shared.clone(), threads }, FakeTransport { shared })
    }

    /// What happens when it interrupts.
    pub(crate) fn connect(&self, interrupt: impl Fn() + Send + Sync + 'static) {
        assert!(self.shared.interrupt.set(Box::new(interrupt)).is_ok(), "connected twice");
    }

    pub(crate) fn set_behaviour(&self, behaviour: Behaviour) {
        let mut state = self.shared.state();
        (state.behaviour, state.notified) = (behaviour, true);
        self.shared.changed.notify_all();
    }

    /// How many requests the device has now.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.state().in_flight.len()
    }

    /// How often it interrupted, and how often it was notified.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.shared.state();
        (state.interrupts_sent, state.notifications)
    }

    /// Stops the thread, and passes on what it found wrong.
    pub(crate) fn finish(self) {
        if let Ok(mut state) = self.shared.state.lock() {
            state.stopped = true;
        }
        self.shared.changed.notify_all();
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn run(shared: &Shared) {
    loop {
        {
            let mut state = shared.state();
            while !state.notified && !state.stopped {
                state = shared.changed.wait(state).expect("nobody panics inside");
            }
            if state.stopped {
                return;
            }
            state.notified = false;
            if state.queue.is_none() {
                continue;
            }
            assert!(state.status.contains(Status::DRIVER_OK), "used before it was ready");
            take_available(shared, &mut state);
        }
        while serve_one(shared) {}
    }
}

/// The hart that takes the interrupts: another thread, so that the device goes on meanwhile.
fn take_interrupts(shared: &Shared) {
    loop {
        {
            let Ok(mut state) = shared.state.lock() else {
                return;
            };
            while !state.interrupt && !state.stopped {
                let Ok(woken) = shared.changed.wait(state) else {
                    return;
                };
                state = woken;
            }
            if state.stopped {
                return;
            }
        }
        match shared.interrupt.get() {
            Some(interrupt) => interrupt(),
            None => std::thread::yield_now(),
        }
        // Nobody may be there any more to acknowledge it.
        std::thread::yield_now();
    }
}

fn view(shared: &Shared, address: u64, length: usize) -> Registers {
    let start = address as usize;
    let live = shared.live.lock().expect("nobody panics inside");
    let (from, size) = live.range(..=start).next_back().expect("memory that is in use");
    assert!(start + length <= from + size, "{address:#x} + {length} is not in use");
    device_view(Region { start: PhysicalAddress::new(start), size: length })
}

fn rings(shared: &Shared, queue: &QueueAddresses) -> [Registers; 3] {
    let size = queue.size as usize;
    let parts = [(queue.descriptors, 16 * size), (queue.available, 6 + 2 * size), (queue.used, 6 + 8 * size)];
    parts.map(|(address, length)| view(shared, address.value() as u64, length))
}

/// Reads a chain as the driver wrote it.
fn read_chain(descriptors: &Registers, size: u16, head: u16) -> Vec<Piece> {
    let (mut index, mut pieces) = (head, Vec::new());
    loop {
        assert!(index < size, "descriptor {index} is not in the table");
        assert!(pieces.len() < size as usize, "the chain is a loop");
        let offset = 16 * index as usize;
        let flags = descriptors.read16(offset + 12);
        assert_eq!(flags & !3, 0, "no other flags are agreed on");
        let (address, length) = (descriptors.read64(offset), descriptors.read32(offset + 8));
        assert!(length > 0, "an empty piece");
        let writable = flags & 2 != 0;
        assert!(
            writable || pieces.iter().all(|piece: &Piece| !piece.writable),
            "to be read after to be written"
        );
        pieces.push(Piece { address, length, writable });
        if flags & 1 == 0 {
            return pieces;
        }
        index = descriptors.read16(offset + 14);
    }
}

fn take_available(shared: &Shared, state: &mut State) {
    let queue = state.queue.expect("checked by the caller");
    let [descriptors, available, used] = rings(shared, &queue);
    loop {
        let index = available.read16(2);
        fence(Ordering::SeqCst);
        assert!(index.wrapping_sub(state.seen) <= queue.size, "more offered than there is room for");
        while state.seen != index {
            let head = available.read16(4 + 2 * (state.seen % queue.size) as usize);
            assert!(
                state.in_flight.iter().all(|other| other.head != head),
                "chain {head} is in flight already"
            );
            let pieces = read_chain(&descriptors, queue.size, head);
            for piece in pieces.iter().filter(|piece| piece.writable) {
                let memory = view(shared, piece.address, piece.length as usize);
                (0..piece.length as usize).for_each(|offset| memory.write8(offset, 0xaa));
            }
            state.in_flight.push(InFlight { head, pieces });
            state.seen = state.seen.wrapping_add(1);
        }
        if state.accepted.contains(Features::EVENT_INDEX) {
            used.write16(4 + 8 * queue.size as usize, state.seen);
        }
        fence(Ordering::SeqCst);
        if available.read16(2) == state.seen {
            return;
        }
    }
}

/// Serves a request: everything writable is filled with the number of the request's byte 0, or of requests served.
fn serve_one(shared: &Shared) -> bool {
    let mut state = shared.state();
    let Some(queue) = state.queue else {
        return false;
    };
    let [descriptors, available, used] = rings(shared, &queue);
    let request = match state.behaviour {
        _ if state.in_flight.is_empty() => return false,
        Behaviour::Holding => return false,
        Behaviour::InOrder | Behaviour::Lying => state.in_flight.remove(0),
        Behaviour::NewestFirst => state.in_flight.pop().expect("not empty"),
    };
    assert_eq!(read_chain(&descriptors, queue.size, request.head), request.pieces, "changed in flight");
    state.served += 1;
    let mut answer = state.served as u8;
    let mut written = 0;
    for piece in &request.pieces {
        let memory = view(shared, piece.address, piece.length as usize);
        if piece.writable {
            for offset in 0..piece.length as usize {
                assert_eq!(memory.read8(offset), 0xaa, "written to while in flight");
                memory.write8(offset, answer);
            }
            written += piece.length;
        } else {
            answer = memory.read8(0);
        }
    }
    let id = if state.behaviour == Behaviour::Lying { 0xffff } else { u32::from(request.head) };
    let entry = 4 + 8 * (state.used % queue.size) as usize;
    used.write32(entry, id);
    used.write32(entry + 4, written);
    fence(Ordering::SeqCst);
    let old = state.used;
    state.used = old.wrapping_add(1);
    used.write16(2, state.used);
    fence(Ordering::SeqCst);
    let wanted = if state.accepted.contains(Features::EVENT_INDEX) {
        available.read16(4 + 2 * queue.size as usize) == old
    } else {
        available.read16(0) & 1 == 0
    };
    if wanted {
        state.interrupt = true;
        state.interrupts_sent += 1;
        shared.changed.notify_all();
    }
    true
}

impl Transport for FakeTransport {
    fn device_type(&self) -> u32 {
        device_type::ENTROPY
    }

    fn is_legacy(&self) -> bool {
        self.shared.kind.legacy
    }

    fn offered_features(&self) -> Features {
        self.shared.kind.features
    }

    fn accept_features(&self, features: Features) {
        let mut state = self.shared.state();
        assert!(state.status.contains(Status::DRIVER) && !state.status.contains(Status::FEATURES_OK));
        assert!(self.shared.kind.features.contains(features), "a feature that was not offered");
        state.accepted = features;
    }

    fn status(&self) -> Status {
        match self.shared.state.lock() {
            Ok(state) => state.status,
            Err(_) => Status::empty(),
        }
    }

    fn set_status(&self, status: Status) {
        let Ok(mut state) = self.shared.state.lock() else {
            return;
        };
        if status.is_empty() {
            state.status = Status::empty();
            (state.queue, state.seen, state.used, state.notified) = (None, 0, 0, false);
            state.in_flight.clear();
            state.interrupt = false;
            return;
        }
        assert!(status.contains(state.status), "bits are only added");
        if status.contains(Status::DRIVER_OK) && !self.shared.kind.legacy {
            assert!(state.status.contains(Status::FEATURES_OK), "ready before the features were agreed on");
        }
        let refused = if self.shared.kind.agreeable { Status::empty() } else { Status::FEATURES_OK };
        state.status = status - refused;
    }

    fn max_queue_size(&self, queue: u16) -> u16 {
        if queue == 0 { self.shared.kind.queue_size } else { 0 }
    }

    fn start_queue(&self, queue: u16, addresses: &QueueAddresses) -> Result<()> {
        assert_eq!(queue, 0);
        assert!(addresses.size.is_power_of_two() && addresses.size <= self.shared.kind.queue_size);
        let mut state = self.shared.state();
        assert!(!state.status.contains(Status::DRIVER_OK), "a queue after the start");
        if state.queue.is_some() {
            return Err(Error::Busy);
        }
        if self.shared.kind.legacy {
            let size = addresses.size as usize;
            let available = addresses.descriptors + 16 * size;
            let used = (available + 6 + 2 * size).align_up(4096).expect("far from the end");
            assert_eq!((addresses.available, addresses.used), (available, used), "the legacy layout");
        }
        state.queue = Some(*addresses);
        Ok(())
    }

    fn notify(&self, queue: u16) {
        assert_eq!(queue, 0);
        let mut state = self.shared.state();
        state.notified = true;
        state.notifications += 1;
        self.shared.changed.notify_all();
    }

    fn acknowledge_interrupt(&self) -> Cause {
        if core::mem::take(&mut self.shared.state().interrupt) { Cause::QUEUE } else { Cause::empty() }
    }

    fn configuration_byte(&self, _offset: usize) -> u8 {
        0
    }

    fn configuration_generation(&self) -> u32 {
        0
    }
}
