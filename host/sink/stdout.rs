//! Lines on standard output. Key type: [`StdoutSink`].

use std::io::Write as _;

use super::{Sink, SinkError};
use crate::columns::Lines;

/// Writes to standard output, a batch at a time, past any buffer.
#[derive(Debug, Default)]
pub struct StdoutSink {
    /// Bytes of the current batch that are out: a retry goes on there.
    written: usize,
}

impl Sink for StdoutSink {
    fn wants_lines(&self) -> bool {
        true
    }

    fn write(&mut self, lines: &Lines<'_>) -> Result<(), SinkError> {
        let bytes = lines.text.as_bytes();
        let mut out = std::io::stdout().lock();
        while self.written < bytes.len() {
            match out.write(&bytes[self.written..]) {
                Ok(0) => return Err(SinkError::Fatal("standard output takes no more".to_owned())),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                    return Err(SinkError::Fatal("standard output was closed".to_owned()));
                }
                Err(error) => return Err(SinkError::Retry(error.to_string())),
            }
        }
        out.flush().map_err(|error| SinkError::Retry(error.to_string()))?;
        self.written = 0;
        Ok(())
    }
}
