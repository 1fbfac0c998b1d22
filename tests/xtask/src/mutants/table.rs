//! The deliberate faults that the simulation must find.

/// A fault: where `old` stands in `file`, which it does once, `new` stands instead. Both are an expression, or
/// statements.
pub struct Mutant {
    /// From the root of the repository.
    pub file: &'static str,
    /// What is there.
    pub old: &'static str,
    /// What is there instead.
    pub new: &'static str,
    /// What is wrong then.
    pub breaks: &'static str,
}

/// All of them; the number of a mutant is its index, from 1.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        file: "host/node/src/durable/outlet.rs",
        old: "*ticket <= committed",
        new: "*ticket <= committed + 1",
        breaks: "events are told before they are committed",
    },
    Mutant {
        file: "host/node/src/durable.rs",
        old: "self.batch.put(Map::Positions, path.as_bytes(), value);",
        new: "if self.log % 2 == 0 { self.batch.put(Map::Positions, path.as_bytes(), value); }",
        breaks: "positions of inputs are not committed with what was read",
    },
    Mutant {
        file: "host/node/src/durable/checkpoint.rs",
        old: "self.events = kept.state.events;",
        new: "self.events = self.known;",
        breaks: "events are appended a second time after a restart",
    },
    Mutant {
        file: "host/node/src/durable/checkpoint.rs",
        old: "(number % u64::from(BUCKETS)) as u8",
        new: "(number % 2) as u8",
        breaks: "no checkpoint holds entities that have not changed for long",
    },
    Mutant {
        file: "host/node/src/durable/checkpoint.rs",
        old: "self.undelivered()?.min(first.state.events)",
        new: "first.state.events",
        breaks: "events are removed that a sink does not have",
    },
    Mutant {
        file: "host/node/src/durable/checkpoint.rs",
        old: "self.batch.trim(Sequence::Log, first.state.log);",
        new: "self.batch.trim(Sequence::Log, u64::MAX);",
        breaks: "the log is removed beyond the checkpoint",
    },
    Mutant {
        file: "host/node/src/durable/checkpoint.rs",
        old: "kept.state.watermark_us <= needed_us",
        new: "kept.state.watermark_us <= needed_us || true",
        breaks: "the log is removed that an open incident needs",
    },
    Mutant {
        file: "host/node/src/durable/outlet.rs",
        old: "length > cursor.bytes",
        new: "length > u64::MAX - 1",
        breaks: "the output is not cut where it was written for certain",
    },
    Mutant {
        file: "host/node/src/durable/outlet.rs",
        old: "self.output.sync()?;",
        new: "",
        breaks: "the output is noted to be written before it is on disk",
    },
    Mutant {
        file: "host/store/src/committer.rs",
        old: "is_again && self.store.holds(batch)?",
        new: "is_again && batch.is_empty()",
        breaks: "a batch is written again that a failed commit has kept",
    },
    Mutant {
        file: "host/core/src/saved.rs",
        old: "self.push(&Known::Gone(signal_type, key));",
        new: "let _ = (signal_type, key);",
        breaks: "a checkpoint does not say which entities are gone",
    },
    Mutant {
        file: "host/core/src/saved.rs",
        old: "self.push(&Known::Entity(entity, past, twin));",
        new: "self.push(&Known::Entity(entity, past, twin.filter(|_| past.is_some())));",
        breaks: "a checkpoint lacks twins",
    },
    Mutant {
        file: "host/core/src/saved.rs",
        old: "(self.gate, self.reconcile) = (gate, reconcile);",
        new: "drop(gate); self.reconcile = reconcile;",
        breaks: "candidates that are held back are forgotten at a restart",
    },
    Mutant {
        file: "host/core/src/saved.rs",
        old: "core.shards.iter_mut().for_each(|shard| shard.arm_all(types));",
        new: "let _ = types;",
        breaks: "timers of entities are not armed after a restart",
    },
    Mutant {
        file: "host/core/src/saved.rs",
        old: "core.shards.iter_mut().for_each(|shard| shard.let_pasts_be(types, now_us));",
        new: "let _ = now_us;",
        breaks: "late signals are put among what another configuration has made of others",
    },
    Mutant {
        file: "host/core/src/sequencer.rs",
        old: "saved.ids.map(LastSeen::from)",
        new: "saved.ids.map(|half| LastSeen::from(half.into_iter().skip(1).collect::<Vec<_>>()))",
        breaks: "an id is forgotten at a restart",
    },
    Mutant {
        file: "host/node/src/pipeline.rs",
        old: "self.position = saved.position;",
        new: "self.position = saved.position / 2;",
        breaks: "positions of signals begin anew at a restart",
    },
    Mutant {
        file: "host/delivery/src/delivery.rs",
        old: "self.failed(position, reason, 0, now_us)",
        new: "drop(reason); self.settle(position); None",
        breaks: "the cursor passes an event that was not delivered",
    },
    Mutant {
        file: "host/delivery/src/delivery.rs",
        old: "queue.len() == 1",
        new: "!queue.is_empty()",
        breaks: "an event is sent before an earlier one of its key is settled",
    },
];
