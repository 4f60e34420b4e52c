//! What was seen before. Envelopes are of few kinds and hold the same few texts over and over; one that equals
//! a text already looked at is UTF-8 without looking again. Key type: [`Known`].

use std::cell::{Cell, OnceCell};

use super::registry::Chosen;
use super::template::Template;
use crate::text::is_same;

/// Longer texts are not worth the memory.
const MAX_LENGTH: usize = 256;
/// After so many texts that had no place, all places are free again.
const MAX_MISSES: u32 = 10_000;
const PLACES: usize = 256;

/// Some texts, each in the one place it can have. A place is filled once, so what is borrowed from it stays.
#[derive(Debug)]
pub(super) struct Known {
    texts: [OnceCell<Box<str>>; PLACES],
    choices: [OnceCell<Box<Choice>>; PLACES],
    templates: [OnceCell<Box<Template>>; PLACES],
    misses: Cell<u32>,
}

/// Which message a `type_url` stands for, in which registry and under what circumstances.
#[derive(Debug)]
struct Choice {
    registry: u64,
    stream: Box<str>,
    type_url: Box<str>,
    event_type: Box<str>,
    chosen: Option<Chosen>,
}

impl Default for Known {
    fn default() -> Self {
        Known {
            texts: [const { OnceCell::new() }; PLACES],
            choices: [const { OnceCell::new() }; PLACES],
            templates: [const { OnceCell::new() }; PLACES],
            misses: Cell::new(0),
        }
    }
}

impl Known {
    /// The bytes as text; `None` if they are not UTF-8.
    #[inline]
    pub fn text<'a>(&'a self, bytes: &'a [u8]) -> Option<&'a str> {
        let place = &self.texts[place(bytes)];
        match place.get() {
            Some(text) if is_same(text.as_bytes(), bytes) => Some(text),
            _ => self.new_text(place, bytes),
        }
    }

    fn new_text<'a>(&self, place: &OnceCell<Box<str>>, bytes: &'a [u8]) -> Option<&'a str> {
        let text = std::str::from_utf8(bytes).ok()?;
        // A place that is taken stays taken for now.
        if bytes.len() > MAX_LENGTH || place.set(text.into()).is_err() {
            self.misses.set(self.misses.get() + 1);
        }
        Some(text)
    }

    /// What `choose` says, or said before.
    #[inline]
    pub fn choice(
        &self,
        registry: u64,
        stream: &str,
        type_url: &str,
        event_type: &str,
        choose: impl FnOnce() -> Option<Chosen>,
    ) -> Option<Chosen> {
        let place = &self.choices[place(event_type.as_bytes())];
        match place.get() {
            Some(choice)
                if choice.registry == registry
                    && is_same(choice.event_type.as_bytes(), event_type.as_bytes())
                    && is_same(choice.type_url.as_bytes(), type_url.as_bytes())
                    && is_same(choice.stream.as_bytes(), stream.as_bytes()) =>
            {
                choice.chosen
            }
            _ => {
                let chosen = choose();
                let is_long = type_url.len().max(event_type.len()) > MAX_LENGTH;
                let made = || Choice {
                    registry,
                    stream: stream.into(),
                    type_url: type_url.into(),
                    event_type: event_type.into(),
                    chosen,
                };
                if is_long || place.get().is_some() || place.set(Box::new(made())).is_err() {
                    self.misses.set(self.misses.get() + 1);
                }
                chosen
            }
        }
    }

    /// The template that envelopes of this type may fit.
    #[inline]
    pub fn template(&self, event_type: &[u8]) -> Option<&Template> {
        self.templates[place(event_type)].get().map(|template| &**template)
    }

    /// Remembers a template, if there is room for one of this type.
    pub fn learn(&self, event_type: &[u8], make: impl FnOnce() -> Option<Template>) {
        let place = &self.templates[place(event_type)];
        let learnt =
            place.get().is_none() && make().is_some_and(|made| place.set(made.into()).is_ok());
        if !learnt {
            self.misses.set(self.misses.get() + 1);
        }
    }

    /// Whether it holds too much that is no longer of use.
    pub fn is_stale(&self) -> bool {
        self.misses.get() > MAX_MISSES
    }
}

/// By the end and the middle of a text, where those of one kind differ.
#[inline]
fn place(bytes: &[u8]) -> usize {
    let word = |bytes: &[u8]| bytes.first_chunk::<8>().map(|word| u64::from_le_bytes(*word));
    let end = bytes.len().checked_sub(8).and_then(|at| word(&bytes[at..]));
    let end = end.unwrap_or_else(|| bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)));
    let middle = word(&bytes[bytes.len() / 2..]).unwrap_or(0);
    let mixed = end ^ middle.rotate_left(29) ^ bytes.len() as u64;
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize
}

#[cfg(test)]
mod tests {
    use super::super::registry::MessageId;
    use super::*;

    #[test]
    fn every_text_is_what_it_is() {
        let known = Known::default();
        for round in 0..3 {
            for number in 0..500 {
                let text = format!("com.example.{}", number * 7919 % 500);
                assert_eq!(known.text(text.as_bytes()), Some(&*text), "round {round}");
            }
            for bytes in [&b"\xff"[..], b"com.example.\xc3", b""] {
                assert_eq!(known.text(bytes), std::str::from_utf8(bytes).ok());
            }
        }
        assert!(!known.is_stale());
    }

    #[test]
    fn a_choice_holds_for_its_circumstances_only() {
        let known = Known::default();
        let ask = |registry, stream, url, answer| {
            let chosen = Chosen { message: MessageId(answer), is_guess: false };
            known.choice(registry, stream, url, "t", || Some(chosen)).map(|chosen| chosen.message)
        };
        assert_eq!(ask(1, "a", "u", 5), Some(MessageId(5)));
        assert_eq!(ask(1, "a", "u", 6), Some(MessageId(5)), "remembered");
        for (registry, stream, url) in [(2, "a", "u"), (1, "b", "u"), (1, "a", "v")] {
            assert_eq!(ask(registry, stream, url, 7), Some(MessageId(7)));
        }
    }
}
