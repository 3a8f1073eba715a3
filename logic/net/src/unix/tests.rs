//! The behaviour of endpoints, as Linux has it.

use super::in_flight::Rights;
use super::message::length_max;
use super::receive::{Take, Tell};
use super::*;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use base::Error;
use base::bytes::{Sink, Source};
use vfs::anonymous::AnonymousFiles;
use vfs::metadata::Ownership;
use vfs::{Environment, File, FileKind, OpenFile, OpenFlags, Readiness};

const ME: Credentials = Credentials { process: 7, user: 1, group: 2 };

struct World {
    domain: Arc<Domain>,
    files: Arc<AnonymousFiles>,
}

impl World {
    fn new() -> Self {
        memory::frames::initialise_hosted();
        Self { domain: Domain::new(), files: AnonymousFiles::new(Environment::new()) }
    }

    fn pair(&self, kind: Kind) -> [Arc<Endpoint>; 2] {
        Endpoint::pair(&self.domain, kind, ME)
    }

    fn listener(&self, backlog: usize) -> Arc<Endpoint> {
        let listener = Endpoint::new(&self.domain, Kind::Stream);
        self.domain.bind_abstract(&listener, b"listener").unwrap();
        listener.listen(backlog, ME).unwrap();
        listener
    }

    fn client(&self) -> Arc<Endpoint> {
        Endpoint::new(&self.domain, Kind::Stream)
    }

    fn open(&self, endpoint: &Arc<Endpoint>) -> Arc<OpenFile> {
        let ownership = Ownership { permissions: 0o777, uid: 0, gid: 0 };
        let location = self.files.place_for(FileKind::Socket, "", ownership);
        OpenFile::from_file(Socket::new(endpoint.clone(), ME), location, OpenFlags::READ_WRITE)
    }

    fn rights(&self, files: &[&Arc<OpenFile>]) -> Option<Box<Rights>> {
        let files: Vec<Arc<OpenFile>> = files.iter().map(|file| Arc::clone(file)).collect();
        Some(Rights::depart(&self.domain, files, 0, 100).unwrap())
    }

    fn on_their_way(&self) -> usize {
        self.domain.flights.lock().sockets.len()
    }
}

fn send(endpoint: &Arc<Endpoint>, bytes: &[u8]) -> base::Result<usize> {
    endpoint.send_some(&mut Source::new(bytes), ME, &mut None)
}

fn send_with(endpoint: &Arc<Endpoint>, bytes: &[u8], mut rights: Option<Box<Rights>>) {
    assert_eq!(endpoint.send_some(&mut Source::new(bytes), ME, &mut rights), Ok(bytes.len()));
    assert!(rights.is_none());
}

fn receive(endpoint: &Endpoint, most: usize) -> base::Result<Vec<u8>> {
    let mut received = Received::default();
    receive_with(endpoint, most, Tell::Nothing, &mut received)
}

fn receive_with(
    endpoint: &Endpoint,
    most: usize,
    tell: Tell,
    received: &mut Received,
) -> base::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let count = endpoint.receive_some(&mut Sink::new(&mut bytes), tell, received)?;
    bytes.truncate(count);
    Ok(bytes)
}

fn send_message(endpoint: &Arc<Endpoint>, target: Option<&Arc<Endpoint>>, bytes: &[u8]) -> base::Result<()> {
    let target = endpoint.prepare_message(target, bytes.len())?;
    let payload = Payload::from_source(&mut Source::new(bytes), bytes.len())?;
    endpoint.send_message(&target, payload, Ancillary::from(ME))
}

fn receive_message(endpoint: &Endpoint) -> base::Result<Option<Vec<u8>>> {
    let Some((message, _)) = endpoint.receive_message(Take::Out)? else { return Ok(None) };
    let mut bytes = vec![0; message.payload().len()];
    message.payload().copy_to(0, message.payload().len(), &mut Sink::new(&mut bytes));
    Ok(Some(bytes))
}

