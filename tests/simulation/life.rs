//! The life of a host from one seed: signals come, the power is cut, and it goes on.

use std::collections::{BTreeMap, BTreeSet};
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

mod committing;

/// A life that takes more steps than this goes round in a circle.
const STEPS_MAX: u32 = 20_000;

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
    /// How often a checkpoint is made though none is due: some lives have more of them than hold every entity.
    keep_percent: u64,
    /// How many operations of the disk the last commit took.
    commit_operations: u64,
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
    /// All checkpoints that were made, by their positions of the log.
    pub made: BTreeMap<u64, Made>,
    pub sinks: Vec<Sink>,
    /// From now on nothing goes wrong any more.
    is_well: bool,
    pub tally: Tally,
}

/// What is known of a checkpoint from outside.
pub struct Made {
    /// Of the state.
    pub hash: u128,
    pub watermark_us: i64,
}

/// The host is gone.
struct Gone;

/// A host and what it holds of the outside.
struct Running<'w> {
    host: Host<'w>,
    framers: Vec<(Framer, usize)>,
    /// Posts by the position of the log behind them.
    posted: Vec<(u64, usize)>,
    /// From where on the log is needed by what stands open, once what was noted is committed.
    needed: Option<u64>,
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
            keep_percent: chance.pick(&[2, 2, 2, 50]),
            commit_operations: 10,
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
            made: BTreeMap::new(),
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
        for steps in 0.. {
            assert!(steps < STEPS_MAX, "it never has read everything");
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
            self.made.get(&from).map(|made| &made.hash),
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
            self.made.insert(host.at().0, Made { hash, watermark_us: host.pipeline.watermark_us() });
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
            _ => {
                if running.host.pipeline.is_waiting() {
                    running.host.round(Vec::new())?;
                }
            }
        }
        if self.chance.percent(30) {
            self.pump(running);
        }
        let is_due = running.host.durable.as_ref().is_some_and(Durable::is_due);
        if is_due || self.chance.percent(self.keep_percent) {
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
                // What the last operation of a commit does not say to be written may be there all the same.
                let last = self.commit_operations.saturating_sub(1);
                let after = if self.chance.percent(50) { last } else { self.chance.below(10) as u64 };
                let from = self.disk.operations() + after;
                self.disk.fail(from..from + self.chance.pick(&[1, 1, 2, 5]), std::io::ErrorKind::Other);
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
}

impl<'w> Running<'w> {
    fn new(host: Host<'w>) -> Self {
        Self { host, framers: Vec::new(), posted: Vec::new(), needed: None }
    }

    fn at(&self) -> (u64, u64) {
        self.host.at()
    }
}
