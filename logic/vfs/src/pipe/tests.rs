//! Pipes and FIFOs as programs meet them.

use super::*;
use crate::testing::{World, block_on, poll_once, read_all};
use core::pin::pin;
use core::task::Poll;
use std::vec;
use std::vec::Vec;

fn pair() -> (World, Arc<AnonymousFiles>, Arc<OpenFile>, Arc<OpenFile>) {
    let world = World::new();
    let files = AnonymousFiles::new(world.environment.clone());
    let [reader, writer] = open_pair(&files, 0, 0, OpenFlags::empty());
    (world, files, reader, writer)
}

fn write(file: &OpenFile, bytes: &[u8]) -> Result<usize> {
    block_on(file.write(&mut Source::new(bytes)))
}

fn read(file: &OpenFile, count: usize) -> Result<Vec<u8>> {
    let mut buffer = vec![0; count];
    let count = block_on(file.read(&mut Sink::new(&mut buffer)))?;
    buffer.truncate(count);
    Ok(buffer)
}

fn end(file: &OpenFile) -> Arc<PipeEnd> {
    file.file().downcast().unwrap()
}

#[test]
fn bytes_come_out_in_order() {
    let (_world, _files, reader, writer) = pair();
    assert_eq!(read(&reader, 1).err(), Some(Error::WouldBlock));
    assert_eq!(write(&writer, b"hello ").unwrap(), 6);
    assert_eq!(write(&writer, b"world").unwrap(), 5);
    assert_eq!(read(&reader, 4).unwrap(), b"hell");
    assert_eq!(read(&reader, 100).unwrap(), b"o world");
    assert_eq!(write(&writer, b"").unwrap(), 0);
    assert_eq!(read(&reader, 0).unwrap(), b"");
    drop(writer);
    assert_eq!(read(&reader, 1).unwrap(), b"");
}

#[test]
fn it_fills_and_drains() {
    let (_world, _files, reader, writer) = pair();
    let content: Vec<u8> = (0..200_000u32).map(|index| ((index * 7) >> 3) as u8).collect();
    assert_eq!(write(&writer, &content).unwrap(), DEFAULT_CAPACITY);
    assert_eq!(write(&writer, b"x").err(), Some(Error::WouldBlock));
    assert!(!writer.readiness().contains(Readiness::OUT));
    let mut received = read(&reader, 4095).unwrap();
    assert_eq!(write(&writer, b"x").err(), Some(Error::WouldBlock), "a page must be free");
    received.extend(read(&reader, 1).unwrap());
    assert!(writer.readiness().contains(Readiness::OUT));
    let mut sent = DEFAULT_CAPACITY;
    while received.len() < content.len() {
        sent += write(&writer, &content[sent..]).unwrap_or(0);
        received.extend(read(&reader, 10_000).unwrap());
    }
    assert_eq!(received, content);
}

#[test]
fn small_writes_are_whole() {
    let (_world, _files, reader, writer) = pair();
    let end = end(&writer);
    assert_eq!(end.pipe().set_capacity(1, MAXIMUM_CAPACITY), Ok(4096));
    assert_eq!(write(&writer, &[1; 3000]).unwrap(), 3000);
    assert_eq!(write(&writer, &[2; 1097]).err(), Some(Error::WouldBlock));
    assert_eq!(write(&writer, &[3; 5000]).unwrap(), 1096, "large writes take what room there is");
    assert_eq!(read(&reader, 5000).unwrap().len(), 4096);
}

#[test]
fn capacity_changes() {
    let (_world, _files, reader, writer) = pair();
    let pipe = end(&writer).pipe().clone();
    assert_eq!(pipe.capacity(), 65536);
    assert_eq!(pipe.set_capacity(100_000, MAXIMUM_CAPACITY), Ok(131_072));
    assert_eq!(pipe.set_capacity(MAXIMUM_CAPACITY + 1, MAXIMUM_CAPACITY).err(), Some(Error::NotPermitted));
    assert_eq!(pipe.set_capacity(0, MAXIMUM_CAPACITY).err(), Some(Error::InvalidArgument));
    assert_eq!(write(&writer, &[0; 131_072]).unwrap(), 131_072);
    assert_eq!(pipe.set_capacity(65536, MAXIMUM_CAPACITY).err(), Some(Error::Busy));
    read(&reader, 131_072 - 65536).unwrap();
    assert_eq!(pipe.set_capacity(65536, MAXIMUM_CAPACITY), Ok(65536));
}

