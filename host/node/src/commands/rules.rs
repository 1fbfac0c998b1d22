//! `stillhouse rules`: looks at the rules of a running host, and changes them.

pub mod table;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration as Sleep;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stillhouse::config::duration::Duration;
use stillhouse::config::{Config, Overrides};
use stillhouse_control::client::{Call, ClientError, Target, Uri, call, percent_encoded};
use stillhouse_control::server::{DoneAnswer, StatusAnswer};
use stillhouse_control::slots::{Difference, Kind, Past, Slot};

use super::score::paint;

/// Where the socket is, unless the command line or a configuration says.
const SOCKET_VARIABLE: &str = "STILLHOUSE_SOCKET";

/// The configuration whose socket is taken if nothing else is said.
const CONFIG_DEFAULT: &str = "stillhouse.toml";

pub const HELP: &str = "The host is found by --socket or --url, else by `-c FILE` and its `[control]`, else by
STILLHOUSE_SOCKET, else by the `[control]` of ./stillhouse.toml. On the socket, the host's own
user and root need no token.

Where only one slot has a candidate, --signal and --kind may be left out.

Examples:
  stillhouse rules status --watch
  stillhouse rules stage router-syslog.wasm --signal net.link --why \"tells LACP flaps apart\"
  stillhouse rules diff
  stillhouse rules hold --why \"two differences need a look\"
  stillhouse rules promote --why \"no differences for a day\"
  stillhouse rules rollback --why \"false alarms\" --retroactive true
  stillhouse rules status --url https://host:9443 --token-file token --ca ca.pem --json

Exit codes: 0 done; 1 failed; 2 refused (configuration or command line); 3 refused by the host.";

/// What `rules` takes.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Common {
    /// The signal type of the slot.
    #[arg(long, global = true, value_name = "TYPE")]
    signal: Option<String>,
    /// The kind of the slot: mapper or suppressor.
    #[arg(long, global = true, value_name = "KIND")]
    kind: Option<Kind>,
    /// The configuration whose `[control]` says where the host is.
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The Unix socket of the host.
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// The address of the host, `https://HOST:PORT`.
    #[arg(long, global = true, value_name = "URL")]
    url: Option<Uri>,
    /// A file with the token.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates to trust (PEM), instead of those of the system.
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// The answer of the host as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All slots: what is in force, what is on its way, and what was seen of it.
    Status {
        /// Again and again, every 2 seconds or as often as is said.
        #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "2s")]
        watch: Option<Duration>,
    },
    /// Make a file the candidate of a slot. It is checked, compared and brought in step by step.
    Stage {
        /// The rule, a `.wasm` file.
        file: PathBuf,
        /// A file with its signature.
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
        #[command(flatten)]
        why: Why,
    },
    /// Take the candidate to its next step, though the host would wait.
    Advance(Order),
    /// Keep the candidate at its step until somebody says otherwise.
    Hold(Order),
    /// Make the candidate the stable version.
    Promote {
        #[command(flatten)]
        order: Order,
        /// Even if it has not been through all steps; takes the role admin.
        #[arg(long)]
        force: bool,
    },
    /// Drop the candidate or, where there is none, return to the last good version.
    Rollback {
        #[command(flatten)]
        order: Order,
        /// Distil what it touched again without it, and send corrections; as configured unless given.
        #[arg(long, value_name = "true|false")]
        retroactive: Option<bool>,
    },
    /// What the candidate answers differently: signal, old answer, new answer.
    Diff,
    /// What happened to a slot, newest last.
    History,
}

#[derive(Args, Debug)]
struct Why {
    /// Why, in one line; it stands in the history and in the audit trail.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

#[derive(Args, Debug)]
struct Order {
    #[command(flatten)]
    why: Why,
    /// The digest of the candidate that is meant, or how it begins (8 digits or more); another one is
    /// left as it is.
    #[arg(long, value_name = "DIGEST")]
    candidate: Option<String>,
}

/// Asks the host, and shows what it says.
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    let target = target(&arguments.common)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(ask(arguments, &target));
    match asked {
        Err(error) if matches!(error.downcast_ref(), Some(ClientError::Refused(_))) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(3))
        }
        Err(error) if error.downcast_ref::<Unclear>().is_some() => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(2))
        }
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

