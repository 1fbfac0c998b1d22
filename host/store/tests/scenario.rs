//! Batches made of a seed, and what a store must hold after each.

use std::collections::BTreeMap;

use stillhouse_store::{Batch, Map, Packed, Sequence, Store};

/// What a store holds, and the batch that led there.
#[derive(Clone, Debug, Default)]
pub struct State {
    first: [u64; 2],
    records: [Vec<Vec<u8>>; 2],
    values: BTreeMap<(Map, Vec<u8>), Vec<u8>>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Append(Sequence, u64, Vec<u8>),
    Put(Map, Vec<u8>, Vec<u8>),
    Delete(Map, Vec<u8>),
    Seal,
    Trim(Sequence, u64),
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        (self.first, &self.records, &self.values) == (other.first, &other.records, &other.values)
    }
}

/// `count` batches made of a seed, each with what a store holds after it.
pub fn batches(seed: u64, count: usize) -> Vec<State> {
    let mut number = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = move |end: u64| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        (number >> 11) % end
    };
    let mut state = State::default();
    // Where the blocks of each sequence begin.
    let mut begins: [Vec<u64>; 2] = Default::default();
    let step = |_| {
        let mut steps = Vec::new();
        for sequence in Sequence::ALL {
            let of = sequence as usize;
            let count = if sequence == Sequence::Log { 1 + below(9) } else { below(3) };
            let mut is_new_block = true;
            for _ in 0..count {
                let position = state.first[of] + state.records[of].len() as u64;
                let length = if below(12) == 0 { below(30_000) } else { below(300) };
                let record: Vec<u8> = (0..length).map(|at| (position * 31 + at * at * below(2)) as u8).collect();
                if is_new_block {
                    begins[of].push(position);
                }
                is_new_block = below(8) == 0;
                state.records[of].push(record.clone());
                steps.push(Step::Append(sequence, position, record));
                steps.extend(is_new_block.then_some(Step::Seal));
            }
            if below(6) == 0 && begins[of].len() > 2 {
                let kept = begins[of][1 + below(begins[of].len() as u64 - 1) as usize];
                begins[of].retain(|begin| *begin >= kept);
                state.records[of].drain(..(kept - state.first[of]) as usize);
                state.first[of] = kept;
                steps.push(Step::Trim(sequence, kept));
            }
        }
        for _ in 0..below(6) {
            let map = Map::ALL[below(6) as usize];
            let key = vec![b'k'; below(4) as usize + 1];
            if below(4) == 0 {
                state.values.remove(&(map, key.clone()));
                steps.push(Step::Delete(map, key));
            } else {
                let length = if below(5) == 0 { 6000 } else { 40 };
                let value: Vec<u8> = (0..below(length)).map(|at| (at * at * 7) as u8).collect();
                state.values.insert((map, key.clone()), value.clone());
                steps.push(Step::Put(map, key, value));
            }
        }
        State { steps, ..state.clone() }
    };
    (0..count).map(step).collect()
}

impl State {
    /// The batch that led here.
    pub fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        for step in &self.steps {
            match step {
                Step::Append(sequence, position, record) => {
                    let time_us = *position as i64;
                    if position % 3 == 0 {
                        let (begin, rest) = record.split_at(record.len() / 2);
                        batch.append_packed(*sequence, *position, time_us, Packed::of(&[begin, rest]));
                    } else {
                        batch.append(*sequence, *position, time_us, record);
                    }
                }
                Step::Put(map, key, value) => batch.put(*map, key, value.clone()),
                Step::Delete(map, key) => batch.delete(*map, key),
                Step::Seal => batch.seal(),
                Step::Trim(sequence, before) => batch.trim(*sequence, *before),
            }
        }
        batch
    }

    /// What a store holds.
    pub fn read(store: &Store) -> Self {
        let mut state = Self::default();
        for sequence in Sequence::ALL {
            let (of, first) = (sequence as usize, store.first(sequence));
            state.first[of] = first;
            let records = store.read(sequence, first).unwrap().map(Result::unwrap);
            state.records[of] = records.map(|record| record.bytes().to_vec()).collect();
            assert_eq!(first + state.records[of].len() as u64, store.next(sequence));
        }
        for map in Map::ALL {
            let values = store.scan(map, b"", None).unwrap().map(Result::unwrap);
            state.values.extend(values.map(|(key, value)| ((map, key), value)));
        }
        state
    }

    /// The position that the next record gets.
    pub fn next(&self, sequence: Sequence) -> u64 {
        self.first[sequence as usize] + self.records[sequence as usize].len() as u64
    }
}
