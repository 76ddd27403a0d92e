//! One list of expectations of the world, run on both of its arms: what holds on the kernel must hold in the simulation, and the other way round.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coretide::base::limits::PAGE_BYTES;
use coretide::io::sim::{World, WorldOptions};
use coretide::io::uring::{Cores, host, run_cores};
use coretide::io::{AlignedBuf, Io, Open, Stream, mailbox};

/// Makes one test per expectation and arm. Each is an `async fn(Io, PathBuf)`; the path is an empty directory of its own.
macro_rules! twins {
    ($($name:ident,)*) => {
        mod on_uring {
            $(#[test] fn $name() { super::on_uring(stringify!($name), super::$name); })*
        }
        mod in_simulation {
            $(#[test] fn $name() { super::in_simulation(super::$name); })*
        }
    };
}

twins! {
    files_keep_what_was_written,
    direct_files_insist_on_alignment,
    a_dsync_write_and_many_in_flight,
    a_read_past_the_end_is_short,
    vectored_writes_lie_behind_each_other,
    names_come_and_go,
    a_lock_is_refused_while_it_is_held,
    a_file_that_is_written_again_has_nothing_of_before,
    a_durable_file_is_replaced_whole,
    a_file_system_is_flushed_as_a_whole,
    a_dropped_write_harms_nothing,
    echo_over_tcp,
    half_close_ends_one_direction,
    megabytes_pass_in_parts,
    reading_and_writing_wait_at_once,
    a_used_port_is_refused,
    nobody_listens,
    shutdown_ends_a_waiting_read,
    sleeps_end_in_order,
    a_spawned_task_runs_to_its_end,
    a_full_mailbox_makes_its_senders_wait,
    a_mailbox_ends_with_either_side,
}

fn on_uring<F: Future<Output = ()> + 'static>(name: &str, expectation: fn(Io, PathBuf) -> F) {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("io_twins").join(name);
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root).expect("the target directory can be written");
    let cpus = host::allowed_cpus().expect("the process has CPUs");
    run_cores(&Cores::on(vec![cpus[0]]), move |io| expectation(io, root.clone()))
        .expect("the core starts")
        .join()
        .expect("the core ran");
}

/// Under many seeds: the order of tasks, the time that things take and the pieces that bytes come in differ.
fn in_simulation<F: Future<Output = ()> + 'static>(expectation: fn(Io, PathBuf) -> F) {
    for seed in 0..20 {
        let world = World::new(seed, WorldOptions::default());
        let process = world.process("twin");
        world.run(process, |io| async move {
            let root = PathBuf::from("/twin");
            io.create_dir_all(&root).await.unwrap();
            expectation(io, root).await;
        });
    }
}

fn create() -> Open {
    Open { create: true, ..Open::default() }
}

fn aligned(len: usize, byte: u8) -> Bytes {
    let mut buffer = AlignedBuf::zeroed(len);
    buffer.fill(byte);
    buffer.freeze()
}

fn kind<T: std::fmt::Debug>(result: std::io::Result<T>) -> ErrorKind {
    result.expect_err("this must fail").kind()
}

