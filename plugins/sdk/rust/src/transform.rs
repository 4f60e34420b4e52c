//! The role `transform`: what becomes of each event, and the answer's columns made of it.

use crate::batch::{Batch, Event};
use crate::plugin::{Fault, Plugin};
use crate::raw::transform::exports::trommel::plugin::transform::Outcomes;
use crate::raw::types::Dictionary;

/// A plugin that changes events. Tie it to the host with [`transform!`](crate::transform!).
pub trait Transform: Plugin {
    /// Says what becomes of the event. The answer should depend on the event, the configuration and
    /// `state` only: the same event may come again.
    ///
    /// # Errors
    /// If the event cannot be worked on: it becomes a dead letter.
    fn apply(&mut self, event: &Event<'_>) -> Result<Outcome, Fault>;
}

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on as it is.
    Unchanged,
    /// Its way in this pipeline ends.
    Drop,
    /// Another takes its place, with the same id, source and time.
    Replace(NewEvent),
    /// Several take its place, with the ids `id.1`, `id.2` and so on. None at all drops it.
    Split(Vec<NewEvent>),
}

/// A new event: a payload, and what else differs from the event it replaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewEvent {
    /// The payload as JSON; empty for none.
    pub data: String,
    /// The type; `None` for that of the event it replaces.
    pub ty: Option<String>,
    /// The subject, empty for none; `None` for that of the event it replaces. If a plugin gives a
    /// subject to some new events only, it must want `Fields::SUBJECTS`, because the answer has one
    /// for each or for none.
    pub subject: Option<String>,
    /// The other attributes as a JSON object; `None` for those of the event it replaces. For some
    /// new events only: want `Fields::ATTRIBUTES`, as with the subject.
    pub attributes: Option<String>,
}

impl NewEvent {
    /// A new payload; all else stays.
    pub fn data(json: impl Into<String>) -> Self {
        Self { data: json.into(), ..Self::default() }
    }
}

impl From<NewEvent> for Outcome {
    fn from(event: NewEvent) -> Self {
        Self::Replace(event)
    }
}

/// Works on a batch.
pub fn work<T: Transform>(plugin: &mut T, batch: &Batch) -> Outcomes {
    let mut answer = Answer::new(batch);
    for event in batch.events() {
        match plugin.apply(&event) {
            Ok(Outcome::Unchanged) => answer.fates.push(-1),
            Ok(Outcome::Drop) => answer.fates.push(0),
            Ok(Outcome::Replace(new)) => answer.replace(event, [new]),
            Ok(Outcome::Split(new)) => answer.replace(event, new),
            Err(fault) => answer.fault(event, fault),
        }
    }
    answer.finish()
}

/// Collects the outcomes; the columns can be made only when it is known which of them are needed.
struct Answer<'a> {
    batch: &'a Batch,
    fates: Vec<i32>,
    new: Vec<(usize, NewEvent)>,
    faults: Vec<crate::raw::types::Fault>,
}

impl<'a> Answer<'a> {
    fn new(batch: &'a Batch) -> Self {
        Self { batch, fates: Vec::with_capacity(batch.len()), new: Vec::new(), faults: Vec::new() }
    }

    fn fault(&mut self, event: Event<'_>, fault: Fault) {
        self.fates.push(0);
        self.faults.push(fault.at(event.index()));
    }

    fn replace(
        &mut self,
        event: Event<'_>,
        new: impl AsRef<[NewEvent]> + IntoIterator<Item = NewEvent>,
    ) {
        let all = new.as_ref();
        if all.iter().any(|new| new.subject.as_ref().is_some_and(|text| text.contains('\n'))) {
            return self.fault(event, Fault::new("the transform gave a subject with a line break"));
        }
        self.fates.push(all.len() as i32);
        self.new.extend(new.into_iter().map(|new| (event.index(), new)));
    }

