//! Where to listen: the folders in which a name can change that a rule's file depends on. Every link
//! on the way to a file is such a name, and so is the first name that is not there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// Events that may wait; more are not kept, and everything is looked at again.
const EVENTS_MAX: usize = 4096;
/// Folders that are listened to; what is in others is found when it is time to look.
const FOLDERS_MAX: usize = 256;
/// Links on the way to one file, as many as Linux follows.
const LINKS_MAX: usize = 40;

/// What the system said last of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Somebody writes, and has not closed the file.
    Writing,
    /// It was closed, or came here whole.
    Ended,
}

/// What was heard: of each name that matters the last sign and when, as a count.
#[derive(Debug, Default)]
pub struct Heard {
    signs: BTreeMap<PathBuf, (u64, Sign)>,
    /// Something was not heard.
    pub lost: bool,
    /// Something that matters was.
    matters: bool,
}

impl Heard {
    /// The last sign of any of these names.
    pub fn of(&self, names: &[PathBuf]) -> Option<Sign> {
        names.iter().filter_map(|name| self.signs.get(name)).max_by_key(|(at, _)| at).map(|(_, sign)| *sign)
    }
}

/// The way to a file or a folder.
#[derive(Debug, Default)]
pub struct Way {
    /// The names that it depends on, each in a folder without links: links, and the last or the first
    /// that is missing.
    pub names: Vec<PathBuf>,
    /// Where it ends, if something is there.
    pub end: Option<PathBuf>,
}

impl Way {
    /// Follows `path` from the folder `at`, to which no link leads.
    pub fn from(at: &Path, path: &Path) -> Self {
        let mut way = Self::default();
        let mut at = at.to_owned();
        let mut rest: VecDeque<PathBuf> = parts(path);
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == Path::new("..") {
                at.pop();
                continue;
            }
            let name = at.join(part);
            match fs::symlink_metadata(&name) {
                Ok(facts) if facts.is_symlink() && links < LINKS_MAX => {
                    links += 1;
                    way.names.push(name.clone());
                    let Ok(target) = fs::read_link(&name) else { return way };
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    for part in parts(&target).into_iter().rev() {
                        rest.push_front(part);
                    }
                }
                Ok(facts) if !facts.is_symlink() => {
                    if rest.is_empty() {
                        way.names.push(name.clone());
                    }
                    at = name;
                }
                // Not there, not to be seen, or a link in a circle.
                _ => {
                    way.names.push(name);
                    return way;
                }
            }
        }
        way.end = Some(at);
        way
    }
}

