//! What the simulated world does to those who trust it too far: each test is something that a broker must survive, shown to happen.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coretide::io::sim::{Crash, DiskOptions, Loss, NetOptions, World, WorldOptions};
use coretide::io::{AlignedBuf, Io, Open, mailbox};

fn world(seed: u64) -> World {
    World::new(seed, WorldOptions::default())
}

fn create() -> Open {
    Open { create: true, ..Open::default() }
}

fn dsync() -> Open {
    Open { direct: true, dsync: true, ..create() }
}

fn pages(count: usize, byte: u8) -> Bytes {
    let mut buffer = AlignedBuf::zeroed(count * 4096);
    buffer.fill(byte);
    buffer.freeze()
}

/// A directory whose name is durable.
async fn root(io: &Io) -> &'static Path {
    io.create_dir_all(Path::new("/data")).await.unwrap();
    io.sync_dir(Path::new("/")).await.unwrap();
    Path::new("/data")
}

/// A file of zeros that is durable in every respect.
async fn prewritten(io: &Io, path: &Path, count: usize) {
    let file = io.open(path, create()).await.unwrap();
    file.write_at(0, pages(count, 0)).await.unwrap();
    file.sync_all().await.unwrap();
    io.sync_dir(path.parent().unwrap()).await.unwrap();
}

async fn busy_life(io: Io) {
    let root = root(&io).await;
    prewritten(&io, &root.join("file"), 4).await;
    let listener = io.listen("10.0.0.1:9092".parse().unwrap()).await.unwrap();
    let server = io.clone();
    io.spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let stream = server.adopt(socket).unwrap();
        let mut bytes = BytesMut::new();
        while stream.read(&mut bytes).await.unwrap() > 0 {}
    });
    let stream = io.connect("10.0.0.1:9092".parse().unwrap()).await.unwrap();
    for _ in 0..20 {
        let word = Bytes::copy_from_slice(&io.random_u64().to_be_bytes());
        stream.write_all(&mut VecDeque::from([word])).await.unwrap();
        io.sleep(Duration::from_micros(io.random_u64() % 1000)).await;
    }
}

#[test]
fn a_seed_repeats() {
    let hash = |seed| {
        let world = world(seed);
        world.run(world.process("one"), busy_life);
        (world.trace_hash(), world.polls(), world.now())
    };
    assert_eq!(hash(1), hash(1));
    let hashes: BTreeSet<_> = (0..10).map(hash).collect();
    assert_eq!(hashes.len(), 10);
}

#[test]
fn what_was_not_flushed_is_lost() {
    let world = world(1);
    let machine = world.process("machine");
    world.run(machine, |io| async move {
        let root = root(&io).await;
        for name in ["unflushed", "flushed", "dsync"] {
            prewritten(&io, &root.join(name), 2).await;
        }
        let unflushed = io.open(&root.join("unflushed"), create()).await.unwrap();
        unflushed.write_at(0, pages(1, 1)).await.unwrap();
        let flushed = io.open(&root.join("flushed"), create()).await.unwrap();
        flushed.write_at(0, pages(3, 1)).await.unwrap();
        flushed.sync_data().await.unwrap();
        flushed.write_at(0, pages(1, 2)).await.unwrap();
        let synchronous = io.open(&root.join("dsync"), dsync()).await.unwrap();
        synchronous.write_at(4096, pages(1, 1)).await.unwrap();
        io.open(&root.join("nameless"), create()).await.unwrap().sync_all().await.unwrap();
        io.rename(&root.join("dsync"), &root.join("renamed")).await.unwrap();
        // The living see everything.
        assert_eq!(unflushed.read_at(0, 1).await.unwrap(), &[1][..]);
        assert_eq!(io.list_dir(root).await.unwrap(), ["flushed", "nameless", "renamed", "unflushed"]);
    });
    world.crash(machine, Crash::PowerCut(Loss::Everything));
    world.run(machine, |io| async move {
        let root = Path::new("/data");
        assert_eq!(io.list_dir(root).await.unwrap(), ["dsync", "flushed", "unflushed"]);
        assert_eq!(io.read_file(&root.join("unflushed")).await.unwrap(), [0; 8192]);
        assert_eq!(io.read_file(&root.join("flushed")).await.unwrap(), [1; 12288]);
        assert_eq!(io.read_file(&root.join("dsync")).await.unwrap(), [[0; 4096], [1; 4096]].concat());
    });
}

