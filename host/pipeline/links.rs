//! The plugins of one pipeline as they run: an instance and a state each, kept in step with the
//! plugin directory at batch boundaries. Key type: [`Links`].

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::chain::{self, Held};
use super::memory::{Memory, There};
use super::pause::News;
use crate::columns::Columns;
use crate::meter::{CallMeter, PipelineMeter};
use crate::outcome::{Answer, Signal};
use crate::runner::{Factory, Failure, Info, Plugins, Role, Runner};
use crate::sink::SharedSink;
use crate::state::{Change, State};

/// One plugin of the pipeline.
pub(super) struct Link {
    pub runner: Box<dyn Runner>,
    version_id: u64,
    meter: Arc<CallMeter>,
}

impl Link {
    pub fn name(&self) -> &str {
        &self.runner.info().name
    }

    pub fn role(&self) -> Role {
        self.runner.info().role
    }

    /// Runs the plugin on some events, and measures it.
    pub fn run(
        &mut self,
        columns: &Columns<'_>,
        now: u64,
        state: &mut State,
    ) -> Result<Answer, Failure> {
        self.begin(now, state);
        self.meter.measure(columns.len(), || self.runner.run(columns, now, state))
    }

    /// Lets time pass for an alert plugin, and measures it.
    fn tick(&mut self, now: u64, state: &mut State) -> Result<Vec<Signal>, Failure> {
        self.begin(now, state);
        self.meter.measure(0, || self.runner.tick(now, state))
    }

    fn begin(&self, now: u64, state: &mut State) {
        state.begin(now);
        state.limit(self.runner.info().memory.most);
    }
}

/// A plugin for which time has passed, and what it says to that.
type Ticked = (Arc<Info>, Result<Vec<Signal>, Failure>);

/// What of a pipeline may change while it runs: what its events pass through, and where they go.
#[derive(Clone)]
pub struct Wiring {
    /// Names of plugins in order; `None` for all that there are.
    pub through: Option<Vec<String>>,
    /// The sinks.
    pub sinks: Vec<SharedSink>,
}

/// All plugins of the pipeline, in order, and its sinks.
pub(super) struct Links {
    wiring: watch::Receiver<Arc<Wiring>>,
    is_built_in: bool,
    plugins: watch::Receiver<Arc<Plugins>>,
    pub chain: Result<Vec<Link>, Held>,
    memory: Memory,
    is_fresh: bool,
    /// What has taken effect and is not told yet.
    pub news: Vec<News>,
    /// What others took the place of: dropped when the pipeline is at work again.
    replaced: Vec<Link>,
    meter: Arc<PipelineMeter>,
}

impl Links {
    pub fn new(
        wiring: watch::Receiver<Arc<Wiring>>,
        is_built_in: bool,
        plugins: watch::Receiver<Arc<Plugins>>,
        meter: Arc<PipelineMeter>,
    ) -> Self {
        Links {
            wiring,
            is_built_in,
            plugins,
            chain: Err(Held(vec!["it has not begun".to_owned()])),
            memory: Memory::default(),
            is_fresh: true,
            news: Vec::new(),
            replaced: Vec::new(),
            meter,
        }
    }

    /// Takes over what changed in the plugin directory or the wiring. Returns whether anything did.
    pub fn refresh(&mut self) -> bool {
        // A sender that is gone means that nothing will change any more.
        let is_rewired = self.wiring.has_changed().unwrap_or(false);
        if !self.is_fresh && !is_rewired && !self.plugins.has_changed().unwrap_or(false) {
            return false;
        }
        self.is_fresh = false;
        let plugins = Arc::clone(&self.plugins.borrow_and_update());
        let wiring = Arc::clone(&self.wiring.borrow_and_update());
        let resolved = chain::resolve(&plugins, wiring.through.as_deref(), self.is_built_in);
        let old = std::mem::replace(&mut self.chain, Ok(Vec::new())).unwrap_or_default();
        self.chain = resolved.and_then(|factories| self.link(&factories, old));
        self.meter.keep(|plugin| plugins.entries.contains_key(plugin));
        true
    }

    /// Drops what others took the place of.
    pub fn drop_replaced(&mut self) {
        self.replaced.clear();
    }

    /// Waits for a change.
    pub async fn changed(&mut self) {
        let Links { plugins, wiring, .. } = self;
        tokio::select! {
            () = change_of(plugins) => {}
            () = change_of(wiring) => {}
        }
        self.is_fresh = true;
    }

