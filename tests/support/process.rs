//! Processes that end with their test. Key type: [`Running`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use super::wait_for;

/// A process, its standard error in a file.
pub struct Running {
    child: Child,
    /// Where its standard error goes.
    pub log: PathBuf,
}

impl Running {
    /// Starts a command; standard output goes to a file too.
    pub fn start(command: &mut Command, out: &Path, log: &Path) -> Running {
        Running::start_into(command, File::create(out).unwrap().into(), log)
    }

    /// Starts a command whose standard output goes elsewhere.
    pub fn start_into(command: &mut Command, out: Stdio, log: &Path) -> Running {
        let child = readable(command)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(File::create(log).unwrap())
            .spawn()
            .unwrap();
        Running { child, log: log.to_owned() }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Its id.
    pub fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = self.id();
        // It may have ended by itself.
        let _ = rustix::process::kill_process(id, signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("a process to end", || self.child.try_wait().unwrap())
    }

    /// Its status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// Runs a command to its end.
pub fn output_of(command: &mut Command) -> Output {
    readable(command).stdin(Stdio::null()).output().unwrap()
}

/// Tests read logs as people do, from files all the same.
fn readable(command: &mut Command) -> &mut Command {
    if !command.get_envs().any(|(name, _)| name == "TROMMEL_LOG_FORMAT") {
        command.env("TROMMEL_LOG_FORMAT", "human");
    }
    command
}
