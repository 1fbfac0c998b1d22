//! Values that are sent and never shown.

use std::fmt;
use std::path::PathBuf;

/// The largest file that a value is read from.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where the value of a header comes from. It is read once, at the start.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// It is given.
    Plain(String),
    /// An environment variable has it.
    Environment(String),
    /// A file has it; line breaks at its end do not count.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(…)"),
            Self::Environment(name) => write!(f, "Environment({name})"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl Secret {
    /// The value.
    ///
    /// # Errors
    /// If there is none; says where it was looked for, and never what was found.
    pub fn reveal(&self) -> Result<String, String> {
        match self {
            Self::Plain(value) => Ok(value.clone()),
            Self::Environment(name) => {
                std::env::var(name).map_err(|_| format!("the environment variable `{name}` is not set, or is no text"))
            }
            Self::File(path) => {
                let refused = |message: &str| format!("{}: {message}", path.display());
                let length = std::fs::metadata(path).map_err(|error| refused(&error.to_string()))?.len();
                if length > FILE_BYTES_MAX {
                    return Err(refused(&format!("{length} bytes are more than a secret has ({FILE_BYTES_MAX})")));
                }
                let text = std::fs::read_to_string(path).map_err(|error| refused(&error.to_string()))?;
                Ok(text.trim_end_matches(['\n', '\r']).to_owned())
            }
        }
    }
}

/// Takes values out of a text that may hold them: a sink can send back what it was sent.
pub(super) fn redacted(text: &str, values: &[String]) -> String {
    let mut text = text.to_owned();
    for value in values {
        // A scheme such as `Bearer` stands before what is secret, and may be left away.
        let parts = value.split_whitespace().filter(|part| part.len() >= 8);
        for part in std::iter::once(value.as_str()).chain(parts).filter(|part| !part.is_empty()) {
            text = text.replace(part, "[hidden]");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "s3cret\r\n").expect("written");
        assert_eq!(Secret::File(path.clone()).reveal(), Ok("s3cret".into()));
        assert_eq!(format!("{:?}", Secret::Plain("s3cret".into())), "Plain(…)");
        std::fs::write(&path, vec![b'x'; 70_000]).expect("written");
        let error = Secret::File(path).reveal().expect_err("too large");
        assert!(error.contains("token: 70000 bytes"), "{error}");
        let error = Secret::Environment("STILLHOUSE_NOT_SET".into()).reveal().expect_err("not set");
        assert!(error.contains("`STILLHOUSE_NOT_SET` is not set"), "{error}");
    }

    #[test]
    fn what_is_sent_back_is_hidden() {
        let values = ["Bearer abcdefghij".to_owned(), String::new()];
        assert_eq!(redacted("got Bearer abcdefghij", &values), "got [hidden]");
        assert_eq!(redacted("bad token abcdefghij!", &values), "bad token [hidden]!");
    }
}
