#!/usr/bin/env python3
"""The whole job side by side: Trommel and the vendor's client on the same audit events of 264 bytes.

    bench.py TROMMEL PLUGINS [--runs N] [--events N] [--vendor-events N] [--live-events N]

Every figure is processor time (user and system) of the client process alone, per event; start-up is
taken off by a run of one event (Trommel) or by beginning at the first event (the vendor's client).
Both are served by frame_server.py over TLS: at full speed, and live, each event in a write of its own.
Runs take turns, so that a machine whose speed drifts drifts for both. Prints a table. Trommel runs without
its journal there, for the vendor's client has none; what the journal takes is measured at the end, as events
per second of the clock, with the server on the same processors.
"""

import argparse
import array
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

STREAM = "audit-trail-events"
# Keeps all: every event has that field, which stands in the middle of its data.
FILTER = '[config]\nkeep = [{ pointer = "/category", equals = "Config" }]\n'
# The bundled plugins, each with something to do, but the last: its type never comes.
PLUGINS = {
    "filter": FILTER,
    "transform": '[config]\nredact = ["/ip_address"]\n',
    "alert": '[[config.rules]]\nname = "deletes"\npointer = "/action"\nequals = "DELETE"\n',
    "export": '[config]\nurl = "https://localhost:9/"\ntypes = ["never"]\n[egress]\nallow = ["https://localhost:9"]\n',
}


class Server:
    """frame_server.py for one run."""

    def __init__(self, tls_dir, mode, count, times=None):
        command = [sys.executable, str(Path(__file__).with_name("frame_server.py")), str(tls_dir), mode, str(count)]
        self.process = subprocess.Popen(
            command + ([str(times)] if times else []), stdout=subprocess.PIPE, text=True)
        self.ready = json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.kill()
        self.process.wait()


