//! What must be true in the end: the log gives again what left, from its beginning and from every checkpoint.

use anyhow::{Context, Result};
use memchr::memchr_iter;
use stillhouse::decode::framing::{Chunk, Framer, Framing};
use stillhouse::durable::{Kept, Recorded};
use stillhouse::journal::Given;
use stillhouse_store::{Sequence, Store};

use super::host::Host;
use super::host::{config_of, reconfigured, restored};
use super::life::{Life, POSTED};

impl Life<'_> {
    /// All checks, on the store in the end.
    pub fn check(&mut self, store: Store) {
        self.check_output();
        self.sinks.iter().for_each(|sink| sink.check(&store, &self.events));
        self.check_store(&store);
        self.check_inputs();
        self.check_from_the_beginning();
        let recorded = Recorded { store: std::sync::Arc::new(store) };
        for kept in Kept::all(&recorded.store).expect("checkpoints can be read") {
            // All of them of some runs would take most of the time.
            if self.chance.percent(30) {
                self.check_from(kept, &recorded).unwrap_or_else(|error| panic!("{error:#}"));
                self.tally.replays += 1;
            }
        }
        self.tally.signals += self.files.iter().map(|file| memchr_iter(b'\n', file).count() as u64).sum::<u64>();
        self.tally.events += self.events.len() as u64;
        let of = |kind: &str| self.events.iter().filter(|line| has(line, kind)).count() as u64;
        let (late, bad) = (of("stillhouse.late"), of("stillhouse.dead-letter"));
        self.tally.late += late;
        self.tally.bad_lines += bad;
    }

    /// What the store keeps is what was committed, without a gap.
    fn check_store(&mut self, store: &Store) {
        for (sequence, all, skip) in [(Sequence::Log, &self.log, 0), (Sequence::Events, &self.events, 8)] {
            let first = store.first(sequence);
            self.tally.trimmed += u64::from(first > 0);
            let mut next = first;
            for record in store.read(sequence, first).expect("it is kept") {
                let record = record.expect("it can be read");
                assert_eq!(record.position, next, "{sequence:?} has no gap");
                assert!(record.bytes()[skip..] == all[next as usize], "{sequence:?} {next} is what was committed");
                next += 1;
            }
            assert_eq!(next, all.len() as u64, "all of {sequence:?} is there");
        }
    }

    /// The log has every record of every input once, and every post that was acknowledged.
    fn check_inputs(&self) {
        let inputs = self.world.inputs.len();
        let mut read: Vec<Vec<Vec<u8>>> = vec![Vec::new(); inputs + 1];
        for record in &self.log {
            if let Given::Chunk { input, bytes, records, .. } = Given::decode(record).expect("an entry") {
                let spans = records.map(|spans| {
                    let span = |(start, len)| stillhouse_core::Span { start, len };
                    spans.into_iter().map(span).collect()
                });
                read[input as usize].extend(cut(&Chunk { bytes, records: spans, ..Chunk::default() }));
            }
        }
        for (input, file) in self.files.iter().enumerate() {
            let mut framer = Framer::new(Framing::Json);
            framer.buffer().extend_from_slice(file);
            let mut whole = framer.chunk(true, false).map_or_else(Vec::new, |chunk| cut(&chunk));
            whole.extend(framer.chunk(true, true).map_or_else(Vec::new, |chunk| cut(&chunk)));
            let read = &read[input];
            let is_so = whole.starts_with(read) && (self.world.ended || whole.len() <= read.len() + 1);
            assert!(is_so, "input {input}: {} records were read, {} are there", read.len(), whole.len());
        }
        for (bytes, acknowledged) in &self.posts {
            let record = bytes.trim_ascii_end();
            // An empty line is no record.
            let is_there = record.is_empty() || read[inputs].contains(&record.to_vec());
            assert!(!acknowledged || is_there, "a post that was acknowledged is lost ({POSTED})");
        }
    }

    /// Whoever is given the whole log at once says the same.
    fn check_from_the_beginning(&mut self) {
        let host = Host::new(self.world, 0, self.division());
        let host = self.replay(host, 0).unwrap_or_else(|error| panic!("{error:#}"));
        self.compare(&host.lines, 0, "the run without any fault");
    }

    /// Whoever goes on from a checkpoint says the same.
    fn check_from(&mut self, kept: Kept, recorded: &Recorded) -> Result<()> {
        let (number, log, events) = (kept.number, kept.state.log, kept.state.events);
        let division = self.division();
        let config = config_of(&kept.state.config);
        let mut host = restored(self.world, kept, recorded, config, division)?;
        let hash = host.pipeline.state_hash(&mut Vec::new());
        assert_eq!(
            Some(hash),
            self.made.get(&log).map(|made| made.hash),
            "the state of checkpoint {number} is another one"
        );
        let host = self.replay(host, log as usize)?;
        self.compare(&host.lines, events as usize, &format!("a replay from checkpoint {number}"));
        Ok(())
    }

    fn replay<'w>(&mut self, mut host: Host<'w>, from: usize) -> Result<Host<'w>> {
        for (position, record) in self.log.iter().enumerate().skip(from) {
            match Given::decode(record)? {
                Given::Config(digest) if config_of(&digest) != host.config => {
                    let division = super::host::Division { shards: 1, batch_rows: 1024 };
                    host = reconfigured(host, config_of(&digest), division)?;
                }
                given => host.given(given).with_context(|| format!("position {position} of the log"))?,
            }
        }
        host.settle()?;
        host.round(Vec::new())?;
        Ok(host)
    }

    fn compare(&self, lines: &[u8], from: usize, who: &str) {
        let mut lines = lines.split_inclusive(|&byte| byte == b'\n');
        let text = |line: Option<&[u8]>| line.map(|line| String::from_utf8_lossy(line).into_owned());
        for (position, event) in self.events.iter().enumerate().skip(from) {
            let line = lines.next();
            assert!(
                line == Some(event.as_slice()),
                "{who} says something else at position {position}:\n{:?}\nand left\n{:?}",
                text(line),
                text(Some(event))
            );
        }
        assert_eq!(text(lines.next()), None, "{who} says more");
    }
}

fn has(line: &[u8], kind: &str) -> bool {
    super::sinks::field(line, "\"type\":\"") == kind
}

/// The records of a chunk.
fn cut(chunk: &Chunk) -> Vec<Vec<u8>> {
    match &chunk.records {
        Some(spans) => spans
            .iter()
            .map(|span| chunk.bytes[span.start as usize..(span.start + span.len) as usize].to_vec())
            .collect(),
        None => chunk.bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect(),
    }
}
