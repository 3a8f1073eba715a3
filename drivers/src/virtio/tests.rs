//! The queue against a device that runs by itself.

use super::fake::{Behaviour, FakeDevice, FakeTransport, Kind};
use super::rng::VirtioRng;
use super::*;
use crate::mmio::dma::fake::{Chain, FakeMemory};
use alloc::sync::Arc;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::task::Wake;
use std::thread::Thread;
use std::vec;

const MODERN: Kind = Kind { legacy: false, features: Features::VERSION_1, queue_size: 8, agreeable: true };
const LEGACY: Kind = Kind { legacy: true, features: Features::empty(), ..MODERN };
const EVENTS: Kind = Kind { features: Features::VERSION_1.union(Features::EVENT_INDEX), ..MODERN };

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

type Device = VirtioDevice<FakeTransport, Chain>;

fn start(kind: Kind, behaviour: Behaviour, memory: &FakeMemory) -> (FakeDevice, Arc<Device>) {
    let (fake, transport) = FakeDevice::new(kind, behaviour, memory.live.clone());
    let queues = QueueCount { count: 1, size: 8 };
    let device = Arc::new(Device::start(transport, Features::empty(), queues, memory).expect("starts"));
    let weak = Arc::downgrade(&device);
    fake.connect(move || {
        weak.upgrade().map(|device| device.on_interrupt());
    });
    (fake, device)
}

/// Waits for a condition that another thread brings about.
fn eventually(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

#[test]
fn random_bytes_come_through_every_kind_of_device() {
    for kind in [MODERN, LEGACY, EVENTS] {
        let memory = FakeMemory::default();
        let (fake, transport) = FakeDevice::new(kind, Behaviour::InOrder, memory.live.clone());
        let rng = Arc::new(VirtioRng::start(transport, Arc::new(memory.clone())).expect("starts"));
        let weak = Arc::downgrade(&rng);
        fake.connect(move || {
            weak.upgrade().map(|rng| rng.on_interrupt());
        });
        let mut bytes = vec![0; 10_000];
        block_on(rng.fill(&mut bytes)).expect("filled");
        assert!(bytes[..4096].iter().all(|byte| *byte == 1) && bytes[8192..].iter().all(|byte| *byte == 3));
        block_on(rng.fill(&mut bytes[..7])).expect("filled");
        assert_eq!(bytes[..8], [4, 4, 4, 4, 4, 4, 4, 1]);
        assert_eq!(memory.blocks(), 2, "the queue's and one page, again and again");
        // The interrupt's thread may be the last to have it.
        eventually(|| Arc::strong_count(&rng) == 1);
        drop(rng);
        assert_eq!(memory.blocks(), 0);
        fake.finish();
    }
}

#[test]
fn many_requests_share_a_small_queue() {
    for (kind, behaviour) in
        [(MODERN, Behaviour::NewestFirst), (EVENTS, Behaviour::InOrder), (LEGACY, Behaviour::InOrder)]
    {
        let memory = FakeMemory::default();
        let (fake, device) = start(kind, behaviour, &memory);
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let (device, memory) = (&device, &memory);
                scope.spawn(move || {
                    for round in 0..200u8 {
                        let mark = thread << 6 | round & 63;
                        let writes = &[16, 64, 1, 100][..(round % 4) as usize];
                        let request = Chain::new(memory, &[mark; 8], writes);
                        let done = block_on(device.transfer(0, request)).expect("served");
                        assert_eq!(done.written, writes.iter().sum::<u32>());
                        for (block, length) in done.buffer.blocks[1..].iter().zip(writes) {
                            let mut answer = vec![0; *length as usize];
                            block.bytes().copy_to(&mut answer);
                            assert!(answer.iter().all(|byte| *byte == mark));
                        }
                    }
                });
            }
        });
        let (interrupts, notifications) = fake.counts();
        assert!(interrupts <= 800 && notifications <= 800, "{interrupts} {notifications}");
        eventually(|| Arc::strong_count(&device) == 1);
        drop(device);
        assert_eq!(memory.blocks(), 0);
        fake.finish();
    }
}

