//! Python with the packages that tests compare against, as `make python` installs them.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::{output_of, repository};

/// An interpreter of one of the environments, `vendor` or `cloudevents1`.
pub fn interpreter(environment: &str) -> PathBuf {
    let path = repository().join("target/python").join(environment).join("bin/python");
    assert!(path.exists(), "{} is missing: run `make python`", path.display());
    path
}

/// A script of tests/python, ready to be given arguments.
pub fn script(environment: &str, name: &str) -> Command {
    let mut command = Command::new(interpreter(environment));
    command.arg(repository().join("tests/python").join(name));
    command
}

/// Runs a script that must succeed.
pub fn run(command: &mut Command) -> Output {
    let output = output_of(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
