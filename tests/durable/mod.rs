//! What survives, from outside: a host with a journal that is killed, whose disk is full, whose sinks do
//! not work, whose configuration changes. Who is killed at every call is in `crash`; here it is what
//! people would do. Key type: [`Lives`].

mod bad_input;
mod clock;
mod disk;
mod files;
mod sinks;
mod state;

use std::collections::BTreeMap;

use rustix::process::Signal;

use crate::crash::check::check_order;
use crate::support::{Host, HostDir, Sim, Tally, ids, wait_until};

/// A pipeline that needs no plugin, and its sink.
const MAIN: &str = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
    [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";

impl Host {
    /// How many frames a pipeline has received.
    fn received(&self, pipeline: &str) -> u64 {
        self.page().value("trommel_received_total", &[("pipeline", pipeline)]) as u64
    }

    /// Waits until a pipeline has received so many frames more.
    fn receives(&self, pipeline: &str, more: u64) {
        let before = self.received(pipeline);
        wait_until(&format!("{more} more frames in {pipeline}"), || {
            self.received(pipeline) >= before + more
        });
    }

    /// Kills it. Says what a pipeline had received by then, at least.
    fn kill(mut self, pipeline: &str) -> (HostDir, u64) {
        let received = self.received(pipeline);
        self.running.signal(Signal::KILL);
        self.running.wait();
        std::fs::remove_file(self.path("data/listen.addr")).unwrap();
        (self.dir, received)
    }
}

/// The end of a host that was killed before: it settles all and ends in order.
fn settles(host: &mut Host) -> Tally {
    let tally = host.stop();
    assert_eq!((tally.in_flight, tally.dead_lettered), (0, 0), "{}", host.running.log());
    tally
}

/// What arrived of a stream is, connection by connection, the beginning of what was sent on it; each
/// event once, in order. Gives how many arrived.
fn arrived_in_order(sim: &Sim, lines: &[serde_json::Value], stream: &str) -> u64 {
    let (arrived, sent) = (ids(lines, stream), sim.sent());
    let mut counts = BTreeMap::new();
    let checked = check_order(stream, arrived.iter().map(String::as_str), &sent, &mut counts);
    checked.unwrap_or_else(|wrong| panic!("{wrong}"));
    counts.values().sum()
}
