//! Parts of produce requests that wait for their turn at the journal: a line for each sender, and the senders in turn.
//!
//! Always true: parts of one sender leave in the order in which they came; a sender whose turn it is may take [`TURN_BYTES`], or one part if that is
//! larger, before the next one has its own. One who had nothing waiting comes before all others, once: so who sends little never waits for
//! what others have piled up, and who sends much gains nothing by pausing.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::base::limits::TURN_BYTES;
use crate::base::{LogId, Map};

/// Whose parts stand in one line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Sender {
    /// The connection of a client.
    Client(SocketAddr),
    /// The coordinator of the partition with this log.
    Coordinator(LogId),
}

/// What may stand in a line.
pub(super) trait Waits {
    /// Whose it is.
    fn sender(&self) -> Sender;
    /// Bytes of it that have not been taken.
    fn bytes(&self) -> usize;
}

/// All that waits on one core.
pub(super) struct Lines<P> {
    lines: Map<Sender, Line<P>>,
    /// Senders that had nothing waiting when they came.
    fresh: VecDeque<Sender>,
    /// The others, in turn.
    turns: VecDeque<Sender>,
    parts: usize,
}

struct Line<P> {
    parts: VecDeque<P>,
    /// Bytes that it took in this turn.
    taken: usize,
}

impl<P> Default for Lines<P> {
    fn default() -> Self {
        Self { lines: Map::default(), fresh: VecDeque::new(), turns: VecDeque::new(), parts: 0 }
    }
}

impl<P: Waits> Lines<P> {
    pub(super) fn is_empty(&self) -> bool {
        self.parts == 0
    }

    pub(super) fn len(&self) -> usize {
        self.parts
    }

    /// Adds a part to its sender's line.
    pub(super) fn push(&mut self, part: P) {
        let (lines, fresh) = (&mut self.lines, &mut self.fresh);
        let line = lines.entry(part.sender()).or_insert_with(|| {
            fresh.push_back(part.sender());
            Line { parts: VecDeque::new(), taken: 0 }
        });
        line.parts.push_back(part);
        self.parts += 1;
    }

    /// The part that is next.
    pub(super) fn pop(&mut self) -> Option<P> {
        if self.parts == 0 {
            self.forget();
            return None;
        }
        loop {
            let fresh = !self.fresh.is_empty();
            let sender = *if fresh { &self.fresh } else { &self.turns }.front().expect("a part has a line");
            let line = self.lines.get_mut(&sender).expect("who has a turn has a line");
            if line.taken < TURN_BYTES
                && let Some(part) = line.parts.pop_front()
            {
                line.taken += part.bytes();
                self.parts -= 1;
                return Some(part);
            }
            // Also one with nothing left waits for its turn once: it would be the first again else.
            let ends = !fresh && line.parts.is_empty();
            line.taken = line.taken.saturating_sub(TURN_BYTES);
            if fresh { &mut self.fresh } else { &mut self.turns }.pop_front();
            if ends {
                self.lines.remove(&sender);
            } else {
                self.turns.push_back(sender);
            }
        }
    }

    /// Gives back the part that was popped last, or what is left of it. It stays next of its sender.
    pub(super) fn put_back(&mut self, part: P) {
        let line = self.lines.get_mut(&part.sender()).expect("its line has the turn");
        line.taken = line.taken.saturating_sub(part.bytes());
        line.parts.push_front(part);
        self.parts += 1;
    }

    /// Nobody waits: nobody has to stand back.
    fn forget(&mut self) {
        self.lines.clear();
        self.fresh.clear();
        self.turns.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whose it is, how many it is of his, and its bytes.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Piece(u16, u32, usize);

    impl Waits for Piece {
        fn sender(&self) -> Sender {
            Sender::Client(SocketAddr::from(([10, 0, 0, 1], self.0)))
        }
        fn bytes(&self) -> usize {
            self.2
        }
    }

    const TURN: usize = TURN_BYTES;

    fn order(lines: &mut Lines<Piece>) -> Vec<(u16, u32)> {
        std::iter::from_fn(|| lines.pop()).map(|Piece(sender, number, _)| (sender, number)).collect()
    }

    #[test]
    fn senders_take_turns_and_each_keeps_its_order() {
        let mut lines = Lines::default();
        for number in 0..3 {
            lines.push(Piece(1, number, TURN));
        }
        for number in 0..4 {
            lines.push(Piece(2, number, TURN / 2));
        }
        assert_eq!(order(&mut lines), [(1, 0), (2, 0), (2, 1), (1, 1), (2, 2), (2, 3), (1, 2)]);
    }

    #[test]
    fn who_comes_anew_is_next_but_only_once() {
        let mut lines = Lines::default();
        for number in 0..4 {
            lines.push(Piece(1, number, TURN));
            lines.push(Piece(2, number, TURN));
        }
        assert_eq!([lines.pop(), lines.pop()], [Some(Piece(1, 0, TURN)), Some(Piece(2, 0, TURN))]);
        lines.push(Piece(3, 0, TURN));
        assert_eq!(lines.pop(), Some(Piece(3, 0, TURN)));
        lines.push(Piece(3, 1, 10));
        assert_eq!(order(&mut lines), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (1, 3), (2, 3)]);
    }

    #[test]
    fn one_large_part_is_paid_off_before_the_next() {
        let mut lines = Lines::default();
        for number in 0..2 {
            lines.push(Piece(1, number, 3 * TURN));
        }
        for number in 0..4 {
            lines.push(Piece(2, number, TURN));
        }
        assert_eq!(order(&mut lines), [(1, 0), (2, 0), (2, 1), (2, 2), (1, 1), (2, 3)]);
    }

    #[test]
    fn what_is_given_back_is_next_and_not_charged() {
        let mut lines = Lines::default();
        lines.push(Piece(1, 0, TURN));
        lines.push(Piece(2, 0, TURN));
        let Some(Piece(1, 0, _)) = lines.pop() else { panic!("the first that came") };
        lines.put_back(Piece(1, 0, TURN / 2));
        assert_eq!(lines.len(), 2);
        assert_eq!(order(&mut lines), [(1, 0), (2, 0)]);
        assert!(lines.is_empty() && lines.lines.is_empty());
    }
}
