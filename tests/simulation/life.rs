//! The life of a host from one seed: signals come, the power is cut, and it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Result;
use stillhouse::decode::framing::{Chunk, Framer, Framing};
use stillhouse::durable::{Durable, Entry, Kept, Output, Policy, Recorded};
use stillhouse::journal::Given;
use stillhouse_store::fault::FaultDisk;
use stillhouse_store::{Committer, Map, Sequence, Storage, Store};

use super::host::{Division, Host, config_of, restored};
use super::sinks::Sink;
use super::tally::Tally;
use super::world::{Arrival, World};
use crate::chance::Chance;

/// Posted signals have an input of their own.
pub const POSTED: &str = "posted";

/// What survives a host, and what is known about it from outside.
pub struct Life<'w> {
    pub world: &'w World,
    pub chance: Chance,
    pub disk: FaultDisk,
    out: FaultDisk,
    is_file: bool,
    policy: Policy,
    now_us: Arc<AtomicI64>,
    /// Which configuration the next start has.
    config: usize,
    /// The next arrival.
    arrived: usize,
    /// What each input holds.
    pub files: Vec<Vec<u8>>,
    /// Inputs from which nothing more comes.
    ended: BTreeSet<usize>,
    /// What was posted, and whether it was acknowledged.
    pub posts: Vec<(Vec<u8>, bool)>,
    /// All that was ever committed, as far as it was seen.
    pub log: Vec<Vec<u8>>,
    pub events: Vec<Vec<u8>>,
    /// What the output was given, where it cannot be taken back.
    streamed: u64,
    /// What it is given next.
    streaming: u64,
    /// The hash of the state at each checkpoint, by its position of the log.
    pub hashes: BTreeMap<u64, u128>,
    pub sinks: Vec<Sink>,
    /// From now on nothing goes wrong any more.
    is_well: bool,
    pub tally: Tally,
}

/// The host is gone.
struct Gone;

/// A host and what it holds of the outside.
struct Running<'w> {
    host: Host<'w>,
    framers: Vec<(Framer, usize)>,
    /// Posts by the position of the log behind them.
    posted: Vec<(u64, usize)>,
}

impl<'w> Life<'w> {
    pub fn new(world: &'w World, mut chance: Chance) -> Self {
        let policy = Policy {
            checkpoint_bytes: chance.pick(&[1, 1000, 5000, 64 << 20]),
            keep_us: chance.pick(&[None, None, Some(0), Some(100_000)]),
            keep_bytes: chance.pick(&[None, None, Some(0), Some(3000)]),
            ..Policy::default()
        };
        let sinks = (0..chance.between(0, 2)).map(|number| Sink::new(&format!("s{number}"), &mut chance)).collect();
        Self {
            world,
            disk: FaultDisk::new(world.seed),
            out: FaultDisk::new(world.seed ^ 1),
            is_file: chance.percent(60),
            policy,
            now_us: Arc::new(AtomicI64::new(1_700_000_000_000_000)),
            config: 0,
            arrived: 0,
            files: vec![Vec::new(); world.inputs.len()],
            ended: BTreeSet::new(),
            posts: Vec::new(),
            log: Vec::new(),
            events: Vec::new(),
            streamed: 0,
            streaming: 0,
            hashes: BTreeMap::new(),
            sinks,
            is_well: false,
            tally: Tally::default(),
            chance,
        }
    }