    fn finish(mut self) -> Outcomes {
        let columns = self.batch.columns();
        self.refuse_unknown("subject", columns.subjects.is_some(), |new| new.subject.is_some());
        self.refuse_unknown("attributes", columns.attributes.is_some(), |new| {
            new.attributes.is_some()
        });
        Outcomes {
            data: self.lines(|_, new| &new.data),
            types: self.some(|new| new.ty.is_some()).then(|| self.types()),
            subjects: self.some(|new| new.subject.is_some()).then(|| {
                self.lines(|old, new| new.subject.as_deref().or(old.subject()).unwrap_or(""))
            }),
            attributes: self.some(|new| new.attributes.is_some()).then(|| {
                self.lines(|old, new| new.attributes.as_deref().unwrap_or(old.attributes()))
            }),
            fates: self.fates,
            faults: self.faults,
        }
    }

    fn some(&self, has: impl Fn(&NewEvent) -> bool) -> bool {
        self.new.iter().any(|(_, new)| has(new))
    }

    /// A column has an entry for each new event or is not there. If only some have a value, the
    /// others' would be that of the event they replace; where the plugin did not want that column,
    /// nobody here knows it.
    fn refuse_unknown(&mut self, what: &str, wanted: bool, has: impl Fn(&NewEvent) -> bool) {
        if wanted || !self.some(&has) {
            return;
        }
        let mut lost: Vec<usize> =
            self.new.iter().filter(|(_, new)| !has(new)).map(|(old, _)| *old).collect();
        lost.dedup();
        self.new.retain(|(old, _)| !lost.contains(old));
        for index in lost {
            self.fates[index] = 0;
            let reason = format!(
                "the transform gives {what} to some new events but does not want that column"
            );
            self.faults.push(Fault::new(reason).at(index));
        }
    }

    /// One line per new event. A line break in JSON can only be white space between values, so a
    /// blank does as well.
    fn lines<'b>(&'b self, text: impl Fn(Event<'b>, &'b NewEvent) -> &'b str) -> String {
        let length =
            |(old, new): &'b (usize, NewEvent)| text(self.batch.event(*old), new).len() + 1;
        let mut lines = String::with_capacity(self.new.iter().map(length).sum());
        for (old, new) in &self.new {
            let text = text(self.batch.event(*old), new);
            if has_newline(text) {
                lines.push_str(&text.replace('\n', " "));
            } else {
                lines.push_str(text);
            }
            lines.push('\n');
        }
        lines
    }

    #[expect(
        clippy::expect_used,
        reason = "the contract has no room for more; a trap halves the batch"
    )]
    fn types(&self) -> Dictionary {
        let mut types =
            Dictionary { values: Vec::new(), index: Vec::with_capacity(self.new.len()) };
        for (old, new) in &self.new {
            let ty = new.ty.as_deref().unwrap_or(self.batch.event(*old).ty());
            let known = types.values.iter().position(|value| value == ty);
            let place = u16::try_from(known.unwrap_or(types.values.len()));
            types.index.push(place.expect("at most 65,536 types in one answer"));
            if known.is_none() {
                types.values.push(ty.to_string());
            }
        }
        types
    }
}

/// Looks at all bytes without stopping at one, so that many are looked at at once.
fn has_newline(text: &str) -> bool {
    text.as_bytes()
        .chunks(64)
        .any(|some| some.iter().fold(false, |any, byte| any | (*byte == b'\n')))
}

/// Makes a type that is a [`Transform`](trait@crate::Transform) the plugin of this crate.
#[macro_export]
macro_rules! transform {
    ($plugin:ty) => {
        $crate::__plugin!($plugin, transform, {
            impl $crate::raw::transform::exports::trommel::plugin::transform::Guest for Guest {
                fn apply(
                    batch: $crate::raw::types::Batch,
                ) -> $crate::raw::transform::exports::trommel::plugin::transform::Outcomes {
                    INSTANCE.with(|instance| {
                        instance.call(|plugin| $crate::transform::work(plugin, &batch.into()))
                    })
                }
            }
        });
    };
}

#[cfg(test)]
#[path = "transform_tests.rs"]
mod tests;
