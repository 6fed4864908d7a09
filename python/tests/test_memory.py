"""How much memory a program needs that reads an object from end to end."""

from __future__ import annotations

import json

import pytest
from cloud import MIB, Sim, synthetic
from conftest import Run

READER = """
    import json, re, sys
    from pathlib import Path

    import headstart
    from cloud import MIB, content

    def peak() -> int:
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10

    url, key, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    size = int(key.split("/")[1])
    # What the check of the bytes needs is there before.
    assert len(content(key, 0, MIB)) == MIB
    before = peak()
    file = headstart.open(f"{url}/{key}", **options)
    for at in range(0, size, MIB):
        assert file.read(MIB) == content(key, at, at + MIB)
    assert file.read(1) == b""
    print(peak() - before)
"""


@pytest.mark.parametrize(("memory_mib", "most_mib"), [(32, 70), (64, 110), (None, 220)])
def test_peak_memory_of_a_sequential_read(
    slow_sim: Sim, run_script: Run, memory_mib: int | None, most_mib: int
) -> None:
    """The budget bounds what is held; buffers of the network and of the allocator come on top."""
    budget = {} if memory_mib is None else {"memory_bytes": memory_mib * MIB}
    options = json.dumps({**slow_sim.options, **budget})
    done = run_script(READER, slow_sim.url, synthetic(256 * MIB, "memory"), options)
    used_mib = int(done.stdout) / MIB
    print(f"{used_mib:.0f} MiB")
    assert used_mib <= most_mib
