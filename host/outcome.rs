//! What plugins answer, and whether an answer fits the question: lengths, indexes, line counts, JSON.
//! Everything in an answer is controlled by a guest, so nothing is used before it is checked here.
//! Pure. Key types: [`Verdicts`], [`Outcomes`], [`Findings`], [`Delivery`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::line;
use crate::text::is_json;

/// No call may leave more events than this behind it, so that an index of 16 bits tells their types.
pub const MAX_EVENTS: usize = 65_536;

/// An event that a plugin could not work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which event of the call.
    pub index: u32,
    /// Why, in the plugin's words.
    pub reason: String,
}

/// A filter's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdicts {
    /// Per event: 1 keeps it, 0 ends its way.
    pub keep: Vec<u8>,
    /// Events that could not be judged.
    pub faults: Vec<Fault>,
}

/// A transform's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// Per event: -1 unchanged, 0 dropped, n the next n new events.
    pub fates: Vec<i32>,
    /// The new payloads, a line each.
    pub data: String,
    /// The new types, if not those of the events replaced: values, and an index per new event.
    pub types: Option<(Vec<String>, Vec<u16>)>,
    /// The new subjects, a line each.
    pub subjects: Option<String>,
    /// The new attributes, a JSON object a line.
    pub attributes: Option<String>,
    /// Events that could not be worked on.
    pub faults: Vec<Fault>,
}

/// How bad an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Something will break.
    Warning,
    /// Something is broken.
    Critical,
}

impl Severity {
    /// Its name in events and files.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Whether an alert begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Edge {
    /// It is so now.
    Raise,
    /// It is over.
    Clear,
}

/// One alert, raised or cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// What it is about; of its plugin only.
    pub key: String,
    /// Which way it goes.
    pub edge: Edge,
    /// How bad it is.
    pub severity: Severity,
    /// For routing and grouping.
    pub labels: Vec<(String, String)>,
    /// One line.
    pub summary: String,
    /// A JSON object, or empty.
    pub details: String,
}

/// An alert plugin's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// Alerts in order.
    pub signals: Vec<Signal>,
    /// Events that could not be looked at.
    pub faults: Vec<Fault>,
}

/// An export plugin's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Every event has been taken.
    Taken,
    /// The same batch again after this long; zero leaves the time to the host.
    Retry(Duration),
    /// These events will never be taken, all others have been.
    Rejected(Vec<Fault>),
}

/// An answer, of whatever role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of a filter.
    Verdicts(Verdicts),
    /// Of a transform.
    Outcomes(Outcomes),
    /// Of an alert plugin.
    Findings(Findings),
    /// Of an export plugin.
    Delivery(Delivery),
}

impl Answer {
    /// Checks the answer to a call with `events` events.
    ///
    /// # Errors
    /// What does not fit, in words for the plugin's author.
    pub fn check(&self, events: usize) -> Result<(), String> {
        match self {
            Answer::Verdicts(verdicts) => {
                check_length("verdicts.keep", verdicts.keep.len(), events)?;
                if let Some(odd) = verdicts.keep.iter().find(|keep| **keep > 1) {
                    return Err(format!("verdicts.keep has {odd}; it takes 0 and 1"));
                }
                check_faults(&verdicts.faults, events)
            }
            Answer::Outcomes(outcomes) => outcomes.check(events),
            Answer::Findings(findings) => {
                findings.signals.iter().try_for_each(Signal::check)?;
                check_faults(&findings.faults, events)
            }
            Answer::Delivery(Delivery::Rejected(faults)) => check_faults(faults, events),
            Answer::Delivery(_) => Ok(()),
        }
    }
}

impl Outcomes {
    /// How many new events it brings.
    pub fn new_events(&self) -> usize {
        self.fates.iter().map(|fate| usize::try_from(*fate).unwrap_or(0)).sum()
    }

    fn check(&self, events: usize) -> Result<(), String> {
        check_length("outcomes.fates", self.fates.len(), events)?;
        check_faults(&self.faults, events)?;
        if let Some(fate) = self.fates.iter().find(|fate| **fate < -1) {
            return Err(format!("outcomes.fates has {fate}; it takes -1, 0 or a count"));
        }
        if let Some(fault) = self.faults.iter().find(|f| self.fates[f.index as usize] > 0) {
            return Err(format!("event {} has both a fault and new events", fault.index));
        }
        let count = self.new_events();
        if count > MAX_EVENTS {
            return Err(format!("{count} new events in one answer; {MAX_EVENTS} is the most"));
        }
        check_lines("outcomes.data", &self.data, count, |line| {
            if line.is_empty() || is_json(line) { Ok(()) } else { Err("is not JSON".to_owned()) }
        })?;
        if let Some((values, index)) = &self.types {
            check_length("outcomes.types.index", index.len(), count)?;
            if let Some(at) = index.iter().find(|at| usize::from(**at) >= values.len()) {
                return Err(format!("outcomes.types.index has {at} of {} values", values.len()));
            }
            if values.iter().any(|ty| ty.is_empty()) {
                return Err("outcomes.types has an empty type".to_owned());
            }
        }
        if let Some(subjects) = &self.subjects {
            check_lines("outcomes.subjects", subjects, count, |_| Ok(()))?;
        }
        if let Some(attributes) = &self.attributes {
            check_lines("outcomes.attributes", attributes, count, |text| {
                line::read_attributes(text).map(drop)
            })?;
        }
        Ok(())
    }
}

