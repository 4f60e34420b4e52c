//! Whether the machine has what the configuration asks for: directories, files, the port. Nothing is
//! made or changed. Key function: [`problems`].

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};
use tokio::net::TcpSocket;

use super::{Kind, Problem};
use crate::config::units::size_text;
use crate::config::{Config, SinkKind};

/// How long a host on this machine may take to accept.
const CONNECT_TIME: Duration = Duration::from_secs(1);

/// What is not as it should be. Must be called within a runtime.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut wrong = Vec::new();
    let mut note = |place: &str, result: Result<(), String>, hint: &str| {
        if let Err(what) = result {
            wrong.push(Problem::new(Kind::Environment, place, what, hint));
        }
    };
    let hint = "it must be a directory that this user can write to";
    note("data_dir", can_write_below(&config.data_dir), hint);
    note("plugin_dir", can_read_dir(&config.plugin_dir), "it must be a directory");
    if !is_running(&config.data_dir) {
        let hint = "another port, or port 0 for any free one: listen = \"127.0.0.1:0\"";
        note("listen", can_listen(config.listen), hint);
    }
    for sink in &config.sinks {
        if let SinkKind::File { path, .. } = &sink.kind {
            note(&format!("sink.{}", sink.name), can_append(path), "");
        }
    }
    wrong
}

/// What is as it should be by now, and may not stay so.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let Some(journal) = &config.journal else { return Vec::new() };
    let Some(free) = free_below(&config.data_dir) else { return Vec::new() };
    let held = held_in(&config.data_dir.join("journal"));
    if journal.max_size <= free.saturating_add(held) {
        return Vec::new();
    }
    let (max, free) = (size_text(journal.max_size), size_text(free));
    let held = if held == 0 {
        String::new()
    } else {
        format!(", beside the {} that it has", size_text(held))
    };
    vec![format!("journal.max_size is {max}, and {free} are free where data_dir is{held}")]
}

/// Bytes that a user may still write where a directory is, or is to be.
fn free_below(dir: &Path) -> Option<u64> {
    let at = dir.ancestors().find(|at| at.is_dir())?;
    let found = rustix::fs::statvfs(at).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes that the files of a directory hold.
fn held_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}

/// Whether a host answers that keeps its things there: then the port is its own.
fn is_running(data_dir: &Path) -> bool {
    let address = std::fs::read_to_string(data_dir.join("listen.addr")).ok();
    let address = address.and_then(|text| text.trim().parse::<SocketAddr>().ok());
    address.is_some_and(|address| TcpStream::connect_timeout(&address, CONNECT_TIME).is_ok())
}

/// Bound and let go of; nothing can connect meanwhile.
fn can_listen(address: SocketAddr) -> Result<(), String> {
    let bind = || -> io::Result<()> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    };
    bind().map_err(|error| format!("cannot listen on {address}: {error}"))
}

fn can_read_dir(dir: &Path) -> Result<(), String> {
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => can_write_below(dir),
        read => read.map(drop).map_err(|error| format!("cannot read {}: {error}", dir.display())),
    }
}

/// Whether a directory can be written to, or made.
fn can_write_below(dir: &Path) -> Result<(), String> {
    let cannot = |at: &Path, error: &dyn std::fmt::Display| {
        Err(format!("cannot write to {}: {error}", at.display()))
    };
    for at in dir.ancestors() {
        match at.metadata() {
            Ok(found) if !found.is_dir() => {
                return cannot(dir, &format!("{} is no directory", at.display()));
            }
            Ok(_) => {
                return match access(at, Access::WRITE_OK | Access::EXEC_OK) {
                    Ok(()) => Ok(()),
                    Err(error) => cannot(at, &io::Error::from(error)),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return cannot(at, &error),
        }
    }
    Ok(())
}

fn can_append(path: &Path) -> Result<(), String> {
    let cannot = |error: io::Error| format!("cannot open {}: {error}", path.display());
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(format!("{} is a directory", path.display())),
        Ok(_) => {
            access(path, Access::WRITE_OK | Access::READ_OK).map_err(|error| cannot(error.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            can_write_below(path.parent().unwrap_or(Path::new("/")))
        }
        Err(error) => Err(cannot(error)),
    }
}
