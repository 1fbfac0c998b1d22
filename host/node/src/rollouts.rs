//! New versions of rules in a host that runs: what is found or staged is checked beside the signals,
//! the registry decides, and what it decides takes effect between two chunks of the log.
//!
//! Everything that the registry is told is an entry of the log, with the file of each version before
//! it; so a replay takes the same turns at the same places, and asks nobody.

mod ask;
mod board;
mod saved;
mod stage;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};
use stillhouse_core::plan::TypePlan;
use stillhouse_core::rule::{Field, RuleId};
use stillhouse_rollout::{At, Decision, Event, Registry, SlotId, SlotKind, Version, What};
use stillhouse_rules::{Kind, Rule, RuleEngine};

pub use ask::{Ask, Reply, Tell};
pub use board::{Board, Differs, Told};
pub use saved::{Saved, SavedType};
pub use stage::{Brought, Offer, Outcome, Staged};

use crate::config::Config;
use crate::decode::record::Decoder;
use crate::pipeline::Pipeline;
use crate::rules::RuleSet;
use crate::rules::judge::Bench;
use stage::Site;

/// What stands for the version of a file that could not be read so far.
const UNREAD: &str = "unread";

/// After so much event time the registry is told that time has passed, though nothing was counted.
const LET_KNOW_US: i64 = 1_000_000;

/// How versions are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// On a thread of its own, beside the signals.
    Beside,
    /// At once, so that where a version takes over depends on nothing else.
    AtOnce,
    /// Not at all: the log has them.
    Recorded,
}

/// The two slots of a signal type as the driver has them.
struct Type {
    /// The digests of all mappers that have answered, by their number in rows.
    mappers: Vec<String>,
    /// The plan in force, with all of them.
    plan: TypePlan,
    /// The digest of the suppressor that the configuration begins with.
    suppressor: Option<String>,
}

/// The versions of all rules of a run.
pub struct Rollouts<'a> {
    config: &'a Config,
    engine: RuleEngine,
    registry: Registry,
    types: Vec<Type>,
    /// Versions that are loaded, by digest: in force, tried, and the last good ones.
    rules: BTreeMap<String, Rule>,
    /// Files that the log has already.
    logged: BTreeSet<String>,
    /// Of a log that is replayed, by digest.
    files: BTreeMap<String, Vec<u8>>,
    bench: Bench,
    inputs: Vec<(String, String)>,
    loading: Loading,
    staged: (Sender<Staged>, Receiver<Staged>),
    /// Slots of which a version is being checked.
    checking: BTreeSet<SlotId>,
    /// What comes next for them.
    next: BTreeMap<SlotId, Brought>,
    board: Arc<Board>,
    salts: u64,
    /// By slot: the version that is tried.
    tried: BTreeMap<SlotId, RuleId>,
    /// By slot: when the registry was last told what was seen.
    seen: BTreeMap<SlotId, At>,
    /// Called when a version has been checked.
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
    tables: BTreeSet<String>,
}

/// What the log is given.
pub enum Logged<'a> {
    /// The file of a version, before the first event that names it.
    File(&'a str, &'a [u8]),
    /// What the registry is told.
    Event(&'a Event),
}

