//! Distils a log again: from its beginning or a later place, as it was or with another configuration.

use std::io::Write;

use anyhow::{Context, Result, bail};
use stillhouse_core::Slice;
use stillhouse_rules::schema::compatible;
use stillhouse_store::Sequence;

use crate::config::Config;
use crate::durable::{Durable, Entry, Kept, Paged, Recorded};
use crate::journal::{Given, Mapper};
use crate::mask::Masks;
use crate::rollouts::Loading;
use crate::run::{Options, Outcome, Run, Watch};
use crate::tables;

/// From where to where a log is replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first position; `None`: the oldest that is kept.
    pub from: Option<u64>,
    /// The position behind the last; `None`: all.
    pub to: Option<u64>,
    /// It ends once the watermark has passed this event time.
    pub until_us: Option<i64>,
}

impl Range {
    /// Whether the entry at `position` is beyond it.
    fn is_over(&self, position: u64, watermark_us: i64) -> bool {
        self.to.is_some_and(|to| position >= to) || self.until_us.is_some_and(|until_us| watermark_us > until_us)
    }
}

/// The position from which a replay must begin to see all that happened from an event time on.
///
/// # Errors
/// If the store cannot be read.
pub fn position_before(recorded: &Recorded, time_us: i64) -> Result<u64> {
    let before = Kept::all(&recorded.store)?.into_iter().rfind(|kept| kept.state.watermark_us <= time_us);
    Ok(before.map_or(0, |kept| kept.state.log))
}

/// The new store of `options`, which is to hold what a replay is given and what it makes.
fn scratch(recorded: &Recorded, options: &Options) -> Result<Option<Durable>> {
    let Some(path) = &options.store else { return Ok(None) };
    if path.exists() {
        bail!("{}: is there already, expected the name of a new store", path.display());
    }
    let mut durable = Durable::open(path, options.policy.clone(), None)?;
    durable.keep_files(&recorded.store)?;
    Ok(Some(durable))
}

/// What is to be known of a log that was replayed.
#[derive(Debug)]
pub struct Replayed {
    /// What the run came to.
    pub outcome: Outcome,
    /// Whether it was distilled as it was when the log was written.
    pub same_config: bool,
    /// What is other about the mappers than when the log was written, for people.
    pub other_mappers: Vec<String>,
    /// From which position on.
    pub from: u64,
    /// The hash of the state at the end.
    pub state_hash: u128,
}

/// Distils a log again: as it was, or as `config` says. With a store in `options`, which must be new, it holds
/// in the end what was given and what left, and can be asked as any other.
///
/// # Errors
/// As [`crate::run::run`], and if the store cannot be read.
pub fn replay(
    config: Option<&Config>,
    recorded: &Recorded,
    range: Range,
    output: &mut (dyn Write + Send),
    options: &Options,
    watch: &mut dyn Watch,
) -> Result<Replayed> {
    let kept = from_checkpoint(recorded, range.from.unwrap_or(0))?;
    match config.filter(|config| config.digest != kept.state.config) {
        None => as_it_was(recorded, kept, range, output, options, watch),
        Some(config) => as_configured(config, recorded, kept, range, output, options, watch),
    }
}

/// The newest checkpoint before a position, or the oldest there is.
fn from_checkpoint(recorded: &Recorded, position: u64) -> Result<Kept> {
    let mut all = Kept::all(&recorded.store)?;
    let at = all.iter().rposition(|kept| kept.state.log <= position).unwrap_or(0);
    if all.is_empty() {
        bail!("{}: there is no checkpoint from which the log could be replayed", recorded.store.path().display());
    }
    Ok(all.swap_remove(at))
}