    /// Waits until the pipeline writes no longer to a sink, or not as it did.
    pub async fn replaced(&mut self, sink: &SharedSink) {
        while self.wiring.borrow().sinks.iter().any(|other| other.is(sink)) {
            change_of(&mut self.wiring).await;
            self.is_fresh = true;
        }
    }

    /// The sinks as they are now.
    pub fn sinks(&self) -> Vec<SharedSink> {
        self.wiring.borrow().sinks.clone()
    }

    /// What took the place of a sink that is no longer what it was, if it is written to at all.
    pub fn successor(&self, sink: &SharedSink) -> Option<SharedSink> {
        let sinks = self.sinks();
        let same_name = sinks.iter().find(|other| other.name == sink.name);
        same_name.or_else(|| sinks.iter().find(|other| other.is_same_place(sink))).cloned()
    }

    /// A plugin and its state, by its place.
    pub fn get(&mut self, place: usize) -> Option<(&mut Link, &mut State)> {
        let link = self.chain.as_mut().ok()?.get_mut(place)?;
        let state = self.memory.of(&link.runner.info().name);
        Some((link, state))
    }

    /// Lets time pass for the plugin in a place; `None` if it is not one for alerts.
    pub fn tick(&mut self, place: usize, now: u64) -> Option<Ticked> {
        let (link, state) = self.get(place).filter(|(link, _)| link.role() == Role::Alert)?;
        Some((Arc::clone(link.runner.info()), link.tick(now, state)))
    }

    /// What plugins remembered before a restart; from now on what changes is noted.
    pub fn restore(&mut self, saved: BTreeMap<String, BTreeMap<String, Change>>) {
        self.memory.restore(saved);
    }

    /// What plugins remember, by plugin: of those that are not there at the moment too.
    pub fn states(&mut self) -> impl Iterator<Item = (&String, &mut State)> {
        self.memory.states()
    }

    /// Takes away what plugins have remembered for longer than they may.
    pub fn expire(&mut self, now: u64) {
        // While one is missing that is to come, none is gone for good.
        let Ok(chain) = &self.chain else { return };
        let life = |link: &Link| link.runner.info().memory.life;
        let there: There<'_> = chain.iter().map(|link| (link.name(), life(link))).collect();
        self.memory.expire(now, &there);
    }

    /// The places of the plugins that do not export.
    pub fn inner_places(&self) -> Vec<usize> {
        let chain = self.chain.as_deref().unwrap_or_default();
        (0..chain.len()).filter(|place| chain[*place].role() != Role::Export).collect()
    }

    /// The place of a plugin.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.chain.as_ref().ok()?.iter().position(|link| link.name() == name)
    }

    /// What the plugin in a place does.
    pub fn role_of(&self, place: usize) -> Option<Role> {
        Some(self.chain.as_ref().ok()?.get(place)?.role())
    }

    /// Whether there is a plugin for which time passes: one for alerts, one whose memory has an end, or
    /// one that is gone and remembered.
    pub fn has_time(&self) -> bool {
        let Ok(chain) = &self.chain else { return false };
        let has_time =
            |link: &Link| link.role() == Role::Alert || link.runner.info().memory.life.is_some();
        let is_there = |name: &str| chain.iter().any(|link| link.name() == name);
        chain.iter().any(has_time) || self.memory.has_gone(is_there)
    }

    fn link(
        &mut self,
        factories: &[Arc<dyn Factory>],
        mut old: Vec<Link>,
    ) -> Result<Vec<Link>, Held> {
        let mut chain = Vec::with_capacity(factories.len());
        let mut missing = Vec::new();
        for factory in factories {
            let info = factory.info();
            let kept = old.iter().position(|link| link.name() == info.name);
            let kept = kept.map(|place| old.swap_remove(place));
            match kept {
                Some(link) if link.version_id == factory.version_id() => chain.push(link),
                replaced => match factory.make() {
                    Ok(runner) => {
                        self.news
                            .push(News { info: Arc::clone(info), is_reload: replaced.is_some() });
                        self.replaced.extend(replaced);
                        let meter = self.meter.of(&info.name);
                        chain.push(Link { runner, version_id: factory.version_id(), meter });
                    }
                    Err(error) => missing.push(format!("plugin {:?} {error}", info.name)),
                },
            }
        }
        if missing.is_empty() { Ok(chain) } else { Err(Held(missing)) }
    }
}

async fn change_of<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        // It will never change again.
        std::future::pending::<()>().await;
    }
}
