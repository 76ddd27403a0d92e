//! Connections of one core, counted. Plain numbers; nothing is shared.

use std::cell::Cell;

/// What was counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Metrics {
    /// Connections that are being served.
    pub open: u64,
    /// Connections that this core took over.
    pub accepted: u64,
    /// Connections that were closed at once: one of the limits was reached, or the socket could not be taken over.
    pub refused: u64,
}

/// The numbers of one core while it counts.
#[derive(Default, Debug)]
pub struct Counts(Cell<Metrics>);

impl Counts {
    /// The numbers.
    pub fn copy(&self) -> Metrics {
        self.0.get()
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Metrics)) {
        let mut metrics = self.0.get();
        count(&mut metrics);
        self.0.set(metrics);
    }
}
