//! Checkpoints: the state of a run at one place of its log.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use stillhouse_core::saved::BUCKETS;
use stillhouse_core::{Checkpoint, Slice};
use stillhouse_store::{Batch, Map, Retention, Sequence, Store, StoreError, trim_to};

use super::{Durable, PART_BYTES, Paged};
use crate::{pipeline, rollouts};

/// The version of what a checkpoint holds. It is raised whenever that changes: bytes of another version
/// would be taken for something else.
const FORMAT: u8 = 2;

/// All of a run but the core.
#[derive(Debug, Deserialize, Serialize)]
pub struct State {
    /// The digest of the configuration.
    pub config: String,
    /// The position of the next entry of the log.
    pub log: u64,
    /// The position of the next event.
    pub events: u64,
    /// The watermark.
    pub watermark_us: i64,
    /// Whether it holds all entities.
    pub is_whole: bool,
    /// The path of each input.
    pub paths: Vec<String>,
    /// What stands before the core.
    pub pipeline: pipeline::Saved,
    /// The versions of rules.
    pub rollouts: rollouts::Saved,
}

impl State {
    fn write(&self) -> Result<Vec<u8>> {
        Ok(postcard::to_extend(self, vec![FORMAT])?)
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((&FORMAT, bytes)) => postcard::from_bytes(bytes).context("it is not understood"),
            came => bail!(
                "it was kept by another version of stillhouse (of format {}, expected {FORMAT}): go on with that \
                 version, or begin a new store",
                came.map_or(0, |(format, _)| *format)
            ),
        }
    }
}

/// A checkpoint as the store has it.
pub struct Kept {
    /// Its number.
    pub number: u64,
    /// All but the core.
    pub state: State,
}

/// What a value of a checkpoint is; after its number in the key.
#[derive(Clone, Copy)]
enum Part {
    State = 0,
    Head = 1,
    Entities = 2,
}

fn key(number: u64, part: Part, index: u32) -> Vec<u8> {
    [number.to_be_bytes().as_slice(), &[part as u8], &index.to_be_bytes()].concat()
}

impl Kept {
    /// The newest checkpoint at this position of the log or before.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn newest(store: &Store, log: u64) -> Result<Option<Self>> {
        Ok(Self::all(store)?.into_iter().rev().find(|kept| kept.state.log <= log))
    }

    /// All checkpoints from which a run can go on, oldest first: they are whole together with those before
    /// them, and the log is kept from them on.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn all(store: &Store) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        // How many are there in a row up to this one, from the last whole one on.
        let (mut row, mut before): (Option<u8>, Option<u64>) = (None, None);
        for number in numbers(store)? {
            let Some(bytes) = store.get(Map::Checkpoints, &key(number, Part::State, 0))? else { continue };
            let state = State::read(&bytes).with_context(|| format!("checkpoint {number}"))?;
            let follows = before.is_some_and(|before| before + 1 == number);
            row = match row {
                _ if state.is_whole => Some(BUCKETS),
                Some(row) if follows => Some((row + 1).min(BUCKETS)),
                _ => Some(1),
            };
            before = Some(number);
            if row == Some(BUCKETS) && state.log >= store.first(Sequence::Log) {
                all.push(Self { number, state });
            }
        }
        Ok(all)
    }

    /// The state of the core, the newest first, until it is whole: [`BUCKETS`] are, however many there are.
    pub fn core(&self, store: &Store) -> impl Iterator<Item = Result<Checkpoint>> {
        let mut next = Some(self.number);
        std::iter::from_fn(move || {
            let number = next?;
            next = number.checked_sub(1);
            let part = |part, index| store.get(Map::Checkpoints, &key(number, part, index));
            let read = || {
                let mut checkpoint = Checkpoint::default();
                for index in 0.. {
                    let Some(bytes) = part(Part::Head, index)? else { break };
                    checkpoint.head.extend(bytes);
                }
                for index in 0.. {
                    let Some(bytes) = part(Part::Entities, index)? else { break };
                    checkpoint.parts.push(bytes);
                }
                Ok(checkpoint)
            };
            match read() {
                Ok(checkpoint) if checkpoint.head.is_empty() => None,
                read => Some(read),
            }
        })
        .take(usize::from(BUCKETS))
    }
}

/// The numbers of all checkpoints, oldest first.
fn numbers(store: &Store) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    let mut from = 0_u64;
    // Of each only the first key is read.
    while let Some(pair) = store.scan(Map::Checkpoints, &from.to_be_bytes(), None)?.next() {
        let (key, _) = pair?;
        let number = key.first_chunk().map(|number| u64::from_be_bytes(*number)).context("a key of a checkpoint")?;
        numbers.push(number);
        match number.checked_add(1) {
            Some(next) => from = next,
            None => break,
        }
    }
    Ok(numbers)
}