#[test]
fn a_stream_has_no_boundaries() {
    let world = World::new();
    let [a, b] = world.pair(Kind::Stream);
    assert_eq!(receive(&b, 10), Err(Error::WouldBlock));
    let long: Vec<u8> = (0..20_000).map(|index| (index % 251) as u8).collect();
    for part in [&long[..3], &long[3..9_000], &long[9_000..]] {
        assert_eq!(send(&a, part), Ok(part.len()));
    }
    assert_eq!((b.receivable(), a.unsent() > 20_000), (Ok(20_000), true));
    let mut all = Vec::new();
    for most in [1, 5_000, 12_000, 10_000] {
        all.extend(receive(&b, most).unwrap());
    }
    assert_eq!(all, long);
    assert_eq!(a.unsent(), 0);
}

#[test]
fn a_full_stream_takes_nothing_until_it_is_drained() {
    let world = World::new();
    let [a, b] = world.pair(Kind::Stream);
    let chunk = vec![1; length_max(Kind::Stream, 0)];
    let mut sent = 0;
    while a.readiness().contains(Readiness::OUT) || send(&a, &chunk) != Err(Error::WouldBlock) {
        sent += 1;
        send(&a, &chunk).unwrap_or_default();
        assert!(sent < 100);
    }
    while !a.readiness().contains(Readiness::OUT) {
        receive(&b, 4096).unwrap();
    }
    assert!(send(&a, b"x").is_ok());
}

#[test]
fn messages_keep_their_boundaries_and_the_end_comes_last() {
    let world = World::new();
    let [a, b] = world.pair(Kind::SequencedPacket);
    let long = vec![3u8; 100_000];
    for bytes in [&b"one"[..], b"", &long] {
        send_message(&a, None, bytes).unwrap();
    }
    assert_eq!(a.prepare_message(None, 300_000).err(), Some(Error::MessageTooLong));
    a.close();
    for bytes in [&b"one"[..], b"", &long] {
        assert_eq!(receive_message(&b).unwrap().as_deref(), Some(bytes));
    }
    assert_eq!(receive_message(&b), Ok(None));
    assert_eq!(send_message(&b, None, b"x"), Err(Error::BrokenPipe));
}

#[test]
fn what_is_left_unread_is_told() {
    let world = World::new();
    let [a, b] = world.pair(Kind::Stream);
    send(&a, b"unread").unwrap();
    send(&b, b"answer").unwrap();
    b.close();
    assert_eq!(receive(&a, 10).unwrap(), b"answer");
    assert_eq!(receive(&a, 10), Err(Error::ConnectionReset));
    assert_eq!(receive(&a, 10).unwrap(), b"");
    assert_eq!(send(&a, b"x"), Err(Error::BrokenPipe));
    assert!(a.readiness().contains(Readiness::HANG_UP | Readiness::READ_HANG_UP | Readiness::IN));
}

#[test]
fn connections_wait_to_be_accepted() {
    let world = World::new();
    let listener = world.listener(1);
    let clients: [Arc<Endpoint>; 3] = core::array::from_fn(|_| world.client());
    assert_eq!(clients[0].connect(&listener, ME), Ok(Connecting::Done));
    assert_eq!(clients[1].connect(&listener, ME), Ok(Connecting::Done));
    assert_eq!(clients[2].connect(&listener, ME), Ok(Connecting::Full));
    send(&clients[0], b"early").unwrap();
    let server = listener.accept().unwrap();
    assert_eq!(clients[0].connect(&listener, ME), Err(Error::AlreadyConnected));
    assert_eq!(receive(&server, 10).unwrap(), b"early");
    assert_eq!(server.peer_credentials(), Some(ME));
    assert_eq!(clients[2].connect(&listener, ME), Ok(Connecting::Done));
    listener.close();
    assert_eq!(receive(&clients[1], 10), Err(Error::ConnectionReset));
    assert_eq!(world.client().connect(&listener, ME), Err(Error::ConnectionRefused));
    assert!(matches!(world.domain.find_abstract(Kind::Stream, b"listener"), Err(Error::ConnectionRefused)));
    assert_eq!(send(&server, b"still"), Ok(5));
}

