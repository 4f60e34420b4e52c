#!/usr/bin/env python3
"""Checks the simulated Central with the vendor's own client, pycentral 2.0a25, unpatched.

Two steps, because the ledger is complete only once the simulator has been stopped:

    trommel sim central --count 500 --rate max --ledger ledger.jsonl > ready.json &
    pycentral_conformance.py receive --ready ready.json --out received --count 500
    kill -TERM %1; wait
    pycentral_conformance.py compare --ledger ledger.jsonl --out received --count 500

`receive` opens every stream that pycentral knows, each in a thread, and writes the dictionaries it
is given to DIR/<stream>.jsonl. `compare` holds them against the ledger's data, in order. Exit code:
0 all is equal, 1 something differs or is missing, 2 the check itself could not be made.

Runs under a virtual environment with pycentral==2.0a25; `compare` needs the standard library only.
"""

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path

VERSION = "2.0a25"


def fail(text):
    print(f"pycentral conformance: {text}", file=sys.stderr)
    raise SystemExit(2)


def read_ready(args):
    """Where the simulator is: from its ready line (a file, '-' or the JSON itself) or its parts."""
    ready = {}
    if args.ready:
        text = args.ready
        if text == "-":
            text = sys.stdin.readline()
        elif not text.lstrip().startswith("{"):
            text = Path(text).read_text()
        ready = json.loads(text)
    for name in ("base_url", "token_endpoint", "ca_file", "client_id", "client_secret"):
        value = getattr(args, name)
        if value:
            ready[name] = value
        if name not in ready:
            fail(f"--ready, or --{name.replace('_', '-')}, is needed")
    return ready


class Receiver:
    """One stream, read by the real client in a thread of its own."""

    def __init__(self, central, stream, count, changed):
        from pycentral.streaming import Streaming

        self.stream = stream
        self.count = count
        self.received = []
        self.changed = changed
        # Waiting five seconds for each reconnection would only make the check slow.
        self.client = Streaming(central, stream, reconnect_delay=0.2)
        self.thread = threading.Thread(target=self.run, name=stream, daemon=True)

    def run(self):
        self.client.stream(self.callback)
        with self.changed:
            self.changed.notify_all()

    def callback(self, message):
        with self.changed:
            self.received.append(message)
            if len(self.received) >= self.count:
                self.changed.notify_all()

    def done(self):
        return len(self.received) >= self.count


def receive(args):
    ready = read_ready(args)
    # The client verifies the token endpoint, by this bundle; it does not verify the streams.
    os.environ["REQUESTS_CA_BUNDLE"] = ready["ca_file"]
    try:
        from importlib.metadata import version

        from pycentral import NewCentralBase
        from pycentral.streaming import streaming
    except ImportError as error:
        fail(f"pycentral=={VERSION} is not installed here: {error}")
    if version("pycentral") != VERSION:
        fail(f"pycentral {version('pycentral')} is installed, not {VERSION}")

    names = ("base_url", "token_endpoint", "client_id", "client_secret")
    central = NewCentralBase(
        token_info={"new_central": {name: ready[name] for name in names}},
        log_level="WARNING",
    )
    known = [
        event
        for versions in streaming.SUPPORTED_EVENTS.values()
        for events in versions.values()
        for event in events
    ]
    streams = args.streams.split(",") if args.streams else known
    changed = threading.Condition()
    receivers = [Receiver(central, stream, args.count, changed) for stream in streams]
    started = time.monotonic()
    for receiver in receivers:
        receiver.thread.start()
    with changed:
        changed.wait_for(
            lambda: all(r.done() or not r.thread.is_alive() for r in receivers), args.timeout
        )
    took = time.monotonic() - started
    for receiver in receivers:
        receiver.client.stop()
    for receiver in receivers:
        receiver.thread.join(10)

    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    complete = True
    for receiver in receivers:
        with open(out / f"{receiver.stream}.jsonl", "w") as file:
            for message in list(receiver.received):
                file.write(json.dumps(message) + "\n")
        complete &= receiver.done()
        state = "ok" if receiver.done() else "INCOMPLETE"
        print(f"{receiver.stream:20} {len(receiver.received):8} received  {state}")
        if receiver.thread.is_alive():
            print(f"{receiver.stream:20} its thread did not end after stop()")
    print(f"{'in all':20} {took:8.1f} s")
    return 0 if complete else 1


def compare(args):
    ledger = {}
    with open(args.ledger) as file:
        for line in file:
            entry = json.loads(line)
            if entry["sent"] > 0:
                ledger.setdefault(entry["stream"], []).append(entry)
    files = sorted(Path(args.out).glob("*.jsonl"))
    if not files:
        fail(f"nothing was received in {args.out}")
    good = True
    for path in files:
        stream = path.stem
        received = [json.loads(line) for line in path.read_text().splitlines()]
        sent = ledger.get(stream, [])
        problem = difference(stream, received, sent, args.count)
        good &= problem is None
        print(f"{stream:20} {len(received):8} received {len(sent):8} sent  {problem or 'equal'}")
    print("all equal" if good else "NOT equal")
    return 0 if good else 1


def difference(stream, received, sent, count):
    """The first thing that is wrong, or None."""
    for index, (got, entry) in enumerate(zip(received, sent)):
        want = entry["data"]
        if got != want:
            return f"DIFFERS at {index} ({entry['id']}):\n  got  {got}\n  want {want}"
    if len(received) != len(sent):
        return f"DIFFERENT NUMBER after {min(len(received), len(sent))} equal ones"
    if len(received) < count:
        return f"TOO FEW: {count} were expected"
    return None


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = parser.add_subparsers(dest="mode", required=True)
    first = modes.add_parser("receive", help="receive with the real client")
    first.add_argument("--ready", metavar="FILE|JSON|-", help="the simulator's ready line")
    for name in ("base-url", "token-endpoint", "ca-file", "client-id", "client-secret"):
        first.add_argument(f"--{name}", help="instead of, or over, what is in --ready")
    first.add_argument("--out", required=True, metavar="DIR", help="where to put what is received")
    first.add_argument("--count", type=int, required=True, help="events expected of each stream")
    first.add_argument("--timeout", type=float, default=120, metavar="SECONDS")
    first.add_argument("--streams", metavar="NAME,...", help="only these, not all pycentral knows")
    first.set_defaults(run=receive)
    second = modes.add_parser("compare", help="compare with the ledger")
    second.add_argument("--ledger", required=True, metavar="FILE")
    second.add_argument("--out", required=True, metavar="DIR", help="what `receive` was given")
    second.add_argument("--count", type=int, default=0, help="fewer than these are an error")
    second.set_defaults(run=compare)
    args = parser.parse_args()
    raise SystemExit(args.run(args))


if __name__ == "__main__":
    main()
