//! For unit tests of plugins, on any target but WebAssembly: events made by hand, and a stand-in
//! for the host in memory, one per thread (so one per test).

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::batch::Batch;
use crate::raw::host::http::{Failure, Request, Response};
use crate::raw::host::log::Level;
use crate::raw::types::{self, Blobs, Dictionary, Lines};

type Answer = Box<dyn FnMut(&Request) -> Result<Response, Failure>>;

#[derive(Default)]
struct Host {
    now: u64,
    state: BTreeMap<String, String>,
    lines: Vec<(Level, String)>,
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<String, f64>,
    answer: Option<Answer>,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

fn host<R>(work: impl FnOnce(&mut Host) -> R) -> R {
    HOST.with_borrow_mut(work)
}

/// Sets what the clock says, in microseconds since 1970 UTC.
pub fn set_now(now: u64) {
    host(|host| host.now = now);
}

/// Sets who answers requests.
pub fn on_request(answer: impl FnMut(&Request) -> Result<Response, Failure> + 'static) {
    host(|host| host.answer = Some(Box::new(answer)));
}

/// Takes the lines logged so far.
pub fn take_log() -> Vec<(Level, String)> {
    host(|host| std::mem::take(&mut host.lines))
}

/// All keys and values of the state.
pub fn state_entries() -> BTreeMap<String, String> {
    host(|host| host.state.clone())
}

/// What a counter has come to.
pub fn counter(name: &str) -> u64 {
    host(|host| host.counters.get(name).copied().unwrap_or(0))
}

/// What a gauge was set to last.
pub fn gauge(name: &str) -> Option<f64> {
    host(|host| host.gauges.get(name).copied())
}

pub(crate) mod log {
    //! Stands in for `log`.
    pub fn write(level: super::Level, message: &str) {
        super::host(|host| host.lines.push((level, message.to_string())));
    }
}

pub(crate) mod clock {
    //! Stands in for `clock`.
    pub fn now() -> u64 {
        super::host(|host| host.now)
    }
}

pub(crate) mod metrics {
    //! Stands in for `metrics`.
    pub fn count(name: &str, by: u32) {
        super::host(|host| *host.counters.entry(name.into()).or_default() += u64::from(by));
    }
    pub fn gauge(name: &str, value: f64) {
        super::host(|host| host.gauges.insert(name.into(), value));
    }
}

pub(crate) mod http {
    //! Stands in for `http`.
    use super::{Failure, Request, Response};

    pub fn send(request: &Request) -> Result<Response, Failure> {
        // Taken out for the call, so that the answer may itself look at the host.
        let Some(mut answer) = super::host(|host| host.answer.take()) else {
            return Err(Failure::Refused("the test answers no requests".into()));
        };
        let response = answer(request);
        super::host(|host| host.answer = Some(answer));
        response
    }
}

pub(crate) mod state {
    //! Stands in for `state`, without its limits.
    use std::ops::Bound;

    pub fn get(key: &str) -> Option<String> {
        super::host(|host| host.state.get(key).cloned())
    }
    pub fn set(key: &str, value: &str) {
        super::host(|host| host.state.insert(key.into(), value.into()));
    }
    pub fn remove(key: &str) {
        super::host(|host| host.state.remove(key));
    }
    pub fn add(key: &str, delta: i64) -> i64 {
        let value = get(key).unwrap_or_else(|| "0".into());
        let value: i64 = value.parse().unwrap_or_else(|_| panic!("\"{key}\" is not a number"));
        let sum = value.checked_add(delta).unwrap_or_else(|| panic!("\"{key}\" does not fit"));
        set(key, &sum.to_string());
        sum
    }
    pub fn scan(prefix: &str, after: &str, limit: u32) -> Vec<(String, String)> {
        let from = if after.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(after) };
        super::host(|host| {
            let entries = host.state.range::<str, _>((from, Bound::Unbounded));
            entries
                .skip_while(|(key, _)| key.as_str() < prefix)
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(limit as usize)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        })
    }
}

