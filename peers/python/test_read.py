"""Tests without a server: run `python -m unittest` in this folder, with requirements.txt installed."""

import json
import random
import tempfile
import unittest

import calls
import read
from content import Content, judge


def expected(key, generation, start, end):
    """The bytes of a range, a word at a time."""
    whole = b"".join(Content(key, generation)._words(i, 1).tobytes() for i in range(end // 8 + 1))
    return whole[start:end]


def parsed(*lines):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("\n".join(json.dumps(line) for line in ({"trace": "headstart", "version": 1}, *lines)))
        file.flush()
        return calls.read(file.name)


def call(n, after=None, **more):
    return {"n": n, "key": "synthetic/1GiB/a", "call": "read", "ranges": [[0, 1]], "after": after, **more}


class ContentTest(unittest.TestCase):
    def test_the_bytes_are_those_of_the_simulated_cloud(self):
        # The values of the tests in crates/sim/src/content.rs.
        self.assertEqual(expected("synthetic/1GiB/a", 1, 6, 10), bytes([96, 27, 219, 131]))
        self.assertEqual(Content("synthetic/1GiB/a", 1).wrong_bytes(6, bytes([96, 27, 219, 131])), 0)

    def test_any_range_is_known_and_any_wrong_byte_found(self):
        dice = random.Random(7)
        key, end = "synthetic/200000B/k", 200_000
        whole, checked = expected(key, 3, 0, end), Content(key, 3)
        for _ in range(200):
            start = dice.randrange(end)
            data = bytearray(whole[start : dice.randrange(start, end + 1)])
            self.assertEqual(checked.wrong_bytes(start, bytes(data)), 0, "seed 7")
            wrong = {dice.randrange(len(data)) for _ in range(3)} if data else set()
            for at in wrong:
                data[at] ^= 1
            self.assertEqual(checked.wrong_bytes(start, bytes(data)), len(wrong), "seed 7")

    def test_a_read_is_of_one_generation(self):
        old, new = expected("k", 1, 0, 1000), expected("k", 2, 0, 1000)
        known = [Content("k", 1), Content("k", 2)]
        self.assertEqual(judge(known, 0, new), (1, 0, True))
        which, wrong, explained = judge(known, 0, old[:900] + new[900:])
        self.assertEqual((which, explained), (None, True))
        self.assertTrue(90 <= wrong <= 100, "of the last hundred, some are the same in both")
        which, wrong, explained = judge(known, 0, bytes(1000))
        self.assertEqual((which, explained), (None, False))
        self.assertGreater(wrong, 900)

    def test_offsets_beyond_32_bits_wrap_as_words_do(self):
        far = 1 << 45
        data = b"".join(Content("k", 1)._words(far + i, 1).tobytes() for i in range(4))
        self.assertEqual(Content("k", 1).wrong_bytes(8 * far + 3, data[3:]), 0)


class ChainsTest(unittest.TestCase):
    def test_chains_follow_the_last_call(self):
        found = calls.chains(parsed(call(0), call(1), call(2, 0), call(3, 1), call(4, 0), call(5, 2)))
        self.assertEqual([[c.n for c in chain.calls] for chain in found], [[0, 2, 5], [1, 3], [4]])
        self.assertEqual([chain.after for chain in found], [None, None, 0])

    def test_processes_share_chains_that_need_no_other(self):
        found = calls.chains(parsed(call(0), call(1), call(2, 0)))
        self.assertEqual([c.n for chain in calls.share(found, 2, 1) for c in chain.calls], [1])
        fork = calls.chains(parsed(call(0), call(1, 0), call(2, 0)))
        self.assertRaises(ValueError, calls.share, fork, 2, 1)

    def test_what_is_no_trace_is_refused(self):
        self.assertRaises(ValueError, parsed, call(0, call="list"))
        self.assertRaises(ValueError, parsed, call(0, ranges=[]))
        self.assertEqual(parsed(call(0, ranges=None, size=9))[0].ranges, [(0, 9)])


class File:
    """Answers once, then with an error."""

    opened = 0

    def __init__(self, error):
        File.opened += 1
        self._answers = [b"a", error] if File.opened == 1 else [b"b"]

    def seek(self, start):
        pass

    def read(self, length):
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        pass


class HandleTest(unittest.TestCase):
    def test_a_change_that_is_told_is_read_anew(self):
        File.opened = 0
        handle = read.Handle(lambda: File(FileExistsError()), lambda error: isinstance(error, FileExistsError))
        self.assertEqual([handle.read([(0, 1)]), handle.was_told], [[b"a"], False])
        self.assertEqual([handle.read([(0, 1)]), handle.was_told, File.opened], [[b"b"], True, 2])

    def test_another_error_ends_the_run(self):
        File.opened = 0
        handle = read.Handle(lambda: File(OSError()), lambda error: isinstance(error, FileExistsError))
        handle.read([(0, 1)])
        self.assertRaises(OSError, handle.read, [(0, 1)])


if __name__ == "__main__":
    unittest.main()
