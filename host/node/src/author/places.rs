//! Where in the author's folder a text stands.

use std::path::{Path, PathBuf};

/// Larger files are none that an author wrote.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// More files are not looked at.
const FILES_MAX: usize = 1_000;
/// What is written by authors.
const EXTENSIONS: [&str; 12] = ["rs", "js", "mjs", "ts", "py", "c", "cc", "cpp", "h", "zig", "go", "wit"];
/// What is made, not written.
const MADE: [&str; 5] = ["target", "node_modules", "__pycache__", "dist", "build"];

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Relative to the folder.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// The sources of a rule.
#[derive(Debug, Default)]
pub struct Sources(Vec<(PathBuf, String)>);

impl Sources {
    /// Reads the sources in `folder`. What cannot be read is left out.
    pub fn read(folder: &Path) -> Self {
        let mut sources = Self::default();
        sources.add(folder, Path::new(""));
        sources
    }

    /// Sources that are there as text.
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| (path.into(), (*text).to_owned())).collect())
    }

    fn add(&mut self, folder: &Path, below: &Path) {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(folder).map(|all| all.flatten().map(|entry| entry.path()).collect()).unwrap_or_default();
        entries.sort();
        for path in entries {
            let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
            if name.starts_with('.') || MADE.contains(&&*name) || self.0.len() >= FILES_MAX {
                continue;
            }
            if path.is_dir() {
                self.add(&path, &below.join(&name));
            } else if path.extension().is_some_and(|ext| EXTENSIONS.iter().any(|known| ext == *known))
                && std::fs::metadata(&path).is_ok_and(|meta| meta.len() <= FILE_BYTES_MAX)
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                self.0.push((below.join(name), text));
            }
        }
    }

    /// Where `text` stands in quotes, as a case's name, a path or a reason does; else where it stands.
    pub fn quoted(&self, text: &str) -> Option<Place> {
        let escaped = text.escape_default().to_string();
        let forms = [format!("\"{text}\""), format!("\"{escaped}\""), format!("'{text}'")];
        forms.iter().find_map(|form| self.find(form))
    }

    /// Where `text` stands first.
    pub fn find(&self, text: &str) -> Option<Place> {
        self.all(|line| line.contains(text)).into_iter().next()
    }

    /// Where a field is declared: its path in quotes, or its last part as a name with a colon.
    pub fn field(&self, path: &str) -> Option<Place> {
        let last = path.rsplit('.').next().unwrap_or(path);
        let declared = |line: &str| {
            let code = line.trim_start();
            code.strip_prefix("pub ").unwrap_or(code).strip_prefix(last).is_some_and(|rest| rest.starts_with(':'))
        };
        let attribute = format!("#[field(\"{path}\")]");
        self.find(&attribute).or_else(|| self.all(declared).into_iter().next()).or_else(|| self.quoted(path))
    }

    /// All lines that are such.
    pub fn all(&self, such: impl Fn(&str) -> bool) -> Vec<Place> {
        let mut places = Vec::new();
        for (path, text) in &self.0 {
            let lines = text.lines().enumerate().filter(|(_, line)| such(line));
            places.extend(lines.map(|(at, _)| Place { path: path.clone(), line: at + 1 }));
        }
        places
    }

    /// The files, with their text.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.0.iter().map(|(path, text)| (path.as_path(), text.as_str()))
    }
}

/// The file and line that a panic's message begins with: `panicked at src/lib.rs:42:9: ..`.
pub fn of_panic(message: &str) -> Option<Place> {
    let rest = message.split_once("panicked at ")?.1;
    let mut parts = rest.splitn(3, ':');
    let (path, line) = (parts.next()?, parts.next()?.parse().ok()?);
    (!path.is_empty() && !path.contains(char::is_whitespace)).then(|| Place { path: path.into(), line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        let text = "struct Check<'a> {\n    service: &'a str,\n    #[field(\"data.status\")]\n    state: &'a str,\n}\n\
                    // up\nlet x = [case(\"it \\\"works\\\"\"), case(\"up\")];\n";
        Sources::of(&[("src/a.rs", "nothing\n"), ("src/lib.rs", text)])
    }

    #[test]
    fn texts_and_fields_are_found() {
        let at = |place: Option<Place>| place.map(|place| place.to_string());
        assert_eq!(at(sources().quoted("up")).as_deref(), Some("src/lib.rs:7"));
        assert_eq!(at(sources().quoted("it \"works\"")).as_deref(), Some("src/lib.rs:7"));
        assert_eq!(at(sources().quoted("down")), None);
        assert_eq!(at(sources().field("data.service")).as_deref(), Some("src/lib.rs:2"));
        assert_eq!(at(sources().field("data.status")).as_deref(), Some("src/lib.rs:3"));
        assert_eq!(at(sources().field("data.serv")), None);
    }

    #[test]
    fn panics_tell_their_line() {
        let place = of_panic("out of luck: panicked at src/lib.rs:42:9: index out of bounds: the len is 0");
        assert_eq!(place.map(|place| place.to_string()).as_deref(), Some("src/lib.rs:42"));
        assert_eq!(of_panic("out of fuel: more than 3 units"), None);
        assert_eq!(of_panic("panicked at the thought: 3"), None);
    }
}
