//! The folder of a new rule: what is in it, and how it is written.

use std::path::{Path, PathBuf};

use stillhouse_rules::Kind;

use crate::config::{did_you_mean, listed};

/// A file that the program carries.
struct Embedded {
    path: &'static str,
    text: &'static str,
    executable: bool,
}

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The name that the templates have where the rule's own belongs.
const PLACEHOLDER: &str = "my-rule";
/// The name that the rules in `examples/rules` have, as all of their languages write it.
const EXAMPLE: &str = "\"probe\"";
/// Where the SDK lies in the folder of a rule.
const SDK_FOLDER: &str = ".stillhouse";
const NAME_BYTES_MAX: usize = 64;

/// What no crate can be called: it would hide another one, or is a word of the language.
const TAKEN: [&str; 16] = [
    "alloc",
    "async",
    "await",
    "core",
    "crate",
    "fn",
    "match",
    "mod",
    "self",
    "static",
    "std",
    "stillhouse-sdk",
    "super",
    "test",
    "type",
    "use",
];

/// What a new rule is written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Language {
    /// A crate with the SDK.
    Rust,
    /// A folder of `examples/rules`, by name.
    Other(String),
}

/// One file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Relative to the folder.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
    /// Whether it can be run.
    pub executable: bool,
}

/// The languages that this program can begin a rule in.
pub fn languages() -> Vec<&'static str> {
    std::iter::once("rust").chain(LANGUAGES.iter().map(|(name, _)| *name)).collect()
}

/// Checks the name of a rule.
///
/// # Errors
/// With what a name may be.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !begins || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) || name.ends_with('-') {
        let better: String =
            name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let better = better.trim_matches(|c: char| c == '-' || c.is_ascii_digit());
        let hint = match better {
            "" => String::new(),
            better if better.len() > NAME_BYTES_MAX => String::new(),
            better => format!("; did you mean `{better}`?"),
        };
        return Err(format!(
            "expected a name of 1 to {NAME_BYTES_MAX} lower-case letters, digits and hyphens that begins with a letter, \
             got `{name}`{hint}"
        ));
    }
    if TAKEN.contains(&name) {
        return Err(format!("no crate can be called `{name}`; did you mean `{name}-rule`?"));
    }
    Ok(())
}

/// The files of a new rule.
///
/// # Errors
/// If the program does not carry the language, or has no such kind in it.
pub fn files(name: &str, kind: Kind, language: &Language) -> Result<Vec<NewFile>, String> {
    match language {
        Language::Rust => Ok(rust(name, kind)),
        Language::Other(language) => other(name, kind, language),
    }
}

fn rust(name: &str, kind: Kind) -> Vec<NewFile> {
    let (source, samples): (_, &[(&str, &str)]) = match kind {
        Kind::Mapper => (
            include_str!("../../template/mapper/src/lib.rs"),
            &[
                ("signals.jsonl", include_str!("../../template/mapper/signals.jsonl")),
                ("stillhouse.toml", include_str!("../../template/mapper/stillhouse.toml")),
            ],
        ),
        Kind::Suppressor => (
            include_str!("../../template/suppressor/src/lib.rs"),
            &[
                ("candidates.jsonl", include_str!("../../template/suppressor/candidates.jsonl")),
                ("signals.jsonl", include_str!("../../template/suppressor/signals.jsonl")),
                ("stillhouse.toml", include_str!("../../template/suppressor/stillhouse.toml")),
            ],
        ),
    };
    let own = |text: &str| {
        let text = text.replace(PLACEHOLDER, name).replace("KIND", &kind.to_string());
        text.replace("SAMPLE", samples[0].0)
    };
    let mut files = vec![
        NewFile::plain("Cargo.toml", own(include_str!("../../template/Cargo.toml.in"))),
        NewFile::plain(".cargo/config.toml", include_str!("../../template/config.toml").to_owned()),
        NewFile::plain(".gitignore", "/target\n/*.wasm\n/*.wasm.sig\n".to_owned()),
        NewFile::plain("README.md", own(include_str!("../../template/README.md"))),
        NewFile::plain("src/lib.rs", source.to_owned()),
    ];
    files.extend(samples.iter().map(|(path, text)| NewFile::plain(path, text.replace(PLACEHOLDER, name))));
    files.extend(SDK.iter().map(|file| NewFile {
        path: Path::new(SDK_FOLDER).join(file.path),
        text: file.text.to_owned(),
        executable: file.executable,
    }));
    files
}