impl Durable {
    /// Goes on after a checkpoint: what was given after it is given again, and what that makes is compared
    /// with what the store has.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn go_on(&mut self, kept: &Kept) -> Result<()> {
        self.checkpoint = kept.number + 1;
        self.events = kept.state.events;
        self.again = Some(Paged::new(&self.store, Sequence::Events, self.events));
        Ok(())
    }

    /// Whether it is time for a checkpoint.
    pub fn is_due(&self) -> bool {
        self.since_checkpoint_bytes >= self.policy.checkpoint_bytes.max(self.last_checkpoint_bytes)
    }

    /// Which entities the next checkpoint holds.
    pub fn slice(&self) -> Slice {
        match self.checkpoint {
            // Nothing is known yet, and no checkpoint is before it.
            0 => Slice::All,
            number => Slice::Changed((number % u64::from(BUCKETS)) as u8),
        }
    }

    /// The position of the next entry of the log, and of the next event.
    pub fn at(&self) -> (u64, u64) {
        (self.log, self.events)
    }

    /// Keeps a checkpoint, and removes what is no longer needed. `needed_us`: what stands open began then.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn checkpoint(&mut self, state: &State, core: Checkpoint, needed_us: Option<i64>) -> Result<()> {
        let number = self.checkpoint;
        let bytes = state.write()?;
        self.last_checkpoint_bytes = (bytes.len() + core.head.len()) as u64;
        self.batch.put(Map::Checkpoints, &key(number, Part::State, 0), bytes);
        for (index, head) in (0..).zip(core.head.chunks(PART_BYTES)) {
            self.batch.put(Map::Checkpoints, &key(number, Part::Head, index), head.to_vec());
        }
        for (index, part) in (0..).zip(core.parts) {
            self.last_checkpoint_bytes += part.len() as u64;
            self.batch.put(Map::Checkpoints, &key(number, Part::Entities, index), part);
        }
        self.checkpoint += 1;
        self.since_checkpoint_bytes = 0;
        match self.retain(needed_us) {
            // The disk has just failed. What is no longer needed is removed another time.
            Err(error) if matches!(error.downcast_ref(), Some(StoreError::Reopened { .. })) => Ok(()),
            retained => retained,
        }
    }

    fn retain(&mut self, needed_us: Option<i64>) -> Result<()> {
        let policy = Retention { age_us: self.policy.keep_us, bytes: self.policy.keep_bytes };
        if policy == Retention::default() {
            return Ok(());
        }
        let now_us = (self.clock)();
        let all = Kept::all(&self.store)?;
        let is_needed = |kept: &&Kept| needed_us.is_none_or(|needed_us| kept.state.watermark_us <= needed_us);
        let Some(needed) = all.iter().rev().find(is_needed) else { return Ok(()) };
        let blocks = self.store.blocks(Sequence::Log)?;
        let from = trim_to(&blocks, policy, now_us, needed.state.log);
        // The log is cut where a checkpoint is, so that all of what is left can be replayed.
        let Some(first) = all.iter().rev().find(|kept| kept.state.log <= from) else { return Ok(()) };
        self.batch.trim(Sequence::Log, first.state.log);
        let floor = self.undelivered()?.min(first.state.events);
        self.batch.trim(Sequence::Events, floor);
        let oldest = first.number.saturating_sub(u64::from(BUCKETS) - 1);
        for number in numbers(&self.store)?.into_iter().take_while(|&number| number < oldest) {
            forget(&self.store, number, &mut self.batch)?;
        }
        Ok(())
    }

    /// The first event that some reader has not settled.
    fn undelivered(&self) -> Result<u64> {
        let mut least = self.events;
        for pair in self.store.scan(Map::Cursors, &[], None)? {
            let (_, cursor) = pair?;
            // Every cursor begins with the position of its next event.
            let (next, _) = postcard::take_from_bytes::<u64>(&cursor).context("a cursor is not understood")?;
            least = least.min(next);
        }
        Ok(least)
    }
}

/// Removes a checkpoint.
fn forget(store: &Store, number: u64, batch: &mut Batch) -> Result<()> {
    let (from, to) = (number.to_be_bytes(), (number + 1).to_be_bytes());
    for pair in store.scan(Map::Checkpoints, &from, Some(&to))? {
        batch.delete(Map::Checkpoints, &pair?.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            config: "c".into(),
            log: 1,
            events: 2,
            watermark_us: 3,
            is_whole: true,
            paths: Vec::new(),
            pipeline: pipeline::Saved::default(),
            rollouts: rollouts::Saved::default(),
        }
    }

    #[test]
    fn of_many_checkpoints_the_last_that_hold_everything_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let mut batch = Batch::default();
        (0..40).for_each(|number| batch.put(Map::Checkpoints, &key(number, Part::Head, 0), vec![number as u8]));
        store.write(&batch).unwrap();
        let read = |number| {
            let kept = Kept { number, state: state() };
            kept.core(&store).map(|checkpoint| checkpoint.unwrap().head[0]).collect::<Vec<_>>()
        };
        assert_eq!(read(39), (24..40).rev().collect::<Vec<_>>());
        assert_eq!(read(3), [3, 2, 1, 0]);
    }

    #[test]
    fn a_state_of_another_format_is_refused_in_words() {
        let state = state();
        let mut bytes = state.write().expect("plain data");
        assert_eq!(State::read(&bytes).expect("it is of this format").log, 1);
        bytes[0] += 1;
        let said = State::read(&bytes).expect_err("refused").to_string();
        assert!(said.starts_with("it was kept by another version of stillhouse (of format 3, expected 2)"), "{said}");
        assert!(State::read(&[]).is_err());
    }
}
