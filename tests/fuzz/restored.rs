//! The state of a core that is damaged.

use std::sync::Arc;

use stillhouse_core::rule::NoJudge;
use stillhouse_core::{Checkpoint, Core, Entry, Slice};

use super::stored::patched;
use crate::chance::Chance;
use crate::generate::{any_plan, any_stream};

/// The first byte says which stream a core has seen, the second where it is damaged; the rest is the damage. What is
/// taken over must be of use to the end.
pub fn checkpoint(bytes: &[u8]) {
    let Some((&[seed, place], patches)) = bytes.split_first_chunk() else { return };
    let mut chance = Chance::new(u64::from(seed));
    let plan = Arc::new(any_plan(&mut chance));
    let entries = any_stream(&mut chance, &plan).entries(3);
    let (before, after) = entries.split_at(entries.len() / 2);
    let mut core = Core::new(Arc::clone(&plan), 1);
    let mut events = Vec::new();
    core.step(before.iter().cloned(), &mut NoJudge, &mut events);
    let Checkpoint { head, parts } = core.save(Slice::All);
    let checkpoint = match place % 2 {
        0 => Checkpoint { head: patched(&head, patches), parts },
        _ => Checkpoint { head, parts: vec![patched(&parts.concat(), patches)] },
    };
    let Ok(mut core) = Core::restore(plan, 2, [checkpoint], &mut |_| None) else { return };
    core.step(after.iter().cloned(), &mut NoJudge, &mut events);
    core.step([Entry::End], &mut NoJudge, &mut events);
    let mut lines = Vec::new();
    events.iter().for_each(|event| event.write_line(&mut lines));
    let _ = (core.state_hash(), core.ledger(), core.save(Slice::All));
}
