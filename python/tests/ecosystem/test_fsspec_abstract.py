"""fsspec's own suite for implementations, over fake-gcs-server and moto."""

from __future__ import annotations

import fsspec.tests.abstract as abstract
import pytest

from headstart.fsspec import GoogleFileSystem, S3FileSystem

from .servers import BUCKET


class Fixtures(abstract.AbstractFixtures):
    kind: str

    @pytest.fixture
    def fs(self, servers):
        cls = {"gs": GoogleFileSystem, "s3": S3FileSystem}[self.kind]
        return cls(**servers[self.kind].foreign_options)

    @pytest.fixture
    def fs_path(self):
        return BUCKET

    @pytest.fixture
    def fs_join(self):
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def supports_empty_directories(self):
        return False


class Google(Fixtures):
    kind = "gs"


class S3(Fixtures):
    kind = "s3"


class TestCopyGoogle(abstract.AbstractCopyTests, Google):
    pass


class TestGetGoogle(abstract.AbstractGetTests, Google):
    pass


class TestPutGoogle(abstract.AbstractPutTests, Google):
    pass


class TestOpenGoogle(abstract.AbstractOpenTests, Google):
    pass


class TestPipeGoogle(abstract.AbstractPipeTests, Google):
    pass


class TestCopyS3(abstract.AbstractCopyTests, S3):
    pass


class TestGetS3(abstract.AbstractGetTests, S3):
    pass


class TestPutS3(abstract.AbstractPutTests, S3):
    pass


class TestOpenS3(abstract.AbstractOpenTests, S3):
    pass


class TestPipeS3(abstract.AbstractPipeTests, S3):
    pass
