//! What commands print to standard output or to a file. Key type: [`Out`].

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::Exit;

/// Where a command prints. A reader that has seen enough ends it in order.
pub(super) struct Out(BufWriter<Box<dyn Write>>);

impl Out {
    /// Standard output.
    pub fn stdout() -> Self {
        Out(BufWriter::with_capacity(64 << 10, Box::new(io::stdout().lock())))
    }

    /// A new file, readable by its user alone; nothing that is there is overwritten.
    pub fn file(path: &Path) -> Result<Self, Exit> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let opened = File::options().write(true).create_new(true).mode(0o600).open(path);
        let file = opened.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    "\nhint: it writes new files only; name another one"
                }
                _ => "",
            };
            Exit::environment(format!("cannot make {}: {error}{hint}", path.display()))
        })?;
        Ok(Out(BufWriter::with_capacity(64 << 10, Box::new(file))))
    }

    /// A file where one is named, else standard output.
    pub fn to(path: Option<&Path>) -> Result<Self, Exit> {
        path.map_or_else(|| Ok(Out::stdout()), Out::file)
    }

    /// Prints some bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Exit> {
        self.0.write_all(bytes).map_err(ended)
    }

    /// Prints a line.
    pub fn line(&mut self, line: &str) -> Result<(), Exit> {
        self.write(line.as_bytes())?;
        self.write(b"\n")
    }

    /// Prints a line of JSON.
    pub fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Exit> {
        serde_json::to_writer(&mut self.0, value).map_err(|error| ended(error.into()))?;
        self.write(b"\n")
    }

    /// Sees to it that all of it is out.
    pub fn flush(&mut self) -> Result<(), Exit> {
        self.0.flush().map_err(ended)
    }
}

/// Nobody reads any more, which is no failure, or it cannot be written.
fn ended(error: io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Exit { code: 0, message: String::new() },
        _ => Exit::run_time(error),
    }
}