#[test]
fn ends_that_close_are_noticed() {
    let (world, files, reader, writer) = pair();
    assert_eq!(reader.readiness(), Readiness::empty());
    assert_eq!(writer.readiness(), Readiness::WRITABLE);
    write(&writer, b"x").unwrap();
    assert_eq!(reader.readiness(), Readiness::READABLE);
    drop(writer);
    assert_eq!(reader.readiness(), Readiness::READABLE | Readiness::HANG_UP);
    let [reader, writer] = {
        drop(reader);
        open_pair(&files, 0, 0, OpenFlags::empty())
    };
    drop(reader);
    assert_eq!(write(&writer, b"x").err(), Some(Error::BrokenPipe));
    assert_eq!(writer.readiness(), Readiness::WRITABLE | Readiness::ERROR);
    assert_eq!(read(&writer, 1).err(), Some(Error::BadDescriptor));
    assert_eq!(block_on(writer.read_at(&mut Sink::new(&mut []), 0)).err(), Some(Error::BadDescriptor));
    assert_eq!(block_on(writer.write_at(&mut Source::new(b"x"), 0)).err(), Some(Error::IllegalSeek));
    assert!(writer.location().absolute_path(&world.root).starts_with(b"pipe:["));
    assert_eq!(writer.location().inode().kind(), FileKind::Fifo);
}

#[test]
fn waiting_for_data_and_room() {
    let (_world, _files, reader, writer) = pair();
    let queues = reader.wait_queues(Readiness::READABLE);
    let mut wait =
        pin!(queues.first.unwrap().wait_until(|| reader.readiness().contains(Readiness::IN).then_some(())));
    assert!(poll_once(wait.as_mut()).is_pending());
    write(&writer, b"x").unwrap();
    assert!(poll_once(wait.as_mut()).is_ready());
    assert!(queues.second.is_none());
    let (_, _, reader, writer) = pair();
    write(&writer, &[0; DEFAULT_CAPACITY]).unwrap();
    let queues = writer.wait_queues(Readiness::WRITABLE);
    let mut wait =
        pin!(queues.first.unwrap().wait_until(|| writer.readiness().contains(Readiness::OUT).then_some(())));
    assert!(poll_once(wait.as_mut()).is_pending());
    read(&reader, 4096).unwrap();
    assert!(poll_once(wait.as_mut()).is_ready());
}

#[test]
fn opening_a_fifo_waits_for_the_other_side() {
    let world = World::new();
    world.mknod("/fifo", FileKind::Fifo).unwrap();
    let (read_only, write_only) = (OpenFlags::empty(), OpenFlags::WRITE_ONLY);
    let late = world.open("/fifo", write_only | OpenFlags::NONBLOCK);
    assert_eq!(late.err(), Some(Error::NoSuchDeviceOrAddress));
    let context = world.context();
    let mut opening = pin!(crate::namespace::open(&context, world.at("/fifo"), read_only, 0));
    assert!(poll_once(opening.as_mut()).is_pending());
    let writer = world.open("/fifo", write_only).unwrap();
    write(&writer, b"data").unwrap();
    drop(writer);
    // The writer came and went: the reader sees what it wrote, then the end.
    let Poll::Ready(Ok(reader)) = poll_once(opening.as_mut()) else { panic!("the writer came") };
    assert_eq!(read_all(&reader).unwrap(), b"data");
    assert!(reader.readiness().contains(Readiness::HANG_UP));
    drop(reader);
    // A cancelled opening leaves nothing behind.
    {
        let mut opening = pin!(crate::namespace::open(&context, world.at("/fifo"), write_only, 0));
        assert!(poll_once(opening.as_mut()).is_pending());
    }
    let reader = world.open("/fifo", read_only | OpenFlags::NONBLOCK).unwrap();
    assert_eq!(reader.readiness(), Readiness::empty(), "no writer yet is no hang-up");
    assert_eq!(read(&reader, 1).unwrap(), b"");
    let writer = world.open("/fifo", write_only | OpenFlags::NONBLOCK).unwrap();
    assert_eq!(read(&reader, 1).err(), Some(Error::WouldBlock));
    drop((reader, writer));
    let both = world.open("/fifo", OpenFlags::READ_WRITE).unwrap();
    write(&both, b"echo").unwrap();
    assert_eq!(read(&both, 10).unwrap(), b"echo");
    assert_eq!(both.wait_queues(Readiness::READABLE | Readiness::WRITABLE).iter().count(), 2);
    write(&both, b"forgotten").unwrap();
    drop(both);
    let again = world.open("/fifo", OpenFlags::READ_WRITE).unwrap();
    assert_eq!(read(&again, 1).err(), Some(Error::WouldBlock));
}

