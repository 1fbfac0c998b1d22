//! Group commit: what came since the last time is committed in one transaction, by a thread of its own.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::queue::Queue;
use crate::{Batch, BatchError, Sequence, Store};

mod queue;

/// When a committer commits, and how much it lets wait.
#[derive(Clone, Copy, Debug)]
pub struct CommitOptions {
    /// How long a batch waits for others at most.
    pub delay_max: Duration,
    /// How many bytes wait at most before they are committed; a transaction takes no more than the batch that
    /// reaches it.
    pub bytes_max: usize,
    /// With so many bytes waiting or under way, whoever submits more waits.
    pub queue_bytes_max: usize,
    /// A commit that takes longer is slow, which [`Health`] tells.
    pub slow_after: Duration,
    /// The pause before a commit that failed is tried again; it doubles each time.
    pub retry_first: Duration,
    /// The longest such pause.
    pub retry_max: Duration,
}

impl Default for CommitOptions {
    fn default() -> Self {
        Self {
            delay_max: Duration::from_millis(10),
            bytes_max: 4 << 20,
            queue_bytes_max: 32 << 20,
            slow_after: Duration::from_secs(1),
            retry_first: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
        }
    }
}

/// How committing goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should.
    Fine,
    /// The last commit, or the one under way, takes longer than [`CommitOptions::slow_after`].
    Slow {
        /// How long it takes or took.
        took: Duration,
    },
    /// The last attempt failed. It is tried again.
    Failing {
        /// For how long.
        lasts: Duration,
        /// How many attempts failed.
        attempts: u32,
        /// Why the last one did, and what to do about it.
        error: String,
    },
}

impl fmt::Display for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fine => write!(formatter, "fine"),
            Self::Slow { took } => write!(formatter, "slow: a commit takes {:.1} s", took.as_secs_f64()),
            Self::Failing { lasts, attempts, error } => write!(
                formatter,
                "failing for {:.1} s, {attempts} attempts: {error}; \
                 nothing is lost, the sources wait, and it goes on by itself",
                lasts.as_secs_f64()
            ),
        }
    }
}

/// What a committer did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitCounts {
    /// Transactions.
    pub commits: u64,
    /// Batches in them.
    pub batches: u64,
    /// Raw bytes in them.
    pub bytes: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// How often somebody had to wait to submit.
    pub waits: u64,
    /// For how long altogether, without those who still wait.
    pub waited_us: u64,
    /// Raw bytes that wait or are under way now.
    pub waiting_bytes: u64,
}

/// Why a batch was not taken, or is not waited for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The batch cannot be written, now or later.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The committer was stopped.
    #[error("the committer was stopped")]
    Stopped,
    /// The committer was stopped before it could commit everything.
    #[error("{batches} batches of {bytes} bytes were not committed: {error}")]
    Uncommitted {
        /// How many batches.
        batches: u64,
        /// Their raw bytes.
        bytes: u64,
        /// Why not.
        error: String,
    },
}

/// Commits batches in the order in which they are submitted, on a thread of its own. Nobody else may write to the
/// store meanwhile.
///
/// When a commit fails, it is tried again until it succeeds. What is submitted waits, up to
/// [`CommitOptions::queue_bytes_max`], and then those who submit wait. So nothing is lost, and it goes on by itself.
#[derive(Debug)]
pub struct Committer {
    shared: Arc<Shared>,
    by: Mutex<By>,
}

/// Who commits.
#[derive(Debug)]
enum By {
    Thread(JoinHandle<()>),
    /// Whoever calls [`Committer::try_commit`]. The batch that was taken last and could not be written yet.
    Hand(Option<Batch>),
    /// Nobody any more.
    Nobody,
}

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    options: CommitOptions,
    queue: Mutex<Queue>,
    /// Something came, or there is a reason to hurry.
    work: Condvar,
    /// Something was committed, or nothing will be any more.
    done: Condvar,
}

