//! Compiling in a process of its own, which limits itself and is killed at a deadline: whatever a file
//! does to the compiler, the host only reads an error.

mod apart;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

pub(crate) use apart::Order;
pub use apart::compile_apart;

use crate::limits::{cut, size};

/// What is read of the compiler's words, in bytes.
const WORDS_BYTES_MAX: u64 = 4096;
/// How often an exit is looked for that follows the end of the output, in milliseconds.
const EXIT_LOOK_MS: u64 = 2;

/// The program that compiles rules, and what it may take.
///
/// It is called with `arguments` and one more, and must hand that one to [`compile_apart`]. The bounds
/// are such that a component of 18 MB (with an interpreter of Python) takes less than half of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The program; best the running one, since it must have the same version of wasmtime.
    pub program: PathBuf,
    /// What it is called with.
    pub arguments: Vec<OsString>,
    /// Time on all processors together, in seconds, whatever the size of the file.
    pub cpu_s_max: u32,
    /// More of it for each MiB of the component, in seconds.
    pub cpu_s_per_mib: u32,
    /// Address space, in bytes.
    pub memory_bytes_max: u64,
    /// Wall-clock time for each second of processor time that is allowed, in seconds: a busy machine
    /// is slow, and a compiler that only waits uses no processor.
    pub wall_s_per_cpu_s: u32,
    /// Compiled code, in bytes.
    pub code_bytes_max: u64,
}

impl Compiler {
    /// `program`, called with `arguments` before the one that orders, and the usual bounds.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            cpu_s_max: 10,
            cpu_s_per_mib: 2,
            memory_bytes_max: 2 << 30,
            wall_s_per_cpu_s: 3,
            code_bytes_max: 512 << 20,
        }
    }

    /// Seconds of processor time for a component of so many bytes.
    fn cpu_s(&self, component_bytes: usize) -> u32 {
        let mib = u32::try_from(component_bytes >> 20).unwrap_or(u32::MAX);
        self.cpu_s_max.saturating_add(self.cpu_s_per_mib.saturating_mul(mib))
    }

    /// Compiles `component` for an engine with these settings; the error is for the rule's author.
    pub(crate) fn compile(&self, component: &[u8], stack_bytes: usize, deadlines: bool) -> Result<Vec<u8>, Fault> {
        let cpu_s = self.cpu_s(component.len());
        let order = Order {
            stack_bytes,
            deadlines,
            cpu_s,
            memory_bytes: self.memory_bytes_max,
            component_bytes: component.len() as u64,
        };
        let mut command = Command::new(&self.program);
        command.arg0("stillhouse").args(&self.arguments).arg(order.to_string());
        command.env("RUST_BACKTRACE", "0");
        // A group of its own, so that whatever it starts ends with it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = |e: std::io::Error| Fault::Bound(format!("cannot start {}: {e}", self.program.display()));
        let mut child = command.spawn().map_err(start)?;
        let deadline = Duration::from_secs(cpu_s.saturating_mul(self.wall_s_per_cpu_s).into());
        let (ended, words) = converse(&mut child, component, self.code_bytes_max, deadline);
        // It is gone, and nobody else asks how.
        let _ = child.wait();
        match ended {
            Ended::Itself { status, code } if status.success() => Ok(code),
            Ended::Itself { status, .. } => Err(self.fault(status, &words, cpu_s)),
            Ended::Late => Err(Fault::Bound(format!("compiling took longer than {} s", deadline.as_secs()))),
            Ended::TooMuch => {
                let limit = size(self.code_bytes_max as usize);
                Err(Fault::Bound(format!("compiling made more than {limit} of code (`code_bytes_max`)")))
            }
        }
    }

    /// What an exit without code means.
    fn fault(&self, status: ExitStatus, words: &str, cpu_s: u32) -> Fault {
        let memory =
            ["memory allocation of", "Cannot allocate memory", "os error 12"].iter().any(|said| words.contains(said));
        let signal = status.signal();
        let killed = |by: Signal| signal == Some(by.as_raw());
        if killed(Signal::XCPU) {
            return Fault::Bound(format!("compiling took longer than {cpu_s} s of CPU (`cpu_s_max`, `cpu_s_per_mib`)"));
        }
        if memory {
            let limit = size(self.memory_bytes_max as usize);
            return Fault::Bound(format!("compiling needed more than {limit} (`memory_bytes_max`)"));
        }
        if status.code() == Some(apart::REFUSED) {
            return Fault::Refused(words.trim().to_owned());
        }
        let words: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).take(2).collect();
        let words = if words.is_empty() { "it said nothing".to_owned() } else { words.join(" ") };
        let words = cut(&words, 512);
        Fault::Bound(match signal {
            Some(signal) if killed(Signal::KILL) => {
                format!("the compiler was killed (signal {signal}), perhaps for want of memory: {words}")
            }
            Some(signal) => format!("the compiler crashed on it (signal {signal}): {words}"),
            None => format!("the compiler failed on it ({status}): {words}"),
        })
    }
}

/// Why there is no code.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The compiler refuses the component, with its own words.
    Refused(String),
    /// A bound was hit, or the compiler broke.
    Bound(String),
}

enum Ended {
    /// By itself.
    Itself {
        status: ExitStatus,
        code: Vec<u8>,
    },
    Late,
    TooMuch,
}

/// Gives it the component and takes what it says, until it ends or the deadline passes; kills it where
/// it does not end by itself.
fn converse(child: &mut Child, component: &[u8], code_bytes_max: u64, deadline: Duration) -> (Ended, String) {
    let until = Instant::now() + deadline;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        // A compiler that ends early does not take all of it, which its exit explains.
        scope.spawn(move || stdin.map(|mut to| to.write_all(component)));
        let words = scope.spawn(move || {
            let mut words = Vec::new();
            if let Some(mut from) = stderr {
                let _ = (&mut from).take(WORDS_BYTES_MAX).read_to_end(&mut words);
                let _ = std::io::copy(&mut from, &mut std::io::sink());
            }
            String::from_utf8_lossy(&words).into_owned()
        });
        let (to, code) = channel();
        scope.spawn(move || {
            let mut code = Vec::new();
            // What is cut short is not accepted as code.
            let _ = stdout.map(|from| from.take(code_bytes_max + 1).read_to_end(&mut code));
            let _ = to.send(code);
        });
        let ended = match code.recv_timeout(deadline) {
            Ok(code) if code.len() as u64 > code_bytes_max => Ended::TooMuch,
            Ok(code) => match exit_until(child, until) {
                Some(status) => Ended::Itself { status, code },
                None => Ended::Late,
            },
            Err(_) => Ended::Late,
        };
        // Its ends of the pipes are closed then, and no thread waits any more.
        kill(child);
        (ended, words.join().unwrap_or_default())
    })
}

/// Ends it, if it has not ended, and all that it has started.
fn kill(child: &Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
}

fn exit_until(child: &mut Child, until: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(EXIT_LOOK_MS)),
            _ => return None,
        }
    }
}
