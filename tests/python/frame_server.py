#!/usr/bin/env python3
"""A server for measuring: prebuilt frames over TLS, as fast as they are taken or one at a time.

    frame_server.py TLS_DIR {full|live} COUNT [TIMES]

Answers the token request and one upgrade per connection, then sends COUNT audit events of exactly 264
bytes each: `full`, in writes of 64 KiB; `live`, each in a write, and so a TLS record, of its own, with
20 µs of sleep after it (about 9,400 a second); TIMES then becomes a file of when each was written, in
nanoseconds of the monotonic clock, 8 bytes each. Prints one line of JSON when it is ready: where it is.
Frames are built before the first connection, with the vendor's own messages.
"""

import array
import base64
import hashlib
import json
import socket
import ssl
import struct
import sys
import threading
import time
from pathlib import Path

from pycentral.streaming.events.audit import audit_trail_pb2
from pycentral.streaming.events.event import event_pb2

DISTINCT = 20_000
SIZE = 264
WRITE = 64 << 10


def event(number):
    """One audit event of SIZE bytes: 75 of payload with most of its fields, the rest envelope."""
    payload = audit_trail_pb2.AuditTrail(
        tenant_id="t-7", occurred_on=1_764_000_000_123 + number, action="UPDATE", category="Config",
        sub_category="AP", destination="ap-1", ip_address="10.0.0.7", source="UI", service_name="cfg",
        scope_info={"scope_type": "SITE", "scope_ids": ["12"]})
    payload.description = "save"
    assert payload.ByteSize() == 75, payload.ByteSize()
    message = event_pb2.CloudEvent(
        id=f"{number:08x}-0000-4000-8000-000000000000", source="/audit", specversion="1.0",
        type="com.hpe.greenlake.network-services.v1alpha1.audit-trail")
    message.attributes["subject"].ce_string = "t-7"
    message.time.seconds = 1_764_000_000 + number // 1000
    message.time.nanos = 1_000_000 * 300 + number % 1000
    message.proto_data.type_url = "x/audittrail.AuditTrail"
    message.proto_data.value = payload.SerializeToString()
    message.source += "/" * (SIZE - message.ByteSize())
    data = message.SerializeToString()
    assert len(data) == SIZE, len(data)
    return struct.pack(">BBH", 0x82, 126, len(data)) + data


def read_head(stream):
    head = b""
    while b"\r\n\r\n" not in head:
        part = stream.recv(4096)
        if not part:
            return None
        head += part
    return head.decode("latin-1")


def serve(stream, frames, mode, count):
    head = read_head(stream)
    if head is None:
        return
    if head.startswith("POST"):
        body = b'{"access_token":"token","token_type":"bearer","expires_in":7200}'
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                       b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    key = next(value for name, value in headers.items() if name.lower() == "sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
    stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    if mode == "live":
        times = array.array("q")
        for number in range(count):
            times.append(time.monotonic_ns())
            stream.sendall(frames[number % DISTINCT])
            time.sleep(20e-6)
        if len(sys.argv) > 4:
            draft = Path(sys.argv[4] + ".part")
            draft.write_bytes(times.tobytes())
            draft.rename(sys.argv[4])
    else:
        size = len(frames[0])
        whole = memoryview(b"".join(frames))
        sent, step = 0, WRITE // size
        while sent < count:
            at = sent % DISTINCT
            number = min(step, count - sent, DISTINCT - at)
            stream.sendall(whole[at * size:(at + number) * size])
            sent += number
    # Until the client has had enough.
    while stream.recv(4096):
        pass


def handle(connection, context, frames, mode, count):
    try:
        with context.wrap_socket(connection, server_side=True) as stream:
            serve(stream, frames, mode, count)
    except OSError:
        pass


def main():
    tls_dir, mode, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    frames = [event(number) for number in range(DISTINCT)]
    assert all(len(frame) == SIZE + 4 for frame in frames)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls_dir / "server.pem", tls_dir / "server.key")
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    base_url = f"https://localhost:{listener.getsockname()[1]}"
    print(json.dumps({"base_url": base_url, "token_endpoint": f"{base_url}/as/token.oauth2",
                      "ca_file": str(tls_dir / "ca.pem"), "client_id": "id", "client_secret": "secret"}), flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=handle, args=(connection, context, frames, mode, count), daemon=True).start()


if __name__ == "__main__":
    main()