async fn files_keep_what_was_written(io: Io, root: PathBuf) {
    let path = root.join("file");
    assert!(!io.exists(&path).await.unwrap());
    assert_eq!(kind(io.open(&path, Open::default()).await), ErrorKind::NotFound);
    let file = io.open(&path, create()).await.unwrap();
    assert_eq!(file.len().await.unwrap(), 0);
    file.write_at(3, Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(file.read_at(0, 100).await.unwrap(), &b"\0\0\0hello"[..]);
    file.write_at(4, Bytes::from_static(b"E")).await.unwrap();
    file.sync_data().await.unwrap();
    drop(file);
    let again = io.open(&path, Open { write: true, ..Open::default() }).await.unwrap();
    assert_eq!(again.read_at(3, 5).await.unwrap(), &b"hEllo"[..]);
    again.set_len(4).await.unwrap();
    assert_eq!(io.file_len(&path).await.unwrap(), 4);
    again.set_len(6).await.unwrap();
    assert_eq!(again.read_at(0, 6).await.unwrap(), &b"\0\0\0h\0\0"[..]);
    again.allocate(0, 8192, false).await.unwrap();
    assert_eq!(again.len().await.unwrap(), 8192);
    again.allocate(8192, 8192, true).await.unwrap();
    assert_eq!(again.len().await.unwrap(), 8192);
    assert_eq!(io.read_file(&path).await.unwrap().len(), 8192);
    let reader = io.open(&path, Open::default()).await.unwrap();
    reader.write_at(0, Bytes::from_static(b"no")).await.expect_err("it is open for reading only");
}

async fn direct_files_insist_on_alignment(io: Io, root: PathBuf) {
    let file = io.open(&root.join("direct"), Open { direct: true, ..create() }).await.unwrap();
    file.write_at(4096, aligned(8192, 7)).await.unwrap();
    let odd = [(1, aligned(4096, 1)), (0, aligned(4096, 1).slice(..100)), (0, aligned(8192, 1).slice(512..4608))];
    for (pos, bytes) in odd {
        assert_eq!(kind(file.write_at(pos, bytes).await), ErrorKind::InvalidInput);
    }
    assert_eq!(file.read_at(4000, 200).await.unwrap(), [&[0; 96][..], &[7; 104][..]].concat());
    assert_eq!(file.read_at(12287, 1).await.unwrap(), &[7][..]);
    assert_eq!(file.read_at(12000, 5000).await.unwrap().len(), 288);
    assert_eq!(file.len().await.unwrap(), 12288);
}

async fn a_dsync_write_and_many_in_flight(io: Io, root: PathBuf) {
    let how = Open { direct: true, dsync: true, ..create() };
    let file = io.open(&root.join("journal"), how).await.unwrap();
    file.write_at(0, aligned(1 << 20, 0)).await.unwrap();
    let done = Rc::new(Cell::new(0));
    for block in 0..32u8 {
        let (file, done) = (file.clone(), Rc::clone(&done));
        io.spawn(async move {
            file.write_at(u64::from(block) * 8192, aligned(8192, block + 1)).await.unwrap();
            done.set(done.get() + 1);
        });
    }
    while done.get() < 32 {
        io.sleep(Duration::from_millis(1)).await;
    }
    let bytes = file.read_at(0, 1 << 20).await.unwrap();
    for block in 0..32 {
        assert!(bytes[block * 8192..][..8192].iter().all(|byte| *byte == block as u8 + 1));
    }
}

async fn a_read_past_the_end_is_short(io: Io, root: PathBuf) {
    let file = io.open(&root.join("short"), create()).await.unwrap();
    assert!(file.read_at(0, 10).await.unwrap().is_empty());
    file.write_at(0, Bytes::from(vec![5; 5000])).await.unwrap();
    assert_eq!(file.read_at(4990, 100).await.unwrap(), &[5; 10][..]);
    assert!(file.read_at(5000, 1).await.unwrap().is_empty());
    assert!(file.read_at(1 << 40, 1).await.unwrap().is_empty());
    assert!(file.read_at(0, 0).await.unwrap().is_empty());
    let direct = io.open(&root.join("short"), Open { direct: true, ..Open::default() }).await.unwrap();
    assert_eq!(direct.read_at(4990, 100).await.unwrap(), &[5; 10][..]);
    assert_eq!(direct.read_at(10, 10_000).await.unwrap(), &[5; 4990][..]);
    assert!(direct.read_at(6000, 1).await.unwrap().is_empty());
}

async fn vectored_writes_lie_behind_each_other(io: Io, root: PathBuf) {
    let file = io.open(&root.join("parts"), create()).await.unwrap();
    let parts: Vec<Bytes> = (0..3000u32).map(|part| Bytes::copy_from_slice(&part.to_be_bytes())).collect();
    file.write_vectored_at(10, parts).await.unwrap();
    let bytes = file.read_at(10, 12_000).await.unwrap();
    assert_eq!(bytes.len(), 12_000);
    assert!(bytes.chunks(4).zip(0u32..).all(|(word, part)| word == part.to_be_bytes()));
    file.write_vectored_at(0, vec![Bytes::new()]).await.unwrap();
    let direct = io.open(&root.join("parts"), Open { direct: true, write: true, ..Open::default() }).await.unwrap();
    direct.write_vectored_at(4096, vec![aligned(4096, 1), aligned(8192, 2)]).await.unwrap();
    assert_eq!(file.read_at(8191, 2).await.unwrap(), &[1, 2][..]);
    let odd = vec![aligned(4096, 1).slice(1..), aligned(4096, 2).slice(..1)];
    assert_eq!(kind(direct.write_vectored_at(0, odd).await), ErrorKind::InvalidInput);
}

async fn names_come_and_go(io: Io, root: PathBuf) {
    let deep = root.join("a/b/c");
    io.create_dir_all(&deep).await.unwrap();
    io.create_dir_all(&deep).await.unwrap();
    for name in ["two", "one", "three"] {
        let file = io.open(&deep.join(name), create()).await.unwrap();
        file.write_at(0, Bytes::copy_from_slice(name.as_bytes())).await.unwrap();
    }
    assert_eq!(io.list_dir(&deep).await.unwrap(), ["one", "three", "two"]);
    assert_eq!(io.list_dir(&root).await.unwrap(), ["a"]);
    let space = io.space(&root).await.unwrap();
    assert!(0 < space.usable_bytes && space.usable_bytes <= space.total_bytes, "{space:?}");
    assert_eq!(io.space(&root.join("nowhere")).await.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert!(io.is_dir(&deep).await.unwrap() && !io.is_dir(&deep.join("one")).await.unwrap());
    io.rename(&deep.join("one"), &deep.join("two")).await.unwrap();
    assert_eq!(io.list_dir(&deep).await.unwrap(), ["three", "two"]);
    assert_eq!(io.read_file(&deep.join("two")).await.unwrap(), b"one");
    io.sync_dir(&deep).await.unwrap();
    io.remove_file(&deep.join("two")).await.unwrap();
    assert_eq!(kind(io.remove_file(&deep.join("two")).await), ErrorKind::NotFound);
    assert_eq!(kind(io.rename(&deep.join("two"), &deep.join("four")).await), ErrorKind::NotFound);
    io.rename(&root.join("a/b"), &root.join("moved")).await.unwrap();
    assert_eq!(io.list_dir(&root.join("moved/c")).await.unwrap(), ["three"]);
    // An open file outlives its name.
    let file = io.open(&root.join("moved/c/three"), Open::default()).await.unwrap();
    io.remove_dir_all(&root.join("moved")).await.unwrap();
    assert!(!io.exists(&root.join("moved")).await.unwrap());
    assert_eq!(file.read_at(0, 10).await.unwrap(), &b"three"[..]);
    assert_eq!(kind(io.list_dir(&root.join("moved")).await), ErrorKind::NotFound);
    assert_eq!(kind(io.open(&root.join("nowhere/file"), create()).await), ErrorKind::NotFound);
}

async fn a_lock_is_refused_while_it_is_held(io: Io, root: PathBuf) {
    let how = Open { lock: true, ..create() };
    let path = root.join("lock");
    let held = io.open(&path, how).await.unwrap();
    let clone = held.clone();
    drop(held);
    assert_eq!(kind(io.open(&path, how).await), ErrorKind::WouldBlock);
    io.open(&path, Open::default()).await.expect("who does not ask for the lock is not refused");
    drop(clone);
    io.open(&path, how).await.expect("it was given back");
}

async fn a_file_that_is_written_again_has_nothing_of_before(io: Io, root: PathBuf) {
    let path = root.join("plain");
    for text in ["first", "a longer second version", "third", ""] {
        io.write_file(&path, text.as_bytes()).await.unwrap();
        assert_eq!(io.read_file(&path).await.unwrap(), text.as_bytes());
    }
    assert_eq!(io.list_dir(&root).await.unwrap(), ["plain"]);
}

async fn a_durable_file_is_replaced_whole(io: Io, root: PathBuf) {
    let path = root.join("meta");
    io.write_file_durably(&path, b"a longer first version").await.unwrap();
    io.write_file_durably(&path, b"second").await.unwrap();
    assert_eq!(io.read_file(&path).await.unwrap(), b"second");
    io.write_file_durably(&path, b"").await.unwrap();
    assert_eq!(io.read_file(&path).await.unwrap(), b"");
    assert_eq!(io.list_dir(&root).await.unwrap(), ["meta"]);
}

async fn a_file_system_is_flushed_as_a_whole(io: Io, root: PathBuf) {
    let mount = io.mount_of(&root).await.unwrap();
    let file = io.open(&root.join("inside"), create()).await.unwrap();
    file.write_at(0, Bytes::from_static(b"bytes")).await.unwrap();
    mount.sync().await.unwrap();
    assert_eq!(kind(io.mount_of(&root.join("missing")).await.map(drop)), ErrorKind::NotFound);
}

async fn a_dropped_write_harms_nothing(io: Io, root: PathBuf) {
    let file = io.open(&root.join("dropped"), Open { direct: true, dsync: true, ..create() }).await.unwrap();
    file.write_at(0, aligned(64 * PAGE_BYTES, 1)).await.unwrap();
    for _ in 0..20 {
        let mut write = Box::pin(file.write_at(0, aligned(32 * PAGE_BYTES, 2)));
        let mut read = Box::pin(file.read_at(0, 32 * PAGE_BYTES));
        poll_fn(|cx| {
            let _ = write.as_mut().poll(cx);
            let _ = read.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
    }
    file.sync_data().await.unwrap();
    // What becomes of the dropped ones is open, but each byte is the old or the new one.
    let bytes = file.read_at(0, 64 * PAGE_BYTES).await.unwrap();
    assert!(bytes[..32 * PAGE_BYTES].iter().all(|byte| (1..=2).contains(byte)));
    assert!(bytes[32 * PAGE_BYTES..].iter().all(|byte| *byte == 1));
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// A pair of connected streams.
async fn connected(io: &Io) -> (Stream, Stream) {
    let listener = io.listen(any_port()).await.unwrap();
    let client = io.connect(listener.local_addr()).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    let server = io.adopt(socket).unwrap();
    assert_eq!((client.local_addr().unwrap(), server.peer_addr()), (peer, peer));
    assert_eq!((client.peer_addr(), server.local_addr().unwrap()), (listener.local_addr(), listener.local_addr()));
    (client, server)
}

async fn write(stream: &Stream, bytes: &[u8]) {
    let mut parts = VecDeque::from([Bytes::copy_from_slice(bytes)]);
    stream.write_all(&mut parts).await.unwrap();
    assert!(parts.is_empty());
}

async fn read_exactly(stream: &Stream, count: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(count);
    while bytes.len() < count {
        assert!(stream.read(&mut bytes).await.unwrap() > 0, "the peer ended after {} bytes", bytes.len());
    }
    bytes
}

async fn echo_over_tcp(io: Io, _: PathBuf) {
    let listener = io.listen(any_port()).await.unwrap();
    let address = listener.local_addr();
    assert_ne!(address.port(), 0);
    let server = io.clone();
    io.spawn(async move {
        for _ in 0..3 {
            let (socket, _) = listener.accept().await.unwrap();
            let stream = server.adopt(socket).unwrap();
            server.spawn(async move {
                let mut bytes = BytesMut::new();
                while stream.read(&mut bytes).await.unwrap() > 0 {
                    stream.write_all(&mut VecDeque::from([bytes.split().freeze()])).await.unwrap();
                }
            });
        }
    });
    for client in 0..3u8 {
        let stream = io.connect(address).await.unwrap();
        for round in 0..10 {
            let bytes = vec![client * 10 + round; 1000];
            write(&stream, &bytes).await;
            assert_eq!(read_exactly(&stream, 1000).await, bytes);
        }
    }
}

async fn half_close_ends_one_direction(io: Io, _: PathBuf) {
    let (client, server) = connected(&io).await;
    write(&client, b"request").await;
    client.finish_writing();
    assert_eq!(read_exactly(&server, 7).await, &b"request"[..]);
    let mut rest = BytesMut::new();
    assert_eq!(server.read(&mut rest).await.unwrap(), 0);
    assert_eq!(server.read(&mut rest).await.unwrap(), 0);
    write(&server, b"answer").await;
    assert_eq!(read_exactly(&client, 6).await, &b"answer"[..]);
    drop(server);
    assert_eq!(client.read(&mut rest).await.unwrap(), 0);
}

async fn megabytes_pass_in_parts(io: Io, _: PathBuf) {
    let (client, server) = connected(&io).await;
    let pattern = |at: usize| (at / 1000) as u8;
    let whole: Bytes = (0..8_000_000).map(pattern).collect();
    let mut parts: VecDeque<Bytes> = VecDeque::from([Bytes::new()]);
    let mut at = 0;
    for size in (1..).map(|n: usize| (n * 7919) % 100_000) {
        let end = (at + size).min(whole.len());
        parts.push_back(whole.slice(at..end));
        at = end;
        if at == whole.len() {
            break;
        }
    }
    io.spawn(async move {
        client.write_all(&mut parts).await.unwrap();
        assert!(parts.is_empty());
    });
    let mut seen = 0;
    let mut bytes = BytesMut::with_capacity(60_000);
    while server.read(&mut bytes).await.unwrap() > 0 {
        assert!(bytes.iter().zip(seen..).all(|(byte, at)| *byte == pattern(at)), "bytes near {seen}");
        seen += bytes.len();
        bytes.clear();
    }
    assert_eq!(seen, whole.len());
}

async fn reading_and_writing_wait_at_once(io: Io, _: PathBuf) {
    const BYTES: usize = 4_000_000;
    let (client, server) = connected(&io).await;
    // Neither side reads before its own writing waits, so both directions fill up.
    let done = Rc::new(Cell::new(0));
    for stream in [client, server] {
        let (writer, done, clock) = (stream.clone(), Rc::clone(&done), io.clone());
        io.spawn(async move {
            writer.write_all(&mut VecDeque::from([Bytes::from(vec![9; BYTES])])).await.unwrap();
        });
        io.spawn(async move {
            clock.sleep(Duration::from_millis(20)).await;
            assert!(read_exactly(&stream, BYTES).await.iter().all(|byte| *byte == 9));
            done.set(done.get() + 1);
        });
    }
    while done.get() < 2 {
        io.sleep(Duration::from_millis(1)).await;
    }
}

async fn a_used_port_is_refused(io: Io, _: PathBuf) {
    let listener = io.listen(any_port()).await.unwrap();
    let address = listener.local_addr();
    assert_eq!(kind(io.listen(address).await), ErrorKind::AddrInUse);
    drop(listener);
    io.listen(address).await.expect("the port is free again");
}

async fn nobody_listens(io: Io, _: PathBuf) {
    let listener = io.listen(any_port()).await.unwrap();
    let address = listener.local_addr();
    drop(listener);
    assert_eq!(kind(io.connect(address).await), ErrorKind::ConnectionRefused);
}

async fn shutdown_ends_a_waiting_read(io: Io, _: PathBuf) {
    let (client, server) = connected(&io).await;
    let (reading, ended) = (client.clone(), Rc::new(Cell::new(false)));
    let told = Rc::clone(&ended);
    io.spawn(async move {
        assert_eq!(reading.read(&mut BytesMut::new()).await.unwrap(), 0);
        told.set(true);
    });
    io.sleep(Duration::from_millis(5)).await;
    assert!(!ended.get());
    client.shutdown();
    assert_eq!(server.read(&mut BytesMut::new()).await.unwrap(), 0);
    while !ended.get() {
        io.sleep(Duration::from_millis(1)).await;
    }
    let late = client.write_all(&mut VecDeque::from([Bytes::from_static(b"late")])).await;
    assert_eq!(kind(late), ErrorKind::BrokenPipe);
}

async fn sleeps_end_in_order(io: Io, _: PathBuf) {
    let start = io.now();
    let ended = Rc::new(RefCell::new(Vec::new()));
    for ms in [50u64, 10, 30, 0] {
        let (clock, ended) = (io.clone(), Rc::clone(&ended));
        io.spawn(async move {
            let before = clock.now();
            clock.sleep(Duration::from_millis(ms)).await;
            assert!(clock.now().since(before) >= Duration::from_millis(ms), "{ms} ms ended early");
            ended.borrow_mut().push(ms);
        });
    }
    while ended.borrow().len() < 4 {
        io.sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(*ended.borrow(), [0, 10, 30, 50]);
    io.sleep_until(start).await;
    let deadline = io.now() + Duration::from_millis(5);
    io.sleep_until(deadline).await;
    assert!(io.now() >= deadline);
}

async fn a_spawned_task_runs_to_its_end(io: Io, _: PathBuf) {
    let steps = Rc::new(Cell::new(0));
    for _ in 0..100 {
        let (inner, steps) = (io.clone(), Rc::clone(&steps));
        io.spawn(async move {
            for _ in 0..10 {
                inner.yield_now().await;
                steps.set(steps.get() + 1);
            }
        });
    }
    assert_eq!(steps.get(), 0, "a task does not run inside spawn");
    while steps.get() < 1000 {
        io.yield_now().await;
    }
}

async fn a_full_mailbox_makes_its_senders_wait(io: Io, _: PathBuf) {
    let (sender, mut receiver) = mailbox(2);
    for task in 0..5u32 {
        let sender = sender.clone();
        io.spawn(async move {
            for message in 0..20 {
                sender.send((task, message)).await.unwrap();
            }
        });
    }
    io.sleep(Duration::from_millis(2)).await;
    assert_eq!(receiver.len(), 2);
    assert_eq!(sender.try_send((9, 9)), Err((9, 9)));
    // A sender that gives up waiting does not keep the others from their turn.
    {
        let mut gives_up = pin!(sender.send((8, 8)));
        assert!(poll_fn(|cx| Poll::Ready(gives_up.as_mut().poll(cx).is_pending())).await);
    }
    let mut next = [0; 5];
    for _ in 0..100 {
        let (task, message) = receiver.recv().await.unwrap();
        assert_eq!(message, next[task as usize]);
        next[task as usize] += 1;
    }
    assert_eq!(next, [20; 5]);
}

async fn a_mailbox_ends_with_either_side(io: Io, _: PathBuf) {
    let (sender, mut receiver) = mailbox(4);
    sender.try_send(1).unwrap();
    let last = sender.clone();
    drop(sender);
    io.spawn(async move {
        last.send(2).await.unwrap();
    });
    assert_eq!((receiver.recv().await, receiver.recv().await, receiver.recv().await), (Some(1), Some(2), None));
    let (sender, receiver) = mailbox(1);
    sender.try_send(1).unwrap();
    let (waiting, refused) = (sender.clone(), Rc::new(Cell::new(false)));
    let told = Rc::clone(&refused);
    io.spawn(async move { told.set(waiting.send(2).await == Err(2)) });
    io.sleep(Duration::from_millis(1)).await;
    drop(receiver);
    assert_eq!((sender.try_send(3), sender.is_closed()), (Err(3), true));
    while !refused.get() {
        io.sleep(Duration::from_millis(1)).await;
    }
}

/// What only the real arm can show.
mod across_cores {
    use super::*;

    fn two_cores() -> Cores {
        let cpus = host::allowed_cpus().expect("the process has CPUs");
        Cores::on(vec![cpus[0], cpus[1 % cpus.len()]])
    }

    /// Something that one of the cores takes.
    struct Once<T>(Arc<Mutex<Option<T>>>);

    impl<T> Once<T> {
        fn new(value: T) -> Self {
            Self(Arc::new(Mutex::new(Some(value))))
        }
        fn take(&self) -> T {
            self.0.lock().unwrap().take().expect("taken by one core")
        }
    }

    impl<T> Clone for Once<T> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    /// With a short preempt timer both cores ended up asleep with tasks that were ready; see `PREEMPT_EVERY` in `io/uring`.
    #[test]
    fn messages_cross_and_come_back() {
        let ((to_one, at_one), (to_zero, at_zero)) = (mailbox::<u64>(16), mailbox::<u64>(16));
        let (at_one, at_zero) = (Once::new(at_one), Once::new(at_zero));
        let running = run_cores(&two_cores(), move |io| {
            let (at_one, at_zero, to_one, to_zero) = (at_one.clone(), at_zero.clone(), to_one.clone(), to_zero.clone());
            async move {
                if io.shard().0 == 1 {
                    let mut at_one = at_one.take();
                    for _ in 0..1000 {
                        let message = at_one.recv().await.unwrap();
                        to_zero.send(message + 1).await.unwrap();
                    }
                    return Duration::ZERO;
                }
                let mut at_zero = at_zero.take();
                let start = io.now();
                for round in 0..1000 {
                    to_one.send(round).await.unwrap();
                    assert_eq!(at_zero.recv().await, Some(round + 1));
                }
                io.now().since(start) / 1000
            }
        });
        println!("there and back between two idle cores: {:?}", running.unwrap().join().unwrap()[0]);
    }

    #[test]
    fn a_socket_moves_to_another_core() {
        let (sender, receiver) = mailbox(1);
        let receiver = Once::new(receiver);
        let running = run_cores(&two_cores(), move |io| {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            async move {
                if io.shard().0 == 1 {
                    let stream = io.adopt(receiver.take().recv().await.unwrap()).unwrap();
                    let bytes = read_exactly(&stream, 5).await;
                    return write(&stream, &bytes).await;
                }
                let listener = io.listen(any_port()).await.unwrap();
                let client = io.connect(listener.local_addr()).await.unwrap();
                sender.send(listener.accept().await.unwrap().0).await.unwrap();
                write(&client, b"moved").await;
                assert_eq!(read_exactly(&client, 5).await, &b"moved"[..]);
            }
        });
        running.unwrap().join().unwrap();
    }

    /// A core that never runs out of ready tasks would hear of messages only when a timer fires, were its tasks in a queue whose latency does not
    /// matter.
    #[test]
    fn a_busy_core_hears_of_a_message_in_time() {
        const MESSAGES: usize = 50;
        let (sender, receiver) = mailbox(1);
        let receiver = Once::new(receiver);
        let running = run_cores(&two_cores(), move |io| {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            async move {
                if io.shard().0 == 0 {
                    for _ in 0..MESSAGES {
                        io.sleep(Duration::from_millis(2)).await;
                        sender.send(io.now()).await.unwrap();
                    }
                    return Vec::new();
                }
                let mut receiver = receiver.take();
                let busy = Rc::new(Cell::new(true));
                let flag = Rc::clone(&busy);
                io.spawn(poll_fn(move |cx| {
                    cx.waker().wake_by_ref();
                    if flag.get() { Poll::Pending } else { Poll::Ready(()) }
                }));
                let mut waits = Vec::new();
                for _ in 0..MESSAGES {
                    let sent = receiver.recv().await.unwrap();
                    waits.push(io.now().since(sent));
                }
                busy.set(false);
                waits
            }
        });
        let mut waits = running.unwrap().join().unwrap().remove(1);
        waits.sort_unstable();
        println!("a message to a busy core: p50 {:?}, most {:?}", waits[MESSAGES / 2], waits[MESSAGES - 1]);
        assert!(waits[MESSAGES / 2] < Duration::from_millis(50), "half of them waited {:?}", waits[MESSAGES / 2]);
    }

    /// A panic in a task that nobody waits for must not be lost.
    #[test]
    #[should_panic(expected = "told to")]
    fn a_panic_in_a_task_ends_its_core() {
        let cpus = host::allowed_cpus().expect("the process has CPUs");
        let running = run_cores(&Cores::on(vec![cpus[0]]), |io| async move {
            io.spawn(async { panic!("told to") });
            io.sleep(Duration::from_secs(60)).await;
        });
        running.unwrap().join().unwrap();
    }
}

/// What is asked of the host before the broker starts.
mod the_host {
    use super::*;
    use coretide::io::Signal;
    use coretide::io::uring::HostRefusal;
    use coretide::io::uring::host::{Signals, check, measure_durable_write, volume};

    #[test]
    fn a_flush_of_a_file_system_is_not_one_of_another() {
        on_uring("covered", |io, root| async move {
            let inside = io.open(&root.join("inside"), create()).await.unwrap();
            let kind = volume(&root).unwrap().file_system;
            assert_eq!(io.mount_of(&root).await.unwrap().covers(&inside).unwrap(), kind.is_known_durable());
            let elsewhere = io.open(Path::new("/proc/self/status"), Open::default()).await.unwrap();
            assert!(!io.mount_of(&root).await.unwrap().covers(&elsewhere).unwrap());
            let unknown = io.mount_of(Path::new("/proc/self")).await.unwrap();
            assert!(!unknown.covers(&elsewhere).unwrap(), "nobody knows what a flush does there");
        });
    }

    fn directory(name: &str) -> PathBuf {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("io_twins").join(name);
        std::fs::create_dir_all(&directory).expect("the target directory can be written");
        directory
    }

    #[test]
    fn this_host_will_do() {
        let limits = check(1).expect("the tests need a host that will do");
        assert!(limits.open_files >= 256 && limits.locked_bytes >= 512 << 10, "{limits:?}");
        assert!(matches!(check(1 << 40), Err(HostRefusal::LockedMemory { .. })) || limits.locked_bytes == u64::MAX);
    }

    #[test]
    fn the_disk_is_looked_at_and_measured() {
        let directory = directory("measured");
        let volume = volume(&directory).expect("it is there");
        assert!(volume.free_bytes > 0);
        println!("{volume:?}");
        match measure_durable_write(&directory) {
            Ok(cost) => println!("{cost:?}"),
            Err(HostRefusal::NoDirectWrites { .. }) => assert!(!volume.file_system.is_known_durable()),
            Err(fault) => panic!("{fault}"),
        }
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "nothing is left behind");
    }

    /// The signal is sent by the core's own thread, to itself alone: one for the process would end other tests.
    #[test]
    fn a_signal_is_awaited() {
        let signals = Arc::new(Signals::take_over().expect("signals can be taken over"));
        let cores = Cores { signals: Some(signals), ..Cores::on(vec![host::allowed_cpus().unwrap()[0]]) };
        let running = run_cores(&cores, |io| async move {
            let raiser = io.clone();
            io.spawn(async move {
                raiser.sleep(Duration::from_millis(5)).await;
                // SAFETY: a plain number.
                assert_eq!(unsafe { libc::raise(libc::SIGTERM) }, 0);
            });
            assert_eq!(io.signal().await, Signal::Terminate);
        });
        running.unwrap().join().unwrap();
    }
}