/// The example of the language, under the new name.
fn other(name: &str, kind: Kind, language: &str) -> Result<Vec<NewFile>, String> {
    let Some((_, embedded)) = LANGUAGES.iter().find(|(known, _)| *known == language) else {
        let known = languages();
        return Err(format!(
            "this program carries no rule in `{language}`; it can begin one in {}{}",
            listed(&known),
            did_you_mean(language, &known)
        ));
    };
    if kind == Kind::Suppressor {
        return Err(format!("this program carries no suppressor in `{language}`; only Rust has one"));
    }
    let renamed = |text: &str| text.replace(EXAMPLE, &format!("{name:?}"));
    let file =
        |file: &Embedded| NewFile { path: file.path.into(), text: renamed(file.text), executable: file.executable };
    Ok(embedded.iter().map(file).collect())
}

/// Writes `files` into `folder`, which is made. On an error it stays as far as it came.
///
/// # Errors
/// If the folder is there already and is not empty, or cannot be written.
pub fn write(folder: &Path, files: &[NewFile]) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    match std::fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) => {
            return Err(format!(
                "{}: is there already and is not empty; nothing was written. Choose another name, or take it away",
                folder.display()
            ));
        }
        Ok(false) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(folder, error)),
    }
    for file in files {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        }
        let mut open = std::fs::OpenOptions::new();
        open.write(true).create_new(true);
        #[cfg(unix)]
        if file.executable {
            std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o755);
        }
        let opened = open.open(&path);
        let written = opened.and_then(|mut opened| std::io::Write::write_all(&mut opened, file.text.as_bytes()));
        written.map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

impl NewFile {
    fn plain(path: &str, text: String) -> Self {
        Self { path: path.into(), text, executable: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "net-link", "x2", "shop-check-2"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, words) in [
            ("", "got ``"),
            ("NetLink", "did you mean `netlink`?"),
            ("net_link", "did you mean `net-link`?"),
            ("2nd", "did you mean `nd`?"),
            ("a-", "did you mean `a`?"),
            ("test", "did you mean `test-rule`?"),
            ("../up", "got `../up`"),
        ] {
            let refused = check_name(name).unwrap_err();
            assert!(refused.contains(words), "{name}: {refused}");
        }
        assert!(check_name(&"a".repeat(65)).is_err());
    }

    #[test]
    fn a_folder_has_all_that_it_names_and_no_placeholder() {
        for kind in [Kind::Mapper, Kind::Suppressor] {
            let files = files("net-link", kind, &Language::Rust).unwrap();
            let has = |path: &str| files.iter().any(|file| file.path == Path::new(path));
            for path in ["Cargo.toml", "src/lib.rs", ".cargo/config.toml", "stillhouse.toml", "signals.jsonl"] {
                assert!(has(path), "no {path}");
            }
            for path in
                ["Cargo.toml", "sdk/Cargo.toml", "sdk/src/lib.rs", "sdk/derive/src/lib.rs", "wit/v0.2/rules.wit"]
            {
                assert!(has(&format!("{SDK_FOLDER}/{path}")), "no {path}");
            }
            let mine = files.iter().filter(|file| !file.path.starts_with(SDK_FOLDER));
            for file in mine {
                for left in [PLACEHOLDER, "KIND", "SAMPLE"] {
                    assert!(!file.text.contains(left), "{}: {left}", file.path.display());
                }
            }
            let manifest = &files.iter().find(|file| file.path == Path::new(".stillhouse/Cargo.toml")).unwrap().text;
            for wanted in ["wit-bindgen = ", "simdutf8 = ", "rust-version = ", "missing_docs = "] {
                assert!(manifest.contains(wanted), "{manifest}");
            }
            assert!(!manifest.contains("wasmtime"), "{manifest}");
        }
    }

    #[test]
    fn what_is_there_is_never_overwritten() {
        let folder = std::env::temp_dir().join(format!("stillhouse-scaffold-{}", std::process::id()));
        let files = [NewFile { path: "a/b".into(), text: "one".into(), executable: true }];
        write(&folder, &files).unwrap();
        let refused = write(&folder, &[NewFile::plain("a/b", "two".into())]).unwrap_err();
        assert!(refused.contains("is not empty"), "{refused}");
        assert_eq!(std::fs::read_to_string(folder.join("a/b")).unwrap(), "one");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn other_languages_come_under_the_new_name() {
        for language in languages().into_iter().filter(|language| *language != "rust") {
            let files = files("net-link", Kind::Mapper, &Language::Other(language.into())).unwrap();
            let build = files.iter().find(|file| file.path == Path::new("build"));
            assert!(build.is_some_and(|build| build.executable), "{language}: no script `build`");
            assert!(files.iter().all(|file| !file.text.contains(EXAMPLE)), "{language}");
            assert!(files.iter().any(|file| file.text.contains("\"net-link\"")), "{language}");
            assert!(super::files("a", Kind::Suppressor, &Language::Other(language.into())).is_err());
        }
    }

    #[test]
    fn a_language_that_is_not_there_is_said() {
        let refused = files("a", Kind::Mapper, &Language::Other("cobol".into())).unwrap_err();
        assert!(refused.contains("carries no rule in `cobol`") && refused.contains("`rust`"), "{refused}");
    }
}
