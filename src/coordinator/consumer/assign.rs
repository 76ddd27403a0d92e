//! Who is to have which partitions. Nothing here takes time that grows with more than the partitions, and the topics that all members list together.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::member::Partitions;
use crate::base::{Map, PartitionIndex, TopicId};
use crate::coordinator::options::Assignor;

/// A member, as partitions are dealt.
pub struct Player<'a> {
    pub id: &'a str,
    pub instance_id: Option<&'a str>,
    /// Which of the lists of topics is that of the member.
    pub list: usize,
    /// What it was to have before.
    pub had: &'a Partitions,
}

/// Topics and their number of partitions, in the order of their ids.
pub type List = Vec<(TopicId, i32)>;

/// What each of the players is to have, in their order.
pub fn assign(assignor: Assignor, players: &[Player<'_>], lists: &[List]) -> Vec<Partitions> {
    match (assignor, lists) {
        (Assignor::Range, _) => range(players, lists),
        (Assignor::Uniform, [topics]) => uniform_alike(players, topics),
        (Assignor::Uniform, _) => Table::new(players, lists).deal(),
    }
}

/// Each topic on its own: members in their order have as many neighbouring partitions as the others, the first ones one more.
fn range(players: &[Player<'_>], lists: &[List]) -> Vec<Partitions> {
    struct Topic {
        partitions: i32,
        members: i32,
        next: i32,
        extra: i32,
    }
    let mut topics: Map<TopicId, Topic> = Map::default();
    for player in players {
        for (id, partitions) in &lists[player.list] {
            topics.entry(*id).or_insert(Topic { partitions: *partitions, members: 0, next: 0, extra: 0 }).members += 1;
        }
    }
    topics.values_mut().for_each(|topic| topic.extra = topic.partitions % topic.members);
    let mut order: Vec<usize> = (0..players.len()).collect();
    // Static members first, by their instances, so that they have the same partitions when they come back.
    order.sort_by_key(|at| (players[*at].instance_id.is_none(), players[*at].instance_id, players[*at].id));
    let mut dealt: Vec<Partitions> = players.iter().map(|_| Partitions::new()).collect();
    for at in order {
        for (id, _) in &lists[players[at].list] {
            let topic = topics.get_mut(id).expect("counted above");
            let quota = topic.partitions / topic.members + i32::from(topic.extra > 0);
            topic.extra -= i32::from(topic.extra > 0);
            let first = topic.next;
            topic.next = (first + quota).min(topic.partitions);
            if first < topic.next {
                dealt[at].insert(*id, (first..topic.next).map(PartitionIndex).collect());
            }
        }
    }
    dealt
}

/// All members subscribe to the same topics: each gets as many as the others, or one more, and keeps what it had up to that number.
fn uniform_alike(players: &[Player<'_>], topics: &List) -> Vec<Partitions> {
    let total: usize = topics.iter().map(|(_, partitions)| size(*partitions)).sum();
    let (quota, mut extra) = (total / players.len().max(1), total % players.len().max(1));
    let mut free: Vec<Vec<bool>> = topics.iter().map(|(_, partitions)| vec![true; size(*partitions)]).collect();
    let mut kept: Vec<Vec<(usize, usize)>> = players.iter().map(|player| had(player, topics, &mut free)).collect();
    let mut quotas = vec![quota; players.len()];
    // One more is for those who have it already, then for those who come first.
    let has_more: Vec<bool> = kept.iter().map(|kept| kept.len() > quota).collect();
    for wanted in [true, false] {
        for at in (0..players.len()).filter(|at| has_more[*at] == wanted) {
            let one = usize::from(extra > 0);
            (quotas[at], extra) = (quotas[at] + one, extra - one);
        }
    }
    for (kept, quota) in kept.iter_mut().zip(&quotas) {
        kept.drain(kept.len().min(*quota)..).for_each(|(topic, partition)| free[topic][partition] = true);
    }
    let all = free.iter().enumerate().flat_map(|(topic, free)| {
        free.iter().enumerate().filter(|(_, free)| **free).map(move |(partition, _)| (topic, partition))
    });
    let mut unassigned = all;
    for (kept, quota) in kept.iter_mut().zip(&quotas) {
        kept.extend(unassigned.by_ref().take(quota.saturating_sub(kept.len())));
        kept.sort_unstable();
    }
    kept.into_iter().map(|kept| partitions(topics, &kept)).collect()
}

/// What a member had and may keep, by the positions of topics in the list; nobody else keeps it.
fn had(player: &Player<'_>, topics: &List, free: &mut [Vec<bool>]) -> Vec<(usize, usize)> {
    let mut kept = Vec::new();
    for (topic, had) in player.had {
        let Ok(at) = topics.binary_search_by_key(topic, |(id, _)| *id) else { continue };
        for partition in had.iter().map(|partition| size(partition.0)) {
            if free[at].get(partition) == Some(&true) {
                free[at][partition] = false;
                kept.push((at, partition));
            }
        }
    }
    kept
}

fn partitions(topics: &List, positions: &[(usize, usize)]) -> Partitions {
    let mut all = Partitions::new();
    for (topic, partition) in positions {
        all.entry(topics[*topic].0).or_default().push(index(*partition));
    }
    all
}

/// Members subscribe to different topics: partitions stay where they are, free ones go to whoever has the least, and then they move from those who have
/// more to those who have less, as long as that makes them more alike.
struct Table {
    topics: Vec<Topic>,
    /// How many partitions each player has.
    load: Vec<usize>,
}

struct Topic {
    id: TopicId,
    /// Players that subscribe to it.
    players: Vec<usize>,
    /// Who has each partition.
    owners: Vec<Option<usize>>,
}

impl Table {
    fn new(players: &[Player<'_>], lists: &[List]) -> Self {
        let mut counts: List = lists.iter().flatten().copied().collect();
        counts.sort_unstable();
        counts.dedup_by_key(|(id, _)| *id);
        let topic = |(id, partitions): &(TopicId, i32)| Topic {
            id: *id,
            players: Vec::new(),
            owners: vec![None; size(*partitions)],
        };
        let mut table = Self { topics: counts.iter().map(topic).collect(), load: vec![0; players.len()] };
        let position = |id: &TopicId| counts.binary_search_by_key(id, |(id, _)| *id);
        for (player, Player { list, had, .. }) in players.iter().enumerate() {
            for (id, _) in &lists[*list] {
                let topic = &mut table.topics[position(id).expect("the list was counted")];
                topic.players.push(player);
                for partition in had.get(id).into_iter().flatten() {
                    if let Some(owner @ None) = topic.owners.get_mut(size(partition.0)) {
                        *owner = Some(player);
                        table.load[player] += 1;
                    }
                }
            }
        }
        table
    }

    fn deal(mut self) -> Vec<Partitions> {
        let mut order: Vec<usize> = (0..self.topics.len()).collect();
        // Where there is the least choice it is made first.
        order.sort_by_key(|at| (self.topics[*at].players.len(), self.topics[*at].id));
        for at in &order {
            self.fill(*at);
        }
        for _ in 0..BALANCE_PASSES_MAX {
            // Each of them, also behind one that moved.
            let moved = order.iter().filter(|at| self.level(**at)).count();
            if moved == 0 {
                break;
            }
        }
        let mut dealt: Vec<Partitions> = self.load.iter().map(|_| Partitions::new()).collect();
        for topic in &self.topics {
            for (partition, owner) in topic.owners.iter().enumerate() {
                let owner = owner.expect("whoever lists a topic is among those who get its partitions");
                dealt[owner].entry(topic.id).or_default().push(index(partition));
            }
        }
        dealt
    }

    /// Gives the free partitions of a topic to those who have the least.
    fn fill(&mut self, at: usize) {
        let topic = &mut self.topics[at];
        if topic.owners.iter().all(Option::is_some) {
            return;
        }
        let mut least: BinaryHeap<_> =
            topic.players.iter().map(|player| Reverse((self.load[*player], *player))).collect();
        for owner in topic.owners.iter_mut().filter(|owner| owner.is_none()) {
            let Some(Reverse((load, player))) = least.pop() else { return };
            *owner = Some(player);
            self.load[player] = load + 1;
            least.push(Reverse((load + 1, player)));
        }
    }

    /// Moves partitions of a topic while one of its members has two more than another.
    fn level(&mut self, at: usize) -> bool {
        let topic = &mut self.topics[at];
        let least = topic.players.iter().map(|player| self.load[*player]).min();
        let most = topic.owners.iter().flatten().map(|owner| self.load[*owner]).max();
        if most <= least.map(|least| least + 1) {
            return false;
        }
        let mut all: BTreeSet<(usize, usize)> =
            topic.players.iter().map(|player| (self.load[*player], *player)).collect();
        let mut of: Map<usize, Vec<usize>> = Map::default();
        for (partition, owner) in topic.owners.iter().enumerate() {
            of.entry(owner.expect("all were given out")).or_default().push(partition);
        }
        let mut holders: BTreeSet<(usize, usize)> = of.keys().map(|player| (self.load[*player], *player)).collect();
        let mut moved = false;
        while let (Some(least), Some(most)) = (all.first().copied(), holders.last().copied()) {
            if most.0 <= least.0 + 1 {
                break;
            }
            let theirs = of.get_mut(&most.1).expect("a holder has some");
            let partition = theirs.pop().expect("a holder has some");
            let empty = theirs.is_empty();
            topic.owners[partition] = Some(least.1);
            of.entry(least.1).or_default().push(partition);
            for (player, before, after) in [(most.1, most.0, most.0 - 1), (least.1, least.0, least.0 + 1)] {
                all.remove(&(before, player));
                all.insert((after, player));
                holders.remove(&(before, player));
                if player != most.1 || !empty {
                    holders.insert((after, player));
                }
                self.load[player] = after;
            }
            moved = true;
        }
        moved
    }
}

fn size(partitions: i32) -> usize {
    usize::try_from(partitions).unwrap_or(0)
}

fn index(partition: usize) -> PartitionIndex {
    PartitionIndex(i32::try_from(partition).expect("no topic has that many partitions"))
}

/// How often the topics are gone through to move partitions. What is not alike then stays so.
const BALANCE_PASSES_MAX: usize = 16;
