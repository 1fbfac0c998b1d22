//! What a host keeps is committed, as far as the disk lets it, and goes out.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use stillhouse_store::{Map, Sequence, Storage};

use super::{Gone, Life, Made, Running};
use crate::simulation::sinks::Sink;

impl<'w> Life<'w> {
    /// A checkpoint is made.
    pub(super) fn keep(&mut self, running: &mut Running<'_>) -> Result<()> {
        if let Some(hash) = running.host.checkpoint()? {
            let (log, events) = running.at();
            self.world.tell(|| format!("keeps its state at {log}, {events} events"));
            let watermark_us = running.host.pipeline.watermark_us();
            // A replay of what stands open begins at the newest checkpoint before it. What is gone is gone.
            let store = running.host.durable.as_ref().expect("it keeps").store();
            let needed = running.host.pipeline.needed_us().and_then(|needed_us| {
                let mut before = self.made.range(..=log).rev();
                before.find(|(_, made)| made.watermark_us <= needed_us).map(|(log, _)| *log)
            });
            running.needed = needed.filter(|needed| store.first(Sequence::Log) <= *needed);
            self.tally.needed += u64::from(running.needed.is_some());
            self.made.insert(log, Made { hash, watermark_us });
            self.tally.checkpoints += 1;
        }
        Ok(())
    }

    /// What was noted is committed, if the disk lets it, and let out.
    pub(super) fn commit(&mut self, running: &mut Running<'_>) -> Result<()> {
        let durable = running.host.durable.as_mut().expect("it keeps");
        durable.commit()?;
        // A run does not wait for the disk: what is not committed must not be told. After a commit that failed in
        // part the simulation does not know what is.
        if durable.store().next(Sequence::Events) == self.events.len() as u64 {
            durable.let_out(&mut Out { life: self })?;
        }
        let durable = running.host.durable.as_mut().expect("it keeps");
        let handed = durable.at();
        let (operations, busy_us) = (self.disk.operations(), self.disk.busy_us());
        let flushed = self.flush(running);
        self.pass((self.disk.busy_us() - busy_us) as i64);
        if let Err(error) = flushed {
            if self.disk.is_cut() {
                return Err(error);
            }
            self.tally.failed_writes += 1;
            if self.chance.percent(50) {
                self.disk.set_room_bytes(u64::MAX);
            }
            // Somebody reads meanwhile, which opens the store anew: it says whether what failed is there all the same.
            if self.chance.percent(50) {
                let store = running.host.durable.as_ref().expect("it keeps").store();
                drop(store.get(Map::Cursors, b"output"));
                self.tally.kept_and_not_said += u64::from(store.next(Sequence::Log) > self.log.len() as u64);
            }
            return Ok(());
        }
        self.commit_operations = self.disk.operations() - operations;
        self.tally.commits += 1;
        self.committed(running, handed)?;
        let mut out = Out { life: self };
        let durable = running.host.durable.as_mut().expect("it keeps");
        durable.let_out(&mut out)
    }

    /// Commits what was handed over. What a commit brings is seen before the next one, which may remove it.
    fn flush(&mut self, running: &Running<'_>) -> Result<()> {
        let durable = running.host.durable.as_ref().expect("it keeps");
        let (store, committer) = (Arc::clone(durable.store()), durable.committer());
        loop {
            let before = committer.committed();
            let committed = committer.try_commit().map_err(anyhow::Error::msg)?;
            if committed == before {
                return Ok(());
            }
            self.absorb(&store)?;
        }
    }

