//! Dead letters on their way once more: through today's plugins, the oldest first, each from where it
//! died. What became of them is committed together with that they are done with. Key function:
//! `Worker::redrive`.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::halving::Stopped;
use super::input::Intake;
use super::links::Links;
use super::redrive::{Current, Order};
use super::stages::Run;
use super::worker::{MAX_BYTES, MAX_EVENTS, Worker};
use crate::batch::Ends;
use crate::frame::{Frame, Kind, Origin};
use crate::line;
use crate::runner::Role;
use crate::store::{Letter, Stage, Stored};

/// What a pipeline was asked, and is at.
pub(super) struct Redriving {
    orders: mpsc::Receiver<Order>,
    next: Option<Order>,
    current: Option<Current>,
}

impl Redriving {
    pub fn new(orders: mpsc::Receiver<Order>) -> Self {
        Redriving { orders, next: None, current: None }
    }

    /// Waits until there is something to do.
    pub async fn wait(&mut self) {
        if self.current.is_some() || self.next.is_some() {
            return;
        }
        match self.orders.recv().await {
            Some(order) => self.next = Some(order),
            None => std::future::pending().await,
        }
    }
}

/// Which part of its way a batch goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// All of it.
    Whole,
    /// From the plugin in this place on.
    From(usize),
    /// Only to this plugin, which took no part in what became of it.
    Plugin(String),
    /// Only to this sink.
    Sink(String),
}

impl Route {
    pub fn has_plugin(&self, place: usize, name: &str) -> bool {
        match self {
            Route::Whole => true,
            Route::From(first) => place >= *first,
            Route::Plugin(only) => only == name,
            Route::Sink(_) => false,
        }
    }

    pub fn has_sink(&self, name: &str) -> bool {
        match self {
            Route::Whole | Route::From(_) => true,
            Route::Plugin(_) => false,
            Route::Sink(only) => only == name,
        }
    }

    /// Where a dead letter goes today, or why it goes nowhere.
    fn of(letter: &Letter, links: &Links) -> Result<Route, String> {
        match (&letter.event, &letter.raw, letter.kind) {
            (None, None, _) => return Err("nothing is left of it".to_owned()),
            (None, Some(_), Kind::TooLarge(_)) => {
                return Err("only the beginning of its frame is there".to_owned());
            }
            _ => {}
        }
        match &letter.stage {
            Stage::Decode => Ok(Route::Whole),
            Stage::Plugin(name) => Route::of_plugin(name, letter.went_on, links),
            Stage::Sink(name) if links.sinks().iter().any(|sink| *sink.name == **name) => {
                Ok(Route::Sink(name.clone()))
            }
            Stage::Sink(name) => Err(format!(
                "the pipeline does not write to sink {name:?}\nhint: add it to `to`, or drop them"
            )),
        }
    }

    fn of_plugin(name: &str, went_on: bool, links: &Links) -> Result<Route, String> {
        let Some(place) = links.place_of(name) else {
            return Err(format!(
                "plugin {name:?} is not in the pipeline\nhint: put it back, or drop them"
            ));
        };
        if !went_on {
            return Ok(Route::From(place));
        }
        match links.role_of(place) {
            Some(role @ (Role::Filter | Role::Transform)) => Err(format!(
                "all others have it already, and plugin {name:?} is a {} by now",
                role.name()
            )),
            _ => Ok(Route::Plugin(name.to_owned())),
        }
    }

    /// Why what went this way may not have arrived: whom it was for was taken away meanwhile.
    fn is_cut(&self, links: &Links) -> Option<String> {
        match self {
            Route::Plugin(name) if links.place_of(name).is_none() => {
                Some(format!("plugin {name:?} was taken away"))
            }
            Route::Sink(name) if !links.sinks().iter().any(|sink| *sink.name == **name) => {
                Some(format!("sink {name:?} was taken away"))
            }
            _ => None,
        }
    }
}

/// Dead letters that go the same way.
struct Group {
    route: Route,
    /// Whether it is the frame that goes, and not the event as it was.
    is_frame: bool,
    letters: Vec<Stored>,
}

impl Worker {
    /// Takes some of the dead letters that the pipeline was asked to take again, and returns when that
    /// is durable.
    pub fn redrive(&mut self) -> Result<(), Stopped> {
        let Some(mut current) = self.current() else { return Ok(()) };
        self.refresh();
        if let Err(held) = &self.links.chain {
            current.refuse(&format!("the pipeline is held: {held}"));
            return Ok(());
        }
        let letters = match current.take(MAX_EVENTS, MAX_BYTES) {
            Ok(letters) => letters,
            Err(error) => {
                tracing::error!(pipeline = self.name, %error, "dead letters cannot be read");
                current.refuse(&format!("it cannot be read: {error}"));
                return Ok(());
            }
        };
        if letters.is_empty() {
            let done = current.end();
            tracing::info!(
                pipeline = self.name,
                delivered = done.delivered,
                filtered = done.filtered,
                dead_lettered = done.dead_lettered,
                stay = done.staying(),
                "dead letters redriven"
            );
            return Ok(());
        }
        for group in self.groups(letters, &current) {
            self.redrive_group(group, &current)?;
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.flush(&self.shared)?;
        }
        self.links.drop_replaced();
        self.redriving.current = Some(current);
        Ok(())
    }