impl Signal {
    /// Checks what a guest says of an alert.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self) -> Result<(), String> {
        if self.key.is_empty() {
            return Err("a signal has an empty key".to_owned());
        }
        let details = self.details.trim_start();
        let is_object = details.starts_with('{') && is_json(details);
        if !details.is_empty() && !is_object {
            return Err(format!("the details of signal {:?} are not a JSON object", self.key));
        }
        Ok(())
    }
}

/// The lines of a text as guests write them: joined by newlines, one at the end does no harm.
pub fn lines(text: &str, count: usize) -> impl Iterator<Item = &str> {
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    let mut start = 0;
    let line = move |end| {
        let line = &text[start..end];
        start = end + 1;
        line
    };
    ends.map(line).take(count)
}

fn check_lines(
    what: &str,
    text: &str,
    count: usize,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    // A newline at the end ends the last line and begins none; a single empty line is no text.
    let newlines = memchr::memchr_iter(b'\n', text.as_bytes()).count();
    let ends_open = !text.is_empty() && !text.ends_with('\n');
    let found = newlines + usize::from(ends_open);
    if found != count && !(text.is_empty() && count == 1) {
        return Err(format!("{what} has {found} lines for {count} events"));
    }
    for (number, line) in lines(text, count).enumerate() {
        check(line).map_err(|why| format!("line {number} of {what} {why}"))?;
    }
    Ok(())
}

fn check_length(what: &str, length: usize, wanted: usize) -> Result<(), String> {
    if length == wanted {
        return Ok(());
    }
    Err(format!("{what} has {length} entries for {wanted} events"))
}

fn check_faults(faults: &[Fault], events: usize) -> Result<(), String> {
    match faults.iter().find(|fault| fault.index as usize >= events) {
        Some(fault) => Err(format!("a fault names event {} of {events}", fault.index)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(fates: &[i32], data: &str) -> Outcomes {
        Outcomes { fates: fates.to_vec(), data: data.to_owned(), ..Outcomes::default() }
    }

    #[test]
    fn an_answer_must_have_the_length_of_the_question() {
        let verdicts = Verdicts { keep: vec![1, 0], faults: vec![] };
        assert!(Answer::Verdicts(verdicts.clone()).check(2).is_ok());
        let error = Answer::Verdicts(verdicts).check(3).unwrap_err();
        assert_eq!(error, "verdicts.keep has 2 entries for 3 events");
    }

    #[test]
    fn lines_are_counted_with_or_without_the_last_newline() {
        for (fates, data) in [
            (&[1, -1, 2][..], "1\n2\n3"),
            (&[1, -1, 2], "1\n2\n3\n"),
            (&[-1, 0], ""),
            (&[1], ""),
            (&[1], "\n"),
            (&[2], "\n1"),
            (&[2], "1\n\n"),
        ] {
            assert_eq!(outcomes(fates, data).check(fates.len()), Ok(()), "{fates:?} {data:?}");
        }
        for (fates, data) in
            [(&[2][..], "1"), (&[2], "1\n"), (&[1], "1\n2"), (&[-1], "1"), (&[2], "")]
        {
            assert!(outcomes(fates, data).check(fates.len()).is_err(), "{fates:?} {data:?}");
        }
    }

    #[test]
    fn every_part_of_an_answer_is_checked() {
        for (broken, says) in [
            (outcomes(&[-2], ""), "-2"),
            (outcomes(&[1], "{"), "line 0 of outcomes.data is not JSON"),
            (outcomes(&[100_000], ""), "100000 new events"),
            (
                Outcomes { types: Some((vec!["t".into()], vec![1])), ..outcomes(&[1], "1") },
                "1 of 1 values",
            ),
            (
                Outcomes { attributes: Some("{\"Bad Name\":1}".into()), ..outcomes(&[1], "1") },
                "Bad Name",
            ),
            (
                Outcomes {
                    faults: vec![Fault { index: 1, reason: String::new() }],
                    ..outcomes(&[0], "")
                },
                "event 1 of 1",
            ),
        ] {
            let error = broken.check(1).unwrap_err();
            assert!(error.contains(says), "{error:?} does not say {says:?}");
        }
    }
}