    pub fn division(&mut self) -> Division {
        Division { shards: self.chance.pick(&[1, 1, 2, 3]), batch_rows: self.chance.pick(&[1, 7, 1024]) }
    }

    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::Relaxed)
    }

    /// Time passes.
    fn pass(&mut self, us: i64) {
        self.now_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Lets hosts live until all that came is distilled and delivered; returns the store.
    pub fn live(&mut self) -> Store {
        for lives in 0.. {
            self.is_well |= lives > 12;
            let before = self.disk.operations();
            // Each cut comes a little after the last, also while the store is being opened.
            if !self.is_well && self.chance.percent(70) {
                let most = self.chance.pick(&[30, 200, 1000]);
                self.disk.cut_power_at(before + self.chance.below(most) as u64);
            }
            match self.one_life() {
                Ok(store) => return store,
                Err(Gone) => {
                    // Nothing is written by a host that is gone.
                    self.disk.reboot();
                    self.out.reboot();
                    self.disk.set_room_bytes(u64::MAX);
                    self.tally.restarts += 1;
                }
            }
            assert!(lives < 100, "it comes to an end");
        }
        unreachable!("it returns or gives up")
    }

    fn one_life(&mut self) -> Result<Store, Gone> {
        let opened = Store::open_on(self.disk.clone());
        let store = Arc::new(opened.map_err(|error| {
            assert!(self.disk.is_cut(), "the store cannot be opened: {error}");
            self.tally.power_cuts += 1;
            self.tally.cuts_while_opening += 1;
            Gone
        })?);
        let mut running = self.start(&store)?;
        loop {
            let is_read = self.arrived == self.world.arrivals.len()
                && running.framers.iter().zip(&self.files).all(|((_, at), file)| *at == file.len())
                && self.posts.iter().all(|(_, acknowledged)| *acknowledged);
            if is_read || self.is_over() {
                break;
            }
            let step = self.step(&mut running);
            self.survive(&mut running, step)?;
        }
        let ended = self.end(&mut running);
        self.survive(&mut running, ended)?;
        self.deliver(&mut running)?;
        drop(running);
        Ok(Arc::into_inner(store).expect("nobody else holds it"))
    }

    /// Whether the log has its end.
    fn is_over(&self) -> bool {
        let last = self.log.last().map(|record| Given::decode(record).expect("an entry"));
        matches!(last, Some(Given::End))
    }

    /// Only a loss of power ends a host.
    fn survive<T>(&mut self, running: &mut Running<'_>, result: Result<T>) -> Result<T, Gone> {
        match result {
            Ok(value) => Ok(value),
            Err(error) if self.disk.is_cut() => self.crash(running, &error),
            Err(error) => panic!("{error:#}"),
        }
    }

    fn crash<T>(&mut self, running: &mut Running<'_>, error: &anyhow::Error) -> Result<T, Gone> {
        self.world.tell(|| format!("is gone: {error:#}"));
        self.tally.power_cuts += 1;
        let (log, _) = running.at();
        self.tally.lost_by_a_crash += log.saturating_sub(self.log.len() as u64);
        Err(Gone)
    }

    /// Takes in what the store has that was not seen yet.
    fn absorb(&mut self, store: &Store) -> Result<()> {
        for record in store.read(Sequence::Log, self.log.len() as u64)? {
            self.log.push(record?.bytes().to_vec());
        }
        for record in store.read(Sequence::Events, self.events.len() as u64)? {
            let record = record?;
            self.events.push(Entry::decode(record.bytes())?.line.to_vec());
        }
        Ok(())
    }

    fn start(&mut self, store: &Arc<Store>) -> Result<Running<'w>, Gone> {
        let (log, events) = (store.next(Sequence::Log), store.next(Sequence::Events));
        assert!(log >= self.log.len() as u64, "{} entries of the log were committed, {log} are there", self.log.len());
        assert!(events >= self.events.len() as u64, "{} events were committed, {events} are there", self.events.len());
        self.tally.kept_by_a_failed_commit += u64::from(log > self.log.len() as u64);
        self.world.tell(|| format!("starts: {log} entries of the log, {events} events"));
        let started = self.try_start(store);
        started.map_err(|error| {
            assert!(self.disk.is_cut(), "{error:#}");
            self.tally.power_cuts += 1;
            self.tally.cuts_while_opening += 1;
            Gone
        })
    }

    fn try_start(&mut self, store: &Arc<Store>) -> Result<Running<'w>> {
        self.absorb(store)?;
        let committer = Committer::by_hand(Arc::clone(store));
        let output = match self.is_file {
            true => Output::Storage(Arc::new(self.out.clone())),
            false => Output::Stream,
        };
        let now_us = Arc::clone(&self.now_us);
        let clock = Arc::new(move || now_us.load(Ordering::Relaxed));
        let durable = Durable::on(Arc::clone(store), committer, self.policy.clone(), output, clock)?;
        let division = self.division();
        let world = self.world;
        let mut running = match durable.is_new() {
            true => {
                let mut host = Host::new(world, self.config, division);
                host.durable = Some(durable);
                host.note_config();
                host.begin();
                world.inputs.iter().for_each(|path| host.add_input(path));
                host.add_input(POSTED);
                Running::new(host)
            }
            false => Running::new(self.go_on(store, durable, division)?),
        };
        for path in &world.inputs {
            let position = running.host.durable.as_ref().and_then(|durable| durable.position(path));
            let (framer, at) = Framer::resume(Framing::Json, position.unwrap_or_default().place);
            running.framers.push((framer, at as usize));
        }
        let cursor = store.get(Map::Cursors, b"output")?;
        self.streaming = cursor.map_or(Ok(0), |bytes| postcard::take_from_bytes(&bytes).map(|(event, _)| event))?;
        assert!(self.is_file || self.streaming <= self.streamed, "the output lacks events");
        if !self.is_over() {
            self.again(&mut running)?;
        }
        self.keep(&mut running)?;
        let durable = running.host.durable.as_ref().expect("it keeps");
        self.sinks.iter_mut().try_for_each(|sink| sink.begin(store, &durable.committer(), &self.events))?;
        self.commit(&mut running)?;
        Ok(running)
    }

    /// What a host does again that was not committed.
    fn again(&mut self, running: &mut Running<'_>) -> Result<()> {
        let host = &mut running.host;
        let count = self.world.inputs.len();
        for input in 0..count {
            if host.pipeline.has_ended(input) && !self.is_well && self.chance.percent(30) {
                host.reopen_input(input);
                self.tally.reopened += 1;
            }
        }
        for (number, (bytes, acknowledged)) in self.posts.clone().into_iter().enumerate() {
            if !acknowledged {
                self.tally.posted_again += 1;
                self.post(running, number, &bytes)?;
            }
        }
        Ok(())
    }

    fn go_on(&mut self, store: &Arc<Store>, mut durable: Durable, division: Division) -> Result<Host<'w>> {
        let kept = Kept::newest(store, store.next(Sequence::Log))?.expect("a checkpoint to go on from");
        durable.go_on(&kept)?;
        let recorded = Recorded { store: Arc::clone(store) };
        let from = kept.state.log;
        self.world.tell(|| format!("goes on at {from} with {}, {division:?}", kept.state.config));
        let was = config_of(&kept.state.config);
        let mut host = restored(self.world, kept, &recorded, was, division)?;
        assert_eq!(
            Some(&host.pipeline.state_hash(&mut Vec::new())),
            self.hashes.get(&from),
            "the state at position {from} of the log is another one after a restart"
        );
        host.durable = Some(durable);
        host.replaying = true;
        for entry in recorded.log(from)? {
            host.given(entry?.1)?;
        }
        host.settle()?;
        host.replaying = false;
        let differing = host.durable.as_ref().map_or(0, Durable::differing);
        assert_eq!(differing, 0, "events that were made again at the start are other ones");
        if was == self.config {
            return Ok(host);
        }
        // The configuration of then keeps its state, from which the new one goes on.
        if let Some(hash) = host.checkpoint()? {
            self.hashes.insert(host.at().0, hash);
        }
        let mut durable = host.durable.take().expect("it keeps");
        durable.commit()?;
        durable.committer().flush()?;
        self.absorb(store)?;
        let kept = Kept::newest(store, store.next(Sequence::Log))?.expect("it was just made");
        durable.go_on(&kept)?;
        let mut host = restored(self.world, kept, &recorded, self.config, division)?;
        host.durable = Some(durable);
        host.note_config();
        Ok(host)
    }

    /// One thing happens.
    fn step(&mut self, running: &mut Running<'w>) -> Result<()> {
        let pause_us = self.chance.pick(&[100, 5_000, 600_000]);
        self.pass(pause_us);
        match self.chance.below(12) {
            0..4 => self.arrive(running)?,
            4..8 => self.read(running)?,
            8 => self.commit(running)?,
            9 if !self.is_well => self.disturb(),
            10 if self.chance.percent(30) => self.keep(running)?,
            _ => {
                if running.host.pipeline.is_waiting() {
                    running.host.round(Vec::new())?;
                }
            }
        }
        if self.chance.percent(30) {
            self.pump(running);
        }
        if running.host.durable.as_ref().is_some_and(Durable::is_due) {
            self.keep(running)?;
        }
        Ok(())
    }

    /// Something goes wrong with the disk.
    fn disturb(&mut self) {
        match self.chance.below(4) {
            0 => {
                self.disk.set_room_bytes(self.disk.len().unwrap_or(0));
                self.tally.full_disks += 1;
            }
            1 => self.disk.set_room_bytes(u64::MAX),
            2 => {
                let from = self.disk.operations() + self.chance.below(10) as u64;
                self.disk.fail(from..from + self.chance.below(6) as u64, std::io::ErrorKind::Other);
            }
            _ => self.disk.set_cost_us(self.chance.pick(&[0, 10]), self.chance.pick(&[0, 1000, 100_000])),
        }
    }

    fn arrive(&mut self, running: &mut Running<'w>) -> Result<()> {
        for _ in 0..self.chance.between(1, 8) {
            let Some(arrival) = self.world.arrivals.get(self.arrived) else { return Ok(()) };
            self.arrived += 1;
            let host = &mut running.host;
            match arrival {
                Arrival::Line(input, line) => self.files[*input].extend(line),
                Arrival::Post(bytes) => {
                    self.posts.push((bytes.clone(), false));
                    self.post(running, self.posts.len() - 1, bytes)?;
                }
                Arrival::Ended(input) => drop(self.ended.insert(*input)),
                Arrival::Tick(now_us) => {
                    self.tally.ticks += 1;
                    host.tick(*now_us);
                }
                Arrival::Table(table) => host.table(table),
                Arrival::Offered { signal_type, version, by_hand } => {
                    self.tally.offered += 1;
                    host.offer(*signal_type, *version, *by_hand);
                }
                Arrival::Wanted(signal_type, command) => {
                    self.tally.promoted_or_withdrawn += u64::from(host.want(*signal_type, *command));
                }
                Arrival::Configured { killed } => {
                    self.tally.configurations += 1;
                    self.config += 1;
                    if !killed {
                        self.keep(running)?;
                        self.finish(running)?;
                    }
                    self.disk.cut_power_at(self.disk.operations());
                    drop(self.disk.sync());
                    anyhow::bail!("it is started with another configuration");
                }
            }
        }
        Ok(())
    }

    fn post(&mut self, running: &mut Running<'_>, number: usize, bytes: &[u8]) -> Result<()> {
        let host = &mut running.host;
        host.watch();
        let input = host.paths.iter().position(|path| path == POSTED).expect("it was added");
        // Its records are numbered by the log, so that two posts have no number twice.
        let first = host.durable.as_ref().map_or(0, |durable| durable.at().0) + 1;
        host.round(vec![(input, Chunk { bytes: bytes.to_vec(), first, ..Chunk::default() })])?;
        let log = host.durable.as_ref().map_or(0, |durable| durable.at().0);
        running.posted.push((log, number));
        Ok(())
    }

    /// Some of an input is read.
    fn read(&mut self, running: &mut Running<'_>) -> Result<()> {
        running.host.watch();
        let mut chunks = Vec::new();
        let most = if running.host.is_trying() { 1 } else { self.chance.between(1, 3) };
        for _ in 0..most {
            let input = self.chance.below(self.files.len());
            let (framer, at) = &mut running.framers[input];
            let rest = &self.files[input][*at..];
            if rest.is_empty() {
                if self.ended.contains(&input) && !running.host.pipeline.has_ended(input) && chunks.is_empty() {
                    if let Some(last) = framer.chunk(true, true) {
                        running.host.round(vec![(input, last)])?;
                    }
                    running.host.end_input(input);
                }
                continue;
            }
            let most_bytes = self.chance.pick(&[100, 500, 5000]);
            let bytes = &rest[..rest.len().min(1 + self.chance.below(most_bytes))];
            framer.buffer().extend_from_slice(bytes);
            *at += bytes.len();
            chunks.extend(framer.chunk(true, false).map(|chunk| (input, chunk)));
        }
        running.host.round(chunks)
    }

    /// A checkpoint is made.
    fn keep(&mut self, running: &mut Running<'_>) -> Result<()> {
        if let Some(hash) = running.host.checkpoint()? {
            let (log, events) = running.at();
            self.world.tell(|| format!("keeps its state at {log}, {events} events"));
            self.hashes.insert(log, hash);
            self.tally.checkpoints += 1;
        }
        Ok(())
    }

    /// What was noted is committed, if the disk lets it, and let out.
    fn commit(&mut self, running: &mut Running<'_>) -> Result<()> {
        let durable = running.host.durable.as_mut().expect("it keeps");
        durable.commit()?;
        // A run does not wait for the disk: what is not committed must not be told. After a commit that failed in
        // part the simulation does not know what is.
        if durable.store().next(Sequence::Events) == self.events.len() as u64 {
            durable.let_out(&mut Out { life: self })?;
        }
        let durable = running.host.durable.as_mut().expect("it keeps");
        let handed = durable.at();
        let busy_us = self.disk.busy_us();
        let flushed = durable.committer().flush();
        self.pass((self.disk.busy_us() - busy_us) as i64);
        if let Err(error) = flushed {
            if self.disk.is_cut() {
                return Err(error.into());
            }
            self.tally.failed_writes += 1;
            if self.chance.percent(50) {
                self.disk.set_room_bytes(u64::MAX);
            }
            return Ok(());
        }
        self.tally.commits += 1;
        self.committed(running, handed)?;
        let mut out = Out { life: self };
        let durable = running.host.durable.as_mut().expect("it keeps");
        durable.let_out(&mut out)
    }

    /// All that was handed over so far is committed.
    fn committed(&mut self, running: &mut Running<'_>, handed: (u64, u64)) -> Result<()> {
        let durable = running.host.durable.as_ref().expect("it keeps");
        let store = Arc::clone(durable.store());
        self.absorb(&store)?;
        assert_eq!((self.log.len() as u64, self.events.len() as u64), handed, "what is committed is there");
        for (_, number) in running.posted.extract_if(.., |(log, _)| *log <= handed.0) {
            self.posts[number].1 = true;
        }
        let ticket = durable.committer().committed();
        self.sinks.iter_mut().for_each(|sink| sink.committed(ticket));
        Ok(())
    }

    /// As a host that is stopped does.
    fn finish(&mut self, running: &mut Running<'_>) -> Result<()> {
        for _ in 0..100 {
            let durable = running.host.durable.as_mut().expect("it keeps");
            durable.commit()?;
            let handed = durable.at();
            let finished = durable.committer().flush().map_err(anyhow::Error::from);
            let finished = finished.and_then(|()| self.committed(running, handed)).and_then(|()| {
                let durable = running.host.durable.as_mut().expect("it keeps");
                durable.finish(&mut Out { life: self })
            });
            match finished {
                Ok(()) => return self.committed(running, handed),
                Err(error) if self.disk.is_cut() => return Err(error),
                Err(_) => {
                    self.tally.failed_writes += 1;
                    self.disk.set_room_bytes(u64::MAX);
                }
            }
        }
        panic!("it cannot be stopped");
    }

    fn end(&mut self, running: &mut Running<'_>) -> Result<()> {
        if self.world.ended && !self.is_over() {
            running.host.end()?;
        }
        self.keep(running)?;
        self.finish(running)
    }

    /// Lets sinks do what is due.
    fn pump(&mut self, running: &Running<'_>) -> Option<i64> {
        let durable = running.host.durable.as_ref().expect("it keeps");
        let (store, committer, now_us) = (durable.store(), durable.committer(), self.now_us());
        let Self { sinks, events, is_well, chance, tally, .. } = self;
        let pump = |sink: &mut Sink| sink.pump(store, &committer, events, now_us, *is_well, chance, tally);
        sinks.iter_mut().filter_map(pump).min()
    }

    /// Waits until every sink has everything.
    fn deliver(&mut self, running: &mut Running<'_>) -> Result<(), Gone> {
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

impl<'w> Running<'w> {
    fn new(host: Host<'w>) -> Self {
        Self { host, framers: Vec::new(), posted: Vec::new() }
    }

    fn at(&self) -> (u64, u64) {
        self.host.at()
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
