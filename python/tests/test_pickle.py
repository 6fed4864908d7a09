"""Copies: with their options and position, and independent of the original."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import cloudpickle
import pytest
from cloud import MIB, Sim, content, synthetic
from conftest import Run

import headstart


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_file_keeps_its_options_and_position(sim: Sim, protocol: int) -> None:
    key = synthetic(4 * MIB, "pickle")
    with headstart.open(f"{sim.url}/{key}", mode="cached", cache_memory_bytes="32MiB", **sim.options) as file:
        assert file.read(1000) == content(key, 0, 1000)
        other = pickle.loads(pickle.dumps(file, protocol))
        assert other.tell() == 1000
        assert other.read(500) == content(key, 1000, 1500)
        assert file.tell() == 1000
        other.close()
        assert file.read(500) == content(key, 1000, 1500)
        assert other.closed


def test_copies_and_cloudpickle(store: headstart.Store) -> None:
    file = store.open("data")
    file.seek(7)
    for other in (copy.copy(file), copy.deepcopy(file), cloudpickle.loads(cloudpickle.dumps(file))):
        assert other.read(10) == content("data", 7, 17)
    assert file.tell() == 7
    file.close()
    with pytest.raises(ValueError, match="closed"):
        pickle.dumps(file)


def test_a_store_keeps_its_options(sim: Sim) -> None:
    store = headstart.Store(f"{sim.url}/synthetic", mode="cached", cache_memory_bytes="32MiB", workers=2, **sim.options)
    other = pickle.loads(pickle.dumps(store))
    assert other == store
    assert hash(other) == hash(store)
    assert other.options == store.options
    assert other.effective_config() == store.effective_config()
    assert other.url == store.url
    assert bytes(other.get("1000/x").buffer()) == content("synthetic/1000/x", 0, 1000)
    assert other != headstart.Store(sim.url, **sim.options)
    assert other != "something else"


def test_keys_with_odd_characters(tmp_path: Path) -> None:
    store = headstart.Store(f"file://{tmp_path}")
    for key in ["a b", "50%", "what?", "a#b", "ü", "x/100%25"]:
        store.put(key, key.encode())
        below = headstart.Store(store.url + "/x") if key.startswith("x/") else store
        assert pickle.loads(pickle.dumps(store.open(key))).read() == key.encode()
        assert pickle.loads(pickle.dumps(below)).url == below.url
    assert sorted(meta["path"] for metas in store.list() for meta in metas) == sorted(
        ["a b", "50%", "what?", "a#b", "ü", "x/100%25"]
    )
    odd = headstart.Store(f"file://{tmp_path}/50%25")
    assert odd.url.endswith("50%25")
    assert pickle.loads(pickle.dumps(odd)) == odd


def test_errors_can_be_pickled(store: headstart.Store) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        store.head("missing")
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, FileNotFoundError)
    assert str(again) == str(caught.value)
    changed = pickle.loads(pickle.dumps(headstart.ObjectChanged("it changed")))
    assert isinstance(changed, headstart.ObjectChanged)


def test_buffers_can_be_pickled(store: headstart.Store) -> None:
    buffer = store.get_range("data", start=0, end=1000)
    assert pickle.loads(pickle.dumps(buffer)) == content("data", 0, 1000)


def test_another_process_reads_the_same_version(run_script: Run, sim: Sim) -> None:
    key = synthetic(MIB, "other-process")
    file = headstart.open(f"{sim.url}/{key}", **sim.options)
    file.seek(10)
    file.read(10)
    script = """
        import pickle, sys, headstart
        file = pickle.loads(bytes.fromhex(sys.argv[1]))
        try:
            print(file.tell(), file.read(5).hex())
        except headstart.ObjectChanged:
            print("changed")
    """
    pickled = pickle.dumps(file).hex()
    assert run_script(script, pickled).stdout.split() == ["20", content(key, 20, 25).hex()]
    sim.overwrite(key)
    # Never bytes of the new version: the old ones, where the store still has them, or an error.
    assert run_script(script, pickled).stdout.split() in (["20", content(key, 20, 25).hex()], ["changed"])