#[test]
fn threads_pass_everything_on() {
    let (_world, _files, reader, writer) = pair();
    let total = 1 << 20;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut sent = 0;
            while sent < total {
                let chunk: Vec<u8> =
                    (sent..total.min(sent + 5000)).map(|index| (index % 251) as u8).collect();
                let mut source = Source::new(&chunk);
                while source.remaining() > 0 {
                    if block_on(writer.write(&mut source)) == Err(Error::WouldBlock) {
                        let queue = writer.wait_queues(Readiness::WRITABLE).first.unwrap();
                        block_on(
                            queue.wait_until(|| writer.readiness().contains(Readiness::OUT).then_some(())),
                        );
                    }
                }
                sent += chunk.len();
            }
        });
        let mut received = 0;
        loop {
            match read(&reader, 3000) {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => {
                    assert!(bytes.iter().zip(received..).all(|(byte, index)| *byte == (index % 251) as u8));
                    received += bytes.len();
                }
                Err(error) => {
                    assert_eq!(error, Error::WouldBlock);
                    let queue = reader.wait_queues(Readiness::READABLE).first.unwrap();
                    let ready = Readiness::IN | Readiness::HANG_UP;
                    block_on(queue.wait_until(|| reader.readiness().intersects(ready).then_some(())));
                }
            }
        }
        assert_eq!(received, total);
    });
}

#[test]
fn a_pipe_is_opened_again_without_waiting_for_the_other_side() {
    let (_world, _files, reader, writer) = pair();
    write(&writer, b"left").unwrap();
    let location = reader.location().clone();
    drop(writer);
    let again =
        block_on(OpenFile::open(location, OpenFlags::empty(), crate::open_file::Opener::Ordinary)).unwrap();
    assert_eq!(read(&again, 8).unwrap(), b"left");
    assert_eq!(read(&again, 8).unwrap(), b"");
}

#[test]
fn packets_keep_their_boundaries() {
    let (_world, _files, reader, writer) = pair();
    assert_eq!(write(&writer, b"stream").unwrap(), 6);
    end(&writer).set_packets(true);
    assert_eq!(write(&writer, b"first").unwrap(), 5);
    assert_eq!(write(&writer, b"second").unwrap(), 6);
    assert_eq!(write(&writer, &[7; 5000]).unwrap(), 5000);
    end(&writer).set_packets(false);
    assert_eq!(write(&writer, b"rest").unwrap(), 4);
    assert_eq!(read(&reader, 6).unwrap(), b"stream");
    assert_eq!(read(&reader, 3).unwrap(), b"fir");
    assert_eq!(read(&reader, 100).unwrap(), b"second");
    assert_eq!(read(&reader, 10_000).unwrap().len(), 4096);
    assert_eq!(read(&reader, 10_000).unwrap().len(), 904);
    assert_eq!(read(&reader, 100).unwrap(), b"rest");
    assert_eq!(read(&reader, 1).err(), Some(Error::WouldBlock));
}

#[test]
fn pages_move_and_are_shared() {
    let (_world, files, reader, writer) = pair();
    let [other_reader, other_writer] = open_pair(&files, 0, 0, OpenFlags::empty());
    let (from, to) = (end(&reader).pipe().clone(), end(&other_writer).pipe().clone());
    assert_eq!(from.detach(10, Detaching::Move).err(), Some(Error::WouldBlock));
    write(&writer, &[1; 5000]).unwrap();
    let mut shared = from.detach(4500, Detaching::Share).unwrap();
    assert_eq!((shared.len(), to.attach(&mut shared)), (4500, Ok(4500)));
    write(&writer, b"more").unwrap();
    write(&other_writer, b"end").unwrap();
    assert_eq!(read(&other_reader, 10_000).unwrap(), [&[1; 4500][..], b"end"].concat());
    let mut moved = from.detach(100, Detaching::Move).unwrap();
    assert_eq!(to.attach(&mut moved), Ok(100));
    from.put_back(from.detach(50, Detaching::Move).unwrap());
    assert_eq!(read(&reader, 10_000).unwrap(), [&[1; 4900][..], b"more"].concat());
    assert_eq!(read(&other_reader, 10_000).unwrap(), [1; 100]);
    drop((reader, other_reader));
    assert_eq!(to.room_in_pages(), Err(Error::BrokenPipe));
    drop(writer);
    assert!(from.detach(1, Detaching::Move).unwrap().is_empty());
}
