#!/usr/bin/env python3
"""The whole job side by side: Trommel and the vendor's client on the same events of the simulator.

    bench.py TROMMEL PLUGINS [--runs N] [--events N]

Every figure is processor time (user and system) of the client process alone, per event; start-up is
taken off by a run of one event (Trommel) or by beginning at the first event (the vendor's client).
Runs take turns, so that a machine whose speed drifts drifts for both. Prints a table.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

STREAMS = ["audit-trail-events", "ap-events"]
FILTER = '[config]\ndrop = [{ type = "none.such.type" }, { pointer = "/tenant_id", equals = "none such" }]\n'


class Sim:
    """The simulator: one stream, as fast as it is taken."""

    def __init__(self, trommel, directory, stream, count, rate="max"):
        self.out = open(Path(directory) / "ready.json", "w+")
        self.process = subprocess.Popen(
            [trommel, "sim", "central", "--rate", str(rate), "--streams", stream, "--count", str(count),
             "--tls-dir", str(Path(directory) / "tls")],
            stdout=self.out, stderr=subprocess.DEVNULL)
        deadline = time.time() + 30
        while not (text := Path(self.out.name).read_text()).endswith("\n"):
            if time.time() > deadline:
                sys.exit("the simulator did not start")
            time.sleep(0.02)
        self.ready = json.loads(text)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def cpu_and_memory(process_id):
    """Seconds of user and system time, and MiB resident, of a process."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = Path(f"/proc/{process_id}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return ticks / os.sysconf("SC_CLK_TCK"), int(resident.split()[1]) / 1024


def run_trommel(trommel, plugins, stream, count, sink, with_filter, rate="max"):
    """Seconds of processor time for so many events, and MiB resident after them."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sim = Sim(trommel, directory, stream, count, rate)
        ready = sim.ready
        (directory / "plugins.d").mkdir()
        if with_filter:
            (directory / "plugins.d/10-filter.toml").write_text(FILTER)
            (directory / "plugins.d/10-filter.wasm").write_bytes((Path(plugins) / "filter.wasm").read_bytes())
        (directory / "secret").write_text(ready["client_secret"])
        to = 'kind = "null"' if sink == "null" else f'kind = "file"\npath = "{directory}/events.jsonl"'
        (directory / "trommel.toml").write_text(
            f'listen = "127.0.0.1:0"\n[source.hq]\nkind = "central"\nbase_url = "{ready["base_url"]}"\n'
            f'token_endpoint = "{ready["token_endpoint"]}"\nca_file = "{ready["ca_file"]}"\n'
            f'client_id = "{ready["client_id"]}"\nclient_secret = {{ file = "secret" }}\n'
            f'streams = ["{stream}"]\n[pipeline.main]\nfrom = ["hq"]\nto = ["out"]\n[sink.out]\n{to}\n')
        host = subprocess.Popen(
            [trommel, "run", "--config", str(directory / "trommel.toml")],
            stderr=open(directory / "log", "w"))
        settled = 0
        deadline = time.time() + 300
        while settled < count:
            if time.time() > deadline or host.poll() is not None:
                sys.exit(f"the host: {settled} of {count}: {(directory / 'log').read_text()}")
            time.sleep(0.05)
            settled = settled_events(directory)
        used = cpu_and_memory(host.pid)
        host.send_signal(signal.SIGTERM)
        host.wait()
        sim.stop()
        if sink == "file":
            with open(directory / "events.jsonl", "rb") as lines:
                written = sum(1 for _ in lines)
            if written != count:
                sys.exit(f"{written} lines for {count} events")
        return used


def settled_events(directory):
    try:
        address = (directory / "data/listen.addr").read_text().strip()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    ends = ("trommel_delivered_total{", "trommel_filtered_total{", "trommel_dead_lettered_total{")
    return sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith(ends))


VENDOR = r"""
import json, os, resource, sys, threading
ready, stream, count, out = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), open(sys.argv[4], "w")
os.environ["REQUESTS_CA_BUNDLE"] = ready["ca_file"]
from pycentral import NewCentralBase
from pycentral.streaming import Streaming
import logging; logging.disable(logging.CRITICAL)
central = NewCentralBase(token_info={"new_central": {k: ready[k] for k in ("base_url", "token_endpoint", "client_id", "client_secret")}})
def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
seen, begun = 0, 0.0
def on_event(event):
    global seen, begun
    if seen == 0:
        begun = used()
    seen += 1
    out.write(json.dumps(event)); out.write("\n")
    if seen == count:
        print(json.dumps({"seconds": used() - begun, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)
        out.flush()
        os._exit(0)
Streaming(central, stream).stream(callback=on_event)
"""


def run_vendor(trommel, stream, count, rate="max"):
    with tempfile.TemporaryDirectory() as name:
        sim = Sim(trommel, name, stream, count, rate)
        done = subprocess.run(
            [sys.executable, "-c", VENDOR, json.dumps(sim.ready), stream, str(count), f"{name}/out"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
        sim.stop()
        if done.returncode:
            sys.exit(f"the vendor's client: {done.stderr}")
        answer = json.loads(done.stdout.splitlines()[-1])
        return answer["seconds"], answer["mib"]


def row(name, figures, vendor, mib):
    median = statistics.median(figures)
    ratio = f"{vendor / median:8.1f}" if vendor else " " * 8
    spread = f"{min(figures):7.2f} to {max(figures):.2f}"
    print(f"  {name:<44} {median:8.2f} {spread:>20} {1e6 / median:12,.0f} {ratio} {mib:8.1f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trommel")
    parser.add_argument("plugins")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--vendor-events", type=int, default=60_000)
    args = parser.parse_args()
    variants = [("decode, filter on a field, to nothing", "null", True),
                ("decode to a file of JSON lines", "file", False),
                ("decode, filter on a field, to a file", "file", True)]
    for stream in STREAMS:
        print(f"{stream}: processor time per event in microseconds, median and spread of {args.runs} runs")
        print(f"  {'':<44} {'µs':>8} {'least to most':>20} {'events/s/core':>12} {'x vendor':>8} {'MiB':>8}")
        start = {v: run_trommel(args.trommel, args.plugins, stream, 1, v[1], v[2])[0] for v in variants}
        figures, mib = {}, {}
        for _ in range(args.runs):
            seconds, memory = run_vendor(args.trommel, stream, args.vendor_events)
            figures.setdefault("vendor", []).append(seconds / args.vendor_events * 1e6)
            mib["vendor"] = memory
            for variant in variants:
                seconds, memory = run_trommel(
                    args.trommel, args.plugins, stream, args.events, variant[1], variant[2])
                figures.setdefault(variant, []).append((seconds - start[variant]) / args.events * 1e6)
                mib[variant] = memory
        vendor = statistics.median(figures["vendor"])
        row("pycentral, json.dumps, to a file", figures["vendor"], None, mib["vendor"])
        for variant in variants:
            row(f"trommel, {variant[0]}", figures[variant], vendor, mib[variant])
        print()


if __name__ == "__main__":
    main()
