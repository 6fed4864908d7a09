"""Writes through `headstart serve --allow-writes` by clients that were not written here, and reads it back.

Arguments: the endpoint, the folder of the program `aws`, and the certificate to trust, where the endpoint has one.
"""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from common import BUCKET, REGION, same, use_keys

ID, SECRET = "me", "hunter2"
MIB = 1 << 20

# Sizes in one request and in parts; the last part is short.
SIZES = {"empty": 0, "small": 1000, "one request": 7 * MIB, "in parts": 29 * MIB + 5}

use_keys(ID, SECRET)


def content(name: str) -> bytes:
    return random.Random(name).randbytes(SIZES[name])


class Endpoint:
    def __init__(self, url: str, certificate: str | None) -> None:
        import boto3
        import botocore.config

        self.url, self.certificate = url, certificate
        config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        self.s3 = boto3.client("s3", endpoint_url=url, config=config, verify=certificate or False)

    def check(self, key: str, expected: bytes) -> None:
        same(key, self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read(), expected)


def boto3(endpoint: Endpoint, _: Path) -> None:
    from boto3.s3.transfer import TransferConfig

    s3 = endpoint.s3
    for name in SIZES:
        key, bytes_ = f"boto3/{name}", content(name)
        s3.put_object(Bucket=BUCKET, Key=key, Body=bytes_, ContentType="text/x", Metadata={"a": "b"})
        answer = s3.get_object(Bucket=BUCKET, Key=key)
        same(key, (answer["Body"].read(), answer["ContentType"]), (bytes_, "text/x"))
        for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256") if len(bytes_) < MIB else ():
            try:
                s3.put_object(Bucket=BUCKET, Key=key, Body=bytes_, ChecksumAlgorithm=algorithm)
            except Exception as error:
                # boto3 computes this one with a package that is optional.
                if type(error).__name__ != "MissingDependencyException":
                    raise
            endpoint.check(key, bytes_)
    for threads in (1, 8):
        config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=threads)
        for name in SIZES:
            key = f"boto3/{threads}/{name}"
            s3.upload_fileobj(io.BytesIO(content(name)), BUCKET, key, Config=config)
            endpoint.check(key, content(name))
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key="boto3/aborted")["UploadId"]
    place = {"Bucket": BUCKET, "Key": "boto3/aborted", "UploadId": begun}
    s3.upload_part(**place, PartNumber=1, Body=b"part")
    s3.abort_multipart_upload(**place)
    s3.delete_object(Bucket=BUCKET, Key="boto3/small")
    rest = [{"Key": f"boto3/8/{name}"} for name in SIZES]
    same("errors", s3.delete_objects(Bucket=BUCKET, Delete={"Objects": rest}).get("Errors"), None)
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="boto3/")["Contents"]
    expected = [f"boto3/1/{name}" for name in SIZES] + [f"boto3/{name}" for name in SIZES if name != "small"]
    same("objects", sorted(it["Key"] for it in listed), sorted(expected))


def s3fs(endpoint: Endpoint, _: Path) -> None:
    import s3fs as package

    verify = {"verify": endpoint.certificate} if endpoint.certificate else {}
    fs = package.S3FileSystem(key=ID, secret=SECRET, endpoint_url=endpoint.url, client_kwargs=verify)
    for name in SIZES:
        with fs.open(f"{BUCKET}/s3fs/{name}", "wb", block_size=5 * MIB) as file:
            file.write(content(name))
        endpoint.check(f"s3fs/{name}", content(name))
    fs.rm(f"{BUCKET}/s3fs/small")
    same("objects", sorted(fs.ls(f"{BUCKET}/s3fs")), sorted(f"{BUCKET}/s3fs/{it}" for it in SIZES if it != "small"))


def pyarrow(endpoint: Endpoint, _: Path) -> None:
    from pyarrow import fs as package

    scheme, host = endpoint.url.split("://")
    trusted = {"tls_ca_file_path": endpoint.certificate} if endpoint.certificate else {}
    keys = {"access_key": ID, "secret_key": SECRET, "region": REGION}
    fs = package.S3FileSystem(endpoint_override=host, scheme=scheme, **keys, **trusted)
    for name in SIZES:
        with fs.open_output_stream(f"{BUCKET}/pyarrow/{name}") as stream:
            stream.write(content(name))
        endpoint.check(f"pyarrow/{name}", content(name))


def aws(endpoint: Endpoint, programs: Path) -> None:
    trusted = ["--ca-bundle", endpoint.certificate] if endpoint.certificate else []
    with tempfile.TemporaryDirectory() as folder:
        for name in SIZES:
            (Path(folder) / name).write_bytes(content(name))
        command = [
            programs / "aws",
            "--endpoint-url",
            endpoint.url,
            *trusted,
            "s3",
            "sync",
            folder,
            f"s3://{BUCKET}/aws",
        ]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    for name in SIZES:
        endpoint.check(f"aws/{name}", content(name))


CLIENTS = (boto3, s3fs, pyarrow, aws)


def main(url: str, programs: str, certificate: str | None = None) -> None:
    endpoint = Endpoint(url, certificate)
    for client in CLIENTS:
        client(endpoint, Path(programs))
        print(f"  {client.__name__} has written")


if __name__ == "__main__":
    main(*sys.argv[1:])
