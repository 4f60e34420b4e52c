"""What `tools/soak outage` looks at: a server that refuses and then takes events, and whether what came out
is what went in. Key types: Receiver, Sent.
"""

import http.server
import random
import re
import socketserver
import threading
import time

LINE = re.compile(rb'^\{"specversion":"1\.0","id":"([^"]+)"', re.M)
SENT = re.compile(rb'"connection":(\d+),.*"id":"([^"]+)"')


class Receiver(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Refuses every request until `is_back`, with a status or without a word; then takes all of them."""

    daemon_threads = True

    def __init__(self, seed):
        super().__init__(("127.0.0.1", 0), Handler)
        self.chance = random.Random(seed)
        self.is_back, self.refused = False, 0
        # The run of the host that requests are from; and of each that was taken: run, key, ids, time.
        self.run, self.taken, self.events = 0, [], 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/in"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A host that is killed leaves half a request."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        # The sink posts on one connection, which ends with the host.
        self.run = self.server.run

    def log_message(self, *_):
        """Says nothing."""

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        server = self.server
        if server.is_back:
            ids = LINE.findall(body)
            status = 200 if len(ids) == body.count(b"\n") else 400
            server.taken.append((self.run, self.headers["Idempotency-Key"], ids, time.monotonic()))
            server.events += len(ids)
        else:
            server.refused += 1
            status = server.chance.choice((None, 429, 500, 502, 503))
        if status is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Sent:
    """What the simulator wrote to the connections of one stream, one after the other, each event once."""

    def __init__(self, path):
        self.place, self.ends = {}, []
        with path.open("rb") as lines:
            for line in lines:
                connection, name = SENT.search(line).groups()
                while len(self.ends) < int(connection):
                    self.ends.append(len(self.place))
                self.place[name] = len(self.place)
                self.ends[-1] = len(self.place)

    def delivered(self, places):
        """What has to come out in all, if these do: of each connection all from its first event on."""
        counts, begin, order = [], 0, []
        arrived = sorted(set(places))
        for end in self.ends:
            count = sum(1 for place in arrived if begin <= place < end)
            order.extend(range(begin, begin + count))
            counts.append(count)
            begin = end
        return order, counts


def check_runs(order, runs):
    """How many events were delivered again after each kill. Each run of the host goes on where the one before
    ended, or before that, and is in order without a gap; the last one ends with the last event."""
    at = {place: index for index, place in enumerate(order)}
    end, repeats = 0, []
    for number, places in enumerate(runs, 1):
        start = at.get(places[0]) if places else end
        if start is None or start > end or places != order[start:start + len(places)]:
            raise SystemExit(f"run {number} of the host did not deliver in order: it began at {start}, {end} was next")
        repeats.append(end - start)
        end = start + len(places)
    if end != len(order):
        raise SystemExit(f"{end} of {len(order)} events arrived")
    return repeats[1:]
