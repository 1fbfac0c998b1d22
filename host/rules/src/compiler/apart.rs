//! The other side: what the program does that is called to compile.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::str::FromStr;

use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};

use crate::engine::code_settings;

/// The exit code that says that the component is refused, with the reason on standard error.
pub(super) const REFUSED: i32 = 2;
/// How much behind the host it stands in line for the processors.
const NICER_BY: i32 = 10;

/// What is ordered: the settings of the engine that will run the code, and the bounds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub stack_bytes: usize,
    pub deadlines: bool,
    pub cpu_s: u32,
    pub memory_bytes: u64,
    pub component_bytes: u64,
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stack_bytes, deadlines, cpu_s, memory_bytes, component_bytes } = self;
        write!(
            f,
            "stack_bytes={stack_bytes},deadlines={deadlines},cpu_s={cpu_s},memory_bytes={memory_bytes},component_bytes={component_bytes}"
        )
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut values = text.split(',').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        fn value<T: FromStr>(pair: Option<(&str, &str)>, name: &str) -> Result<T, String> {
            let (_, value) = pair.filter(|(got, _)| *got == name).ok_or_else(|| format!("expected `{name}=`"))?;
            value.parse().map_err(|_| format!("`{name}={value}`: expected a number, or true or false"))
        }
        Ok(Self {
            stack_bytes: value(values.next(), "stack_bytes")?,
            deadlines: value(values.next(), "deadlines")?,
            cpu_s: value(values.next(), "cpu_s")?,
            memory_bytes: value(values.next(), "memory_bytes")?,
            component_bytes: value(values.next(), "component_bytes")?,
        })
    }
}

/// Does what a [`Compiler`](crate::Compiler) ordered in its last argument: limits this process for good,
/// reads a component on standard input and writes its code on standard output. For the program that is
/// named there; the code that it returns is the program's to exit with.
pub fn compile_apart(order: &str) -> ExitCode {
    match compile(order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(REFUSED as u8)
        }
    }
}

fn compile(order: &str) -> Result<(), String> {
    let order: Order = order.parse().map_err(|e| format!("this is called by a host that loads a rule: {e}"))?;
    limit_this_process(&order).map_err(|e| format!("the compiler cannot limit itself: {e}"))?;
    let mut component = Vec::new();
    let stdin = std::io::stdin().lock();
    stdin.take(order.component_bytes).read_to_end(&mut component).map_err(|e| format!("cannot read the rule: {e}"))?;
    let engine = wasmtime::Engine::new(&code_settings(order.stack_bytes, order.deadlines));
    let engine = engine.map_err(|e| format!("{e:#}"))?;
    let code = engine.precompile_component(&component).map_err(|e| format!("{e:#}"))?;
    std::io::stdout().lock().write_all(&code).map_err(|e| format!("cannot hand over the code: {e}"))
}

fn limit_this_process(order: &Order) -> rustix::io::Result<()> {
    let limit = |resource, current: u64, maximum: u64| {
        setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
    };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may be as nice as it can be already.
    let _ = nice(NICER_BY);
    limit(Resource::As, order.memory_bytes, order.memory_bytes)?;
    // At the first of the two it is told and dies of it, so that one sees why.
    limit(Resource::Cpu, order.cpu_s.into(), u64::from(order.cpu_s) + 1)?;
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, 0, 0)?;
    // No file beside those that are open.
    limit(Resource::Nofile, 3, 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let order = Order { stack_bytes: 1, deadlines: true, cpu_s: 2, memory_bytes: 3, component_bytes: 4 };
        assert_eq!(order.to_string().parse(), Ok(order));
        assert_eq!("stack_bytes=1".parse::<Order>(), Err("expected `deadlines=`".to_owned()));
        assert!("stack_bytes=x".parse::<Order>().unwrap_err().contains("expected a number"));
    }
}
