//! Which CPU each core runs on, and for how long at a time: neighbours that need one CPU together share it, and who is busy gives way to others.
//!
//! Waking a CPU that sleeps is dear, above all in a virtual machine, and a core that is idle between two messages of its neighbour pays for it each time.
//! On one CPU the neighbours wake each other without that, find more to do at once, and share its cache (`perf/results/2026-11-27-places.md`).
//!
//! Always true: a core is pinned to its own CPU or to that of its neighbour, each core has one neighbour at most, and their CPUs share a cache as far as
//! the kernel says. Nothing depends on where a core runs: if the kernel does not say how busy a core is, the cores stay on their own CPUs.

use std::fs;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, Pid, sched_setaffinity};

use super::slice;

/// When neighbours share a CPU.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between two looks.
    every: Duration,
    /// Looks in a row that found the neighbours calm before they share. As many again each time that it did not last, up to `patience_max`.
    patience: u32,
    patience_max: u32,
    /// Looks after which sharing has lasted.
    lasts: u32,
}

const PACE: Pace = Pace { every: Duration::from_millis(100), patience: 20, patience_max: 640, lasts: 100 };
/// Neighbours try to share a CPU when they use so much together on their own. Sharing, they use less.
const CALM_AT_MOST: f64 = 0.9;
/// They part when, in two looks, they use more of the CPU that they share,
const USED_AT_MOST: f64 = 0.95;
/// or one of them runs or waits to run for more of the time, whoever else has the CPU: two that have much to do take turns of milliseconds. At the
/// disk's limit this is 0.6 to 0.8. Time that a hypervisor takes away counts for neither.
const AWAKE_AT_MOST: f64 = 0.9;
/// A core that runs for more of the time between two looks is busy,
const BUSY_ABOVE: f64 = 0.75;
/// until it runs for less.
const CALM_BELOW: f64 = 0.6;

/// One thread and the CPU that is its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    thread: Pid,
    cpu: usize,
}

/// Starts a thread that looks after threads of this process: each tells its id, in any order, with the number of its own CPU in `cpus`. It ends when
/// what is given here is dropped, and leaves them where they are. If they do not `share`, none is moved.
pub(super) fn look_after(cpus: Vec<usize>, share: bool, threads: Receiver<(usize, Pid)>) -> io::Result<Sender<()>> {
    look_after_at(PACE, cpus, share, threads)
}

fn look_after_at(pace: Pace, cpus: Vec<usize>, share: bool, threads: Receiver<(usize, Pid)>) -> io::Result<Sender<()>> {
    let (stop, stopped) = channel();
    let run = move || {
        let mut told: Vec<(usize, Pid)> = threads.iter().take(cpus.len()).collect();
        told.sort_unstable_by_key(|(at, _)| *at);
        let places: Vec<Place> = told.iter().map(|&(at, thread)| Place { thread, cpu: cpus[at] }).collect();
        let (twos, others) = dealt(places, share, cache_of);
        let mut pairs: Vec<Pair> = twos.into_iter().map(|members| Pair::new(members, pace)).collect();
        let mut others: Vec<Watched> = others.into_iter().map(Watched::new).collect();
        while !(pairs.is_empty() && others.is_empty())
            && stopped.recv_timeout(pace.every) == Err(RecvTimeoutError::Timeout)
        {
            pairs.retain_mut(|pair| pair.look().is_ok());
            others.retain_mut(|core| core.look().is_ok());
        }
    };
    thread::Builder::new().name("places".into()).spawn(run)?;
    Ok(stop)
}

/// Those that may share a CPU, and those that keep theirs.
fn dealt(places: Vec<Place>, share: bool, cache_of: impl Fn(usize) -> Option<String>) -> (Vec<[Place; 2]>, Vec<Place>) {
    if !share {
        return (Vec::new(), places);
    }
    let twos: Vec<[Place; 2]> = pairs(&places, cache_of).collect();
    let others = places.into_iter().filter(|place| !twos.as_flattened().contains(place)).collect();
    (twos, others)
}

