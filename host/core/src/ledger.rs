//! The ledger of conservation: every signal ends in exactly one place.

use serde::Serialize;

/// Where the signals went. `received` and `echoed` are always the sum of all other fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Signals that the core was given.
    pub received: u64,
    /// Observations that no signal of their own has: two versions of a mapper make another entity of a
    /// signal, and one of the two keeps what it opened; or a snapshot does not have an entity.
    #[serde(skip_serializing_if = "is_zero")]
    pub echoed: u64,
    /// Inputs of events that left.
    pub emitted: u64,
    /// Same id as one before.
    pub merged_id: u64,
    /// Same fingerprint within the window.
    pub merged_fingerprint: u64,
    /// Said again what was known, or was the silent baseline of an entity; or, of a snapshot, was older than a
    /// signal, left when a newer snapshot came, or of one that did not end.
    pub merged_repeated: u64,
    /// A state that did not last.
    pub merged_blip: u64,
    /// Inputs of candidates that were suppressed to their end.
    pub suppressed: u64,
    /// Dropped by a mapper.
    pub dropped: u64,
    /// Came after the watermark had passed.
    pub late: u64,
    /// Could not be read or mapped.
    pub dead_lettered: u64,
    /// Still waiting: to be put in order, for a hold, for the end of flapping, or suppressed.
    pub open: u64,
}

impl Ledger {
    /// All that was merged.
    pub fn merged(&self) -> u64 {
        self.merged_id + self.merged_fingerprint + self.merged_repeated + self.merged_blip
    }

    /// The sum of all places; equal to `received` and `echoed` unless a signal was lost or doubled.
    pub fn placed(&self) -> u64 {
        self.emitted + self.merged() + self.suppressed + self.dropped + self.late + self.dead_lettered + self.open
    }

    /// Whether every signal is in exactly one place.
    pub fn balances(&self) -> bool {
        self.received.wrapping_add(self.echoed) == self.placed()
    }

    /// Moves `signals` out of `open` into the place that `to` names.
    pub(crate) fn settle(&mut self, to: fn(&mut Self) -> &mut u64, signals: u64) {
        let place = to(self);
        *place = place.wrapping_add(signals);
        self.open = self.open.wrapping_sub(signals);
    }

    /// Takes in an observation of a signal that has its place elsewhere.
    pub(crate) fn echo(&mut self) {
        self.open = self.open.wrapping_add(1);
        self.echoed = self.echoed.wrapping_add(1);
    }

    /// A signal that was dropped so far is taken in after all.
    pub(crate) fn undrop(&mut self) {
        self.open = self.open.wrapping_add(1);
        self.dropped = self.dropped.wrapping_sub(1);
    }

    /// Adds another part of the books. Any field of a part may be below zero, hence wrapping.
    pub(crate) fn add(&mut self, other: &Self) {
        self.combine(other, u64::wrapping_add);
    }

    /// Takes another part of the books out.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.combine(other, u64::wrapping_sub);
    }

    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        for (field, other) in self.fields().into_iter().zip(other.clone().fields()) {
            *field = with(*field, *other);
        }
    }

    fn fields(&mut self) -> [&mut u64; 12] {
        [
            &mut self.received,
            &mut self.echoed,
            &mut self.emitted,
            &mut self.merged_id,
            &mut self.merged_fingerprint,
            &mut self.merged_repeated,
            &mut self.merged_blip,
            &mut self.suppressed,
            &mut self.dropped,
            &mut self.late,
            &mut self.dead_lettered,
            &mut self.open,
        ]
    }
}

/// The books as they are checkpointed: all fields, in order.
pub(crate) mod plain {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Ledger;

    pub fn serialize<S: Serializer>(ledger: &Ledger, serializer: S) -> Result<S::Ok, S::Error> {
        ledger.clone().fields().map(|field| *field).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ledger, D::Error> {
        let mut ledger = Ledger::default();
        let fields = <[u64; 12]>::deserialize(deserializer)?;
        ledger.fields().into_iter().zip(fields).for_each(|(field, value)| *field = value);
        Ok(ledger)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