impl Committer {
    /// Starts the thread. `told` is called on it with the newest committed ticket after each commit; it must not wait
    /// for this committer.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        store: Arc<Store>,
        options: CommitOptions,
        told: impl FnMut(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Mutex::new(Queue::new(Sequence::ALL.map(|sequence| store.next(sequence))));
        let shared = Arc::new(Shared { store, options, queue, work: Condvar::new(), done: Condvar::new() });
        let thread = std::thread::Builder::new().name("commit".to_owned());
        let thread = thread.spawn({
            let shared = shared.clone();
            move || {
                // What `told` does may panic; whoever waits is told all the same.
                let _ = catch_unwind(AssertUnwindSafe(|| shared.run(told)));
                shared.end();
            }
        })?;
        Ok(Self { shared, by: Mutex::new(By::Thread(thread)) })
    }

    /// A committer without a thread: what is submitted waits until [`Committer::try_commit`] is called. So a
    /// simulation says when something is committed. The queue has no bound.
    #[must_use]
    pub fn by_hand(store: Arc<Store>) -> Self {
        let options = CommitOptions { queue_bytes_max: usize::MAX, ..CommitOptions::default() };
        let queue = Mutex::new(Queue::new(Sequence::ALL.map(|sequence| store.next(sequence))));
        let shared = Arc::new(Shared { store, options, queue, work: Condvar::new(), done: Condvar::new() });
        Self { shared, by: Mutex::new(By::Hand(None)) }
    }

    /// Tries once to commit what was submitted, up to [`CommitOptions::bytes_max`]. Tells the newest committed
    /// ticket. Of a committer with a thread that is all.
    ///
    /// # Errors
    /// If the store could not write; it is tried again by the next call.
    pub fn try_commit(&self) -> Result<u64, String> {
        let mut by = self.by();
        let By::Hand(left) = &mut *by else { return Ok(self.committed()) };
        let is_again = left.is_some();
        let batch = match left.take() {
            Some(batch) => batch,
            None if self.shared.queue().bytes() == 0 => return Ok(self.committed()),
            None => self.shared.queue().take(self.shared.options.bytes_max, Instant::now()),
        };
        let result = self.shared.attempt(&batch, is_again);
        let mut queue = self.shared.queue();
        if let Err(error) = result {
            *left = Some(batch);
            queue.fail(error.clone(), Instant::now());
            return Err(error);
        }
        queue.commit(Instant::now());
        Ok(queue.committed)
    }

    /// Gives a batch to be committed, and tells its ticket; the first is 1. Waits while the queue is full. A batch that
    /// is longer than the queue is taken when that is empty.
    ///
    /// # Errors
    /// If the batch does not follow those before it or breaks a limit, or the committer was stopped. Then nothing of
    /// it is taken.
    pub fn submit(&self, batch: Batch) -> Result<u64, CommitError> {
        let mut queue = self.shared.queue();
        if !queue.has_room(batch.raw_bytes(), self.shared.options.queue_bytes_max) && !queue.is_stopping {
            let begun = Instant::now();
            queue.counts.waits += 1;
            while !queue.has_room(batch.raw_bytes(), self.shared.options.queue_bytes_max) && !queue.is_stopping {
                queue = wait(&self.shared.done, queue);
            }
            queue.counts.waited_us += begun.elapsed().as_micros() as u64;
        }
        let ticket = queue.push(batch)?;
        self.shared.work.notify_one();
        Ok(ticket)
    }

