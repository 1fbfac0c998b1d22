//! `[control]`: how people steer a host while it runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stillhouse_control::access::{Role, Token};
use stillhouse_control::server::TlsFiles;
use toml::Spanned;

use crate::config::{Refusal, refuse};

/// `[control]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// A Unix socket, relative to this file.
    pub socket: Option<Spanned<String>>,
    /// An address with its port.
    pub listen: Option<Spanned<String>>,
    /// Certificate and key for `listen`.
    pub tls: Option<Spanned<Tls>>,
    /// `listen` may be reached by others though tokens go in the clear (false).
    pub insecure: Option<Spanned<bool>>,
    /// The audit trail, relative to this file.
    pub audit: Option<Spanned<String>>,
    /// `[[control.token]]`
    #[serde(default)]
    pub token: Vec<ControlToken>,
}

/// `tls = { .. }`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those that lead to it (PEM), relative to this file.
    pub cert: String,
    /// Its key (PEM), relative to this file.
    pub key: String,
}

/// `[[control.token]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlToken {
    /// Who carries it.
    pub name: Spanned<String>,
    /// What they may do.
    pub role: Role,
    /// Its hash, as `stillhouse control token` prints it.
    pub hash: Spanned<String>,
}

/// A checked `[control]`.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// The Unix socket.
    pub socket: Option<PathBuf>,
    /// The address.
    pub listen: Option<SocketAddr>,
    /// Certificate and key for the address.
    pub tls: Option<TlsFiles>,
    /// Whether tokens may go in the clear.
    pub insecure: bool,
    /// The audit trail.
    pub audit: PathBuf,
    /// The tokens.
    pub tokens: Vec<Token>,
}

/// Checks `[control]` of a configuration whose folder is `base`.
pub(super) fn check(control: Spanned<Control>, base: &Path) -> Result<ControlConfig, Refusal> {
    let span = control.span();
    let Control { socket, listen, tls, insecure, audit, token } = control.into_inner();
    let Some(audit) = audit else {
        let message =
            "`[control]` needs `audit`, the file that says who changed what, such as `audit = \"audit.jsonl\"`";
        return Err(refuse(span, message));
    };
    if socket.is_none() && listen.is_none() {
        let message = "`[control]` needs somewhere to listen: `socket = \"control.sock\"`, `listen = \"127.0.0.1:9443\"`, or both";
        return Err(refuse(span, message));
    }
    let address = listen.as_ref().map(address).transpose()?;
    if let Some(tls) = tls.as_ref().filter(|_| listen.is_none()) {
        return Err(refuse(tls.span(), "`tls` is for `listen`, which is not there; the socket needs none"));
    }
    let in_clear = insecure.as_ref().filter(|insecure| *insecure.get_ref());
    if let Some(insecure) = in_clear.filter(|_| tls.is_some() || listen.is_none()) {
        return Err(refuse(insecure.span(), "`insecure` is for `listen` without `tls`; leave it out"));
    }
    if let (Some(listen), Some(address)) = (&listen, address)
        && tls.is_none()
        && in_clear.is_none()
        && !address.ip().is_loopback()
    {
        let message = format!(
            "{address} can be reached by others, who could read the tokens: give `tls = {{ cert, key }}`, listen on \
             127.0.0.1, or say `insecure = true` where something else encrypts"
        );
        return Err(refuse(listen.span(), message));
    }
    let tokens = tokens(&token)?;
    if let Some(listen) = listen.as_ref().filter(|_| tokens.is_empty()) {
        let message = "`listen` lets nobody in without a token: `stillhouse control token` makes one";
        return Err(refuse(listen.span(), message));
    }
    Ok(ControlConfig {
        socket: socket.map(|socket| base.join(socket.into_inner())),
        listen: address,
        tls: tls.map(|tls| {
            let Tls { cert, key } = tls.into_inner();
            TlsFiles { cert: base.join(cert), key: base.join(key) }
        }),
        insecure: in_clear.is_some(),
        audit: base.join(audit.into_inner()),
        tokens,
    })
}

fn address(listen: &Spanned<String>) -> Result<SocketAddr, Refusal> {
    listen.get_ref().parse().map_err(|_| {
        let message = format!("expected an address with a port, such as `127.0.0.1:9443`, got `{}`", listen.get_ref());
        refuse(listen.span(), message)
    })
}