/// An event made by hand.
#[derive(Debug, Clone, Default)]
pub struct EventSpec {
    ty: String,
    source: String,
    time: u64,
    id: String,
    subject: String,
    data: String,
    attributes: String,
    whole: String,
    raw: Vec<u8>,
}

/// An event of a type and nothing else.
pub fn event(ty: &str) -> EventSpec {
    EventSpec { ty: ty.into(), ..EventSpec::default() }
}

impl EventSpec {
    /// With a source.
    pub fn source(self, source: &str) -> Self {
        Self { source: source.into(), ..self }
    }
    /// With a time, in microseconds since 1970 UTC.
    pub fn time(self, time: u64) -> Self {
        Self { time, ..self }
    }
    /// With an id.
    pub fn id(self, id: &str) -> Self {
        Self { id: id.into(), ..self }
    }
    /// With a subject.
    pub fn subject(self, subject: &str) -> Self {
        Self { subject: subject.into(), ..self }
    }
    /// With a payload, as JSON.
    pub fn data(self, json: &str) -> Self {
        Self { data: json.into(), ..self }
    }
    /// With other attributes, as a JSON object.
    pub fn attributes(self, json: &str) -> Self {
        Self { attributes: json.into(), ..self }
    }
    /// With its whole line.
    pub fn whole(self, json: &str) -> Self {
        Self { whole: json.into(), ..self }
    }
    /// With a payload as received.
    pub fn raw(self, bytes: &[u8]) -> Self {
        Self { raw: bytes.into(), ..self }
    }
}

/// A batch with every column.
pub fn batch(events: impl IntoIterator<Item = EventSpec>) -> Batch {
    let events: Vec<EventSpec> = events.into_iter().collect();
    Batch::from(types::Batch {
        types: dictionary(events.iter().map(|event| event.ty.as_str())),
        sources: Some(dictionary(events.iter().map(|event| event.source.as_str()))),
        times: Some(events.iter().map(|event| event.time).collect()),
        ids: Some(lines(events.iter().map(|event| &event.id))),
        subjects: Some(lines(events.iter().map(|event| &event.subject))),
        data: Some(lines(events.iter().map(|event| &event.data))),
        attributes: Some(lines(events.iter().map(|event| &event.attributes))),
        whole: Some(lines(events.iter().map(|event| &event.whole))),
        raw: Some(blobs(events.iter().map(|event| event.raw.as_slice()))),
    })
}

/// A batch as a plugin gets it that wants no column.
pub fn only_types<'a>(types: impl IntoIterator<Item = &'a str>) -> Batch {
    let types = dictionary(types.into_iter());
    let (times, ids, raw) = (None, None, None);
    let (sources, subjects, data, attributes, whole) = (None, None, None, None, None);
    Batch::from(types::Batch { types, sources, times, ids, subjects, data, attributes, whole, raw })
}

fn dictionary<'a>(texts: impl Iterator<Item = &'a str>) -> Dictionary {
    let mut column = Dictionary { values: Vec::new(), index: Vec::new() };
    for text in texts {
        let known = column.values.iter().position(|value| value == text);
        column.index.push(known.unwrap_or(column.values.len()) as u16);
        if known.is_none() {
            column.values.push(text.into());
        }
    }
    column
}

fn lines<'a>(texts: impl Iterator<Item = &'a String>) -> Lines {
    let mut column = Lines { text: String::new(), ends: Vec::new() };
    for text in texts {
        column.text.push_str(text);
        column.ends.push(column.text.len() as u32);
        column.text.push('\n');
    }
    column
}

fn blobs<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Blobs {
    let mut column = Blobs { bytes: Vec::new(), ends: Vec::new() };
    for text in texts {
        column.bytes.extend_from_slice(text);
        column.ends.push(column.bytes.len() as u32);
    }
    column
}