#[test]
fn a_file_system_is_written_out_and_durable_with_the_next_flush() {
    for flushes in [false, true] {
        let world = world(1);
        let machine = world.process("machine");
        world.run(machine, move |io| async move {
            let root = root(&io).await;
            let mount = io.mount_of(root).await.unwrap();
            prewritten(&io, &root.join("another"), 1).await;
            io.create_dir_all(&root.join("new")).await.unwrap();
            let file = io.open(&root.join("new/file"), create()).await.unwrap();
            file.write_at(0, pages(1, 1)).await.unwrap();
            let mut sync = pin!(mount.sync());
            assert!(poll_fn(|cx| Poll::Ready(sync.as_mut().poll(cx).is_pending())).await);
            // What is done while it is under way may be lost.
            file.write_at(0, pages(1, 2)).await.unwrap();
            io.open(&root.join("new/later"), create()).await.unwrap();
            sync.await.unwrap();
            if flushes {
                io.open(&root.join("another"), Open::default()).await.unwrap().sync_data().await.unwrap();
            }
        });
        world.crash(machine, Crash::PowerCut(Loss::Everything));
        world.run(machine, move |io| async move {
            if flushes {
                assert_eq!(io.list_dir(Path::new("/data/new")).await.unwrap(), ["file"]);
                assert_eq!(io.read_file(Path::new("/data/new/file")).await.unwrap(), [1; 4096]);
            } else {
                assert!(!io.exists(Path::new("/data/new")).await.unwrap(), "the device had it in its cache");
            }
        });
    }
}

#[test]
fn chance_leaves_every_kind_of_ruin() {
    let (mut whole, mut lost, mut torn, mut second_alone, mut shorter) = (0, 0, 0, 0, 0);
    for seed in 0..200 {
        let world = world(seed);
        let machine = world.process("machine");
        world.run(machine, |io| async move {
            let root = root(&io).await;
            prewritten(&io, &root.join("file"), 4).await;
            let file = io.open(&root.join("file"), create()).await.unwrap();
            file.write_at(0, pages(1, 1)).await.unwrap();
            file.write_at(4096, pages(1, 2)).await.unwrap();
            file.write_at(4 * 4096, pages(1, 3)).await.unwrap();
        });
        world.crash(machine, Crash::PowerCut(Loss::Random));
        let bytes =
            world.run(machine, |io| async move { io.read_file(Path::new("/data/file")).await.unwrap().to_vec() });
        let count = |page: usize, byte| bytes[page * 4096..][..4096].iter().filter(|found| **found == byte).count();
        match count(0, 1) {
            0 => lost += 1,
            4096 => whole += 1,
            some => {
                assert_eq!(some % 512, 0, "a sector is never torn");
                torn += 1;
            }
        }
        second_alone += u32::from(count(0, 1) == 0 && count(1, 2) == 4096);
        shorter += u32::from(bytes.len() == 4 * 4096);
    }
    assert!([whole, lost, torn, second_alone, shorter].iter().all(|count| *count > 5));
}

#[test]
fn a_directory_keeps_the_order_of_its_names() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let world = world(seed);
        let machine = world.process("machine");
        world.run(machine, |io| async move {
            let root = root(&io).await;
            prewritten(&io, &root.join("a"), 1).await;
            io.create_dir_all(&root.join("other")).await.unwrap();
            io.sync_dir(root).await.unwrap();
            io.rename(&root.join("a"), &root.join("b")).await.unwrap();
            io.rename(&root.join("b"), &root.join("other/c")).await.unwrap();
        });
        world.crash(machine, Crash::PowerCut(Loss::Random));
        let names = world.run(machine, |io| async move {
            let mut names = io.list_dir(Path::new("/data")).await.unwrap();
            names.extend(io.list_dir(Path::new("/data/other")).await.unwrap());
            names.retain(|name| name != "other");
            names
        });
        assert!(!names.is_empty(), "a rename never loses the file");
        seen.extend(names);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
}