fn parts(path: &Path) -> VecDeque<PathBuf> {
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

/// The folders that are listened to.
pub struct Places {
    /// `None` where there are no notifications.
    watcher: Option<RecommendedWatcher>,
    events: Receiver<notify::Result<Event>>,
    lost: Arc<AtomicBool>,
    /// Each with what it was when listening began; another of the same name must be listened to anew.
    folders: BTreeMap<PathBuf, Option<Identity>>,
    /// Those that cannot be listened to, so that it is said once.
    deaf: BTreeSet<PathBuf>,
    names: BTreeSet<PathBuf>,
    /// The folder of rules, where any name of a rule matters.
    rules: Option<PathBuf>,
    count: u64,
}

/// Device, inode and time of birth.
type Identity = (u64, u64, Option<std::time::SystemTime>);

impl Places {
    pub fn new(notifications: bool) -> Self {
        let (to, events) = sync_channel(EVENTS_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let overflow = Arc::clone(&lost);
        let hear = move |event: notify::Result<Event>| {
            // To look at a file is no news, least of all that this host did.
            let news = !matches!(&event, Ok(event) if is_look(event.kind));
            if news && to.try_send(event).is_err() {
                overflow.store(true, Ordering::Release);
            }
        };
        let watcher = notifications.then(|| notify::recommended_watcher(hear));
        let watcher = watcher.and_then(|made| {
            made.inspect_err(|error| tracing::warn!(%error, "no notifications: the rules are looked at now and then"))
                .ok()
        });
        Self {
            watcher,
            events,
            lost,
            folders: BTreeMap::new(),
            deaf: BTreeSet::new(),
            names: BTreeSet::new(),
            rules: None,
            count: 0,
        }
    }

    /// Whether every name that matters is listened to.
    pub fn hears_all(&self) -> bool {
        self.watcher.is_some() && self.deaf.is_empty()
    }

    /// Listens wherever one of `names` may change, and in the folder of `rules`, and nowhere else. Says
    /// whether it does so anywhere since now: then look again, since what happened before was not heard.
    pub fn listen(&mut self, rules: Option<PathBuf>, names: BTreeSet<PathBuf>) -> bool {
        let mut wanted: BTreeSet<PathBuf> = names.iter().filter_map(|name| name.parent()).map(Path::to_owned).collect();
        wanted.extend(rules.clone());
        (self.rules, self.names) = (rules, names);
        let Some(watcher) = &mut self.watcher else { return false };
        self.deaf.retain(|folder| wanted.contains(folder));
        let gone: Vec<PathBuf> = self.folders.keys().filter(|folder| !wanted.contains(*folder)).cloned().collect();
        for folder in gone {
            self.folders.remove(&folder);
            let _ = watcher.unwatch(&folder);
        }
        let mut newly = false;
        for folder in wanted {
            let now = identity(&folder);
            if now.is_none() || self.folders.get(&folder) == Some(&now) {
                continue;
            }
            if self.folders.remove(&folder).is_some() {
                let _ = watcher.unwatch(&folder);
            }
            let listens = if self.folders.len() < FOLDERS_MAX {
                watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(|error| error.to_string())
            } else {
                Err(format!("{FOLDERS_MAX} folders are listened to"))
            };
            match listens {
                Ok(()) => {
                    newly = true;
                    self.deaf.remove(&folder);
                    self.folders.insert(folder, now);
                }
                Err(error) if self.deaf.insert(folder.clone()) => {
                    tracing::warn!(folder = %folder.display(), error, "no notifications: rules are looked at now and then");
                }
                Err(_) => {}
            }
        }
        newly
    }

    /// Waits until something that matters is heard, or until `until`.
    pub fn wait(&mut self, until: Instant, heard: &mut Heard) {
        while !(heard.matters || heard.lost) {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.note(event, heard),
                Err(RecvTimeoutError::Timeout) => break,
                // Without a watcher nobody ever says so.
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(left);
                    break;
                }
            }
            if left.is_zero() {
                break;
            }
        }
        self.drain(heard);
    }

    /// Takes in what waits to be heard.
    pub fn drain(&mut self, heard: &mut Heard) {
        for _ in 0..EVENTS_MAX {
            let Ok(event) = self.events.try_recv() else { break };
            self.note(event, heard);
        }
        heard.lost |= self.lost.swap(false, Ordering::AcqRel);
    }

    fn note(&mut self, event: notify::Result<Event>, heard: &mut Heard) {
        let Ok(event) = event else {
            heard.lost = true;
            return;
        };
        heard.lost |= event.need_rescan();
        let ends = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)));
        for path in &event.paths {
            if ends && self.folders.contains_key(path) {
                // It is no longer listened to, whatever has its name now.
                self.folders.insert(path.clone(), None);
                heard.matters = true;
            }
            let in_rules = path.parent() == self.rules.as_deref() && super::is_name(path);
            if in_rules || self.names.contains(path) {
                heard.matters = true;
                self.count += 1;
                if let Some(sign) = sign(event.kind, path) {
                    heard.signs.insert(path.clone(), (self.count, sign));
                }
            }
        }
    }
}

fn is_look(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn sign(kind: EventKind, path: &Path) -> Option<Sign> {
    match kind {
        EventKind::Modify(ModifyKind::Data(_)) => Some(Sign::Writing),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Sign::Ended),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Sign::Ended),
        // A link comes whole; a new file is written after it was made.
        EventKind::Create(CreateKind::File) => {
            let facts = fs::symlink_metadata(path).ok()?;
            (facts.is_symlink() || facts.nlink() > 1).then_some(Sign::Ended)
        }
        _ => None,
    }
}

fn identity(folder: &Path) -> Option<Identity> {
    let facts = fs::metadata(folder).ok()?;
    Some((facts.dev(), facts.ino(), facts.created().ok()))
}
