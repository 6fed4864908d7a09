"""The examples run and print what they promise, and so does the beginning of docs/python.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from .servers import BUCKET

PYTHON = Path(__file__).parents[2]
EXAMPLES = PYTHON / "examples"
DOCS = PYTHON.parent / "docs" / "python.md"

EXPECTED = {
    "loader.py": ["epoch 0: 1000000 bytes", "epoch 1: 1000000 bytes"],
    "pandas_frames.py": ["100000 rows, the last square is 9999800001"],
    "xarray_dataset.py": ["NetCDF: 10099.5", "zarr: 10099.5"],
    "dask_cluster.py": ["the sum is 1998000"],
}


def environment(server) -> dict[str, str]:
    """The provider's own variables, as a user has them."""
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
    endpoint = {"AWS_ENDPOINT_URL": server.endpoint, "AWS_ENDPOINT_URL_S3": server.endpoint}
    return {**os.environ, **keys, **endpoint}


def run(server, *command: str) -> list[str]:
    found = subprocess.run(
        [sys.executable, *command], env=environment(server), capture_output=True, text=True, timeout=110, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == EXPECTED.keys()


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_examples(servers, name):
    url = f"s3://{BUCKET}/{uuid.uuid4()}" + ("/table.parquet" if name == "pandas_frames.py" else "")
    assert run(servers["s3"], str(EXAMPLES / name), url) == EXPECTED[name]


def test_the_documents_programs_run(servers, tmp_path):
    """Each Python block of docs/python.md that does not say `no_run`, over moto."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(blocks) >= 5
    servers["s3"].write("data/object", bytes(range(256)) * 10_000)
    for n, block in enumerate(blocks):
        program = tmp_path / f"block{n}.py"
        program.write_text(block.replace("my-bucket", BUCKET))
        run(servers["s3"], str(program))