/// The command line does not say enough.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unclear(String);

async fn ask(arguments: &Arguments, target: &Target) -> Result<()> {
    let common = &arguments.common;
    match &arguments.what {
        What::Status { watch } => status(common, target, watch.as_ref()).await,
        What::Stage { file, signature, why } => {
            let bytes = std::fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?;
            let mut query = format!("/stage?why={}", percent_encoded(&why.why));
            if let Some(path) = signature {
                let signature =
                    std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
                query.push_str(&format!("&signature={}", percent_encoded(signature.trim())));
            }
            let (signal, kind) = slot(common, target, false).await?;
            let path = Call::slot(&signal, kind, &query);
            change(common, target, "staged", (signal, kind), Call { path, body: Some(("application/wasm", bytes)) })
                .await
        }
        What::Advance(given) => order(common, target, given, ("advance", "advanced"), json!({})).await,
        What::Hold(given) => order(common, target, given, ("hold", "held"), json!({})).await,
        What::Promote { order: given, force } => {
            let more = if *force { json!({ "force": true }) } else { json!({}) };
            order(common, target, given, ("promote", "promoted"), more).await
        }
        What::Rollback { order: given, retroactive } => {
            let more = retroactive.map_or(json!({}), |retroactive| json!({ "retroactive": retroactive }));
            order(common, target, given, ("rollback", "rolled back"), more).await
        }
        What::Diff => {
            #[derive(serde::Deserialize)]
            struct Answer {
                differences: Vec<Difference>,
            }
            let (signal, kind) = slot(common, target, true).await?;
            let body = call(target, Call::get(Call::slot(&signal, kind, "/differences"))).await?;
            let show = |answer: Answer| table::differences(&signal, kind, &answer.differences, paint());
            print(common, &body, show)
        }
        What::History => {
            #[derive(serde::Deserialize)]
            struct Answer {
                history: Vec<Past>,
            }
            let (signal, kind) = slot(common, target, false).await?;
            let body = call(target, Call::get(Call::slot(&signal, kind, "/history"))).await?;
            print(common, &body, |answer: Answer| table::history(&signal, kind, &answer.history, paint()))
        }
    }
}

async fn status(common: &Common, target: &Target, watch: Option<&Duration>) -> Result<()> {
    loop {
        let body = call(target, Call::get(slot_path(common))).await?;
        if watch.is_some() && std::io::stdout().is_terminal() {
            // Home, and clear to the end: less flicker than clearing first.
            print!("\x1b[H\x1b[J");
        }
        match (&common.signal, common.kind) {
            (Some(_), Some(_)) => print(common, &body, |slot: Slot| table::slots(&[slot], paint()))?,
            (signal, kind) => {
                let chosen = |slot: &Slot| {
                    signal.as_ref().is_none_or(|signal| *signal == slot.signal)
                        && kind.is_none_or(|kind| kind == slot.kind)
                };
                let show = |mut answer: StatusAnswer| {
                    answer.status.slots.retain(chosen);
                    table::status(&answer, paint())
                };
                print(common, &body, show)?;
            }
        }
        let Some(every) = watch else { return Ok(()) };
        tokio::time::sleep(Sleep::from_micros(every.0.max(100_000) as u64)).await;
    }
}

fn slot_path(common: &Common) -> String {
    match (&common.signal, common.kind) {
        (Some(signal), Some(kind)) => Call::slot(signal, kind, ""),
        _ => "/v1/status".into(),
    }
}