#[test]
fn datagrams_have_a_limit_and_a_sender_who_waits_is_woken() {
    let world = World::new();
    let [receiver, sender] = [(); 2].map(|()| Endpoint::new(&world.domain, Kind::Datagram));
    world.domain.bind_abstract(&receiver, b"receiver").unwrap();
    world.domain.bind_automatically(&sender).unwrap();
    let mut count = 0;
    while send_message(&sender, Some(&receiver), b"x").is_ok() {
        count += 1;
    }
    assert_eq!(count, endpoint::DATAGRAMS_MAX + 1);
    assert!(!sender.need_not_wait_to_send(Some(&receiver)));
    assert_eq!(receiver.state.lock().blocked.len(), 1);
    let (message, _) = receiver.receive_message(Take::Out).unwrap().unwrap();
    assert_eq!(message.sender().unwrap().bytes(), b"\x0000000");
    assert!(sender.need_not_wait_to_send(Some(&receiver)));
    assert_eq!(receiver.state.lock().blocked.len(), 0);
    sender.connect_datagrams(Some(&receiver)).unwrap();
    receiver.close();
    assert_eq!(send_message(&sender, None, b"x"), Err(Error::ConnectionRefused));
    assert_eq!(send_message(&sender, None, b"x"), Err(Error::NotConnected));
}

#[test]
fn a_look_takes_nothing() {
    let world = World::new();
    let [a, b] = world.pair(Kind::Stream);
    let file = world.open(&world.client());
    send(&a, b"ab").unwrap();
    send_with(&a, b"cd", world.rights(&[&file]));
    let mut bytes = [0; 8];
    let mut received = Received::default();
    assert_eq!(b.peek_some(&mut Sink::new(&mut bytes), Tell::Nothing, &mut received), Ok(4));
    assert_eq!((&bytes[..4], received.rights.len(), world.on_their_way()), (&b"abcd"[..], 1, 1));
    drop(received);
    let mut received = Received::default();
    assert_eq!(receive_with(&b, 8, Tell::Nothing, &mut received).unwrap(), b"abcd");
    assert_eq!((received.rights.len(), world.on_their_way()), (1, 0));
}

#[test]
fn bytes_behind_descriptors_come_with_the_next_call() {
    let world = World::new();
    let [a, b] = world.pair(Kind::Stream);
    let file = world.open(&world.client());
    send_with(&a, b"with", world.rights(&[&file, &file]));
    send(&a, b"without").unwrap();
    let mut received = Received::default();
    assert_eq!(receive_with(&b, 2, Tell::Nothing, &mut received).unwrap(), b"wi");
    assert_eq!(received.rights.len(), 2);
    assert_eq!(receive(&b, 20).unwrap(), b"thwithout");
    let other = Credentials { process: 8, ..ME };
    a.send_some(&mut Source::new(b"mine"), ME, &mut None).unwrap();
    a.send_some(&mut Source::new(b"other"), other, &mut None).unwrap();
    let mut received = Received::default();
    assert_eq!(receive_with(&b, 20, Tell::Credentials, &mut received).unwrap(), b"mine");
    assert_eq!(received.credentials, Some(ME));
}

/// Two sockets, each of which waits in the other's queue.
fn cycle(world: &World) -> [Weak<OpenFile>; 2] {
    let [a, b] = world.pair(Kind::Stream);
    let files = [world.open(&a), world.open(&b)];
    send_with(&a, b"a", world.rights(&[&files[0]]));
    send_with(&b, b"b", world.rights(&[&files[1]]));
    files.each_ref().map(Arc::downgrade)
}