    /// The newest committed ticket, 0 before the first. All before it are committed too.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.shared.queue().committed
    }

    /// Returns once a ticket is committed.
    ///
    /// # Errors
    /// If the committer was stopped before that.
    pub fn wait(&self, ticket: u64) -> Result<(), CommitError> {
        let mut queue = self.shared.queue();
        while queue.committed < ticket {
            if queue.is_stopped {
                return Err(CommitError::Stopped);
            }
            queue = wait(&self.shared.done, queue);
        }
        Ok(())
    }

    /// Commits all that was submitted without waiting for more, and returns once that is done.
    ///
    /// # Errors
    /// If the committer was stopped before that, or has no thread and could not write.
    pub fn flush(&self) -> Result<(), CommitError> {
        let ticket = {
            let mut queue = self.shared.queue();
            queue.hurry_to = queue.submitted;
            queue.submitted
        };
        if matches!(*self.by(), By::Hand(_)) {
            return self.flush_by_hand(ticket);
        }
        self.shared.work.notify_one();
        self.wait(ticket)
    }

    fn flush_by_hand(&self, ticket: u64) -> Result<(), CommitError> {
        while self.committed() < ticket {
            if self.try_commit().is_err() {
                return self.shared.queue().left();
            }
        }
        Ok(())
    }

    /// Commits all that was submitted, trying each commit once more at most, and ends the thread. What is submitted
    /// afterwards is refused.
    ///
    /// # Errors
    /// If something could not be committed.
    pub fn stop(&self) -> Result<(), CommitError> {
        self.shared.queue().is_stopping = true;
        self.shared.work.notify_all();
        self.shared.done.notify_all();
        let by = std::mem::replace(&mut *self.by(), By::Nobody);
        if let By::Thread(thread) = by {
            // It catches what panics in it, and tells it as an error.
            let _ = thread.join();
        }
        self.shared.queue().left()
    }

    fn by(&self) -> MutexGuard<'_, By> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How committing goes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.queue().health(self.shared.options.slow_after, Instant::now())
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> CommitCounts {
        let queue = self.shared.queue();
        CommitCounts { waiting_bytes: queue.bytes() as u64, ..queue.counts }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

fn wait<'a>(on: &Condvar, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
    on.wait(queue).unwrap_or_else(PoisonError::into_inner)
}

fn wait_for<'a>(on: &Condvar, queue: MutexGuard<'a, Queue>, time: Duration) -> MutexGuard<'a, Queue> {
    on.wait_timeout(queue, time).unwrap_or_else(PoisonError::into_inner).0
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut told: impl FnMut(u64)) {
        while let Some(batch) = self.take() {
            let is_committed = self.commit(&batch);
            let ticket = {
                let mut queue = self.queue();
                if is_committed {
                    queue.commit(Instant::now());
                }
                queue.committed
            };
            self.done.notify_all();
            if !is_committed {
                break;
            }
            told(ticket);
        }
    }

    fn end(&self) {
        let mut queue = self.queue();
        (queue.is_stopping, queue.is_stopped) = (true, true);
        drop(queue);
        self.done.notify_all();
    }

    /// What is to be committed next, once it is time; `None` when all is done.
    fn take(&self) -> Option<Batch> {
        let mut queue = self.queue();
        loop {
            let now = Instant::now();
            match queue.due_in(&self.options, now) {
                Some(Duration::ZERO) => return Some(queue.take(self.options.bytes_max, now)),
                Some(time) => queue = wait_for(&self.work, queue, time),
                None if queue.is_stopping => return None,
                None => queue = wait(&self.work, queue),
            }
        }
    }

    /// Writes until it is written; `false` if it could not be and the committer is to stop.
    fn commit(&self, batch: &Batch) -> bool {
        let mut pause = self.options.retry_first;
        let mut is_again = false;
        loop {
            let was_stopping = self.queue().is_stopping;
            let Err(error) = self.attempt(batch, is_again) else { return true };
            is_again = true;
            let mut queue = self.queue();
            queue.fail(error, Instant::now());
            if was_stopping {
                return false;
            }
            let begun = Instant::now();
            // Woken early by what comes, it waits on; a stop ends the pause.
            while let Some(rest) = pause.checked_sub(begun.elapsed()).filter(|_| !queue.is_stopping) {
                queue = wait_for(&self.work, queue, rest);
            }
            pause = (pause * 2).min(self.options.retry_max);
        }
    }

    /// Writes once. What an attempt before failed to say may be there all the same.
    fn attempt(&self, batch: &Batch, is_again: bool) -> Result<(), String> {
        let write = || match is_again && self.store.holds(batch)? {
            true => Ok(()),
            false => self.store.write(batch),
        };
        match catch_unwind(AssertUnwindSafe(write)) {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the store {} gave up", self.store.path().display())),
        }
    }
}
