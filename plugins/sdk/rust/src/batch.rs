//! The events of a call as the plugin sees them: [`Batch`] owns the columns, [`Event`] is an index
//! into them.

use serde_json::Value;

use crate::plugin::Fault;
use crate::raw::types::{self, Dictionary, Lines};

/// The events of one call, oldest first.
#[derive(Debug, Clone)]
pub struct Batch {
    columns: types::Batch,
}

impl Batch {
    /// The batch as the contract has it.
    pub fn columns(&self) -> &types::Batch {
        &self.columns
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.columns.types.index.len()
    }

    /// Whether there are none; the host sends no such batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The event at an index.
    ///
    /// # Panics
    /// If there is none.
    pub fn event(&self, index: usize) -> Event<'_> {
        assert!(index < self.len(), "event {index} of a batch of {}", self.len());
        Event { batch: self, index }
    }

    /// All events, in order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event<'_>> {
        (0..self.len()).map(|index| Event { batch: self, index })
    }
}

impl From<types::Batch> for Batch {
    fn from(columns: types::Batch) -> Self {
        Self { columns }
    }
}

/// One event: a view on the batch that costs nothing to make or copy.
///
/// Only the type is always there. What else the plugin reads it must want
/// ([`Plugin::wants`](crate::Plugin::wants)): a column that was not wanted looks as if the events
/// had no such value.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    batch: &'a Batch,
    index: usize,
}

impl<'a> Event<'a> {
    /// Where the event stands in its batch.
    pub fn index(&self) -> usize {
        self.index
    }

    /// CloudEvents `type`.
    pub fn ty(&self) -> &'a str {
        entry(&self.batch.columns.types, self.index)
    }

    /// CloudEvents `source`; empty if not wanted.
    pub fn source(&self) -> &'a str {
        self.batch.columns.sources.as_ref().map_or("", |column| entry(column, self.index))
    }

    /// CloudEvents `time` in microseconds since 1970 UTC; `None` if the event has none, or if not
    /// wanted.
    pub fn time(&self) -> Option<u64> {
        self.batch.columns.times.as_ref().map(|times| times[self.index]).filter(|time| *time != 0)
    }

    /// CloudEvents `id`; empty if not wanted.
    pub fn id(&self) -> &'a str {
        line(self.batch.columns.ids.as_ref(), self.index)
    }

    /// CloudEvents `subject`; `None` if the event has none, or if not wanted.
    pub fn subject(&self) -> Option<&'a str> {
        Some(line(self.batch.columns.subjects.as_ref(), self.index)).filter(|text| !text.is_empty())
    }

    /// The payload as one line of JSON; empty if the event has none, or if not wanted.
    pub fn data(&self) -> &'a str {
        line(self.batch.columns.data.as_ref(), self.index)
    }

    /// The payload as a value; null if the event has none, or if not wanted. For one field of a
    /// large payload [`pointer::find`](crate::pointer::find) is cheaper.
    ///
    /// # Errors
    /// If the payload is not JSON, which the host rules out.
    pub fn data_json(&self) -> Result<Value, Fault> {
        match self.data() {
            "" => Ok(Value::Null),
            text => Ok(serde_json::from_str(text)?),
        }
    }

    /// All other attributes as one JSON object; empty if not wanted.
    pub fn attributes(&self) -> &'a str {
        line(self.batch.columns.attributes.as_ref(), self.index)
    }

    /// The whole event as one line of the CloudEvents 1.0 JSON format; empty if not wanted.
    pub fn whole(&self) -> &'a str {
        line(self.batch.columns.whole.as_ref(), self.index)
    }

    /// The payload as received, for example protobuf; empty for an event that a transform made, or
    /// if not wanted.
    pub fn raw(&self) -> &'a [u8] {
        let Some(blobs) = &self.batch.columns.raw else { return &[] };
        let start = if self.index == 0 { 0 } else { blobs.ends[self.index - 1] as usize };
        &blobs.bytes[start..blobs.ends[self.index] as usize]
    }
}

fn entry(column: &Dictionary, index: usize) -> &str {
    &column.values[usize::from(column.index[index])]
}

/// The text between the newline of the entry before and its own.
fn line(column: Option<&Lines>, index: usize) -> &str {
    let Some(lines) = column else { return "" };
    let start = if index == 0 { 0 } else { lines.ends[index - 1] as usize + 1 };
    &lines.text[start..lines.ends[index] as usize]
}

#[cfg(test)]
mod tests {
    use crate::testing::{batch, event};

    #[test]
    fn reads_each_column_of_each_event() {
        let batch = batch([
            event("a").id("1").source("s").time(5).subject("x").data("{\"é\":1}").raw(b"\x01\x02"),
            event("b").id("2").attributes("{\"k\":\"v\"}").whole("{}"),
        ]);
        let first = batch.event(0);
        assert_eq!((first.ty(), first.id(), first.source()), ("a", "1", "s"));
        assert_eq!((first.time(), first.subject()), (Some(5), Some("x")));
        assert_eq!((first.data(), first.raw()), ("{\"é\":1}", &[1u8, 2][..]));
        let second = batch.event(1);
        assert_eq!((second.ty(), second.id(), second.source()), ("b", "2", ""));
        assert_eq!((second.time(), second.subject()), (None, None));
        assert_eq!((second.data(), second.raw()), ("", &[][..]));
        assert_eq!((second.attributes(), second.whole()), ("{\"k\":\"v\"}", "{}"));
    }

    #[test]
    fn a_column_not_wanted_reads_as_empty() {
        let batch = crate::testing::only_types(["a", "a"]);
        let event = batch.event(1);
        assert_eq!((event.id(), event.source(), event.data()), ("", "", ""));
        assert_eq!((event.attributes(), event.whole(), event.raw()), ("", "", &[][..]));
        assert_eq!((event.time(), event.subject()), (None, None));
        assert!(event.data_json().unwrap().is_null());
    }
}
