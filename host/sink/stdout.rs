//! Lines on standard output. Key type: [`StdoutSink`].

use std::io::Write as _;

use super::{Job, Progress, Sink, SinkError};

/// Writes to standard output, a batch at a time, past any buffer.
#[derive(Debug)]
pub struct StdoutSink;

impl Sink for StdoutSink {
    fn write(&mut self, job: &Job<'_>, progress: &mut Progress) -> Result<(), SinkError> {
        let bytes = &*job.lines.bytes;
        let mut out = std::io::stdout().lock();
        while progress.written < bytes.len() {
            match out.write(&bytes[progress.written..]) {
                Ok(0) => return Err(SinkError::Fatal("standard output takes no more".to_owned())),
                Ok(count) => progress.written += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                    return Err(SinkError::Fatal("standard output was closed".to_owned()));
                }
                Err(error) => return Err(SinkError::retry(error.to_string())),
            }
        }
        out.flush().map_err(|error| SinkError::retry(error.to_string()))
    }
}