/// Cores in twos, in their order, as far as the CPUs of two differ and share a cache.
fn pairs(places: &[Place], cache_of: impl Fn(usize) -> Option<String>) -> impl Iterator<Item = [Place; 2]> {
    let (twos, _) = places.as_chunks::<2>();
    twos.iter().copied().filter(move |[one, other]| one.cpu != other.cpu && cache_of(one.cpu) == cache_of(other.cpu))
}

/// The CPUs that share the last cache of a CPU, as the kernel writes them. `None`: it does not say.
fn cache_of(cpu: usize) -> Option<String> {
    fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/cache/index3/shared_cpu_list")).ok()
}

/// One core, as it was seen last.
#[derive(Debug)]
struct Watched {
    place: Place,
    used: Option<Use>,
    busy: bool,
}

impl Watched {
    fn new(place: Place) -> Self {
        Self { place, used: None, busy: false }
    }

    /// What it did since the last look. A busy one is to give way to who has little to do on its CPU.
    ///
    /// # Errors
    /// The kernel does not say what it did, most likely because it has ended.
    fn look(&mut self) -> io::Result<Option<Share>> {
        let used = Use::of(self.place.thread)
            .inspect_err(|fault| tracing::debug!(place = ?self.place, %fault, "a core is not looked after any more"))?;
        let share = self.used.replace(used).map(|before| used.since(before));
        let busy = share.is_some_and(|share| is_busy(self.busy, share));
        if busy != self.busy {
            match slice::ask_for(self.place.thread, busy.then_some(slice::LONG)) {
                Ok(()) => self.busy = busy,
                Err(fault) => tracing::debug!(place = ?self.place, %fault, "the slice of a core stays as it is"),
            }
        }
        Ok(share)
    }
}

/// Whether a core that was busy or not is so after it did this. Only what it ran counts: two that wait for each other on one CPU would take turns of 20 ms.
fn is_busy(was: bool, share: Share) -> bool {
    share.ran > if was { CALM_BELOW } else { BUSY_ABOVE }
}

/// Two neighbours.
#[derive(Debug)]
struct Pair {
    members: [Watched; 2],
    state: State,
}

impl Pair {
    fn new(members: [Place; 2], pace: Pace) -> Self {
        Self { members: members.map(Watched::new), state: State::new(pace) }
    }

    /// Looks at what the two did since the last time, and moves them if that is called for.
    ///
    /// # Errors
    /// The kernel does not say what they did. That it refuses a place is only told: it may have been taken away for a while, and is asked for again.
    fn look(&mut self) -> io::Result<()> {
        let [one, other] = &mut self.members;
        let (Some(one), Some(other)) = (one.look()?, other.look()?) else { return Ok(()) };
        let own = self.members.each_ref().map(|core| core.place.cpu);
        let cpus = match self.state.look([one, other]) {
            None => return Ok(()),
            Some(Move::Together) => [quieter(own, &fs::read_to_string("/proc/interrupts").unwrap_or_default()); 2],
            Some(Move::Apart) => own,
        };
        tracing::debug!(?own, ?cpus, "two cores are moved");
        for (member, cpu) in self.members.iter().zip(cpus) {
            if let Err(fault) = pin(member.place.thread, cpu) {
                tracing::warn!(cpu, %fault, "a core cannot be moved to this CPU; trying again later");
            }
        }
        Ok(())
    }
}

/// What a thread has used until now, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Use {
    at: Instant,
    ran: u64,
    waited: u64,
}

/// What a thread used of a CPU since the last look: 0 to about 1.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Share {
    /// It ran.
    ran: f64,
    /// It could have run, and did not.
    waited: f64,
}

impl Use {
    fn of(thread: Pid) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/self/task/{}/schedstat", thread.as_raw_nonzero()))?;
        let mut numbers = text.split_ascii_whitespace().map_while(|number| number.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(ran @ 1..), Some(waited)) => Ok(Self { at: Instant::now(), ran, waited }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("schedstat says {text:?}"))),
        }
    }

    fn since(self, before: Self) -> Share {
        let passed = (self.at - before.at).as_nanos().max(1) as f64;
        let share = |now: u64, then: u64| now.saturating_sub(then) as f64 / passed;
        Share { ran: share(self.ran, before.ran), waited: share(self.waited, before.waited) }
    }
}

