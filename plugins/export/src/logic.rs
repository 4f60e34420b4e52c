//! Delivery: requests made of events, answers read as what to do next, and a memory of what is done
//! while the host gives the same batch again.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use trommel_plugin::export::Undelivered;
use trommel_plugin::http::{self, Failure, Request, Response};
use trommel_plugin::{Batch, Event, Fault};

use crate::settings::{Settings, Shape};

/// The longest wait another side may ask for: a wrong clock there must not stop a pipeline for a
/// day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// How much of an answer is worth keeping with a dead letter.
const MAX_REASON: usize = 200;

/// Delivers batches.
#[derive(Debug)]
pub struct Courier {
    settings: Settings,
    /// What has become of events of the batch that the host gives again, oldest first for those
    /// that look the same. Lost with the instance: then they are sent once more.
    settled: HashMap<u64, Vec<Settled>>,
}

/// What has become of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Settled {
    Taken,
    Refused(String),
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Taken,
    /// The other side will never take this; with the mark, part of it perhaps.
    Refused(String, bool),
    Later(Option<Duration>),
}

/// An event that is still to be sent.
struct Letter<'a> {
    event: Event<'a>,
    mark: u64,
    body: String,
}

impl Courier {
    /// A courier that has delivered nothing.
    pub fn new(settings: Settings) -> Self {
        Self { settings, settled: HashMap::new() }
    }

    /// How it is configured.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Delivers a batch, or as much of it as has not been settled before.
    pub fn deliver(&mut self, batch: &Batch) -> Result<(), Undelivered> {
        let mut refused = Vec::new();
        let letters = self.open_letters(batch, &mut refused);
        let size = if self.settings.shape == Shape::Each { 1 } else { letters.len().max(1) };
        let mut piles: Vec<&[Letter<'_>]> = letters.chunks(size).rev().collect();
        while let Some(pile) = piles.pop() {
            match self.send(pile) {
                Answer::Taken => self.settle(pile, &Settled::Taken),
                Answer::Refused(_, true) if pile.len() > 1 => {
                    let (first, second) = pile.split_at(pile.len() / 2);
                    piles.extend([second, first]);
                }
                Answer::Refused(reason, _) => {
                    refused.extend(
                        pile.iter().map(|letter| (letter.event.index(), Fault::new(&reason))),
                    );
                    self.settle(pile, &Settled::Refused(reason));
                }
                Answer::Later(after) => return Err(Undelivered::Retry(after)),
            }
        }
        self.settled.clear();
        if refused.is_empty() { Ok(()) } else { Err(Undelivered::Reject(refused)) }
    }

    /// The events that are not settled. Those that were refused before are refused again without
    /// asking.
    fn open_letters<'a>(
        &self,
        batch: &'a Batch,
        refused: &mut Vec<(usize, Fault)>,
    ) -> Vec<Letter<'a>> {
        // Events that look the same are told apart by how many there are.
        let mut settled: HashMap<u64, std::slice::Iter<'_, Settled>> =
            self.settled.iter().map(|(mark, fates)| (*mark, fates.iter())).collect();
        let mut letters = Vec::with_capacity(batch.len());
        for event in batch.events() {
            let body = self.settings.body(&event);
            let mark = mark(&event, &body);
            match settled.get_mut(&mark).and_then(Iterator::next) {
                None => letters.push(Letter { event, mark, body }),
                Some(Settled::Taken) => {}
                Some(Settled::Refused(reason)) => refused.push((event.index(), Fault::new(reason))),
            }
        }
        letters
    }

    fn settle(&mut self, pile: &[Letter<'_>], fate: &Settled) {
        for letter in pile {
            self.settled.entry(letter.mark).or_default().push(fate.clone());
        }
    }

    fn send(&self, pile: &[Letter<'_>]) -> Answer {
        let Some(first) = pile.first() else { return Answer::Taken };
        let bodies: Vec<&str> = pile.iter().map(|letter| letter.body.as_str()).collect();
        let mut request = Request::new(&self.settings.method, &self.settings.url)
            .with_body(self.settings.join(&bodies));
        request.headers = self.settings.headers(&first.event);
        if let Some(timeout) = self.settings.timeout {
            request = request.with_timeout(timeout);
        }
        match http::send(&request) {
            Ok(response) => read(&response),
            Err(Failure::Refused(reason)) => Answer::Refused(format!("not sent: {reason}"), false),
            Err(Failure::Unreachable(_) | Failure::Timeout) => Answer::Later(None),
        }
    }
}

/// What tells an event from others. Not kept beyond the instance, so it need not be the same in
/// every version.
fn mark(event: &Event<'_>, body: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (event.source(), event.id(), body).hash(&mut hasher);
    hasher.finish()
}

fn read(response: &Response) -> Answer {
    match response.status {
        200..300 => Answer::Taken,
        408 | 429 | 500.. => Answer::Later(retry_after(response)),
        status => {
            // These speak of the content, so one event may spoil it for the others.
            let divisible = matches!(status, 400 | 413 | 422);
            Answer::Refused(reason(status, response.text()), divisible)
        }
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.header("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

fn reason(status: u16, body: &str) -> String {
    let start = body.trim().replace(char::is_control, " ");
    match start.get(..start.floor_char_boundary(MAX_REASON)) {
        None | Some("") => format!("status {status}"),
        Some(cut) if cut.len() < start.len() => format!("status {status}: {cut}…"),
        Some(whole) => format!("status {status}: {whole}"),
    }
}

#[cfg(test)]
#[path = "logic_tests.rs"]
mod tests;
