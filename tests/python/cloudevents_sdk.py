#!/usr/bin/env python3
"""Reads every line of a file with the CloudEvents SDK at hand, 1.x or 2.x, and says which line it
does not accept.

    cloudevents_sdk.py FILE
"""

import importlib.metadata
import json
import sys


def reader(version):
    """A function that reads a line, or raises, and gives back id, source and type."""
    if version.startswith("1."):
        from cloudevents.http import from_json

        def read(line):
            event = from_json(line)
            return event["id"], event["source"], event["type"], event.data
    else:
        from cloudevents.core.formats.json import JSONFormat
        from cloudevents.core.v1.event import CloudEvent

        def read(line):
            event = JSONFormat().read(CloudEvent, line)
            return event.get_id(), event.get_source(), event.get_type(), event.get_data()

    return read


def main():
    version = importlib.metadata.version("cloudevents")
    read = reader(version)
    count = 0
    with open(sys.argv[1], encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            event = json.loads(line)
            try:
                found = read(line)
            except Exception as error:  # whatever it does not like
                sys.exit(f"cloudevents {version}: line {number}: {error!r}\n{line}")
            wanted = (event["id"], event["source"], event["type"], event.get("data"))
            if found != wanted:
                sys.exit(f"cloudevents {version}: line {number}: {found} is not {wanted}")
            count += 1
    if not count:
        sys.exit("no lines")
    print(f"cloudevents {version}: {count} lines")


if __name__ == "__main__":
    main()