fn as_it_was(
    recorded: &Recorded,
    kept: Kept,
    range: Range,
    output: &mut (dyn Write + Send),
    options: &Options,
    watch: &mut dyn Watch,
) -> Result<Replayed> {
    let mut config = recorded.config(&kept.state.config)?.in_order_of(&kept.state.rollouts)?;
    let (from, mut at) = (kept.state.log, kept.state.log);
    let core = kept.core(&recorded.store).collect::<Result<Vec<_>>>()?;
    let mut next = (kept.state, core);
    let mut scratch = scratch(recorded, options)?;
    loop {
        // The configuration counts until the log names another.
        let (state, core) = next;
        let versions = state.rollouts.clone();
        let from_store = Some((recorded, &versions));
        let mut run = Run::new(&config, from_store, options, Loading::Recorded, output, watch)?;
        run.replays(true);
        run.take_over(state, core, recorded)?;
        run.keep_in(scratch.take())?;
        let mut changed = None;
        for entry in recorded.log_ahead(at)? {
            let (position, given) = entry?;
            if range.is_over(position, run.watermark_us()) {
                break;
            }
            at = position + 1;
            run.note(&given)?;
            match given {
                Given::Config(digest) if digest != config.digest => {
                    changed = Some(digest);
                    break;
                }
                given => run.given(given).with_context(|| format!("position {position} of the log"))?,
            }
        }
        match changed {
            None => {
                let state_hash = run.state_hash()?;
                let outcome = run.finish(false)?;
                return Ok(Replayed { outcome, same_config: true, other_mappers: Vec::new(), from, state_hash });
            }
            Some(digest) => {
                let (state, core) = run.save(Slice::All)?;
                scratch = run.kept_in();
                next = (state, vec![core]);
                drop(run);
                config = recorded.config(&digest)?.in_order_of(&next.0.rollouts)?;
            }
        }
    }
}

fn as_configured(
    config: &Config,
    recorded: &Recorded,
    kept: Kept,
    range: Range,
    output: &mut (dyn Write + Send),
    options: &Options,
    watch: &mut dyn Watch,
) -> Result<Replayed> {
    let config = config.in_order_of(&kept.state.rollouts)?;
    let mut run = Run::new(&config, None, options, Loading::Recorded, output, watch)?;
    tables::check_names(&config, run.fields())?;
    run.replays(false);
    // What the log holds was masked as its own configuration said.
    run.set_masks(Masks::new(&config, |name| std::env::var(name).ok())?);
    let is_whole = kept.number == 0;
    let from = if is_whole { recorded.store.first(Sequence::Log) } else { kept.state.log };
    if !is_whole {
        run.restore(kept, recorded)?;
        run.begin_with_its_rules()?;
    }
    run.keep_in(scratch(recorded, options)?)?;
    let mut other_mappers = Vec::new();
    for entry in recorded.log_ahead(from)? {
        let (position, given) = entry?;
        if range.is_over(position, run.watermark_us()) {
            break;
        }
        if let Given::Mapper(then) = &given {
            other_mappers.extend(other(then, run.mappers()));
        }
        run.given(given).with_context(|| format!("position {position} of the log"))?;
    }
    let state_hash = run.state_hash()?;
    let outcome = run.finish(false)?;
    Ok(Replayed { outcome, same_config: false, other_mappers, from, state_hash })
}

/// What is other about a mapper of the log than about the one that is there now.
fn other(then: &Mapper, now: &[Mapper]) -> Option<String> {
    let now = now.iter().find(|now| now.signal == then.signal && now.digest != then.digest)?;
    let compatible = compatible((then.schema, &then.states()), (now.schema, &now.states()));
    let states = compatible.map_or_else(|reason| format!("; {reason}"), |()| String::new());
    Some(format!("another version of the mapper of `{}` reads the log{states}", then.signal))
}

/// Compares what a replay makes with what left then; to be written to.
pub struct Verify {
    records: Paged,
    /// Events that are the same.
    pub same: u64,
    /// The first that is another one: its position, what left, and what the replay makes.
    pub first: Option<(u64, String, String)>,
    /// Events that are other ones.
    pub differing: u64,
    /// Events that the replay makes and that had not left yet.
    pub beyond: u64,
}

impl Verify {
    /// Compares from the event on that a replay from `position` makes first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn from(recorded: &Recorded, position: u64) -> Result<Self> {
        let kept = from_checkpoint(recorded, position)?;
        let records = recorded.events(kept.state.events);
        Ok(Self { records, same: 0, first: None, differing: 0, beyond: 0 })
    }

    /// Events that left and that the replay did not make.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn missing(&mut self) -> Result<u64> {
        self.records.by_ref().try_fold(0, |missing, record| Ok(record.map(|_| missing + 1)?))
    }
}

impl Write for Verify {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<usize> {
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            let Some(record) = self.records.next() else {
                self.beyond += 1;
                continue;
            };
            let record = record.map_err(std::io::Error::other)?;
            let known = Entry::decode(record.bytes()).map_err(std::io::Error::other)?;
            if known.line == line {
                self.same += 1;
                continue;
            }
            self.differing += 1;
            let text = |line: &[u8]| String::from_utf8_lossy(line).trim_end().to_owned();
            self.first.get_or_insert_with(|| (record.position, text(known.line), text(line)));
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
