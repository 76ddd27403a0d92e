//! Consumer groups of the classic protocol that rebalance all the time: many members, each with a connection of its own, on few threads.
//!
//! A member joins, syncs and beats, as Kafka's consumers do; it learns of a rebalance from a heartbeat. Whenever all members of a group have their
//! assignment, the next one in turn leaves and joins again at once. Time stands still between two calls, so members that were paused
//! do not all beat together.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{self, Read, Write},
    net::TcpStream,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Result,
    beside::Options,
    client::{self, Client},
    flood::Thread,
    produce::{Counters, Shared},
    wire::{Reader, Writer, api, close_frame, open_frame},
};

/// Threads over which the groups are dealt.
const THREADS: usize = 2;
/// Far longer than a run pauses.
const SESSION_TIMEOUT_MS: i32 = 300_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// Pause before something is tried again that the coordinator could not do yet.
const AGAIN: Duration = Duration::from_millis(100);
/// Events taken from the kernel at a time.
const EVENTS: usize = 256;

const UNKNOWN_MEMBER_ID: i16 = 25;
const ILLEGAL_GENERATION: i16 = 22;
const REBALANCE_IN_PROGRESS: i16 = 27;
/// The coordinator loads, is not available, is elsewhere.
const TRY_AGAIN: std::ops::RangeInclusive<i16> = 14..=16;

/// The threads that let the groups rebalance; rebalances that ended are counted in `rebalances`.
pub(crate) fn threads(options: &Options, rebalances: &Arc<AtomicU64>) -> Result<Vec<Thread>> {
    await_coordinator(&options.bootstrap)?;
    (0..THREADS)
        .map(|index| {
            let groups = (index..options.groups).step_by(THREADS);
            let mut crowd = Crowd::new(options, groups, rebalances.clone())?;
            let work: Thread = Box::new(move |shared, counters| crowd.run(shared, counters));
            Ok(work)
        })
        .collect()
}

/// The first who asks for a coordinator has the topic of offsets made.
fn await_coordinator(bootstrap: &str) -> Result<()> {
    let mut client = Client::connect(bootstrap)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut body = Writer::default();
        body.string(&group_name(0));
        let answer = client.call(api::FIND_COORDINATOR, 0, &body.0)?;
        match Reader(&answer).i16()? {
            0 => return Ok(()),
            code if TRY_AGAIN.contains(&code) && Instant::now() < deadline => thread::sleep(AGAIN),
            code => return Err(format!("FindCoordinator: error {code}").into()),
        }
    }
}

fn group_name(number: usize) -> String {
    format!("beside-{number}")
}

/// What a member waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// For its answer to this.
    Join,
    Sync,
    Heartbeat,
    Leave,
    /// For its next heartbeat; it has an assignment.
    Member,
    /// To join again.
    Pause,
}

struct Member {
    stream: TcpStream,
    /// Its group's place in the crowd.
    group: usize,
    id: String,
    generation: i32,
    stage: Stage,
    /// When it acts next, if it is not answered before.
    due: Duration,
    received: Vec<u8>,
}

struct Group {
    name: String,
    /// Its members' places in the crowd.
    members: std::ops::Range<usize>,
    generation: i32,
    /// Members that have the assignment of this generation.
    assigned: usize,
    /// Who leaves next.
    turn: usize,
}

/// The groups of one thread.
struct Crowd {
    bootstrap: String,
    epoll: OwnedFd,
    groups: Vec<Group>,
    members: Vec<Member>,
    /// When members are to act, in time during which this ran.
    timers: BinaryHeap<Reverse<(Duration, usize)>>,
    ran: Duration,
    heartbeat: Duration,
    rebalances: Arc<AtomicU64>,
    random: u64,
}

