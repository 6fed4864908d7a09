"""Reads a trace and finds the chains of calls in it."""

import json


class Call:
    """One line of a trace."""

    def __init__(self, line):
        self.n = line["n"]
        self.key = line["key"]
        self.kind = line["call"]
        self.handle = line.get("handle")
        self.after = line.get("after")
        self.wait_s = (line.get("wait_us") or 0) / 1e6
        # Traces of `headstart_trace` name this field `is_last`.
        self.close = bool(line.get("is_last"))
        size = line.get("size")
        # A call without ranges reads the whole object.
        ranges = line.get("ranges") or ([[0, size]] if size is not None else [])
        self.ranges = [(start, end) for start, end in ranges]
        if self.kind not in ("read", "overwrite"):
            raise ValueError(f"call {self.n} is a {self.kind!r}; only 'read' and 'overwrite' are known")
        if self.kind == "read" and not self.ranges:
            raise ValueError(f"call {self.n} has neither ranges nor a size")


class Chain:
    """Consecutive calls: each begins when the one before has ended."""

    def __init__(self, first):
        self.calls = [first]
        self.after = first.after


def read(path):
    """The calls of a trace, in the order in which they began."""
    with open(path, encoding="utf-8") as file:
        header = json.loads(file.readline() or "{}")
        if header.get("trace") != "headstart" or header.get("version") != 1:
            raise ValueError(f"{path} is no trace of version 1")
        calls = [Call(json.loads(line)) for line in file if line.strip()]
    return sorted(calls, key=lambda call: call.n)


def chains(calls):
    """The chains of `calls`. One begins at the run's start, or when the call `after` has ended."""
    found, ends = [], {}
    for call in calls:
        chain = ends.pop(call.after, None) if call.after is not None else None
        if chain is None:
            chain = Chain(call)
            found.append(chain)
        else:
            chain.calls.append(call)
        ends[call.n] = chain
    return found


def share(found, processes, process):
    """The chains that process number `process` of `processes` takes."""
    mine = found[process::processes]
    if processes > 1:
        here = {call.n for chain in mine for call in chain.calls}
        if any(chain.after is not None and chain.after not in here for chain in mine):
            raise ValueError("a chain begins after a call of another process, which cannot be seen from here")
        if any(call.kind == "overwrite" for chain in found for call in chain.calls):
            raise ValueError("one process cannot know what another has overwritten")
    return mine
