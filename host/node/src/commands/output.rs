//! Where events go.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use stillhouse::input::Input;

/// Standard output, or a file that is made when the first events are written: a command that is
/// refused before leaves what was there.
pub enum Output {
    /// Standard output.
    Stdout(io::Stdout),
    /// A file, once it is open.
    File {
        /// Where it is.
        path: PathBuf,
        /// It, once it is open.
        file: Option<File>,
        /// Whether what is there stays.
        append: bool,
    },
}

impl Output {
    /// `-` is standard output.
    ///
    /// # Errors
    /// If writing there would destroy something that the command reads or writes, or the folder is
    /// not there.
    pub fn new(output: &str, config: &Path, inputs: &[Input], log: Option<&Path>) -> Result<Self> {
        if output == "-" {
            return Ok(Self::Stdout(io::stdout()));
        }
        let path = Path::new(output);
        let inputs = inputs.iter().filter_map(|input| match input {
            Input::File(file) => Some((file.as_path(), "an input")),
            Input::Stdin => None,
        });
        for (used, what) in inputs.chain([(config, "the configuration")]).chain(log.map(|log| (log, "the store"))) {
            if is_same(used, path) {
                bail!("{output}: is {what}; writing events to it would destroy it");
            }
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            bail!("{output}: cannot be written: there is no folder {}", folder.display());
        }
        if path.is_dir() {
            bail!("{output}: is a folder, expected a file");
        }
        Ok(Self::File { path: path.to_owned(), file: None, append: false })
    }

    /// What is there already stays, and events follow it.
    pub fn append(&mut self) {
        if let Self::File { append, .. } = self {
            *append = true;
        }
    }

    fn writer(&mut self) -> io::Result<&mut dyn Write> {
        match self {
            Self::Stdout(stdout) => Ok(stdout),
            Self::File { file: Some(file), .. } => Ok(file),
            Self::File { path, file, append: true } => {
                Ok(file.insert(File::options().append(true).create(true).open(path)?))
            }
            Self::File { path, file, append: false } => Ok(file.insert(File::create(path)?)),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() { Ok(0) } else { self.writer()?.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer()?.flush()
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
