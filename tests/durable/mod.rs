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
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::crash::check::check_order;
use crate::support::{Host, HostDir, Sim, Tally, ids, wait_until};

/// A pipeline that needs no plugin, and its sink.
const MAIN: &str = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
    [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";

/// Within which time the simulator has logged what it sent.
const LOGGED: Duration = Duration::from_secs(10);

impl Host {
    /// How many frames a pipeline has received.
    fn received(&self, pipeline: &str) -> u64 {
        self.page().value("trommel_received_total", &[("pipeline", pipeline)]) as u64
    }

    /// Waits until a pipeline has received so many frames more.
    fn receives(&self, pipeline: &str, more: u64) {
        // What an earlier process left is counted as received, too.
        let counts = "it counts what the journal holds";
        wait_until("the backlog to be counted", || !self.get("/readyz").contains(counts));
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
    // A stop ends a pipeline that is held at once, and gives the others seconds only.
    wait_until("no pipeline to be held", || !host.get("/readyz").contains(" is held: "));
    let received = host.page().0.remove("trommel_received_total");
    for sample in received.iter().flat_map(|family| &family.samples) {
        let pipeline = &sample.labels["pipeline"];
        wait_until(&format!("{pipeline} to settle what it has"), || {
            host.settled(pipeline) as f64 >= sample.value
        });
    }
    let tally = host.stop();
    assert_eq!((tally.in_flight, tally.dead_lettered), (0, 0), "{}", host.running.log());
    tally
}

/// What arrived of a stream is, connection by connection, the beginning of what was sent on it; each
/// event once, in order. Gives how many arrived.
fn arrived_in_order(sim: &Sim, lines: &[serde_json::Value], stream: &str) -> u64 {
    let (arrived, begun) = (ids(lines, stream), Instant::now());
    loop {
        let (sent, mut counts) = (sim.sent(), BTreeMap::new());
        match check_order(stream, arrived.iter().map(String::as_str), &sent, &mut counts) {
            Ok(()) => return counts.values().sum(),
            // What is sent is in the log a moment later.
            Err(_) if begun.elapsed() < LOGGED => {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            Err(wrong) => panic!("{wrong}"),
        }
    }
}