/// Whether two share a CPU, and how that went.
#[derive(Debug)]
struct State {
    pace: Pace,
    together: bool,
    /// Looks in a row: that found them calm while they are apart, or since they share.
    looks: u32,
    /// The last look found the CPU that they share full.
    full: bool,
    patience: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    Together,
    Apart,
}

impl State {
    fn new(pace: Pace) -> Self {
        Self { pace, together: false, looks: 0, full: false, patience: pace.patience }
    }

    fn look(&mut self, shares: [Share; 2]) -> Option<Move> {
        self.looks = self.looks.saturating_add(1);
        let used = shares[0].ran + shares[1].ran;
        let awake = shares.iter().any(|share| share.ran + share.waited > AWAKE_AT_MOST);
        if self.together {
            let full = awake || used > USED_AT_MOST;
            if !(std::mem::replace(&mut self.full, full) && full) {
                return None;
            }
            let lasted = self.looks > self.pace.lasts;
            self.patience = if lasted { self.pace.patience } else { (self.patience * 2).min(self.pace.patience_max) };
            (self.together, self.looks) = (false, 0);
            return Some(Move::Apart);
        }
        if awake || used > CALM_AT_MOST {
            self.looks = 0;
        }
        if self.looks < self.patience {
            return None;
        }
        (self.together, self.looks, self.full) = (true, 0, false);
        Some(Move::Together)
    }
}