#[test]
fn an_abandoned_request_keeps_its_memory_until_the_device_is_done() {
    let memory = FakeMemory::default();
    let (fake, device) = start(MODERN, Behaviour::Holding, &memory);
    {
        let mut future = pin!(device.transfer(0, Chain::new(&memory, &[1], &[32])));
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        eventually(|| fake.in_flight() == 1);
    }
    assert_eq!(memory.blocks(), 3, "the queue's, and the two that the device still has");
    fake.set_behaviour(Behaviour::InOrder);
    eventually(|| memory.blocks() == 1);
    block_on(device.transfer(0, Chain::new(&memory, &[2], &[32]))).expect("goes on");
    fake.set_behaviour(Behaviour::Holding);
    {
        let mut future = pin!(device.transfer(0, Chain::new(&memory, &[3], &[32])));
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        eventually(|| fake.in_flight() == 1);
    }
    eventually(|| Arc::strong_count(&device) == 1);
    drop(device);
    assert_eq!(memory.blocks(), 0, "the reset gave the rest back");
    fake.finish();
}

#[test]
fn a_request_without_room_waits_and_can_be_taken_back() {
    let memory = FakeMemory::default();
    let (fake, device) = start(MODERN, Behaviour::Holding, &memory);
    let context = &mut Context::from_waker(Waker::noop());
    let mut first = Box::pin(device.transfer(0, Chain::new(&memory, &[1], &[1; 7])));
    assert!(first.as_mut().poll(context).is_pending());
    let mut second = Box::pin(device.transfer(0, Chain::new(&memory, &[2], &[1])));
    assert!(second.as_mut().poll(context).is_pending());
    eventually(|| fake.in_flight() == 1);
    let blocks = memory.blocks();
    drop(second);
    assert_eq!(memory.blocks(), blocks - 2, "the device never had it");
    let third = device.transfer(0, Chain::new(&memory, &[3], &[1]));
    fake.set_behaviour(Behaviour::InOrder);
    assert_eq!(block_on(first).expect("served").written, 7);
    assert_eq!(block_on(third).expect("served").written, 1);
    let too_long = Chain::new(&memory, &[1], &[1; 8]);
    assert_eq!(block_on(device.transfer(0, too_long)).err(), Some(Error::InvalidArgument));
    assert_eq!(
        block_on(device.transfer(0, Chain::new(&memory, &[], &[]))).err(),
        Some(Error::InvalidArgument)
    );
    assert_eq!(
        block_on(device.transfer(1, Chain::new(&memory, &[1], &[]))).err(),
        Some(Error::InvalidArgument)
    );
    eventually(|| Arc::strong_count(&device) == 1);
    drop(device);
    fake.finish();
}

#[test]
fn a_lying_device_fails_requests_and_frees_nothing_early() {
    let memory = FakeMemory::default();
    let (fake, device) = start(MODERN, Behaviour::Lying, &memory);
    let result = block_on(device.transfer(0, Chain::new(&memory, &[1], &[32])));
    assert_eq!(result.err(), Some(Error::InputOutput));
    assert_eq!(memory.blocks(), 3);
    let result = block_on(device.transfer(0, Chain::new(&memory, &[1], &[32])));
    assert_eq!(result.err(), Some(Error::InputOutput));
    assert_eq!(memory.blocks(), 3, "the second never reached the device");
    eventually(|| Arc::strong_count(&device) == 1);
    drop(device);
    assert_eq!(memory.blocks(), 0);
    fake.finish();
}

#[test]
fn a_device_that_cannot_be_started_is_left_alone() {
    let wrong = [
        (Kind { agreeable: false, ..MODERN }, Error::NotSupported),
        (Kind { features: Features::empty(), ..MODERN }, Error::NotSupported),
        (Kind { queue_size: 0, ..MODERN }, Error::NoDevice),
    ];
    for (kind, error) in wrong {
        let memory = FakeMemory::default();
        let (fake, transport) = FakeDevice::new(kind, Behaviour::InOrder, memory.live.clone());
        let queues = QueueCount { count: 1, size: 8 };
        assert_eq!(Device::start(transport, Features::empty(), queues, &memory).err(), Some(error));
        assert_eq!(memory.blocks(), 0);
        fake.finish();
    }
}