#[test]
fn sockets_that_only_hold_each_other_are_found() {
    let world = World::new();
    let files = cycle(&world);
    assert!(files.iter().all(|file| file.strong_count() == 1));
    assert_eq!(world.on_their_way(), 2);
    drop(world.open(&world.client()));
    assert!(files.iter().all(|file| file.strong_count() == 0));
    assert_eq!((world.on_their_way(), world.domain.endpoints().len()), (0, 0));
}

#[test]
fn what_can_still_be_received_is_kept() {
    let world = World::new();
    let [inner, outer] = world.pair(Kind::Stream);
    let [c, d] = world.pair(Kind::Stream);
    let (inner_file, c_file, outer_file) = (world.open(&inner), world.open(&c), world.open(&outer));
    let d_file = world.open(&d);
    // `c` waits at `inner`, which waits at `c`'s peer `d`, which is open.
    send_with(&outer, b"c", world.rights(&[&c_file]));
    send_with(&c, b"inner", world.rights(&[&inner_file]));
    drop((inner_file, c_file));
    drop(world.open(&world.client()));
    assert_eq!(world.on_their_way(), 2);
    let mut received = Received::default();
    receive_with(&d, 10, Tell::Nothing, &mut received).unwrap();
    let inner_again = received.rights.pop().unwrap();
    let socket = inner_again.file().downcast_ref::<Socket>().unwrap();
    let mut received = Received::default();
    receive_with(socket.endpoint(), 10, Tell::Nothing, &mut received).unwrap();
    assert_eq!((received.rights.len(), world.on_their_way()), (1, 0));
    drop((outer_file, d_file));
}

#[test]
fn a_socket_in_a_listener_s_queue_is_found() {
    let world = World::new();
    let listener = world.listener(4);
    let file = world.open(&listener);
    let client = world.client();
    client.connect(&listener, ME).unwrap();
    send_with(&client, b"you", world.rights(&[&file]));
    let weak = Arc::downgrade(&file);
    drop(file);
    assert_eq!(weak.strong_count(), 1);
    client.close();
    assert_eq!((weak.strong_count(), world.on_their_way()), (0, 0));
}

#[test]
fn a_long_chain_is_dropped_without_depth() {
    let world = World::new();
    let mut last = world.open(&world.client());
    for _ in 0..5_000 {
        let [a, b] = world.pair(Kind::Datagram);
        let target = a.prepare_message(None, 1).unwrap();
        let payload = Payload::from_source(&mut Source::new(b"x"), 1).unwrap();
        let files = vec![last];
        let rights = Some(Rights::depart(&world.domain, files, 0, u64::MAX).unwrap());
        a.send_message(&target, payload, Ancillary { credentials: ME, rights }).unwrap();
        last = world.open(&b);
        a.close();
    }
    drop(last);
    assert_eq!((world.on_their_way(), world.domain.endpoints().len()), (0, 0));
}

#[test]
fn too_many_on_their_way_are_refused() {
    let world = World::new();
    let [a, _b] = world.pair(Kind::Stream);
    let file = world.open(&world.client());
    let first = Rights::depart(&world.domain, vec![file.clone(); 5], 9, 4).unwrap();
    assert!(matches!(Rights::depart(&world.domain, vec![file.clone()], 9, 4), Err(Error::TooManyReferences)));
    drop(first);
    assert!(Rights::depart(&world.domain, vec![file], 9, 4).is_ok());
    assert!(a.name().is_none());
}

#[test]
fn a_file_reads_and_writes() {
    let world = World::new();
    let [a, b] = world.pair(Kind::Datagram);
    let (a, b) = (Socket::new(a, ME), Socket::new(b, ME));
    let mut bytes = [0; 4];
    assert_eq!(a.send_now(&mut Source::new(b"datagram"), ME), Ok(8));
    assert!(b.readiness().contains(Readiness::IN));
    let mut sink = Sink::new(&mut bytes);
    let mut read = b.read(&mut sink, 0);
    assert!(matches!(&mut read, base::operation::Operation::Ready(Ok(4))));
    drop(read);
    assert_eq!(&bytes, b"data");
    assert!(!b.readiness().contains(Readiness::IN));
}
