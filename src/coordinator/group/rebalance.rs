//! From one generation to the next.

use std::time::Duration;

use super::{Context, Group, InitialDelay, State};
use crate::base::Map;
use crate::coordinator::error::GroupError;
use crate::coordinator::member::Member;
use crate::coordinator::options::millis;
use crate::coordinator::timers::Timer;
use crate::protocol::Str;

impl Group {
    /// The members changed, so the group must rebalance; if it does already, everybody may have joined by now.
    pub fn rebalance_or_complete(&mut self, cx: &mut Context<'_>) {
        match self.state {
            State::PreparingRebalance => self.complete_if_all_joined(cx),
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare_rebalance(cx),
        }
    }

    /// Calls all members to join. The first rebalance waits a while for more to come.
    pub fn prepare_rebalance(&mut self, cx: &mut Context<'_>) {
        if self.state == State::CompletingRebalance {
            self.assign(&Map::default());
            self.answer_syncs(cx, Some(GroupError::RebalanceInProgress));
        }
        self.pending_sync.clear();
        cx.timers.cancel(&self.sync_timer());
        let initial = self.state == State::Empty;
        self.transition(State::PreparingRebalance, cx.now.wall);
        if initial {
            let delay = cx.options.group_initial_rebalance_delay;
            let remaining = self.rebalance_timeout().saturating_sub(delay);
            self.wait_for_more(cx, InitialDelay { delay, remaining });
        } else if self.all_joined() {
            self.complete_join(cx);
        } else {
            self.initial_delay = None;
            cx.timers.set(self.join_timer(), cx.now.mono + self.rebalance_timeout());
        }
    }

    fn wait_for_more(&mut self, cx: &mut Context<'_>, wait: InitialDelay) {
        self.initial_delay = Some(wait);
        cx.timers.set(self.join_timer(), cx.now.mono + wait.delay);
    }

    /// The timer for joining is due.
    pub fn join_due(&mut self, cx: &mut Context<'_>) {
        match self.initial_delay.take() {
            Some(InitialDelay { delay, remaining }) if self.new_member_added && !remaining.is_zero() => {
                self.new_member_added = false;
                let next = cx.options.group_initial_rebalance_delay.min(remaining);
                let remaining = remaining.saturating_sub(delay);
                self.wait_for_more(cx, InitialDelay { delay: next, remaining });
            }
            _ => self.complete_join(cx),
        }
    }

    /// Begins the next generation if everybody has joined. Not during the initial delay, for others may come.
    pub fn complete_if_all_joined(&mut self, cx: &mut Context<'_>) {
        if self.state == State::PreparingRebalance && self.previous != Some(State::Empty) && self.all_joined() {
            self.complete_join(cx);
        }
    }

    /// Begins the next generation with those who joined, and static members.
    pub fn complete_join(&mut self, cx: &mut Context<'_>) {
        cx.timers.cancel(&self.join_timer());
        self.initial_delay = None;
        let late = |member: &Member| member.awaiting_join.is_none() && member.group_instance_id.is_none();
        let late: Vec<Str> =
            self.members().iter().filter(|(_, member)| late(member)).map(|(id, _)| id.clone()).collect();
        late.iter().for_each(|id| self.dismiss(cx, id));
        if !self.elect_leader() && !self.members().is_empty() {
            // Only static members are left, and none of them joined. They have the time of their sessions to do so.
            let wait = self.rebalance_timeout().max(STATIC_REJOIN_WAIT_MIN);
            cx.timers.set(self.join_timer(), cx.now.mono + wait);
            return;
        }
        self.next_generation(cx.now.wall);
        if self.state == State::Empty {
            return cx.outbox.record(self.record());
        }
        let ids: Vec<Str> = self.members().keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            self.answer_join(cx, &id, joined);
            self.seasoned(&id);
            let session = self.member(&id).map_or(Duration::ZERO, |member| millis(member.session_timeout_ms));
            cx.expect_member(&self.id, &id, session);
            self.pending_sync.insert(id);
        }
        cx.timers.set(self.sync_timer(), cx.now.mono + self.rebalance_timeout());
    }

    /// Members had the time to ask for their assignment. Those who did not are removed.
    pub fn sync_due(&mut self, cx: &mut Context<'_>) {
        if self.pending_sync.is_empty() || !matches!(self.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        for id in std::mem::take(&mut self.pending_sync) {
            self.dismiss(cx, &id);
        }
        self.prepare_rebalance(cx);
    }

    /// The timer of a member's session is due.
    pub fn session_due(&mut self, cx: &mut Context<'_>, id: &Str) {
        if self.is_pending(id) {
            self.remove(id);
            if self.state == State::PreparingRebalance && self.all_joined() {
                self.complete_join(cx);
            }
            return;
        }
        let Some(member) = self.member(id) else { return };
        // A member that waits for an answer cannot send heartbeats. The answer sets its timer again.
        if !member.is_new && (member.awaiting_join.is_some() || member.awaiting_sync.is_some()) {
            return;
        }
        self.dismiss(cx, id);
        match self.state {
            State::Stable | State::CompletingRebalance => self.rebalance_or_complete(cx),
            State::PreparingRebalance if self.all_joined() => self.complete_join(cx),
            State::PreparingRebalance | State::Empty => {}
        }
    }

    pub fn join_timer(&self) -> Timer {
        Timer::Join { group: self.id.clone() }
    }

    pub fn sync_timer(&self) -> Timer {
        Timer::Sync { group: self.id.clone() }
    }
}

/// How long a group without anybody who joined waits at least before it looks again, should its members leave no time at all for a rebalance.
const STATIC_REJOIN_WAIT_MIN: Duration = Duration::from_secs(1);