fn tokens(written: &[ControlToken]) -> Result<Vec<Token>, Refusal> {
    let mut tokens: Vec<Token> = Vec::new();
    for (at, ControlToken { name, role, hash }) in written.iter().enumerate() {
        stillhouse_control::access::check_name(name.get_ref()).map_err(|message| refuse(name.span(), message))?;
        let token =
            Token::new(name.get_ref(), *role, hash.get_ref()).map_err(|message| refuse(hash.span(), message))?;
        if tokens.iter().any(|other| other.name == token.name) {
            let message =
                format!("two tokens have the name `{}`; the audit trail could not tell them apart", token.name);
            return Err(refuse(name.span(), message));
        }
        if written[..at].iter().any(|other| other.hash.get_ref() == hash.get_ref()) {
            return Err(refuse(hash.span(), "another token has this hash already; make a token for each"));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError, Overrides};

    fn parse(control: &str) -> Result<Config, ConfigError> {
        let text = format!("[[input]]\nformat = \"cloudevents\"\n[signal.a]\nmapper = \"status\"\n{control}");
        Config::parse("/etc/stillhouse/stillhouse.toml".as_ref(), text, &Overrides::default())
    }

    fn token(name: &str, digit: char) -> String {
        let hash = digit.to_string().repeat(64);
        format!("\n[[control.token]]\nname = \"{name}\"\nrole = \"operator\"\nhash = \"sha256:{hash}\"\n")
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = "[control]\nsocket = \"control.sock\"\nlisten = \"0.0.0.0:9443\"\naudit = \"/var/audit.jsonl\"\n\
                    tls = { cert = \"a.pem\", key = \"a.key\" }";
        let config = parse(&format!("{text}{}", token("ci", '0'))).expect("valid");
        let control = config.control.expect("there");
        assert_eq!(control.socket, Some("/etc/stillhouse/control.sock".into()));
        assert_eq!(control.audit, std::path::Path::new("/var/audit.jsonl"));
        assert_eq!(control.tls.expect("there").key, std::path::Path::new("/etc/stillhouse/a.key"));
        assert_eq!(control.tokens[0].name, "ci");
        assert!(parse("").expect("valid").control.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused_where_it_stands() {
        let ci = token("ci", '0');
        let audit = "audit = \"a\"\n";
        for (text, line, message) in [
            ("[control]\nsocket = \"s\"".to_owned(), 5, "needs `audit`"),
            (format!("[control]\n{audit}"), 5, "somewhere to listen"),
            (format!("[control]\n{audit}sockt = \"s\""), 7, "did you mean `socket`?"),
            (format!("[control]\n{audit}listen = \"9443\""), 7, "such as `127.0.0.1:9443`, got `9443`"),
            (format!("[control]\n{audit}listen = \"0.0.0.0:1\"{ci}"), 7, "could read the tokens"),
            (format!("[control]\n{audit}listen = \"127.0.0.1:1\""), 7, "nobody in without a token"),
            (format!("[control]\n{audit}socket = \"s\"\ninsecure = true"), 8, "leave it out"),
            (
                format!("[control]\n{audit}socket = \"s\"\ntls = {{ cert = \"a\", key = \"b\" }}"),
                8,
                "the socket needs none",
            ),
            (format!("[control]\n{audit}socket = \"s\"{ci}{ci}"), 14, "two tokens have the name `ci`"),
            (format!("[control]\n{audit}socket = \"s\"{ci}{}", token("cd", '0')), 16, "another token has this hash"),
            (format!("[control]\n{audit}socket = \"s\"{}", token("uid 0", '1')), 9, "expected a name"),
            (format!("[control]\n{audit}socket = \"s\"{}", ci.replace("sha256", "md5")), 11, "expected `sha256:`"),
            (
                format!("[control]\n{audit}socket = \"s\"{}", ci.replace("operator", "operater")),
                10,
                "did you mean `operator`?",
            ),
        ] {
            let told = parse(&text).expect_err(&text).to_string();
            assert!(told.contains(&format!("stillhouse.toml:{line}:")) && told.contains(message), "{text}\n{told}");
        }
    }
}
