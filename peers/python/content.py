"""The bytes of synthetic objects, as in `crates/sim/src/content.rs`, vectorised."""

import threading

import numpy as np

# The first generation of an object: `FIRST_GENERATION` of crates/sim.
FIRST_GENERATION = 1_700_000_000_000_000

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_WORD = 8

# Words compared at a time. They fit into a core's cache.
_BLOCK = 8192

# Differences between the words of a block and its first word.
_STEPS = np.arange(_BLOCK + 1, dtype=np.uint64) * np.uint64(_GOLDEN)

_SHIFT = np.uint64(32)
_scratch = threading.local()


def _mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


class Content:
    """The bytes of one generation of an object."""

    def __init__(self, key, generation):
        name = key.encode()
        seed = _mix(generation ^ _GOLDEN)
        for at in range(0, len(name), _WORD):
            word = int.from_bytes(name[at : at + _WORD], "little")
            seed = (_mix(seed ^ word) + _GOLDEN) & _MASK
        self._seed = _mix(seed ^ len(name))

    def wrong_bytes(self, offset, data):
        """How many of `data` are not the bytes that start at `offset`."""
        return sum(int(np.count_nonzero(wrong)) for wrong in self.differences(offset, data) if wrong is not None)

    def differences(self, offset, data):
        """For each block which of its bytes differ; `None` where none does."""
        data = np.frombuffer(data, dtype=np.uint8)
        # Whole words are compared from a word boundary on. The bytes before are part of one word.
        lead = min(-offset % _WORD, data.size)
        yield self._compare(offset, data[:lead])
        for at in range(lead, data.size, _BLOCK * _WORD):
            yield self._compare(offset + at, data[at : at + _BLOCK * _WORD])

    def _compare(self, offset, data):
        index, skipped = divmod(offset, _WORD)
        words = -(-(skipped + data.size) // _WORD)
        expected = self._words(index, words)
        if skipped == 0 and data.size % _WORD == 0:
            # Comparing words is eight times as fast; single bytes are compared only if words differ.
            if np.array_equal(data.view(np.uint64), expected):
                return None
        wrong = data != expected.view(np.uint8)[skipped : skipped + data.size]
        return wrong if wrong.any() else None

    def _words(self, index, count):
        """`count` words from the one at `index`, in a buffer that the thread's next call overwrites."""
        if not hasattr(_scratch, "state"):
            _scratch.state, _scratch.words = np.empty_like(_STEPS), np.empty_like(_STEPS)
        state, words = _scratch.state[:count], _scratch.words[:count]
        first = np.uint64((self._seed + index * _GOLDEN) & _MASK)
        np.add(_STEPS[:count], first, out=state)
        np.right_shift(state, _SHIFT, out=words)
        return np.bitwise_xor(state, words, out=words)


def judge(contents, offset, data):
    """Which of `contents` `data` is, and how many bytes are of none or, in a mixture, not of the commonest; also whether
    each byte is of one of them."""
    for which, content in enumerate(contents):
        if all(wrong is None for wrong in content.differences(offset, data)):
            return which, 0, True
    counts = [content.wrong_bytes(offset, data) for content in contents]
    unexplained = 0
    for blocks in zip(*(content.differences(offset, data) for content in contents)):
        if all(wrong is not None for wrong in blocks):
            unexplained += int(np.count_nonzero(np.logical_and.reduce(blocks)))
    return None, min(counts), unexplained == 0
