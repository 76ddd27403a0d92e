//! Parts of produce requests that wait for their turn at the journal: a line for each sender, and the senders in turn.
//!
//! Always true: parts of one sender leave in the order in which they came; a sender whose turn it is may take [`TURN_BYTES`], or one part if that is
//! larger, before the next one has its own. One who had nothing waiting comes before all others, once: so who sends little never waits for
//! what others have piled up, and who sends much gains nothing by pausing.
//!
//! While the next in turn waits for room ([`Lines::begin_shortage`]), a sender may pass it with what it has, [`TURN_BYTES`] in all until there is room.

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
    /// The next in turn waits for room.
    shortage: bool,
    /// Senders that may still pass it, each once.
    light: VecDeque<Sender>,
}

struct Line<P> {
    parts: VecDeque<P>,
    /// Bytes that it took in this turn.
    taken: usize,
    /// Bytes with which it passed others in this shortage.
    passed: usize,
    /// It stands among the light ones.
    is_light: bool,
}

impl<P> Default for Lines<P> {
    fn default() -> Self {
        Self {
            lines: Map::default(),
            fresh: VecDeque::new(),
            turns: VecDeque::new(),
            parts: 0,
            shortage: false,
            light: VecDeque::new(),
        }
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
            Line { parts: VecDeque::new(), taken: 0, passed: 0, is_light: false }
        });
        if self.shortage && line.parts.is_empty() && !line.is_light {
            line.is_light = true;
            self.light.push_back(part.sender());
        }
        line.parts.push_back(part);
        self.parts += 1;
    }

    /// The part that is next.
    pub(super) fn pop(&mut self) -> Option<P> {
        if self.parts == 0 {
            if !self.shortage {
                self.forget();
            }
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
            let ends = !fresh && !self.shortage && line.parts.is_empty();
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

    /// The next in turn waits for room: all others may pass it, in the order of their turns, as far as they send little.
    pub(super) fn begin_shortage(&mut self) {
        if std::mem::replace(&mut self.shortage, true) {
            return;
        }
        self.light.extend(self.fresh.iter().chain(&self.turns));
        self.lines.values_mut().for_each(|line| line.is_light = true);
    }

    /// There is room again.
    pub(super) fn end_shortage(&mut self) {
        if std::mem::take(&mut self.shortage) {
            self.light.clear();
            self.lines.values_mut().for_each(|line| (line.passed, line.is_light) = (0, false));
        }
    }

    /// The next part that may pass those that wait for room.
    pub(super) fn pop_light(&mut self) -> Option<P> {
        while let Some(sender) = self.light.front() {
            let line = self.lines.get_mut(sender).expect("no line ends in a shortage");
            let fits = |part: &mut P| line.passed + part.bytes() <= TURN_BYTES;
            if let Some(part) = line.parts.pop_front_if(fits) {
                line.passed += part.bytes();
                line.taken += part.bytes();
                self.parts -= 1;
                return Some(part);
            }
            line.is_light = false;
            self.light.pop_front();
        }
        None
    }

    /// As [`Lines::put_back`], of the part that [`Lines::pop_light`] gave last.
    pub(super) fn put_back_light(&mut self, part: P) {
        let line = self.lines.get_mut(&part.sender()).expect("its line has the turn");
        line.passed -= part.bytes();
        self.put_back(part);
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

    /// A batch of a megabyte waited for a pass of the drain, and with it all others, however small.
    #[test]
    fn who_sends_little_passes_one_who_waits_for_room() {
        let mut lines = Lines::default();
        lines.push(Piece(1, 0, 9 * TURN));
        lines.push(Piece(2, 0, 10));
        let front = lines.pop().expect("the first that came");
        lines.put_back(front);
        lines.begin_shortage();
        lines.push(Piece(3, 0, 20));
        lines.push(Piece(2, 1, 10));
        let passed: Vec<_> = std::iter::from_fn(|| lines.pop_light()).collect();
        assert_eq!(passed, [Piece(2, 0, 10), Piece(2, 1, 10), Piece(3, 0, 20)]);
        lines.push(Piece(3, 1, 20));
        assert_eq!([lines.pop_light(), lines.pop_light()], [Some(Piece(3, 1, 20)), None]);
        lines.end_shortage();
        assert_eq!(order(&mut lines), [(1, 0)]);
    }

    #[test]
    fn nobody_passes_with_more_than_a_turn_until_there_is_room() {
        let mut lines = Lines::default();
        lines.push(Piece(1, 0, 9 * TURN));
        lines.begin_shortage();
        let passes = |lines: &mut Lines<Piece>, number| {
            lines.push(Piece(2, number, TURN / 2));
            // The turns go on meanwhile, up to the one who waits.
            let front = lines.pop().expect("there is one");
            lines.put_back(front);
            lines.pop_light().is_some()
        };
        assert_eq!([0, 1, 2].map(|number| passes(&mut lines, number)), [true, true, false]);
        lines.end_shortage();
        lines.begin_shortage();
        assert_eq!(lines.pop_light(), Some(Piece(2, 2, TURN / 2)), "there was room in between");
    }

    /// Else it would be as one who had not passed yet.
    #[test]
    fn whose_parts_have_all_passed_is_not_forgotten() {
        let mut lines = Lines::default();
        lines.push(Piece(1, 0, TURN));
        lines.begin_shortage();
        assert_eq!(lines.pop_light(), Some(Piece(1, 0, TURN)));
        assert_eq!(lines.pop(), None);
        lines.push(Piece(1, 1, 10));
        assert_eq!(lines.pop_light(), None);
        lines.end_shortage();
        assert_eq!(order(&mut lines), [(1, 1)]);
        assert!(lines.lines.is_empty() && lines.turns.is_empty() && lines.light.is_empty());
    }

    #[test]
    fn a_line_lasts_as_long_as_the_shortage() {
        let mut lines = Lines::default();
        lines.push(Piece(1, 0, TURN));
        lines.push(Piece(2, 0, TURN));
        lines.begin_shortage();
        assert_eq!(lines.pop_light(), Some(Piece(1, 0, TURN)));
        lines.push(Piece(2, 1, 10));
        // Smaller than what waited for room, perhaps: the turns may go on.
        assert_eq!(order(&mut lines), [(2, 0), (2, 1)]);
        lines.push(Piece(1, 1, 10));
        assert_eq!(lines.pop_light(), None, "it has passed with a whole turn");
    }

    #[test]
    fn what_did_not_pass_after_all_is_not_charged_for_it() {
        let mut lines = Lines::default();
        lines.push(Piece(1, 0, TURN));
        lines.begin_shortage();
        for _ in 0..3 {
            let part = lines.pop_light().expect("it has not passed yet");
            lines.put_back_light(part);
        }
        assert_eq!(order(&mut lines), [(1, 0)]);
    }
}