/// The ring of a killed process still writes, and keeps the file's lock until it has.
#[test]
fn a_dead_process_writes_and_keeps_its_lock() {
    let slow = DiskOptions { latency_us: (50_000, 60_000), slow_one_in: 0, ..DiskOptions::default() };
    let world = World::new(3, WorldOptions { disk: slow, ..WorldOptions::default() });
    let machine = world.process("machine");
    let started = Rc::new(Cell::new(false));
    let told = Rc::clone(&started);
    world.start(machine, 1, move |io| {
        let told = Rc::clone(&told);
        async move {
            let root = root(&io).await;
            prewritten(&io, &root.join("journal"), 1).await;
            let file = io.open(&root.join("journal"), Open { lock: true, ..dsync() }).await.unwrap();
            told.set(true);
            file.write_at(0, pages(1, 9)).await.unwrap();
        }
    });
    assert!(world.run_until(Duration::from_secs(10), || started.get()));
    world.run_for(Duration::from_millis(1));
    world.crash(machine, Crash::Kill);
    world.set_disk(machine, DiskOptions::default());
    world.run(machine, |io| async move {
        let path = Path::new("/data/journal");
        let unlocked = io.open(path, Open::default()).await.unwrap();
        assert_eq!(unlocked.read_at(0, 1).await.unwrap(), &[0][..], "it has not landed yet");
        let locked = io.open(path, Open { lock: true, ..dsync() }).await.unwrap();
        assert_eq!(locked.read_at(0, 1).await.unwrap(), &[9][..], "who waits for the lock sees it landed");
    });
}

/// A killed process had a rename under way. It came after the next process had written the same file beside, and took it away.
#[test]
fn a_dead_process_does_not_spoil_a_file_that_is_put_in_place() {
    for seed in 0..300 {
        let world = world(seed);
        let process = world.process("one");
        let path = Path::new("/data/small");
        world.run(process, async |io| {
            root(&io).await;
        });
        world.start(process, 1, async move |io: Io| {
            loop {
                io.write_file_durably(path, b"old old old").await.unwrap();
            }
        });
        world.run_for(Duration::from_micros(world.random("moment").between(0, 2000)));
        world.crash(process, Crash::Kill);
        world.run(process, async move |io| {
            io.write_file_durably(path, b"new").await.unwrap();
            io.sleep(Duration::from_millis(50)).await;
            assert_eq!(io.read_file(path).await.unwrap(), b"new", "seed {seed}");
        });
    }
}

#[test]
fn synchronous_writes_complete_in_any_order() {
    let mut orders = BTreeSet::new();
    for seed in 0..50 {
        let world = world(seed);
        let order = world.run(world.process("machine"), |io| async move {
            let file = io.open(&root(&io).await.join("journal"), dsync()).await.unwrap();
            let order = Rc::new(RefCell::new(Vec::new()));
            for block in 0..3u64 {
                let (file, order) = (file.clone(), Rc::clone(&order));
                io.spawn(async move {
                    file.write_at(block * 4096, pages(1, 1)).await.unwrap();
                    order.borrow_mut().push(block);
                });
            }
            while order.borrow().len() < 3 {
                io.sleep(Duration::from_millis(1)).await;
            }
            order.take()
        });
        orders.insert(order);
    }
    assert_eq!(orders.len(), 6);
}

#[test]
fn disks_fail_and_fill_up() {
    let world = world(1);
    let machine = world.process("machine");
    world.set_disk(machine, DiskOptions { capacity: 10 * 4096, ..DiskOptions::default() });
    world.run(machine, |io| async move {
        let root = root(&io).await;
        let file = io.open(&root.join("file"), create()).await.unwrap();
        file.allocate(0, 8 * 4096, false).await.unwrap();
        let other = io.open(&root.join("other"), create()).await.unwrap();
        assert_eq!(other.write_at(0, pages(3, 1)).await.unwrap_err().kind(), ErrorKind::StorageFull);
        file.write_at(0, pages(8, 1)).await.expect("what is allocated is there");
        drop(file);
        io.remove_file(&root.join("file")).await.unwrap();
        other.write_at(0, pages(3, 1)).await.expect("there is room again");
    });
    let failing =
        DiskOptions { read_error_one_in: 2, write_error_one_in: 2, sync_error_one_in: 2, ..DiskOptions::default() };
    world.set_disk(machine, failing);
    let failed = world.run(machine, |io| async move {
        let file = io.open(Path::new("/data/other"), create()).await.unwrap();
        let mut failed = [0; 3];
        for _ in 0..50 {
            failed[0] += u32::from(file.read_at(0, 10).await.is_err());
            failed[1] += u32::from(file.write_at(0, pages(1, 2)).await.is_err());
            failed[2] += u32::from(file.sync_data().await.is_err());
        }
        failed
    });
    assert!(failed.iter().all(|count| (10..40).contains(count)), "{failed:?}");
    assert!(world.disk_counts(machine).faults >= u64::from(failed.iter().sum::<u32>()));
}