    /// All that was handed over so far is committed.
    fn committed(&mut self, running: &mut Running<'_>, handed: (u64, u64)) -> Result<()> {
        let durable = running.host.durable.as_ref().expect("it keeps");
        let store = Arc::clone(durable.store());
        self.absorb(&store)?;
        assert_eq!((self.log.len() as u64, self.events.len() as u64), handed, "what is committed is there");
        let first = store.first(Sequence::Log);
        if let Some(needed) = running.needed.take() {
            assert!(first <= needed, "the log begins at {first}, and what stands open is in it from {needed} on");
        }
        for (_, number) in running.posted.extract_if(.., |(log, _)| *log <= handed.0) {
            self.posts[number].1 = true;
        }
        let ticket = durable.committer().committed();
        self.sinks.iter_mut().for_each(|sink| sink.committed(ticket));
        Ok(())
    }

    /// As a host that is stopped does.
    pub(super) fn finish(&mut self, running: &mut Running<'_>) -> Result<()> {
        let mut last = None;
        for _ in 0..100 {
            let durable = running.host.durable.as_mut().expect("it keeps");
            durable.commit()?;
            let handed = durable.at();
            let finished = self.flush(running);
            let finished = finished.and_then(|()| self.committed(running, handed)).and_then(|()| {
                let durable = running.host.durable.as_mut().expect("it keeps");
                durable.finish(&mut Out { life: self })
            });
            match finished {
                Ok(()) => return self.committed(running, handed),
                Err(error) if self.disk.is_cut() => return Err(error),
                Err(error) => {
                    last = Some(error);
                    self.tally.failed_writes += 1;
                    self.disk.set_room_bytes(u64::MAX);
                }
            }
        }
        panic!("it cannot be stopped: {last:?}");
    }

    pub(super) fn end(&mut self, running: &mut Running<'_>) -> Result<()> {
        if self.world.ended && !self.is_over() {
            running.host.end()?;
        }
        self.keep(running)?;
        self.finish(running)
    }

    /// Lets sinks do what is due.
    pub(super) fn pump(&mut self, running: &Running<'_>) -> Option<i64> {
        let durable = running.host.durable.as_ref().expect("it keeps");
        let (store, committer, now_us) = (durable.store(), durable.committer(), self.now_us());
        let Self { sinks, events, is_well, chance, tally, .. } = self;
        let pump = |sink: &mut Sink| sink.pump(store, &committer, events, now_us, *is_well, chance, tally);
        sinks.iter_mut().filter_map(pump).min()
    }

    /// Waits until every sink has everything.
    pub(super) fn deliver(&mut self, running: &mut Running<'_>) -> Result<(), Gone> {
        self.is_well = true;
        for _ in 0..100_000 {
            let wakes_us = self.pump(running);
            let committed = self.commit(running);
            self.survive(running, committed)?;
            if self.sinks.iter().all(|sink| sink.is_done(self.events.len())) {
                let finished = self.finish(running);
                return self.survive(running, finished);
            }
            self.pass(wakes_us.map_or(1, |wakes_us| (wakes_us - self.now_us()).max(1)));
        }
        panic!("the sinks never have everything");
    }

    /// What the output holds in the end is what left.
    pub fn check_output(&self) {
        if self.is_file {
            let (is, should) = (self.out.bytes(), self.events.concat());
            assert!(is == should, "the output has {} bytes, expected {}", is.len(), should.len());
        } else {
            assert_eq!(self.streamed, self.events.len() as u64, "events that were written");
        }
    }
}

/// The output of a host.
struct Out<'l, 'w> {
    life: &'l mut Life<'w>,
}

impl Write for Out<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let life = &mut *self.life;
        if life.is_file {
            let at = life.out.len()?;
            life.out.set_len(at + bytes.len() as u64)?;
            life.out.write(at, bytes)?;
            let committed: usize = life.events.iter().map(Vec::len).sum();
            assert!(at as usize + bytes.len() <= committed, "it tells what is not committed");
            return Ok(bytes.len());
        }
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let committed = life.events.get(life.streaming as usize);
            assert_eq!(committed.map(Vec::as_slice), Some(line), "it tells what is committed, in order");
            life.streaming += 1;
            life.streamed = life.streamed.max(life.streaming);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
