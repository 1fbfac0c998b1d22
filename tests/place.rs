//! A folder of its own in which the program is called.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use crate::cli::stillhouse;

/// A control server on a socket.
pub const CONTROL: &str = "[control]\nsocket = \"control.sock\"\naudit = \"audit.jsonl\"\n";

pub struct Place(tempfile::TempDir);

impl Place {
    /// With this configuration as `x.toml`.
    pub fn new(config: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        place.write("x.toml", config);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("it can be written");
    }

    /// Nothing of a file that is not there.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The program with these arguments, which have no spaces.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = stillhouse();
        command.current_dir(self.0.path()).args(arguments.split(' '));
        command
    }

    pub fn call(&self, arguments: &str) -> Output {
        self.command(arguments).output().expect("it starts")
    }

    /// What a command printed; it must end well.
    pub fn ok(&self, arguments: &str) -> String {
        let out = self.call(arguments);
        assert!(out.status.success(), "{arguments}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("UTF-8")
    }

    /// What a host counts that is configured by [`CONTROL`], once it answers.
    pub fn metrics(&self) -> Option<String> {
        let mut stream = UnixStream::connect(self.path("control.sock")).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    pub fn start(&self, arguments: &str) -> Child {
        self.command(arguments).stderr(Stdio::inherit()).spawn().expect("it starts")
    }
}
