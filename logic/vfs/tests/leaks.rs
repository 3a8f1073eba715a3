//! Everything that files take is given back: counted in frames, alone in its process so that the count is exact.

use base::bytes::{Sink, Source};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use vfs::anonymous::AnonymousFiles;
use vfs::mount::MountFlags;
use vfs::tmpfs::{Options, Tmpfs};
use vfs::{
    At, Context, Credentials, Environment, FileTable, Location, Mount, OpenFile, OpenFlags, namespace, pipe,
};

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn fill(context: &Context<'_>, root: &Location, name: &str) -> Arc<OpenFile> {
    let flags = OpenFlags::READ_WRITE | OpenFlags::CREATE;
    let file =
        now(namespace::open(context, At::new(root, name.as_bytes()), flags, 0o600)).expect("it can be made");
    for page in [0u64, 1, 2, 70, 5000, 1 << 30] {
        now(file.write_at(&mut Source::new(&[1; 5000]), page * 4096)).expect("there is room");
    }
    file
}

fn use_files() {
    let environment = Environment::new();
    let tmpfs = Tmpfs::new(environment.clone(), Options::default());
    let mount = Mount::new(tmpfs, b"none", MountFlags::empty());
    let root = mount.top();
    let credentials = Credentials::root();
    let context = Context { root: &root, credentials: &credentials, umask: 0 };
    let table = FileTable::new();
    for index in 0..20 {
        let file = fill(&context, &root, &format!("file{index}"));
        let object = file.mapped_object().expect("it can be mapped");
        drop(now(object.page(3, memory::space::Access::Write)).expect("there is room"));
        table.insert(file, vfs::file_table::OnExec::Keep, 1024).expect("there are numbers");
    }
    for index in 0..10 {
        now(namespace::unlink(&context, At::new(&root, format!("file{index}").as_bytes())))
            .expect("it is there");
    }
    let files = AnonymousFiles::new(environment);
    for _ in 0..10 {
        let ends = pipe::open_pair(&files, 0, 0, OpenFlags::empty());
        now(ends[1].write(&mut Source::new(&[2; 60_000]))).expect("there is room");
        now(ends[0].read(&mut Sink::new(&mut [0; 9000]))).expect("there is data");
        table.insert_pair(ends, vfs::file_table::OnExec::Keep, 1024).expect("there are numbers");
    }
    let child = table.duplicate();
    table.clear();
    child.clear();
}

#[test]
fn no_frame_is_left_behind() {
    memory::frames::initialise_hosted();
    use_files();
    memory::frames::drain_cache();
    let before = memory::frames::free_frames();
    for _ in 0..50 {
        use_files();
    }
    memory::frames::drain_cache();
    assert_eq!(memory::frames::free_frames(), before);
}