/// Where the log is written.
pub type Log<'l> = &'l mut dyn FnMut(Logged<'_>) -> Result<()>;

impl<'a> Rollouts<'a> {
    /// The versions that a configuration begins with.
    pub fn new(
        config: &'a Config,
        rules: &RuleSet,
        engine: RuleEngine,
        bench: Bench,
        loading: Loading,
    ) -> Result<Self> {
        let plans = rules.plan(config)?.types;
        let mut loaded = BTreeMap::new();
        let mut types = Vec::new();
        for (index, plan) in plans.into_iter().enumerate() {
            for (rule, _) in [Kind::Mapper, Kind::Suppressor].into_iter().filter_map(|kind| rules.slot(index, kind)) {
                loaded.insert(rule.id().digest.clone(), rule.clone());
            }
            let suppressor = rules.slot(index, Kind::Suppressor).map(|(rule, _)| rule.id().digest.clone());
            let mappers = plan.mappers.iter().map(|rule| rule.digest.clone()).collect();
            types.push(Type { mappers, plan, suppressor });
        }
        Ok(Self {
            config,
            engine,
            registry: Registry::new(config.policies.clone()),
            types,
            rules: loaded,
            logged: BTreeSet::new(),
            files: BTreeMap::new(),
            bench,
            inputs: Vec::new(),
            loading,
            staged: channel(),
            checking: BTreeSet::new(),
            next: BTreeMap::new(),
            board: Arc::new(Board::default()),
            salts: 0,
            tried: BTreeMap::new(),
            seen: BTreeMap::new(),
            wake: None,
            tables: config.tables.iter().map(|table| table.name.to_string()).collect(),
        })
    }

    /// What is known of the slots, for whoever looks.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// `wake` is called whenever a version has been checked beside the signals.
    pub fn wake_with(&mut self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.wake = Some(wake);
    }

    /// The next input: its name, and the name of its source.
    pub fn add_input(&mut self, name: &str, source: &str) {
        self.inputs.push((name.to_owned(), source.to_owned()));
    }

    /// Tells the registry what the configuration begins with.
    pub fn begin(&mut self, rules: &RuleSet, pipeline: &mut Pipeline<'_>, log: Log<'_>) -> Result<()> {
        for (index, signal) in self.config.signals.iter().enumerate() {
            for kind in [Kind::Mapper, Kind::Suppressor] {
                let Some((rule, _)) = rules.slot(index, kind) else { continue };
                let slot = SlotId { signal: signal.name.clone(), kind: slot_kind(kind) };
                self.log_file(rule, log)?;
                let event = Event::Known { slot, version: version_of(rule), at: at(pipeline) };
                self.tell(event, pipeline, log)?;
            }
        }
        Ok(())
    }

    /// Takes in what somebody wants, and what has been staged since.
    pub fn ask(&mut self, asked: Vec<Ask>, pipeline: &mut Pipeline<'_>, log: Log<'_>) -> Result<()> {
        for ask in asked {
            match ask {
                Ask::Found { name, bytes, signature } => {
                    self.found(&name, &bytes, signature.as_deref(), pipeline, log)?
                }
                Ask::Wake => {}
                Ask::Unfit { name, why } => self.unfit(&name, &why, pipeline, log)?,
                Ask::Stage { slot, bytes, signature, by, why, reply } => {
                    match self.signal_type(&slot).filter(|&index| self.current(index, slot.kind).is_some()) {
                        None => reply.send(Err(format!("there is no slot {slot}"))),
                        Some(index) => {
                            tracing::info!(%slot, by, why, "a version is staged");
                            let brought = Brought { bytes, signature, by: Some(by), reply };
                            self.stage(index, slot, brought, pipeline);
                        }
                    }
                }
                Ask::Command { slot, command, by, why, reply } => {
                    let event = Event::Command { slot, command, by, why, at: at(pipeline) };
                    match self.registry.clone().apply(&event) {
                        Err(not) => reply.send(Err(not.to_string())),
                        Ok(_) => {
                            self.tell(event, pipeline, log)?;
                            reply.send(Ok("done".into()));
                        }
                    }
                }
            }
        }
        while let Ok(staged) = self.staged.1.try_recv() {
            self.offer(staged, pipeline, log)?;
        }
        Ok(())
    }

    /// The versions in force, each as the configuration names it and by its digest.
    pub fn in_force(&self) -> BTreeMap<String, String> {
        let slots = (0..self.types.len()).flat_map(|index| [(index, SlotKind::Mapper), (index, SlotKind::Suppressor)]);
        let known = slots.filter_map(|(index, kind)| {
            let named = self.named_rule(index, kind)?;
            Some((named.name.clone(), self.current(index, kind)?.id().digest.clone()))
        });
        known.collect()
    }

    /// Name and source of each input.
    pub fn inputs(&self) -> &[(String, String)] {
        &self.inputs
    }

    /// Whether a version is tried.
    pub fn is_trying(&self) -> bool {
        !self.tried.is_empty()
    }

    /// A file of the rules folder goes to all slots whose configuration names it.
    fn found(
        &mut self,
        name: &str,
        bytes: &Arc<[u8]>,
        signature: Option<&str>,
        pipeline: &mut Pipeline<'_>,
        log: Log<'_>,
    ) -> Result<()> {
        for (index, slot) in self.named(name) {
            let (bytes, signature) = (Arc::clone(bytes), signature.map(str::to_owned));
            let brought = Brought { bytes, signature, by: None, reply: Reply::nobody() };
            self.stage(index, slot, brought, pipeline);
            if self.loading == Loading::AtOnce {
                while let Ok(staged) = self.staged.1.try_recv() {
                    self.offer(staged, pipeline, log)?;
                }
            }
        }
        Ok(())
    }

    fn unfit(&mut self, name: &str, why: &str, pipeline: &mut Pipeline<'_>, log: Log<'_>) -> Result<()> {
        for (_, slot) in self.named(name) {
            let (stage, why) = (stillhouse_rollout::Stage::Validation, why.to_owned());
            let version = Some(Version { name: name.to_owned(), version: UNREAD.into(), digest: UNREAD.into() });
            self.tell(Event::Refused { slot, version, stage, why, at: at(pipeline) }, pipeline, log)?;
        }
        Ok(())
    }

    fn named(&self, name: &str) -> Vec<(usize, SlotId)> {
        let mut named = Vec::new();
        for (index, signal) in self.config.signals.iter().enumerate() {
            let slot = |kind| SlotId { signal: signal.name.clone(), kind };
            if signal.mapper.name == name {
                named.push((index, slot(SlotKind::Mapper)));
            }
            if signal.suppressor.as_ref().is_some_and(|suppressor| suppressor.name == name) {
                named.push((index, slot(SlotKind::Suppressor)));
            }
        }
        named
    }

    /// Checks a version, beside the signals or at once. One of a slot at a time, so that they are offered
    /// in their order; of those that come meanwhile the newest waits.
    fn stage(&mut self, index: usize, slot: SlotId, brought: Brought, pipeline: &Pipeline<'_>) {
        if self.checking.contains(&slot) {
            if let Some(older) = self.next.insert(slot, brought) {
                older.reply.send(Err("a newer version came before it could be checked".into()));
            }
            return;
        }
        let Some(stable) = self.current(index, slot.kind).cloned() else {
            return brought.reply.send(Err(format!("no version of {slot} is in force")));
        };
        let settings = self.named_rule(index, slot.kind).map(|named| named.settings.clone()).unwrap_or_default();
        let (trust, site) = (self.config.trust.clone(), Site::new(self, index, pipeline));
        let offer = Offer { slot, brought, settings, stable, trust, site };
        let slot = offer.slot.clone();
        self.checking.insert(slot.clone());
        let (to, wake) = (self.staged.0.clone(), self.wake.clone());
        match self.loading {
            Loading::Beside => {
                let engine = self.engine.clone();
                let spawned = std::thread::Builder::new().name("stage".into()).spawn(move || {
                    // Whoever runs this has gone if nobody takes it.
                    let _ = to.send(offer.check_safely(&engine));
                    if let Some(wake) = wake {
                        wake();
                    }
                });
                if let Err(error) = spawned {
                    self.checking.remove(&slot);
                    tracing::error!(%error, "no thread to check a version of a rule; it is left out");
                }
            }
            Loading::AtOnce | Loading::Recorded => drop(to.send(offer.check(&self.engine))),
        }
    }

    /// What came of checking a version is told to the registry.
    fn offer(&mut self, staged: Staged, pipeline: &mut Pipeline<'_>, log: Log<'_>) -> Result<()> {
        let slot = staged.slot.clone();
        self.checking.remove(&slot);
        self.offered(staged, pipeline, log)?;
        if let (Some(next), Some(index)) = (self.next.remove(&slot), self.signal_type(&slot)) {
            self.stage(index, slot, next, pipeline);
        }
        Ok(())
    }

    fn offered(&mut self, staged: Staged, pipeline: &mut Pipeline<'_>, log: Log<'_>) -> Result<()> {
        let Staged { slot, by, reply, outcome } = staged;
        let at = at(pipeline);
        let outcome = match outcome {
            Outcome::Passed { rule, replay } => match self.fits(&slot, &rule) {
                Ok(()) => Outcome::Passed { rule, replay },
                Err(why) => {
                    let version = Some(version_of(&rule));
                    Outcome::Refused { version, stage: stillhouse_rollout::Stage::Schema, why }
                }
            },
            refused => refused,
        };
        match outcome {
            Outcome::Refused { version, stage, why } => {
                tracing::warn!(%slot, ?stage, why, "a version is refused; the one in force stays");
                self.tell(Event::Refused { slot, version, stage, why: why.clone(), at }, pipeline, log)?;
                reply.send(Err(why));
                Ok(())
            }
            Outcome::Passed { rule, replay } => {
                let version = version_of(&rule);
                self.log_file(&rule, log)?;
                self.rules.insert(version.digest.clone(), rule);
                let salt = self.salt(&version.digest);
                let event = Event::Offered { slot: slot.clone(), version, salt, replay: *replay, by, at };
                self.tell(event, pipeline, log)?;
                reply.send(self.stands(&slot));
                Ok(())
            }
        }
    }

    /// The file of a rule is in the log before the first event that names it.
    fn log_file(&mut self, rule: &Rule, log: Log<'_>) -> Result<()> {
        let digest = &rule.id().digest;
        if self.logged.insert(digest.clone()) { log(Logged::File(digest, rule.file())) } else { Ok(()) }
    }

    /// How a slot stands after a version was offered, for who offered it.
    fn stands(&self, slot: &SlotId) -> Result<String, String> {
        let Some(known) = self.registry.slot(slot) else { return Err(format!("there is no slot {slot}")) };
        match (&known.trial, known.history.back()) {
            (Some(trial), _) => Ok(format!("{:?} of {}", trial.stage, trial.version.digest).to_lowercase()),
            (None, Some(last)) if last.what == What::Refused => Err(last.why.clone()),
            (None, _) => Ok("in force".into()),
        }
    }

    /// A salt that no trial of this run had before; what it is follows from the log.
    fn salt(&mut self, digest: &str) -> u64 {
        self.salts += 1;
        stillhouse_core::block::id_hash(digest, &self.salts.to_string())
    }

    /// What was counted since the last time is told to the registry, and that time has passed.
    pub fn watch(&mut self, pipeline: &mut Pipeline<'_>, log: Log<'_>) -> Result<()> {
        let mut seen: BTreeMap<SlotId, stillhouse_rollout::Evidence> = BTreeMap::new();
        for compared in pipeline.take_compared() {
            let index = usize::from(compared.signal_type);
            let slot = SlotId { signal: self.types[index].plan.name.clone(), kind: SlotKind::Mapper };
            self.board.differ(&slot, board::of_mapper(&compared, &self.types[index].plan));
            seen.entry(slot).or_default().add(&compared.evidence);
        }
        for (signal_type, (evidence, samples)) in self.bench.take_compared() {
            let signal = self.types[usize::from(signal_type)].plan.name.clone();
            let slot = SlotId { signal, kind: SlotKind::Suppressor };
            self.board.differ(&slot, samples.into_iter().map(board::of_judge).collect());
            seen.entry(slot).or_default().add(&evidence);
        }
        let at = at(pipeline);
        let tried: Vec<(SlotId, u32)> = self
            .registry
            .slots()
            .filter_map(|(slot, known)| Some((slot.clone(), known.trial.as_ref()?.share_ppm)))
            .collect();
        for (slot, share_ppm) in tried {
            let evidence = seen.remove(&slot).unwrap_or_default();
            if evidence.rows == 0 && !self.is_due(&slot, at) {
                continue;
            }
            self.seen.insert(slot.clone(), at);
            let drained = share_ppm == stillhouse_core::trial::WHOLE_PPM && self.is_drained(&slot, pipeline);
            self.tell(Event::Seen { slot: slot.clone(), evidence, at }, pipeline, log)?;
            let waits =
                self.registry.slot(&slot).and_then(|slot| slot.trial.as_ref()).is_some_and(|trial| !trial.drained);
            if drained && waits {
                self.tell(Event::Drained { slot, at }, pipeline, log)?;
            }
        }
        Ok(())
    }

    /// Whether so much event time has passed that the registry must know, though nothing was counted.
    fn is_due(&self, slot: &SlotId, at: At) -> bool {
        let last_us = self.seen.get(slot).map_or(i64::MIN, |at| at.time_us);
        at.time_us.saturating_sub(last_us) >= LET_KNOW_US
    }

    /// Whether nothing is open any more under the version that is in force before the trial ends. What
    /// a suppressor has opened is not waited for: its memos go on.
    fn is_drained(&self, slot: &SlotId, pipeline: &Pipeline<'_>) -> bool {
        let Some(index) = self.signal_type(slot) else { return true };
        match (slot.kind, self.registry.slot(slot).and_then(|known| known.stable.as_ref())) {
            (SlotKind::Mapper, Some(stable)) => {
                let number = self.types[index].mappers.iter().position(|digest| *digest == stable.digest);
                number.is_none_or(|number| pipeline.open_under(index as u16, number as u16) == 0)
            }
            _ => true,
        }
    }

    /// A replay gives the registry what the log has.
    pub fn replay(&mut self, event: Event, pipeline: &mut Pipeline<'_>) -> Result<()> {
        if let Event::Offered { version, .. } | Event::Known { version, .. } = &event {
            self.load_again(&version.digest)?;
        }
        // What was counted then is in the log.
        pipeline.take_compared();
        self.bench.take_compared();
        // The folder of rules may have other versions by now than it had when the run began.
        let begins = match &event {
            Event::Known { slot, version, .. } if !self.begins_with(slot, version) => {
                Some(Decision::Swap { slot: slot.clone(), version: version.clone() })
            }
            _ => None,
        };
        let is_known = matches!(event, Event::Known { .. });
        self.tell(event, pipeline, &mut |_| Ok(()))?;
        match begins {
            Some(begins) => self.turn(&begins, pipeline),
            // What is decoded of a type follows from the version in force.
            None if is_known => self.set_decoders(pipeline),
            None => Ok(()),
        }
    }

    /// Whether the configuration begins with this version.
    fn begins_with(&self, slot: &SlotId, version: &Version) -> bool {
        let of_type = self.signal_type(slot).map(|index| &self.types[index]);
        match slot.kind {
            SlotKind::Mapper => of_type.is_some_and(|of_type| of_type.mappers[0] == version.digest),
            SlotKind::Suppressor => of_type.is_some_and(|of_type| of_type.suppressor.as_ref() == Some(&version.digest)),
        }
    }

    /// A replay loads a version that the log has.
    pub fn load(&mut self, digest: &str, bytes: Vec<u8>) -> Result<()> {
        self.files.insert(digest.to_owned(), bytes);
        self.load_again(digest)
    }

    /// A version that is let go may come back; the log has its file once.
    fn load_again(&mut self, digest: &str) -> Result<()> {
        if let (false, Some(file)) = (self.rules.contains_key(digest), self.files.get(digest)) {
            let rule = self.engine.load(file).with_context(|| format!("the log's rule {digest} cannot be loaded"))?;
            self.rules.insert(rule.id().digest.clone(), rule);
        }
        Ok(())
    }

    /// Writes an event into the log, tells it to the registry, and does what that decides.
    fn tell(&mut self, event: Event, pipeline: &mut Pipeline<'_>, log: Log<'_>) -> Result<()> {
        log(Logged::Event(&event))?;
        let decisions = match self.registry.apply(&event) {
            Ok(decisions) => decisions,
            Err(not) => {
                tracing::warn!(%not, "a command came too late");
                return Ok(());
            }
        };
        let by = match &event {
            Event::Command { by, why, .. } => Some((by.as_str(), why.as_str())),
            Event::Offered { by: Some(by), .. } => Some((by.as_str(), "staged")),
            _ => None,
        };
        if let Event::Refused { slot, version: Some(version), stage, why, at } = &event {
            let (slot, version, stage, why) = (slot.clone(), version.clone(), *stage, why.clone());
            self.board.decided(&Decision::Refuse { slot, version, stage, why }, None, *at);
        }
        for decision in &decisions {
            self.board.decided(decision, by, event.at());
            self.turn(decision, pipeline)?;
        }
        // Until the registry knows all slots, it does not name all that is in force.
        if !matches!(event, Event::Known { .. }) {
            self.forget_rules();
        }
        self.board.show(&self.registry, event.at());
        Ok(())
    }

    /// Rules that no slot names are let go; the last good ones stay loaded.
    fn forget_rules(&mut self) {
        let mut named = BTreeSet::new();
        for (_, slot) in self.registry.slots() {
            let tried = slot.trial.as_ref().map(|trial| &trial.version);
            let versions = [slot.stable.as_ref(), slot.last_good.as_ref(), tried];
            named.extend(versions.into_iter().flatten().map(|version| version.digest.clone()));
        }
        self.rules.retain(|digest, _| named.contains(digest));
    }

    fn signal_type(&self, slot: &SlotId) -> Option<usize> {
        self.config.signals.iter().position(|signal| signal.name == slot.signal)
    }

    fn named_rule(&self, index: usize, kind: SlotKind) -> Option<&crate::config::RuleRef> {
        match kind {
            SlotKind::Mapper => Some(&self.config.signals[index].mapper),
            SlotKind::Suppressor => self.config.signals[index].suppressor.as_ref(),
        }
    }

    /// The version in force.
    fn current(&self, index: usize, kind: SlotKind) -> Option<&Rule> {
        let slot = SlotId { signal: self.config.signals[index].name.clone(), kind };
        let stable = self.registry.slot(&slot)?.stable.as_ref()?;
        self.rules.get(&stable.digest)
    }

    /// The fields that are decoded for each type: of the versions that are asked.
    fn decoded(&self) -> Vec<(String, Vec<Field>)> {
        let signals = self.config.signals.iter().enumerate();
        let fields = signals.map(|(index, signal)| {
            let stable = self.current(index, SlotKind::Mapper).map_or(&[][..], Rule::fields);
            let slot = SlotId { signal: signal.name.clone(), kind: SlotKind::Mapper };
            let tried = self.registry.slot(&slot).and_then(|slot| slot.trial.as_ref());
            let tried = tried.and_then(|trial| self.rules.get(&trial.version.digest)).map_or(&[][..], Rule::fields);
            (signal.name.clone(), crate::map::union(stable, tried))
        });
        fields.collect()
    }

    fn set_decoders(&self, pipeline: &mut Pipeline<'_>) -> Result<()> {
        let fields = self.decoded();
        for (number, (name, source)) in self.inputs.iter().enumerate() {
            let input = crate::run::input_config(self.config, name)?;
            pipeline.set_decoder(number, Decoder::new(input, name, &fields).named(source));
        }
        Ok(())
    }
}

fn at(pipeline: &Pipeline<'_>) -> At {
    At { position: pipeline.signals(), time_us: pipeline.watermark_us() }
}

pub(crate) fn slot_kind(kind: Kind) -> SlotKind {
    match kind {
        Kind::Mapper => SlotKind::Mapper,
        Kind::Suppressor => SlotKind::Suppressor,
    }
}

fn version_of(rule: &Rule) -> Version {
    let id = rule.id();
    Version { name: id.name.clone(), version: id.version.clone(), digest: id.digest.clone() }
}

/// The slot that a decision is about, and what it is called for people.
pub fn words(decision: &Decision) -> &'static str {
    match decision {
        Decision::Begin { .. } => "begin",
        Decision::Share { .. } => "share",
        Decision::Hold { .. } => "hold",
        Decision::Resume { .. } => "resume",
        Decision::Promote { .. } => "promote",
        Decision::RollBack { .. } => "roll back",
        Decision::Swap { .. } => "swap",
        Decision::Refuse { .. } => "refuse",
    }
}