impl Crowd {
    fn new(options: &Options, numbers: impl Iterator<Item = usize>, rebalances: Arc<AtomicU64>) -> Result<Self> {
        // SAFETY: takes a plain number; the descriptor is new and nobody else knows it.
        let epoll = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error().into());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let mut crowd = Crowd {
            bootstrap: options.bootstrap.clone(),
            epoll,
            groups: Vec::new(),
            members: Vec::new(),
            timers: BinaryHeap::new(),
            ran: Duration::ZERO,
            heartbeat: Duration::from_secs_f64(options.heartbeat),
            rebalances,
            random: 0x9e37_79b9_7f4a_7c15,
        };
        for number in numbers {
            let first = crowd.members.len();
            let group = crowd.groups.len();
            for _ in 0..options.members {
                let member = crowd.connect(group)?;
                crowd.members.push(member);
            }
            let members = first..crowd.members.len();
            crowd.groups.push(Group { name: group_name(number), members, generation: -1, assigned: 0, turn: 0 });
        }
        for place in 0..crowd.members.len() {
            crowd.join(place)?;
        }
        Ok(crowd)
    }

    fn connect(&self, group: usize) -> Result<Member> {
        let stream = client::connect(&self.bootstrap)?;
        stream.set_nonblocking(true)?;
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: self.members.len() as u64 };
        // SAFETY: both descriptors are open and the event lives through the call.
        let added =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &mut event) };
        if added != 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(Member {
            stream,
            group,
            id: String::new(),
            generation: -1,
            stage: Stage::Pause,
            due: Duration::ZERO,
            received: Vec::new(),
        })
    }

    fn run(&mut self, shared: &Shared, counters: &Counters) -> Result<()> {
        let (begun, before) = (Instant::now(), self.ran);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        while !shared.stopping() {
            self.ran = before + begun.elapsed();
            self.let_act()?;
            let next = self.timers.peek().map_or(AGAIN, |Reverse((at, _))| at.saturating_sub(self.ran));
            let wait = next.min(AGAIN).as_millis() as i32 + 1;
            // SAFETY: the descriptor is open, and there is room for as many events as is said.
            let ready = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, wait) };
            for event in events.iter().take(usize::try_from(ready).unwrap_or(0)) {
                self.take_in(event.u64 as usize, counters)?;
            }
        }
        self.ran = before + begun.elapsed();
        Ok(())
    }

    /// Members whose time has come beat, or try again.
    fn let_act(&mut self) -> Result<()> {
        while let Some(&Reverse((at, place))) = self.timers.peek()
            && at <= self.ran
        {
            self.timers.pop();
            if self.members[place].due != at {
                // It has joined again since.
                continue;
            }
            match self.members[place].stage {
                Stage::Member => self.beat(place)?,
                Stage::Pause => self.join(place)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes in what a member was answered.
    fn take_in(&mut self, place: usize, counters: &Counters) -> Result<()> {
        let member = &mut self.members[place];
        let mut chunk = [0; 4096];
        match member.stream.read(&mut chunk) {
            Ok(0) => return Err("the broker closed the connection of a member".into()),
            Ok(n) => member.received.extend_from_slice(&chunk[..n]),
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(fault) => return Err(fault.into()),
        }
        let Some(length) = member.received.first_chunk::<4>() else { return Ok(()) };
        let length = 4 + u32::from_be_bytes(*length) as usize;
        if member.received.len() < length {
            return Ok(());
        }
        let answer = std::mem::take(&mut member.received);
        counters.add(0);
        let mut reader = Reader(&answer[8..length]);
        match member.stage {
            Stage::Join => self.joined(place, &mut reader),
            Stage::Sync => self.synced(place, &mut reader),
            Stage::Heartbeat => self.beaten(place, &mut reader),
            Stage::Leave => {
                self.members[place].id.clear();
                self.join(place)
            }
            Stage::Member | Stage::Pause => Err("an answer to nothing".into()),
        }
    }

    fn joined(&mut self, place: usize, answer: &mut Reader<'_>) -> Result<()> {
        answer.i32()?;
        match answer.i16()? {
            0 => {}
            code => return self.failed(place, "JoinGroup", code),
        }
        let generation = answer.i32()?;
        answer.bytes16()?;
        let leader = answer.bytes16()?;
        let id = String::from_utf8_lossy(answer.bytes16()?).into_owned();
        let leads = leader == id.as_bytes();
        let mut assignments = Vec::new();
        if leads {
            for _ in 0..answer.i32()? {
                let member = String::from_utf8_lossy(answer.bytes16()?).into_owned();
                answer.bytes32()?;
                assignments.push(member);
            }
        }
        let member = &mut self.members[place];
        (member.id, member.generation) = (id, generation);
        let group = &mut self.groups[member.group];
        if group.generation != generation {
            (group.generation, group.assigned) = (generation, 0);
        }
        let mut body = Writer::default();
        body.string(&group.name).i32(generation).string(&member.id).i32(assignments.len() as i32);
        for (index, member) in assignments.iter().enumerate() {
            body.string(member).bytes32(&assignment(index as i32));
        }
        self.send(place, Stage::Sync, api::SYNC_GROUP, 1, &body)
    }

    fn synced(&mut self, place: usize, answer: &mut Reader<'_>) -> Result<()> {
        answer.i32()?;
        match answer.i16()? {
            0 => {}
            code => return self.failed(place, "SyncGroup", code),
        }
        self.stay(place);
        let member = &self.members[place];
        let group = &mut self.groups[member.group];
        group.assigned += usize::from(member.generation == group.generation);
        if group.assigned < group.members.len() {
            return Ok(());
        }
        self.rebalances.fetch_add(1, Relaxed);
        let leaves = group.members.start + group.turn;
        group.turn = (group.turn + 1) % group.members.len();
        // One that waits for the answer to a heartbeat stays: then the next rebalance begins with a join of it.
        if self.members[leaves].stage == Stage::Member { self.leave(leaves) } else { self.leave(place) }
    }

    fn beaten(&mut self, place: usize, answer: &mut Reader<'_>) -> Result<()> {
        answer.i32()?;
        match answer.i16()? {
            0 => {
                self.stay(place);
                Ok(())
            }
            code => self.failed(place, "Heartbeat", code),
        }
    }

    /// It is a member until its next heartbeat.
    fn stay(&mut self, place: usize) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        // Those of a group would beat together else, since they were assigned together.
        let spread = self.heartbeat.mul_f64(0.5 + (self.random % 1024) as f64 / 2048.0);
        self.act_after(place, Stage::Member, spread);
    }

    fn act_after(&mut self, place: usize, stage: Stage, wait: Duration) {
        let due = self.ran + wait;
        (self.members[place].stage, self.members[place].due) = (stage, due);
        self.timers.push(Reverse((due, place)));
    }

    fn failed(&mut self, place: usize, what: &str, code: i16) -> Result<()> {
        match code {
            UNKNOWN_MEMBER_ID => {
                self.members[place].id.clear();
                self.join(place)
            }
            ILLEGAL_GENERATION | REBALANCE_IN_PROGRESS => self.join(place),
            code if TRY_AGAIN.contains(&code) => {
                self.act_after(place, Stage::Pause, AGAIN);
                Ok(())
            }
            code => Err(format!("{what}: error {code}").into()),
        }
    }

    fn join(&mut self, place: usize) -> Result<()> {
        let member = &self.members[place];
        let mut body = Writer::default();
        body.string(&self.groups[member.group].name).i32(SESSION_TIMEOUT_MS).i32(REBALANCE_TIMEOUT_MS);
        body.string(&member.id).string("consumer").i32(1).string("range").bytes32(&subscription());
        self.send(place, Stage::Join, api::JOIN_GROUP, 2, &body)
    }

    fn beat(&mut self, place: usize) -> Result<()> {
        let member = &self.members[place];
        let mut body = Writer::default();
        body.string(&self.groups[member.group].name).i32(member.generation).string(&member.id);
        self.send(place, Stage::Heartbeat, api::HEARTBEAT, 1, &body)
    }

    fn leave(&mut self, place: usize) -> Result<()> {
        let member = &self.members[place];
        let mut body = Writer::default();
        body.string(&self.groups[member.group].name).string(&member.id);
        self.send(place, Stage::Leave, api::LEAVE_GROUP, 1, &body)
    }

    fn send(&mut self, place: usize, stage: Stage, api: i16, version: i16, body: &Writer) -> Result<()> {
        let mut frame = open_frame(api, version, 1, false);
        frame.raw(&body.0);
        let frame = close_frame(frame);
        let member = &mut self.members[place];
        member.stage = stage;
        // Nothing else is under way on this connection: its socket has room for a small frame.
        match member.stream.write(&frame)? {
            n if n == frame.len() => Ok(()),
            n => Err(format!("a socket took {n} of {} bytes", frame.len()).into()),
        }
    }
}

/// What a consumer says of itself: version, topics, user data.
fn subscription() -> Vec<u8> {
    let mut w = Writer::default();
    w.i16(0).i32(1).string("beside-groups").i32(-1);
    w.0
}

/// What a consumer is told to read: version, topics with partitions, user data.
fn assignment(partition: i32) -> Vec<u8> {
    let mut w = Writer::default();
    w.i16(0).i32(1).string("beside-groups").i32(1).i32(partition).i32(-1);
    w.0
}