#[test]
fn bits_turn_and_writes_go_astray() {
    let world = world(1);
    let machine = world.process("machine");
    world.run(machine, |io| async move { prewritten(&io, &root(&io).await.join("file"), 8).await });
    world.flip_bit(machine, Path::new("/data/file"), 5000, 3).unwrap();
    world.crash(machine, Crash::PowerCut(Loss::Random));
    let bytes = world.run(machine, |io| async move { io.read_file(Path::new("/data/file")).await.unwrap() });
    assert_eq!(bytes.iter().position(|byte| *byte != 0), Some(5000));
    world.set_disk(machine, DiskOptions { misdirect_one_in: 1, ..DiskOptions::default() });
    let astray = world.run(machine, |io| async move {
        let file = io.open(Path::new("/data/file"), dsync()).await.unwrap();
        let mut astray = 0;
        for _ in 0..20 {
            file.write_at(0, pages(1, 0)).await.unwrap();
            file.write_at(0, pages(1, 1)).await.unwrap();
            astray += u32::from(file.read_at(0, 1).await.unwrap() != [1][..]);
        }
        astray
    });
    assert!(astray > 5);
}

#[test]
fn a_crash_is_seen_by_its_peers_and_cores_may_change() {
    for seed in 0..20 {
        let world = world(seed);
        let (server, client) = (world.process("server"), world.process("client"));
        let address = "10.0.0.1:9092".parse().unwrap();
        world.start(client, 1, |_| std::future::pending());
        for cores in [2, 1, 3] {
            let ready = Rc::new(Cell::new(0));
            let (sender, receiver) = mailbox(4);
            let (told, receiver) = (Rc::clone(&ready), Rc::new(RefCell::new(Some(receiver))));
            world.start(server, cores, move |io| {
                let (told, sender, receiver) = (Rc::clone(&told), sender.clone(), Rc::clone(&receiver));
                async move {
                    told.set(told.get() + 1);
                    if io.shard().0 == 0 {
                        // The acceptor hands each connection to the last core.
                        let listener = io.listen(address).await.unwrap();
                        let acceptor = async move {
                            loop {
                                sender.send(listener.accept().await.unwrap().0).await.unwrap();
                            }
                        };
                        io.spawn(acceptor);
                    }
                    if io.shard().0 + 1 == cores {
                        let mut receiver = receiver.take().unwrap();
                        while let Some(socket) = receiver.recv().await {
                            let stream = io.adopt(socket).unwrap();
                            let mut bytes = BytesMut::new();
                            stream.read(&mut bytes).await.unwrap();
                            stream.write_all(&mut VecDeque::from([bytes.freeze()])).await.unwrap();
                            std::future::pending::<()>().await;
                        }
                    }
                    std::future::pending::<()>().await;
                }
            });
            assert!(world.run_until(Duration::from_secs(1), || ready.get() == cores));
            world.run_for(Duration::from_millis(1));
            let reset = world.run(client, move |io| async move {
                let stream = io.connect(address).await.unwrap();
                stream.write_all(&mut VecDeque::from([Bytes::from_static(b"x")])).await.unwrap();
                let mut bytes = BytesMut::new();
                assert_eq!(stream.read(&mut bytes).await.unwrap(), 1);
                let reset = Rc::new(Cell::new(false));
                let told = Rc::clone(&reset);
                io.spawn(async move {
                    let fault = stream.read(&mut BytesMut::new()).await.unwrap_err();
                    told.set(fault.kind() == ErrorKind::ConnectionReset);
                });
                reset
            });
            world.crash(server, if cores == 1 { Crash::Kill } else { Crash::PowerCut(Loss::Random) });
            assert!(world.run_until(Duration::from_secs(1), || reset.get()));
            let refused = world.run(client, move |io| async move { io.connect(address).await.unwrap_err().kind() });
            assert_eq!(refused, ErrorKind::ConnectionRefused);
        }
        assert!(world.net_counts().broken >= 1);
    }
}

