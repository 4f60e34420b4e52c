//! The sink that takes everything and keeps nothing: for counting and measuring. Key type:
//! [`NullSink`].

use super::{Job, Progress, Sink, SinkError};

/// Takes events and forgets them.
#[derive(Debug)]
pub struct NullSink;

impl Sink for NullSink {
    fn write(&mut self, _: &Job<'_>, _: &mut Progress) -> Result<(), SinkError> {
        Ok(())
    }
}
