//! The sink that takes everything and keeps nothing: for counting and measuring. Key type:
//! [`NullSink`].

use super::{Sink, SinkError};
use crate::columns::Lines;

/// Takes events and forgets them.
#[derive(Debug)]
pub struct NullSink;

impl Sink for NullSink {
    fn wants_lines(&self) -> bool {
        false
    }

    fn write(&mut self, _: &Lines<'_>) -> Result<(), SinkError> {
        Ok(())
    }
}