/// The one of two CPUs that devices have interrupted less, by the text of `/proc/interrupts`; the first if that does not say, as in containers.
fn quieter(cpus: [usize; 2], interrupts: &str) -> usize {
    let mut lines = interrupts.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    let columns = cpus.map(|cpu| names.iter().position(|name| *name == format!("CPU{cpu}")));
    let mut counts = [0u64; 2];
    for line in lines {
        let Some((name, row)) = line.split_once(':') else { continue };
        // Those of devices have numbers; others have names, and timers say so.
        if !name.trim().bytes().all(|byte| byte.is_ascii_digit()) || row.contains("timer") {
            continue;
        }
        let row: Vec<&str> = row.split_ascii_whitespace().collect();
        for (count, column) in counts.iter_mut().zip(columns) {
            *count += column.and_then(|column| row.get(column)?.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    if counts[1] < counts[0] { cpus[1] } else { cpus[0] }
}

/// Lets a thread run on one CPU only.
fn pin(thread: Pid, cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(Some(thread), &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::thread::gettid;

    use super::super::host;

    fn place(cpu: usize) -> Place {
        Place { thread: gettid(), cpu }
    }

    #[test]
    fn neighbours_whose_cpus_share_a_cache_are_a_pair() {
        let caches = |cpu| Some(String::from(if cpu < 3 { "0-2" } else { "3-6" }));
        let cpus = |list: &[usize], cache_of: fn(usize) -> Option<String>| {
            let places: Vec<Place> = list.iter().map(|cpu| place(*cpu)).collect();
            pairs(&places, cache_of).map(|pair| pair.map(|place| place.cpu)).collect::<Vec<_>>()
        };
        assert_eq!(
            cpus(&[0, 1, 2, 3, 4, 5, 6], caches),
            [[0, 1], [4, 5]],
            "2 and 3 have no cache together, 6 is left over"
        );
        assert_eq!(cpus(&[0, 1], |_| None), [[0, 1]], "the kernel does not say");
        assert_eq!(cpus(&[1, 1], |_| None), [[0; 2]; 0], "they are on one CPU already");
        assert_eq!(cpus(&[0], |_| None), [[0; 2]; 0]);
    }

    #[test]
    fn only_pairs_that_may_share_are_moved_and_all_are_looked_after() {
        let dealt = |cpus: &[usize], share| {
            let (twos, others) = dealt(cpus.iter().map(|cpu| place(*cpu)).collect(), share, |_| None);
            (
                twos.iter().map(|two| two.map(|place| place.cpu)).collect::<Vec<_>>(),
                others.iter().map(|place| place.cpu).collect::<Vec<_>>(),
            )
        };
        assert_eq!(dealt(&[0, 1, 2], true), (vec![[0, 1]], vec![2]));
        assert_eq!(dealt(&[0, 1, 2], false), (vec![], vec![0, 1, 2]));
        assert_eq!(dealt(&[5], true), (vec![], vec![5]));
    }

    #[test]
    fn a_core_is_busy_from_much_until_little() {
        let ran = [0.3, 0.7, 0.8, 0.7, 0.61, 0.5, 0.7];
        let mut busy = false;
        let seen = ran.map(|ran| {
            busy = is_busy(busy, share(ran, 1.0 - ran));
            busy
        });
        assert_eq!(seen, [false, false, true, true, true, false, false]);
    }

    /// Kept from running it is not busy, for all that it has to do, so this waits until it was, once.
    #[test]
    fn a_busy_core_has_a_long_slice_and_a_calm_one_the_usual() {
        let (busy, stop) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (tell, told) = channel();
        let (busy_there, stop_there) = (busy.clone(), stop.clone());
        let thread = thread::spawn(move || {
            tell.send(gettid()).unwrap();
            while !stop_there.load(Ordering::Relaxed) {
                match busy_there.load(Ordering::Relaxed) {
                    true => std::hint::spin_loop(),
                    false => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        let id = told.recv().unwrap();
        let usual = slice::of(id);
        // An old kernel has none.
        let long = if usual == 0 { 0 } else { slice::LONG.as_nanos() as u64 };
        let mut core = Watched::new(Place { thread: id, cpu: 0 });
        let mut until = |is_busy: bool, slice: u64| {
            let begun = Instant::now();
            while core.busy != is_busy {
                assert!(begun.elapsed() < Duration::from_secs(60), "{core:?} was to be busy: {is_busy}");
                thread::sleep(Duration::from_millis(20));
                core.look().unwrap();
            }
            assert_eq!(slice::of(id), slice);
        };
        until(true, long);
        busy.store(false, Ordering::Relaxed);
        until(false, usual);
        stop.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        assert!(core.look().is_err(), "it has ended");
    }

    fn share(ran: f64, waited: f64) -> Share {
        Share { ran, waited }
    }

    fn looks(state: &mut State, shares: [Share; 2], count: u32) -> Vec<(u32, Move)> {
        (1..=count).filter_map(|look| Some((look, state.look(shares)?))).collect()
    }

    const TEST_PACE: Pace = Pace { every: Duration::from_millis(1), patience: 4, patience_max: 12, lasts: 10 };
    const CALM: [Share; 2] = [Share { ran: 0.4, waited: 0.3 }; 2];
    const FULL: [Share; 2] = [Share { ran: 0.55, waited: 0.45 }; 2];

    #[test]
    fn calm_neighbours_share_until_the_cpu_is_full() {
        let mut state = State::new(TEST_PACE);
        assert_eq!(looks(&mut state, FULL, 20), []);
        assert_eq!(looks(&mut state, CALM, 3), []);
        assert_eq!(looks(&mut state, FULL, 1), []);
        assert_eq!(looks(&mut state, CALM, 4), [(4, Move::Together)]);
        assert_eq!(looks(&mut state, CALM, 20), []);
        for _ in 0..3 {
            assert_eq!(looks(&mut state, FULL, 1), [], "a moment is not worth a move");
            assert_eq!(looks(&mut state, CALM, 1), []);
        }
        assert_eq!(looks(&mut state, FULL, 2), [(2, Move::Apart)]);
    }

    /// A program of somebody else took part of the CPU that they shared: each had less than it wanted, and their sum never showed it.
    #[test]
    fn they_part_when_one_is_awake_all_the_time() {
        for awake in [share(0.9, 0.1), share(0.4, 0.6), share(0.1, 0.9)] {
            let mut state = State::new(TEST_PACE);
            assert_eq!(looks(&mut state, [share(0.1, 0.2), awake], 20), [], "they would part at once");
            looks(&mut state, CALM, 4);
            assert_eq!(looks(&mut state, [share(0.1, 0.2), awake], 2), [(2, Move::Apart)]);
        }
    }

    #[test]
    fn they_part_when_they_use_the_cpu_up_in_turns() {
        let mut state = State::new(TEST_PACE);
        looks(&mut state, CALM, 4);
        assert_eq!(looks(&mut state, [share(0.5, 0.35); 2], 2), [(2, Move::Apart)]);
    }

    /// Without that, neighbours that need a bit more than one CPU would be moved for ever.
    #[test]
    fn what_did_not_last_is_tried_again_later_and_later() {
        let mut state = State::new(TEST_PACE);
        let mut after = |lasts: u32| {
            let look = (1..100).find(|_| state.look(CALM) == Some(Move::Together)).expect("they share");
            assert_eq!(looks(&mut state, CALM, lasts), []);
            assert_eq!(looks(&mut state, FULL, 2), [(2, Move::Apart)]);
            look
        };
        assert_eq!([after(0), after(0), after(10), after(0)], [4, 8, 12, 4]);
    }

    #[test]
    fn the_cpu_with_fewer_interrupts_of_devices_is_taken() {
        let text = "            CPU0       CPU2       CPU3\n  1:          9          1          0   IO-APIC  keyboard\n \
                    36:          0    4489710         30  PCI-MSIX  virtio1-req.0\n 40:          0          0   99999999  GICv3  arch_timer\nLOC:          0          1     900000  Local timer\nERR:          0\n";
        assert_eq!([quieter([0, 2], text), quieter([2, 3], text), quieter([3, 0], text)], [0, 3, 0]);
        assert_eq!(
            [quieter([1, 0], text), quieter([5, 4], text), quieter([5, 4], "")],
            [1, 5, 5],
            "nothing is said of 1, 4 and 5"
        );
    }

    /// Two threads that sleep come to share a CPU; when both have work for a whole one, each gets its own again.
    #[test]
    fn threads_are_moved() {
        let cpus = host::allowed_cpus().unwrap();
        let Some(cpus) = cpus.first_chunk::<2>().filter(|[one, other]| cache_of(*one) == cache_of(*other)) else {
            return println!("no two CPUs that share a cache");
        };
        let busy = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let (ids, id_of) = channel();
        let threads = [0, 1].map(|at| {
            let (tell, ids, busy, cpu) = (tell.clone(), ids.clone(), busy.clone(), cpus[at]);
            thread::spawn(move || {
                pin(gettid(), cpu).unwrap();
                tell.send((at, gettid())).unwrap();
                ids.send((at, gettid())).unwrap();
                while !busy.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
                while busy.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        });
        let mut members: Vec<(usize, Pid)> = id_of.iter().take(2).collect();
        members.sort_unstable_by_key(|(at, _)| *at);
        let where_they_are =
            || members.iter().map(|(_, thread)| host::cpus_of(Some(*thread)).unwrap()).collect::<Vec<_>>();
        // The kernel counts what runs at its ticks, every 4 ms or so.
        let pace = Pace { every: Duration::from_millis(20), ..TEST_PACE };
        let places = look_after_at(pace, cpus.to_vec(), true, told).unwrap();
        let until = |what: &str, is: &dyn Fn(&[Vec<usize>]) -> bool| {
            let begun = Instant::now();
            while !is(&where_they_are()) {
                assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {:?}", where_they_are());
                thread::sleep(Duration::from_millis(1));
            }
        };
        until("they share a CPU", &|cpus| cpus[0] == cpus[1]);
        busy.store(true, Ordering::Relaxed);
        until("each has its own", &|now| now == [vec![cpus[0]], vec![cpus[1]]]);
        busy.store(false, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(places);
    }
}