    /// The request that it is at, or the next one.
    fn current(&mut self) -> Option<Current> {
        if let Some(current) = self.redriving.current.take() {
            return Some(current);
        }
        let order = self.redriving.next.take()?;
        let store = self.keeping.as_ref().map(super::keeping::Keeping::store)?;
        tracing::info!(pipeline = self.name, letters = order.ids.len(), "dead letters to redrive");
        Some(Current::new(order, store))
    }

    /// In order: neighbours that go the same way are one batch. Those that go nowhere stay.
    fn groups(&self, letters: VecDeque<Stored>, current: &Current) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for stored in letters {
            let is_foreign = (stored.pipeline != self.name)
                .then(|| format!("it is a dead letter of pipeline {:?}", stored.pipeline));
            let route = is_foreign.map_or_else(|| Route::of(&stored.letter, &self.links), Err);
            let route = match route {
                Ok(route) => route,
                Err(why) => {
                    current.progress().lock().stays(stored.id, &why);
                    continue;
                }
            };
            let is_frame = route == Route::Whole || stored.letter.event.is_none();
            match groups.last_mut() {
                Some(last) if (&last.route, last.is_frame) == (&route, is_frame) => {
                    last.letters.push(stored);
                }
                _ => groups.push(Group { route, is_frame, letters: vec![stored] }),
            }
        }
        groups
    }

    fn redrive_group(&mut self, group: Group, current: &Current) -> Result<(), Stopped> {
        let (shared, name) = (self.shared.clone(), self.name.clone());
        let mut run = self.begin(&shared, &name);
        let mut ids = Vec::with_capacity(group.letters.len());
        for Stored { id, letter, .. } in group.letters {
            match put(&mut run, letter, group.is_frame) {
                Ok(()) => ids.push(id),
                Err(why) => current.progress().lock().stays(id, &why),
            }
        }
        self.tally.receive(ids.len() as u64);
        if let Intake::Feed(feed) = &self.intake {
            // They do not wait in the journal.
            feed.taken().fetch_add(ids.len() as u64, std::sync::atomic::Ordering::Relaxed);
        }
        let taken = self.pass(&mut run, &group.route)?;
        let mut ends = run.batch.finish();
        let cut = group.route.is_cut(&self.links);
        if cut.is_some() {
            ends = Ends { dead_lettered: ids.len() as u64, ..Ends::default() };
        }
        self.tally.end(ends);
        self.meter.redriven(ids.len() as u64);
        let mut redriven = current.progress().lock();
        match cut {
            Some(why) => ids.iter().for_each(|id| redriven.stays(*id, &why)),
            None => {
                redriven.ended(ends);
                if let Some(keeping) = &mut self.keeping {
                    keeping.draft.settled(ids);
                }
            }
        }
        drop(redriven);
        self.end(run, taken);
        Ok(())
    }
}

/// Puts a dead letter into a batch: the frame that it came in, or the event as it was.
fn put(run: &mut Run<'_>, letter: Letter, is_frame: bool) -> Result<(), String> {
    let Letter { source, stream, event, raw, kind, .. } = letter;
    let frame = Frame { kind, bytes: raw.unwrap_or_default().into() };
    let number = run.batch.frame_count() as u32;
    let origin = Arc::new(Origin { source: source.into(), stream: stream.as_str().into() });
    if is_frame {
        run.origins.push((number + 1, origin));
        let decoder = &run.shared.decoder;
        if let Err(error) = decoder.decode(&stream, frame, &mut run.batch) {
            run.frame_letter(number, error.reason(), error.to_string());
        }
    } else {
        let line = line::read(event.as_deref().unwrap_or_default());
        let pushed = line.and_then(|line| run.batch.push_line(frame, &line));
        pushed.map_err(|error| format!("its event cannot be read: {error}"))?;
        run.origins.push((number + 1, origin));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_what_comes_after_or_what_is_named() {
        let from = Route::From(1);
        assert!(!from.has_plugin(0, "a") && from.has_plugin(1, "b") && from.has_plugin(2, "c"));
        assert!(
            from.has_sink("s") && Route::Whole.has_sink("s") && Route::Whole.has_plugin(0, "a")
        );
        let only = Route::Plugin("b".to_owned());
        assert!(only.has_plugin(1, "b") && !only.has_plugin(2, "c") && !only.has_sink("s"));
        let sink = Route::Sink("s".to_owned());
        assert!(sink.has_sink("s") && !sink.has_sink("t") && !sink.has_plugin(0, "a"));
    }
}