/// Pieces that a cut held back once tried again each at its own time, and whoever came first after the healing overtook the others.
#[test]
fn machines_are_cut_off_and_hear_each_other_again() {
    let world = world(5);
    let (server, client) = (world.process("server"), world.process("client"));
    let address = "10.0.0.1:9092".parse().unwrap();
    world.start(server, 1, move |io| async move {
        let listener = io.listen(address).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let stream = io.adopt(socket).unwrap();
        let mut bytes = BytesMut::new();
        while stream.read(&mut bytes).await.unwrap() > 0 {
            stream.write_all(&mut VecDeque::from([bytes.split().freeze()])).await.unwrap();
        }
    });
    let heard = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&heard);
    world.start(client, 1, move |io| {
        let told = Rc::clone(&told);
        async move {
            io.sleep(Duration::from_millis(1)).await;
            let stream = io.connect(address).await.unwrap();
            let writer = stream.clone();
            let clock = io.clone();
            io.spawn(async move {
                for word in 0..100u8 {
                    writer.write_all(&mut VecDeque::from([Bytes::from(vec![word])])).await.unwrap();
                    clock.sleep(Duration::from_millis(1)).await;
                }
                writer.finish_writing();
            });
            let mut bytes = BytesMut::new();
            while stream.read(&mut bytes).await.unwrap() > 0 {
                told.borrow_mut().extend(bytes.split());
            }
        }
    });
    world.run_for(Duration::from_millis(30));
    world.cut(server, client);
    world.run_for(Duration::from_millis(5));
    let before = heard.borrow().len();
    world.run_for(Duration::from_millis(40));
    assert_eq!(heard.borrow().len(), before, "nothing comes through");
    assert!((5..90).contains(&before), "{before}");
    world.heal(server, client);
    assert!(world.run_until_ended(client, Duration::from_secs(10)));
    assert_eq!(*heard.borrow(), (0..100).collect::<Vec<u8>>(), "late, but whole and in order");
}

#[test]
fn connections_break() {
    let world = world(1);
    world.set_net(NetOptions { break_one_in: 20, ..NetOptions::default() });
    let machine = world.process("machine");
    let broken = world.run(machine, |io| async move {
        let listener = io.listen("10.0.0.1:0".parse().unwrap()).await.unwrap();
        let mut broken = 0;
        for _ in 0..20 {
            let client = io.connect(listener.local_addr()).await.unwrap();
            let server = io.adopt(listener.accept().await.unwrap().0).unwrap();
            for _ in 0..10 {
                let mut parts = VecDeque::from([Bytes::from_static(b"hello")]);
                let sent = client.write_all(&mut parts).await;
                if sent.is_err() || server.read(&mut BytesMut::new()).await.is_err() {
                    broken += 1;
                    break;
                }
            }
        }
        broken
    });
    assert!((2..20).contains(&broken), "{broken}");
}

#[test]
fn the_clock_on_the_wall_jumps() {
    let world = world(1);
    let machine = world.process("machine");
    let (wall, mono) = world.run(machine, |io| async move { (io.wall_clock(), io.now()) });
    world.jump_clock(machine, -600_000);
    world.run(machine, move |io| async move {
        assert!(io.wall_clock().0 < wall.0 - 500_000 && io.now() > mono);
        io.sleep(Duration::from_secs(1200)).await;
        assert!(io.wall_clock() > wall);
    });
}

#[test]
#[should_panic(expected = "livelock")]
fn a_livelock_is_found() {
    let world = world(1);
    world.run(world.process("machine"), |_| {
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
    });
}