def make_certificates(trommel, directory):
    """The simulator makes them when it starts."""
    sim = subprocess.Popen([trommel, "sim", "central", "--tls-dir", str(directory)],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    sim.stdout.readline()
    sim.terminate()
    sim.wait()
    return directory


def cpu_and_memory(process_id):
    """Seconds of user and system time of a process, and the most MiB that it had resident."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = Path(f"/proc/{process_id}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return ticks / os.sysconf("SC_CLK_TCK"), int(resident.split()[1]) / 1024


class Run(NamedTuple):
    """What a run of Trommel came to."""

    seconds: float  # of processor time
    mib: float  # resident, at the most
    latencies: list  # of live events, milliseconds from the server to the sink's file
    first_line: float  # milliseconds from the start of the process to the first line there
    rate: float  # events per second of the clock, from the first that were settled to the last


def run_trommel(args, tls_dir, mode, count, sink, plugins, journal=False):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        times = directory / "times" if mode == "live" else None
        server = Server(tls_dir, mode, count, times)
        ready = server.ready
        (directory / "plugins.d").mkdir()
        for kept in ("journal", "store"):
            # What another run received is not this one's; compiled plugins are.
            shutil.rmtree(tls_dir / "data" / kept, ignore_errors=True)
        for number, plugin in enumerate(plugins):
            path = directory / f"plugins.d/{number}0-{plugin}"
            path.with_suffix(".toml").write_text(PLUGINS[plugin])
            path.with_suffix(".wasm").write_bytes((Path(args.plugins) / f"{plugin}.wasm").read_bytes())
        (directory / "secret").write_text(ready["client_secret"])
        to = 'kind = "null"' if sink == "null" else f'kind = "file"\npath = "{directory}/events.jsonl"'
        (directory / "trommel.toml").write_text(
            # Plugins are compiled once, by the first run.
            f'listen = "127.0.0.1:0"\ndata_dir = "{tls_dir}/data"\njournal = {str(journal).lower()}\n[source.hq]\nkind = "central"\nbase_url = "{ready["base_url"]}"\n'
            f'token_endpoint = "{ready["token_endpoint"]}"\nca_file = "{ready["ca_file"]}"\n'
            f'client_id = "{ready["client_id"]}"\nclient_secret = {{ file = "secret" }}\n'
            f'streams = ["{STREAM}"]\n[pipeline.main]\nfrom = ["hq"]\nto = ["out"]\n[sink.out]\n{to}\n')
        begun = time.monotonic_ns()
        host = subprocess.Popen(
            [args.trommel, "run", "--config", str(directory / "trommel.toml")],
            stderr=open(directory / "log", "w"))
        is_watched = sink == "file" and (mode == "live" or count == 1)
        arrivals = Arrivals(directory / "events.jsonl", count) if is_watched else None
        looks = [(0, time.monotonic())]
        deadline = time.monotonic() + 300
        while looks[-1][0] < count:
            if time.monotonic() > deadline or host.poll() is not None:
                sys.exit(f"the host: {looks[-1][0]} of {count}: {(directory / 'log').read_text()}")
            time.sleep(0.1)
            looks.append((settled_events(tls_dir / "data"), time.monotonic()))
        rate = rate_of(looks)
        seconds, resident = cpu_and_memory(host.pid)
        host.send_signal(signal.SIGTERM)
        host.wait()
        latencies = arrivals.since(times) if times and arrivals else []
        first = arrivals.first_after(begun) if arrivals else None
        server.stop()
        if sink == "file":
            with open(directory / "events.jsonl", "rb") as lines:
                written = sum(1 for _ in lines)
            if written != count:
                sys.exit(f"{written} lines for {count} events")
        return Run(seconds, resident, latencies, first, rate)


def rate_of(looks):
    """Events per second between the first look that saw any and the last one; 0 where that is one look."""
    seen = [(settled, at) for settled, at in looks if settled]
    (first, begun), (last, ended) = seen[0], seen[-1]
    return (last - first) / (ended - begun) if ended > begun else 0.0


class Arrivals:
    """When each line came to be in a file, looked at every half millisecond."""

    def __init__(self, path, count):
        self.path, self.count, self.seen = path, count, []
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.path.exists():
            time.sleep(0.001)
        lines = 0
        with open(self.path, "rb", buffering=0) as file:
            while lines < self.count:
                part = file.read(1 << 20)
                now = time.monotonic_ns()
                if part:
                    lines += part.count(b"\n")
                    self.seen.append((lines, now))
                else:
                    time.sleep(0.0005)

    def first_after(self, begun):
        """Milliseconds from then to the first line."""
        self.thread.join(10)
        return (self.seen[0][1] - begun) / 1e6

    def since(self, times):
        """Milliseconds from the write of each event to its line."""
        self.thread.join(10)
        written = array.array("q", times.read_bytes())
        latencies, done = [], 0
        for lines, now in self.seen:
            latencies.extend((now - at) / 1e6 for at in written[done:lines])
            done = lines
        return latencies


def settled_events(directory):
    try:
        address = (directory / "listen.addr").read_text().strip()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    ends = ("trommel_delivered_total{", "trommel_filtered_total{", "trommel_dead_lettered_total{")
    return sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith(ends))


VENDOR = r"""
import json, os, resource, sys
ready, count, sink, out = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3], open(sys.argv[4], "w")
os.environ["REQUESTS_CA_BUNDLE"] = ready["ca_file"]
from pycentral import NewCentralBase
from pycentral.streaming import Streaming
import logging; logging.disable(logging.CRITICAL)
central = NewCentralBase(token_info={"new_central": {k: ready[k] for k in ("base_url", "token_endpoint", "client_id", "client_secret")}})
def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
seen, begun, to_file = 0, 0.0, sink == "file"
def on_event(event):
    global seen, begun
    if seen == 0:
        begun = used()
    seen += 1
    if event.get("category") == "Config" and to_file:
        out.write(json.dumps(event)); out.write("\n")
    if seen == count:
        print(json.dumps({"seconds": used() - begun, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)
        out.flush()
        os._exit(0)
Streaming(central, "audit-trail-events").stream(callback=on_event)
"""


def run_vendor(tls_dir, mode, count, sink):
    with tempfile.TemporaryDirectory() as name:
        server = Server(tls_dir, mode, count)
        done = subprocess.run(
            [sys.executable, "-c", VENDOR, json.dumps(server.ready), str(count), sink, f"{name}/out"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
        server.stop()
        if done.returncode:
            sys.exit(f"the vendor's client: {done.stderr}")
        answer = json.loads(done.stdout.splitlines()[-1])
        return answer["seconds"], answer["mib"]


def row(name, figures, vendor, mib):
    median = statistics.median(figures)
    ratio = f"{vendor / median:8.1f}" if vendor else " " * 8
    spread = f"{min(figures):7.3f} to {max(figures):.3f}"
    print(f"  {name:<44} {median:8.3f} {spread:>20} {1e6 / median:12,.0f} {ratio} {mib:8.1f}", flush=True)


def compare(args, tls_dir, mode, sink, count, vendor_count, variants):
    """Rows of the vendor's client and of Trommel on the same thing."""
    # The first run of a plugin compiles it, which is no part of starting afterwards.
    start = {v: min(run_trommel(args, tls_dir, "full", 1, sink, v).seconds for _ in range(2)) for v in variants}
    vendor, figures, mib, latencies = [], {}, {}, []
    for _ in range(args.runs):
        seconds, mib["vendor"] = run_vendor(tls_dir, mode, vendor_count, sink)
        vendor.append(seconds / vendor_count * 1e6)
        for variant in variants:
            run = run_trommel(args, tls_dir, mode, count, sink, variant)
            mib[variant] = run.mib
            figures.setdefault(variant, []).append((run.seconds - start[variant]) / count * 1e6)
            latencies += run.latencies
    to = "to nothing" if sink == "null" else "to a file"
    made = "" if sink == "null" else ", json.dumps"
    row(f"pycentral, a field compared{made}, {to}", vendor, None, mib["vendor"])
    for variant in variants:
        what = {0: "decode", 1: "decode, filter on a field", 4: "decode, all four bundled plugins"}[len(variant)]
        row(f"trommel, {what}, {to}", figures[variant], statistics.median(vendor), mib[variant])
    return sorted(latencies)


def compare_journal(args, tls_dir, sink, plugins):
    """The same with the journal and without, in turns: events per second of the clock."""
    with_it, without = [], []
    for _ in range(args.runs):
        without.append(run_trommel(args, tls_dir, "full", args.journal_events, sink, plugins))
        with_it.append(run_trommel(args, tls_dir, "full", args.journal_events, sink, plugins, journal=True))
    to = "to nothing" if sink == "null" else "to a file"
    medians = []
    for name, runs in (("without a journal", without), ("with the journal", with_it)):
        rates = [run.rate for run in runs]
        medians.append(statistics.median(rates))
        cpu = statistics.median(run.seconds for run in runs) / args.journal_events * 1e6
        spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
        print(f"  {'filter, ' + to + ', ' + name:<44} {medians[-1]:10,.0f} {spread:>22} {cpu:10.3f} "
              f"{medians[-1] / medians[0]:7.2f} {max(run.mib for run in runs):8.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trommel")
    parser.add_argument("plugins")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--vendor-events", type=int, default=60_000)
    parser.add_argument("--live-events", type=int, default=60_000)
    parser.add_argument("--journal-events", type=int, default=4_000_000)
    parser.add_argument("--journal-only", action="store_true", help="only what the journal takes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tls_dir = make_certificates(args.trommel, Path(name))
        one, four = ("filter",), tuple(PLUGINS)
        if args.journal_only:
            return measure_journal(args, tls_dir, one)
        print(f"audit events of 264 B over TLS: processor time per event in microseconds, median and spread of {args.runs} runs")
        print(f"  {'full speed':<44} {'µs':>8} {'least to most':>20} {'events/s/core':>12} {'x vendor':>8} {'MiB':>8}")
        compare(args, tls_dir, "full", "null", args.events, args.vendor_events, [one, four])
        compare(args, tls_dir, "full", "file", args.events, args.vendor_events, [one, (), four])
        print("  live, each event in a write of its own")
        late = compare(args, tls_dir, "live", "file", args.live_events, args.live_events, [one])
        at = lambda part: late[min(int(len(late) * part), len(late) - 1)]
        print(f"  from the server to the file, ms: p50 {at(0.5):.1f}, p99 {at(0.99):.1f}, p99.9 {at(0.999):.1f}, most {late[-1]:.1f}")
        # All plugins have been compiled by now.
        starts = [run_trommel(args, tls_dir, "full", 1, "file", four).first_line for _ in range(max(args.runs, 5))]
        print(f"  from the start of the process to the first line, four plugins, ms: median {statistics.median(starts):.0f}, "
              f"{min(starts):.0f} to {max(starts):.0f}")
        measure_journal(args, tls_dir, one)


def measure_journal(args, tls_dir, plugins):
    print(f"what the journal takes: events/s of the clock, {args.journal_events:,} events, median and spread of {args.runs} runs")
    print(f"  {'':<44} {'events/s':>10} {'least to most':>22} {'cpu, µs':>10} {'ratio':>7} {'MiB':>8}")
    for sink in ("null", "file"):
        compare_journal(args, tls_dir, sink, plugins)


if __name__ == "__main__":
    main()
