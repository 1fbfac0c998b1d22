//! The store: open, write, compact.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableError, WriteTransaction};

use crate::database::{self, guarded};
use crate::{Batch, BatchError, FORMAT, FileStorage, Map, Overlay, Sequence, Storage, StoreError, codec};

/// So often a database is opened anew for one reader.
const OPENED_ANEW_MAX: usize = 4;

const FORMAT_KEY: &[u8] = b"format";

/// One file: two sequences, six maps, and what a batch holds is committed together.
///
/// It may be shared between threads. One of them writes at a time, and reading never waits for writing.
/// After an error of the disk the database must be opened anew: the next call does that by itself.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    is_read_only: bool,
    /// Taken before any other lock by whoever writes or opens anew.
    writing: Mutex<()>,
    open: RwLock<Open>,
    spans: Mutex<[Span; 2]>,
}

/// The database as it is open now.
#[derive(Debug)]
struct Open {
    database: Option<Database>,
    /// It can be read, and is to be opened anew before anything is written.
    is_stale: bool,
}

/// Which positions of a sequence are kept.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    first: u64,
    next: u64,
}

impl Store {
    /// Opens a store, and makes one if there is no file.
    ///
    /// # Errors
    /// If the file is in use, holds something else or another format, is damaged, or cannot be read and written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match FileStorage::open(path) {
            Ok(storage) => Self::on_file(storage, path, false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(StoreError::from_io(path, "opened", error)),
        }
    }

    /// Opens a store to read it. Nothing is written, so it may be on a disk that is only read. If it was not closed,
    /// it is put in order in memory.
    ///
    /// # Errors
    /// If there is none, and as [`Store::open`].
    pub fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let storage = FileStorage::open_to_read(path).map_err(|error| StoreError::from_io(path, "read", error))?;
        Self::on_file(storage, path, true)
    }

    /// Opens a store on some storage, and makes one if that is empty.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(storage: impl Storage) -> Result<Self, StoreError> {
        let path = Path::new("(storage)");
        let is_new = database::is_begun_only(&storage).map_err(|error| StoreError::from_io(path, "opened", error))?;
        if is_new {
            storage.set_len(0).map_err(|error| StoreError::from_io(path, "opened", error))?;
            return Self::on(Arc::new(storage), path, false);
        }
        Self::checked(Arc::new(storage), path, false)
    }

    /// Makes a store beside its place and moves it there once it is whole, so that none is ever half made.
    fn create(path: &Path) -> Result<Self, StoreError> {
        let fault = |error| StoreError::from_io(path, "written", error);
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let beside = PathBuf::from(name);
        let storage = FileStorage::create(&beside).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(path);
                StoreError::NotAStore {
                    path: path.to_owned(),
                    what: format!("there is no folder {}", folder.display()),
                }
            }
            _ => fault(error),
        })?;
        // Whoever else made it meanwhile held the lock on the file beside it.
        if path.exists() {
            drop(storage);
            fs::remove_file(&beside).map_err(fault)?;
            return Self::open(path);
        }
        let made = Self::on(Arc::new(storage), path, false);
        let store = made.and_then(|store| fs::rename(&beside, path).map(|()| store).map_err(fault));
        if store.is_err() {
            let _ = fs::remove_file(&beside);
        }
        let store = store?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault)?;
        Ok(store)
    }

    fn on_file(storage: FileStorage, path: &Path, is_read_only: bool) -> Result<Self, StoreError> {
        Self::checked(Arc::new(storage), path, is_read_only)
    }

    /// Opens what must be a database already.
    fn checked(storage: Arc<dyn Storage>, path: &Path, is_read_only: bool) -> Result<Self, StoreError> {
        match database::looks_like_one(&*storage) {
            Ok(Ok(())) => Self::on(storage, path, is_read_only),
            Ok(Err(what)) => Err(StoreError::NotAStore { path: path.to_owned(), what }),
            Err(error) => Err(StoreError::from_io(path, "read", error)),
        }
    }

    fn on(storage: Arc<dyn Storage>, path: &Path, is_read_only: bool) -> Result<Self, StoreError> {
        let store = Self {
            path: path.to_owned(),
            storage,
            is_read_only,
            writing: Mutex::default(),
            open: RwLock::new(Open { database: None, is_stale: true }),
            spans: Mutex::default(),
        };
        store.reopen(&store.writing())?;
        Ok(store)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The position that the next record gets.
    #[must_use]
    pub fn next(&self, sequence: Sequence) -> u64 {
        self.span(sequence).next
    }

    /// The oldest position that is kept; the next one if none is.
    #[must_use]
    pub fn first(&self, sequence: Sequence) -> u64 {
        self.span(sequence).first
    }

    /// Commits a batch in one transaction. Once this returns it is there after a loss of power; after an error it is
    /// there whole or not at all, which [`Store::next`] tells once the store is open anew.
    ///
    /// # Errors
    /// If the batch does not follow what is there, and if the disk is full or fails.
    pub fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.is_read_only {
            let source = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "it was opened to be read");
            return Err(StoreError::ReadOnly { path: self.path.clone(), source });
        }
        let writing = self.writing();
        self.reopen(&writing)?;
        if let Some(fault) = batch.fault() {
            return Err(fault.clone().into());
        }
        for sequence in Sequence::ALL {
            let expected = self.next(sequence);
            if let Some(came) = batch.appended(sequence).map(|run| run.start).filter(|came| *came != expected) {
                return Err(BatchError::OutOfOrder { sequence, expected, came }.into());
            }
        }
        let spans = Sequence::ALL.map(|sequence| self.span(sequence));
        let result = self.with_database(|database| self.commit(database, batch, spans));
        match result {
            Ok(spans) => *self.spans.lock().unwrap_or_else(PoisonError::into_inner) = spans,
            Err(_) => self.open.write().unwrap_or_else(PoisonError::into_inner).is_stale = true,
        }
        result.map(drop)
    }

    /// Whether the store holds the whole of a batch that appends: for whoever got an error when it was written.
    ///
    /// # Errors
    /// If the store cannot be opened anew.
    pub fn holds(&self, batch: &Batch) -> Result<bool, StoreError> {
        self.reopen(&self.writing())?;
        let mut appended = Sequence::ALL.into_iter().filter_map(|sequence| Some((sequence, batch.appended(sequence)?)));
        // One transaction wrote all of it, so one of the ends tells.
        Ok(appended.next().is_some_and(|(sequence, run)| self.next(sequence) == run.end))
    }

    /// How long the file is.
    ///
    /// # Errors
    /// If that cannot be told.
    pub fn file_bytes(&self) -> Result<u64, StoreError> {
        self.storage.len().map_err(|error| StoreError::from_io(&self.path, "read", error))
    }

    /// Lets the database check itself. It may repair what it can, which a store that was opened to be read keeps in
    /// memory, and it may not be used afterwards.
    pub(crate) fn check_database(&mut self) -> Result<bool, StoreError> {
        let path = &self.path;
        match &mut self.open.get_mut().unwrap_or_else(PoisonError::into_inner).database {
            Some(database) => {
                guarded(path, || database.check_integrity().map_err(|error| StoreError::from_redb(path, "read", error)))
            }
            None => Err(StoreError::Reopened { path: path.clone() }),
        }
    }

    /// Makes the file as short as it can be, and tells its length before and after, in bytes.
    ///
    /// # Errors
    /// If something is still being read, or the disk fails.
    pub fn compact(&mut self) -> Result<(u64, u64), StoreError> {
        let before_bytes = self.file_bytes()?;
        self.reopen(&self.writing())?;
        let path = &self.path;
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        let result = match &mut open.database {
            Some(database) => guarded(path, || {
                while database.compact().map_err(|error| StoreError::from_redb(path, "written", error))? {}
                Ok(())
            }),
            None => Err(StoreError::Reopened { path: path.clone() }),
        };
        open.is_stale |= !matches!(result, Ok(()) | Err(StoreError::BeingRead { .. }));
        result?;
        Ok((before_bytes, self.file_bytes()?))
    }

    /// Calls once what is being written is written.
    pub(crate) fn after_writing<T>(&self, call: impl FnOnce() -> T) -> T {
        let _writing = self.writing();
        call()
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn span(&self, sequence: Sequence) -> Span {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)[sequence as usize]
    }

    fn with_database<T>(&self, call: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let open: RwLockReadGuard<'_, Open> = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let database = open.database.as_ref().ok_or_else(|| StoreError::Reopened { path: self.path.clone() })?;
        guarded(&self.path, || call(database))
    }

    /// Begins to read what is committed now. After an error of the disk what was committed can still be read, also
    /// while nothing can be written.
    pub(crate) fn reading<T>(
        &self,
        mut call: impl FnMut(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut begin = || {
            self.with_database(|database| {
                let transaction =
                    database.begin_read().map_err(|error| StoreError::from_redb(&self.path, "read", error))?;
                call(&transaction)
            })
        };
        let closed = |result: &Result<T, StoreError>| matches!(result, Err(StoreError::Reopened { .. }));
        let result = begin();
        if !closed(&result) {
            return result;
        }
        let writing = self.writing();
        // Somebody else may have opened it anew meanwhile.
        let result = begin();
        if !closed(&result) {
            return result;
        }
        // An error while it is opened anew, or right after, closes it once more.
        for _ in 0..OPENED_ANEW_MAX {
            self.open.write().unwrap_or_else(PoisonError::into_inner).is_stale = true;
            if self.reopen(&writing).is_err() {
                self.open_over(&mut self.open.write().unwrap_or_else(PoisonError::into_inner))?;
            }
            let result = begin();
            if !closed(&result) {
                return result;
            }
        }
        begin()
    }

    /// Opens the database anew if an error made that necessary. What is read meanwhile ends with an error.
    fn reopen(&self, _writing: &MutexGuard<'_, ()>) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if !open.is_stale {
            return Ok(());
        }
        self.close(&mut open);
        if self.is_read_only {
            self.open_over(&mut open)?;
        } else {
            self.open_as(&mut open, self.storage.clone())?;
        }
        open.is_stale = false;
        Ok(())
    }

    fn open_as(&self, open: &mut Open, storage: Arc<dyn Storage>) -> Result<(), StoreError> {
        let database = open.database.insert(database::open(storage, &self.path)?);
        let spans = guarded(&self.path, || self.prepare(database));
        match spans {
            Ok(spans) => *self.spans.lock().unwrap_or_else(PoisonError::into_inner) = spans,
            Err(_) => self.close(open),
        }
        spans.map(drop)
    }

    /// Closes the database, if it is open. One that failed has nothing to say.
    fn close(&self, open: &mut Open) {
        let database = open.database.take();
        let _ = guarded(&self.path, || {
            drop(database);
            Ok(())
        });
    }

    /// Opens the database without writing to its storage.
    fn open_over(&self, open: &mut Open) -> Result<(), StoreError> {
        let fault = |error| StoreError::from_io(&self.path, "read", error);
        self.close(open);
        let overlay = Overlay::new(self.storage.clone()).map_err(fault)?;
        self.open_as(open, Arc::new(overlay))
    }

    /// Checks the format and tells which positions are kept; makes the tables of a new store.
    fn prepare(&self, database: &Database) -> Result<[Span; 2], StoreError> {
        let fault = |error: redb::Error| StoreError::from_redb(&self.path, "opened", error);
        let transaction = database.begin_read().map_err(|error| fault(error.into()))?;
        let own = match transaction.open_table(database::SELF) {
            Ok(own) => own,
            Err(TableError::TableDoesNotExist(_)) => {
                let tables = transaction.list_tables().map_err(|error| fault(error.into()))?.count();
                if tables > 0 {
                    let what = format!("it is a redb database with {tables} tables of another program");
                    return Err(StoreError::NotAStore { path: self.path.clone(), what });
                }
                drop(transaction);
                self.write_first(database)?;
                return Ok([Span::default(); 2]);
            }
            Err(error) => return Err(fault(error.into())),
        };
        let number = |key: &[u8]| {
            let stored = own.get(key).map_err(|error| fault(error.into()))?;
            let what = |what: String| format!("the number `{}` {what}", key.escape_ascii());
            let broken = |text| StoreError::Broken { path: self.path.clone(), what: what(text) };
            let stored = stored.ok_or_else(|| broken("is missing".to_owned()))?;
            let value = codec::decode("store", key, stored.value()).map_err(broken)?;
            let value = value.as_slice().try_into().map_err(|_| broken(format!("has {} bytes", value.len())))?;
            Ok::<_, StoreError>(u64::from_le_bytes(value))
        };
        let came = number(FORMAT_KEY)?;
        if came != FORMAT {
            return Err(StoreError::Format { path: self.path.clone(), came });
        }
        let mut spans = [Span::default(); 2];
        for sequence in Sequence::ALL {
            let next = number(sequence.name().as_bytes())?;
            let index = transaction.open_table(database::index(sequence)).map_err(|error| fault(error.into()))?;
            let first = index.first().map_err(|error| fault(error.into()))?.map_or(next, |(first, _)| first.value());
            spans[sequence as usize] = Span { first, next };
        }
        Ok(spans)
    }

    fn write_first(&self, database: &Database) -> Result<(), StoreError> {
        let fault = |error: redb::Error| StoreError::from_redb(&self.path, "written", error);
        let transaction = begin(database).map_err(fault)?;
        let make = || -> Result<(), redb::Error> {
            put_number(&transaction, FORMAT_KEY, FORMAT)?;
            for sequence in Sequence::ALL {
                put_number(&transaction, sequence.name().as_bytes(), 0)?;
                transaction.open_table(database::index(sequence))?;
                transaction.open_table(database::pieces(sequence))?;
            }
            Map::ALL.iter().try_for_each(|map| transaction.open_table(database::values(*map)).map(drop))?;
            Ok(())
        };
        make().map_err(fault)?;
        transaction.commit().map_err(|error| fault(error.into()))
    }

    /// Commits a batch that follows `spans`, and tells what is kept then.
    fn commit(&self, database: &Database, batch: &Batch, mut spans: [Span; 2]) -> Result<[Span; 2], StoreError> {
        let fault = |error: redb::Error| StoreError::from_redb(&self.path, "written", error);
        let transaction = begin(database).map_err(fault)?;
        let mut fill = || -> Result<(), redb::Error> {
            for sequence in Sequence::ALL {
                let span = &mut spans[sequence as usize];
                append(&transaction, sequence, batch, span)?;
                trim(&transaction, sequence, batch.trimmed(sequence), span)?;
            }
            let mut values = batch.values.iter().peekable();
            while let Some(((map, _), _)) = values.peek() {
                let map = *map;
                let mut table = transaction.open_table(database::values(map))?;
                while let Some(((_, key), stored)) = values.next_if(|((of, _), _)| *of == map) {
                    match stored {
                        Some(stored) => table.insert(key.as_slice(), stored.as_slice())?,
                        None => table.remove(key.as_slice())?,
                    };
                }
            }
            Ok(())
        };
        fill().map_err(fault)?;
        transaction.commit().map_err(|error| fault(error.into()))?;
        Ok(spans)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close(&mut self.open.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Begins a transaction after which the store is open at once, however it ended: redb keeps with it what it would
/// otherwise have to find out by reading the whole file.
fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn put_number(transaction: &WriteTransaction, key: &[u8], number: u64) -> Result<(), redb::Error> {
    let stored = codec::encode("store", key, &number.to_le_bytes());
    transaction.open_table(database::SELF)?.insert(key, stored.as_slice())?;
    Ok(())
}

fn append(
    transaction: &WriteTransaction,
    sequence: Sequence,
    batch: &Batch,
    span: &mut Span,
) -> Result<(), redb::Error> {
    let blocks = batch.blocks(sequence);
    let Some(last) = blocks.last() else { return Ok(()) };
    let mut index = transaction.open_table(database::index(sequence))?;
    let mut pieces = transaction.open_table(database::pieces(sequence))?;
    for block in blocks {
        let (entry, stored) = block.stored(sequence);
        index.insert(block.first, entry.as_slice())?;
        for (number, piece) in database::cut(&stored) {
            pieces.insert((block.first, number), piece)?;
        }
    }
    span.next = last.end();
    put_number(transaction, sequence.name().as_bytes(), span.next)
}

/// Removes the blocks that end at or before `before`. Their ends are known from where the next begins, so that damaged
/// ones go too.
fn trim(transaction: &WriteTransaction, sequence: Sequence, before: u64, span: &mut Span) -> Result<(), redb::Error> {
    if before <= span.first {
        return Ok(());
    }
    let mut index = transaction.open_table(database::index(sequence))?;
    let first = if before >= span.next {
        span.next
    } else {
        // The block that holds `before` is the oldest that stays.
        let holding = index.range(..=before)?.next_back().transpose()?;
        holding.map_or(span.first, |(first, _)| first.value())
    };
    index.retain_in(..first, |_, _| false)?;
    transaction.open_table(database::pieces(sequence))?.retain_in(..(first, 0), |_, _| false)?;
    span.first = first;
    Ok(())
}
