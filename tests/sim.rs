//! The whole broker in the simulated world: every seed is a story of work, power cuts and recoveries in which no rule may break, and
//! every deliberate defect must be noticed.
//!
//! `CORETIDE_SIM_SEEDS=10000` tells more stories; `CORETIDE_SIM_SEED=88213` tells one, with its outcome.
//!
//! | defect | what notices it |
//! |---|---|
//! | answers before durable | an acknowledged send is gone |
//! | reads before durable | the high watermark goes back |
//! | appends repetitions | a send stands twice |
//! | recycles before flush | the broker does not start: the journal goes on behind a hole |
//! | recycles too much | the broker does not start: the journal goes on behind a hole |
//! | recovers behind the frontier | the broker does not start: the journal goes on behind a hole |
//! | recovers segments only | the broker does not start: the log ends before its saved state |
//! | forgets producers | a repeated send stands twice |
//! | writes without flush | the broker does not start: the journal is damaged below what was acknowledged |
//! | keeps the leader epoch | the epoch of a start is not higher |
//! | unlinks before the entry | nothing can be read where the log is said to start |
//! | forgets the log start | the log start goes back |
//! | shows the log start early | the log start goes back |
//! | deletes too much | records are gone that had to stay |
//! | believes any clock | records are gone that had to stay |
//! | fills the disk | a segment finds no space, and the broker ends |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use coretide::shard::Defect;
use coretide::sim::{
    FullStory, GroupStory, Story, tell, tell_of_a_full_disk, tell_of_a_journal_that_grows_later, tell_of_groups,
};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A story, or what went wrong; a panic of the broker is something that went wrong.
fn told(seed: u64, defect: Option<Defect>) -> Result<Story, String> {
    caught(|| tell(seed, defect))
}

fn caught<S>(story: impl FnOnce() -> Result<S, String>) -> Result<S, String> {
    catch_unwind(AssertUnwindSafe(story)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

#[test]
fn no_story_breaks_a_rule() {
    if let Some(seed) = number("CORETIDE_SIM_SEED") {
        tracing_subscriber::fmt().with_env_filter("trace").with_writer(std::io::stderr).init();
        let story = told(seed, None).unwrap_or_else(|rule| panic!("seed {seed}: {rule}"));
        println!("seed {seed}: {story:?}");
        return;
    }
    let seeds = number("CORETIDE_SIM_SEEDS").unwrap_or(1000);
    let next = AtomicU64::new(1);
    let stories: Vec<Story> = std::thread::scope(|scope| {
        let tellers = std::thread::available_parallelism().map_or(2, |cores| cores.get());
        let teller = || {
            let mut stories = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed > seeds {
                    return stories;
                }
                stories.push(told(seed, None).unwrap_or_else(|rule| panic!("seed {seed}: {rule}")));
            }
        };
        let threads: Vec<_> = (0..tellers).map(|_| scope.spawn(teller)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a story was told to its end")).collect()
    });
    // A run that exercised nothing is a failed run.
    let sum = |count: fn(&Story) -> u64| stories.iter().map(count).sum::<u64>();
    let share =
        |happened: fn(&Story) -> bool| stories.iter().filter(|story| happened(story)).count() as u64 * 100 / seeds;
    println!(
        "{seeds} stories: {} acknowledged, {} retried, {} read, {} crashes, {} operations lost or torn, recovered in {} %",
        sum(|story| story.acknowledged),
        sum(|story| story.retried),
        sum(|story| story.read),
        sum(|story| story.crashes),
        sum(|story| story.lost),
        share(|story| story.recovered > 0)
    );
    assert!(share(|story| story.recovered > 0) > 50, "most stories recover batches from a journal");
    assert!(share(|story| story.lost > 0) > 50, "most power cuts take something");
    assert!(share(|story| story.retried > 0) > 40, "many producers attempt something again");
    assert!(share(|story| story.read > 10) > 50, "most readers see something");
    println!(
        "{} deletions, {} times a reader found its offset deleted, records expired in {} %",
        sum(|story| story.deletions),
        sum(|story| story.skipped),
        share(|story| story.expired > 0)
    );
    assert!(share(|story| story.deletions > 3) > 20, "records are deleted in many stories");
    assert!(share(|story| story.expired > 0) > 5, "records expire in some");
    assert!(share(|story| story.skipped > 0) > 5, "some readers notice");
}

/// What groups committed and were told outlives kills and power cuts.
#[test]
fn no_story_of_groups_breaks_a_rule() {
    let seeds = number("CORETIDE_SIM_SEEDS").unwrap_or(300);
    let tell = |seed| tell_of_groups(seed, None).unwrap_or_else(|rule| panic!("seed {seed}: {rule}"));
    let stories: Vec<GroupStory> = (1..=seeds).map(tell).collect();
    let sum = |count: fn(&GroupStory) -> u64| stories.iter().map(count).sum::<u64>();
    println!(
        "{seeds} stories: {} commits, {} generations, {} requests while loading, {} refused, {} crashes",
        sum(|story| story.commits),
        sum(|story| story.generations),
        sum(|story| story.loading),
        sum(|story| story.refused),
        sum(|story| story.crashes)
    );
    // A run that exercised nothing is a failed run.
    assert!(sum(|story| story.commits) > 50 * seeds && sum(|story| story.crashes) > seeds);
    assert!(sum(|story| story.generations) > 10 * seeds && sum(|story| story.refused) > seeds);
    assert!(sum(|story| story.loading) > 0, "somebody comes before a coordinator is loaded");
    assert_eq!(tell(7), tell(7));
    let defect = Some(Defect::AnswersBeforeDurable);
    assert!((1..=200).any(|seed| tell_of_groups(seed, defect).is_err()), "nobody misses what was committed too early");
}

/// A full disk once ended the broker, and nobody could read or delete.
#[test]
fn a_full_disk_refuses_producers_and_nothing_else() {
    let seeds = number("CORETIDE_SIM_SEEDS").unwrap_or(12);
    let tell = |seed| tell_of_a_full_disk(seed, None).unwrap_or_else(|rule| panic!("seed {seed}: {rule}"));
    let stories: Vec<FullStory> = (1..=seeds).map(tell).collect();
    let least = |count: fn(&FullStory) -> u64| stories.iter().map(count).min().unwrap_or_default();
    println!("{seeds} stories: at least {} and {} batches", least(|story| story.first), least(|story| story.second));
    assert!(least(|story| story.first) > 10 && least(|story| story.second) > 10);
    assert_eq!(tell(3), tell(3));
}

/// It stayed small until the next start.
#[test]
fn a_journal_grows_when_there_is_space_again() {
    for seed in 1..=8 {
        tell_of_a_journal_that_grows_later(seed).unwrap_or_else(|rule| panic!("seed {seed}: {rule}"));
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in [7, 1_000_003] {
        assert_eq!(told(seed, None), told(seed, None), "seed {seed}");
    }
}

#[test]
fn every_defect_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut unnoticed = Vec::new();
    for defect in Defect::ALL {
        let rule = |seed| match defect {
            Defect::FillsTheDisk => caught(|| tell_of_a_full_disk(seed, Some(defect))).err(),
            _ => told(seed, Some(defect)).err(),
        };
        match (1..=2000).find_map(|seed| rule(seed).map(|rule| (seed, rule))) {
            Some((seed, rule)) => println!("{defect:?}: seed {seed}: {rule}"),
            None => unnoticed.push(defect),
        }
    }
    assert!(unnoticed.is_empty(), "2000 stories did not notice {unnoticed:?}");
}