async fn order(
    common: &Common,
    target: &Target,
    order: &Order,
    (name, done): (&str, &str),
    mut body: Value,
) -> Result<()> {
    let (signal, kind) = slot(common, target, true).await?;
    body["why"] = json!(order.why.why);
    if let Some(candidate) = &order.candidate {
        body["candidate"] = json!(candidate);
    }
    let path = Call::slot(&signal, kind, &format!("/{name}"));
    let body = Some(("application/json", body.to_string().into_bytes()));
    change(common, target, done, (signal, kind), Call { path, body }).await
}

async fn change(
    common: &Common,
    target: &Target,
    done: &str,
    (signal, kind): (String, Kind),
    asked: Call,
) -> Result<()> {
    let body = call(target, asked).await?;
    print(common, &body, |answer: DoneAnswer| table::done(done, &signal, kind, &answer))
}

/// The slot that is meant: what is left out must be clear from what there is.
async fn slot(common: &Common, target: &Target, candidate: bool) -> Result<(String, Kind)> {
    if let (Some(signal), Some(kind)) = (&common.signal, common.kind) {
        return Ok((signal.clone(), kind));
    }
    let answer: StatusAnswer = serde_json::from_slice(&call(target, Call::get("/v1/status")).await?)?;
    let mut fitting = answer.status.slots;
    fitting.retain(|slot| common.signal.as_ref().is_none_or(|signal| *signal == slot.signal));
    fitting.retain(|slot| common.kind.is_none_or(|kind| kind == slot.kind));
    if candidate && fitting.iter().any(|slot| slot.candidate.is_some()) {
        fitting.retain(|slot| slot.candidate.is_some());
    }
    match fitting.as_slice() {
        [slot] => Ok((slot.signal.clone(), slot.kind)),
        [] => bail!(Unclear("the host has no such slot; `stillhouse rules status` shows those it has".into())),
        several => {
            let name = |slot: &Slot| format!("\n  --signal {} --kind {}", table::plain(&slot.signal), slot.kind);
            let names: String = several.iter().take(20).map(name).collect();
            bail!(Unclear(format!("which slot? There are{names}")))
        }
    }
}

/// Prints an answer as JSON or as text.
fn print<T: DeserializeOwned>(common: &Common, body: &[u8], show: impl FnOnce(T) -> String) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if common.json {
        let value: Value = serde_json::from_slice(body).context("the answer of the host is no JSON")?;
        serde_json::to_writer_pretty(&mut out, &value)?;
        writeln!(out)?;
    } else {
        let answer = serde_json::from_slice(body);
        out.write_all(
            show(answer.context("the answer of the host is of another version than this program")?).as_bytes(),
        )?;
    }
    Ok(out.flush()?)
}

fn target(common: &Common) -> Result<Target> {
    let token = common.token_file.as_ref().map(|path| {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{}: the token cannot be read", path.display()))?;
        anyhow::Ok(text.trim().to_owned())
    });
    let token = token.transpose()?;
    if let Some(url) = &common.url {
        return Ok(Target::Url { url: url.clone(), token, ca: common.ca.clone() });
    }
    let path = match (&common.socket, &common.config, std::env::var_os(SOCKET_VARIABLE)) {
        (Some(socket), _, _) => socket.clone(),
        (None, Some(config), _) => configured(config)?,
        (None, None, Some(socket)) if !socket.is_empty() => socket.into(),
        _ if Path::new(CONFIG_DEFAULT).exists() => configured(Path::new(CONFIG_DEFAULT))?,
        _ => bail!(
            "which host? Name its socket with --socket or {SOCKET_VARIABLE}, its configuration with -c, or its address \
             with --url"
        ),
    };
    Ok(Target::Socket { path, token })
}

fn configured(path: &Path) -> Result<PathBuf> {
    let control = Config::load(path, &Overrides::default())?.control;
    let control = control.with_context(|| {
        format!("{}: there is no `[control]`: the host cannot be steered; add `socket` and `audit`", path.display())
    })?;
    control
        .socket
        .with_context(|| format!("{}: `[control]` has no `socket`; name the address with --url", path.display()))
}
