"""Reads a bucket through `headstart serve` by clients that were not written here, and checks every byte.

Arguments: the endpoint, a folder with the bucket's objects as files, the folder of the programs `rclone` and `aws`, and
optionally the names of clients.
"""

from __future__ import annotations

import datetime
import email.utils
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import BUCKET, REGION, same, use_keys

LARGE = "data/large"

# gcsfs would ask Google which kind of bucket it is, for minutes.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
use_keys("anybody", "anything")


class Bucket:
    """What the bucket has, and where it is served."""

    def __init__(self, endpoint: str, folder: Path, programs: Path) -> None:
        self.endpoint = endpoint
        self.programs = programs
        files = [path for path in folder.rglob("*") if path.is_file()]
        self.objects = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        self.keys = sorted(self.objects)
        self.large = self.objects[LARGE]
        size = len(self.large)
        self.ranges = [(0, 1), (5, 1_000_005), (4 << 20, 13 << 20), (size - 17, size)]

    def url(self, key: str) -> str:
        return f"{self.endpoint}/{BUCKET}/{urllib.parse.quote(key)}"


def fails(what: str, kinds: type[Exception] | tuple[type[Exception], ...], call: Callable[[], object]) -> Exception:
    try:
        call()
    except kinds as error:
        return error
    raise AssertionError(f"{what}: no error")


def curl(bucket: Bucket) -> None:
    def run(*args: str) -> bytes:
        return subprocess.run(["curl", "-sS", "--noproxy", "*", *args], check=True, stdout=subprocess.PIPE).stdout

    def status(*args: str) -> str:
        return run("-o", os.devnull, "-w", "%{http_code}", *args).decode()

    large = bucket.url(LARGE)
    for key in bucket.keys:
        same(key, run(bucket.url(key)), bucket.objects[key])
    for start, end in bucket.ranges:
        same(f"range {start}-{end}", run("-r", f"{start}-{end - 1}", large), bucket.large[start:end])
    same("the end", run("-r", "-1000", large), bucket.large[-1000:])
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part"
        part.write_bytes(bucket.large[:1_000_000])
        run("-C", "-", "-o", str(part), large)
        same("a continued download", part.read_bytes(), bucket.large)
        tags = Path(folder) / "tags"
        same("first", status("--etag-save", str(tags), large), "200")
        same("same", status("--etag-compare", str(tags), large), "304")
        etag = tags.read_text().strip()
        same("304 of HEAD", status("-I", "-H", f"If-None-Match: {etag}", large), "304")
        same("304 before 416", status("-H", f"If-None-Match: {etag}", "-r", f"{len(bucket.large)}-", large), "304")
        same("a range of it", run("-r", "5-9", "-H", f"If-Range: {etag}", large), bucket.large[5:10])
        same("a range of another", run("-r", "5-9", "-H", 'If-Range: "other"', large), bucket.large)
    same("412", status("-H", 'If-Match: "other"', large), "412")
    same("412 of HEAD", status("-I", "-H", 'If-Match: "other"', large), "412")
    tomorrow = email.utils.formatdate(time.time() + 86400, usegmt=True)
    same("304 by date", status("-H", f"If-Modified-Since: {tomorrow}", large), "304")
    same("412 by date", status("-H", f"If-Unmodified-Since: {email.utils.formatdate(0, usegmt=True)}", large), "412")
    same("416", status("-r", f"{len(bucket.large)}-", large), "416")
    same("404", status(bucket.url("none")), "404")
    same("another bucket", status(f"{bucket.endpoint}/other/{LARGE}"), "404")
    same("405", status("-X", "PUT", "-d", "new", large), "405")
    same("HEAD", status("-I", large), "200")


def boto3(bucket: Bucket) -> None:
    import boto3
    import botocore.config
    from botocore.exceptions import ClientError

    config = botocore.config.Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"})
    s3 = boto3.client("s3", endpoint_url=bucket.endpoint, config=config)
    place = {"Bucket": BUCKET, "Key": LARGE}

    def status(call: Callable[..., object], **args: object) -> int:
        error = fails(f"{args}", ClientError, lambda: call(**args))
        return error.response["ResponseMetadata"]["HTTPStatusCode"]  # type: ignore[attr-defined]

    same("buckets", [it["Name"] for it in s3.list_buckets()["Buckets"]], [BUCKET])
    s3.head_bucket(Bucket=BUCKET)
    same("another bucket", status(s3.head_bucket, Bucket="other"), 404)
    for operation in ("list_objects_v2", "list_objects"):
        pages = s3.get_paginator(operation).paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 2})
        listed = [it for page in pages for it in page.get("Contents", [])]
        same(operation, [it["Key"] for it in listed], bucket.keys)
        same("sizes", [it["Size"] for it in listed], [len(bucket.objects[key]) for key in bucket.keys])
    top = s3.list_objects_v2(Bucket=BUCKET, Delimiter="/", Prefix="data/")
    same("prefixes", [it["Prefix"] for it in top["CommonPrefixes"]], ["data/sub dir/"])
    for key in bucket.keys:
        same(f"size of {key}", s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"], len(bucket.objects[key]))
        same(key, s3.get_object(Bucket=BUCKET, Key=key)["Body"].read(), bucket.objects[key])
    for start, end in bucket.ranges:
        answer = s3.get_object(**place, Range=f"bytes={start}-{end - 1}")
        same("range", answer["ContentRange"], f"bytes {start}-{end - 1}/{len(bucket.large)}")
        same(f"range {start}-{end}", answer["Body"].read(), bucket.large[start:end])
    whole = io.BytesIO()
    s3.download_fileobj(BUCKET, LARGE, whole)
    same("download", whole.getvalue(), bucket.large)
    tag = s3.head_object(**place)["ETag"]
    same("if match", s3.get_object(**place, IfMatch=tag, Range="bytes=0-9")["Body"].read(), bucket.large[:10])
    same("412", status(s3.get_object, **place, IfMatch='"other"'), 412)
    same("304", status(s3.get_object, **place, IfNoneMatch=tag), 304)
    same("304 of HEAD", status(s3.head_object, **place, IfNoneMatch=tag), 304)
    same("416", status(s3.get_object, **place, Range="bytes=999999999-"), 416)
    same("404", status(s3.get_object, Bucket=BUCKET, Key="none"), 404)
    same("405", status(s3.put_object, **place, Body=b"new"), 405)
    same("405", status(s3.delete_object, **place), 405)
    last = s3.head_object(**place)["LastModified"]
    same("304 by date", status(s3.get_object, **place, IfModifiedSince=last), 304)
    earlier = last - datetime.timedelta(days=1)
    same("412 by date", status(s3.get_object, **place, IfUnmodifiedSince=earlier), 412)
    same("412 of HEAD", status(s3.head_object, **place, IfMatch='"other"'), 412)
    signed = s3.generate_presigned_url("get_object", Params={**place, "Range": "bytes=0-9"})
    same("signed", subprocess.check_output(["curl", "-sS", "-r", "0-9", signed]), bucket.large[:10])


def s3fs(bucket: Bucket) -> None:
    import s3fs

    fs = s3fs.S3FileSystem(endpoint_url=bucket.endpoint, skip_instance_cache=True, use_listings_cache=False)
    fsspec_reads(bucket, fs)


def gcsfs(bucket: Bucket) -> None:
    import gcsfs

    endpoint = bucket.endpoint
    fs = gcsfs.GCSFileSystem(endpoint_url=endpoint, token="anon", skip_instance_cache=True, use_listings_cache=False)
    fsspec_reads(bucket, fs)


def fsspec_reads(bucket: Bucket, fs: Any) -> None:
    same("find", fs.find(BUCKET), [f"{BUCKET}/{key}" for key in bucket.keys])
    same("ls", sorted(fs.ls(f"{BUCKET}/data", detail=False)), [f"{BUCKET}/data/large", f"{BUCKET}/data/sub dir"])
    large = f"{BUCKET}/{LARGE}"
    same("size", fs.info(large)["size"], len(bucket.large))
    same("directory", fs.info(f"{BUCKET}/data")["type"], "directory")
    same("exists", (fs.exists(large), fs.exists(f"{BUCKET}/none")), (True, False))
    for key in bucket.keys:
        same(key, fs.cat_file(f"{BUCKET}/{key}"), bucket.objects[key])
    for start, end in bucket.ranges:
        same(f"range {start}-{end}", fs.cat_file(large, start=start, end=end), bucket.large[start:end])
    starts, ends = zip(*bucket.ranges, strict=True)
    expected = [bucket.large[start:end] for start, end in bucket.ranges]
    same("ranges", fs.cat_ranges([large] * len(starts), list(starts), list(ends)), expected)
    with fs.open(large, block_size=1 << 20) as file:
        same("start", file.read(100), bucket.large[:100])
        file.seek(9 << 20)
        same("middle", file.read(3 << 20), bucket.large[9 << 20 : 12 << 20])
        file.seek(-50, 2)
        same("end", file.read(), bucket.large[-50:])
    fails("missing", FileNotFoundError, lambda: fs.cat_file(f"{BUCKET}/none"))


def pyarrow(bucket: Bucket) -> None:
    from pyarrow import fs

    host = bucket.endpoint.removeprefix("http://")
    s3 = fs.S3FileSystem(endpoint_override=host, scheme="http", region=REGION, access_key="any", secret_key="any")
    found = s3.get_file_info(fs.FileSelector(BUCKET, recursive=True))
    files = {it.path: it.size for it in found if it.type == fs.FileType.File}
    same("files", files, {f"{BUCKET}/{key}": len(value) for key, value in bucket.objects.items()})
    same("directory", s3.get_file_info(f"{BUCKET}/data").type, fs.FileType.Directory)
    same("missing", s3.get_file_info(f"{BUCKET}/none").type, fs.FileType.NotFound)
    large = f"{BUCKET}/{LARGE}"
    with s3.open_input_file(large) as file:
        same("size", file.size(), len(bucket.large))
        for start, end in bucket.ranges:
            same(f"range {start}-{end}", file.read_at(end - start, start), bucket.large[start:end])
    for key in bucket.keys:
        with s3.open_input_stream(f"{BUCKET}/{key}") as stream:
            same(key, stream.read(), bucket.objects[key])
    fails("missing", FileNotFoundError, lambda: s3.open_input_file(f"{BUCKET}/none"))


def google_cloud_storage(bucket: Bucket) -> None:
    from google.api_core.exceptions import NotFound, NotModified, PreconditionFailed, RequestRangeNotSatisfiable
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    options = {"api_endpoint": bucket.endpoint}
    client = storage.Client(project="any", credentials=AnonymousCredentials(), client_options=options)
    place = client.bucket(BUCKET)
    same("objects", [blob.name for blob in client.list_blobs(BUCKET, page_size=2)], bucket.keys)
    for key in bucket.keys:
        same(key, place.blob(key).download_as_bytes(), bucket.objects[key])
    blob = place.get_blob(LARGE)
    same("size", blob.size, len(bucket.large))
    for start, end in bucket.ranges:
        same("range", blob.download_as_bytes(start=start, end=end - 1), bucket.large[start:end])
    same("missing", place.get_blob("none"), None)
    fails("missing", NotFound, lambda: place.blob("none").download_as_bytes())
    fails("412", (PreconditionFailed, NotFound), lambda: blob.download_as_bytes(if_generation_match=1))
    end = len(bucket.large)
    fails("416", RequestRangeNotSatisfiable, lambda: blob.download_as_bytes(start=end, end=end + 9))
    fails("304", NotModified, lambda: blob.download_as_bytes(if_etag_not_match=blob.etag))


def obstore(bucket: Bucket) -> None:
    from obstore.store import GCSStore, S3Store

    http = {"allow_http": True}
    keys = {"access_key_id": "any", "secret_access_key": "any"}
    s3 = S3Store(BUCKET, endpoint=bucket.endpoint, region=REGION, client_options=http, **keys)
    gcs = GCSStore(BUCKET, base_url=bucket.endpoint, skip_signature=True, client_options=http)
    for store in (s3, gcs):
        obstore_reads(bucket, store)


def obstore_reads(bucket: Bucket, store: Any) -> None:
    import obstore
    from obstore.exceptions import NotModifiedError, PreconditionError

    listed = [it["path"] for page in obstore.list(store) for it in page]
    same("objects", listed, bucket.keys)
    same("prefixes", list(obstore.list_with_delimiter(store, "data")["common_prefixes"]), ["data/sub dir"])
    for key in bucket.keys:
        same(key, bytes(obstore.get(store, key).bytes()), bucket.objects[key])
    starts, ends = zip(*bucket.ranges, strict=True)
    parts = obstore.get_ranges(store, LARGE, starts=list(starts), ends=list(ends))
    same("ranges", [bytes(part) for part in parts], [bucket.large[start:end] for start, end in bucket.ranges])
    meta = obstore.head(store, LARGE)
    same("size", meta["size"], len(bucket.large))
    tag = meta["e_tag"]
    fails("304", NotModifiedError, lambda: obstore.get(store, LARGE, options={"if_none_match": tag}))
    fails("412", PreconditionError, lambda: obstore.get(store, LARGE, options={"if_match": '"other"'}))
    fails("404", FileNotFoundError, lambda: obstore.get(store, "none"))


def program(*args: str | Path, code: int = 0) -> bytes:
    """The output of a success, or what is said on an error; the program must end with this code."""
    ended = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if ended.returncode != code:
        raise AssertionError(f"{args} ended with {ended.returncode}: {ended.stderr.decode()[-500:]}")
    return ended.stdout if code == 0 else ended.stderr


def same_files(bucket: Bucket, folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    same("files", sorted(path.relative_to(folder).as_posix() for path in files), bucket.keys)
    for key in bucket.keys:
        same(key, (folder / key).read_bytes(), bucket.objects[key])


def rclone(bucket: Bucket) -> None:
    keys = f"access_key_id=any,secret_access_key=any,region={REGION}"
    rclone_reads(bucket, f":s3,provider=Other,endpoint='{bucket.endpoint}',{keys}:{BUCKET}")


def rclone_gcs(bucket: Bucket) -> None:
    rclone_reads(bucket, f":gcs,anonymous=true,endpoint='{bucket.endpoint}/storage/v1/':{BUCKET}")


def rclone_reads(bucket: Bucket, remote: str) -> None:
    def run(*args: str, code: int = 0) -> bytes:
        return program(bucket.programs / "rclone", "--config", os.devnull, "--retries", "1", *args, code=code)

    def listed(*args: str) -> dict[str, int]:
        return {it["Path"]: it["Size"] for it in json.loads(run("lsjson", *args, remote))}

    sizes = {key: len(value) for key, value in bucket.objects.items()}
    same("objects", listed("-R", "--files-only"), sizes)
    same("directories", set(listed("-R", "--dirs-only")), {"data", "data/sub dir", "more"})
    large = f"{remote}/{LARGE}"
    same("size", json.loads(run("lsjson", "--stat", large))["Size"], len(bucket.large))
    for key in bucket.keys:
        same(key, run("cat", f"{remote}/{key}"), bucket.objects[key])
    for start, end in bucket.ranges:
        part = run("cat", "--offset", f"{start}", "--count", f"{end - start}", large)
        same(f"range {start}-{end}", part, bucket.large[start:end])
    same("the end", run("cat", "--tail", "1000", large), bucket.large[-1000:])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "all"
        # In parts by several connections, as rclone reads objects of 256 MiB and more.
        parts = ("--multi-thread-cutoff", "1M", "--multi-thread-chunk-size", "4M", "--multi-thread-streams", "4")
        run("copy", *parts, remote, str(folder))
        same_files(bucket, folder)
        run("check", "--download", remote, str(folder))
        new = Path(name) / "new"
        new.write_bytes(b"new")
        said = run("--low-level-retries", "1", "copyto", str(new), f"{remote}/new", code=1)
        same("405", b"405" in said, True)


def aws(bucket: Bucket) -> None:
    def run(*args: str, code: int = 0) -> bytes:
        return program(bucket.programs / "aws", "--endpoint-url", bucket.endpoint, *args, code=code)

    place = ("--bucket", BUCKET, "--key", LARGE)
    listed = run("s3", "ls", "--recursive", f"s3://{BUCKET}").decode().splitlines()
    found = {line[3]: int(line[2]) for line in (line.split(maxsplit=3) for line in listed)}
    same("objects", found, {key: len(value) for key, value in bucket.objects.items()})
    head = json.loads(run("s3api", "head-object", *place))
    same("size", head["ContentLength"], len(bucket.large))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run("s3", "sync", f"s3://{BUCKET}", str(folder / "all"))
        same_files(bucket, folder / "all")
        part = folder / "part"
        start, end = bucket.ranges[1]
        run("s3api", "get-object", *place, "--range", f"bytes={start}-{end - 1}", str(part))
        same(f"range {start}-{end}", part.read_bytes(), bucket.large[start:end])
        # At once: each start of this program takes most of a second.
        refused = (
            (("s3api", "get-object", *place, "--if-none-match", head["ETag"], str(part)), 255, b"(304)"),
            (("s3api", "get-object", *place, "--if-match", '"other"', str(part)), 255, b"(PreconditionFailed)"),
            (("s3api", "get-object", *place, "--range", "bytes=999999999-", str(part)), 255, b"(InvalidRange)"),
            (("s3", "cp", f"s3://{BUCKET}/none", "-"), 1, b"(404)"),
            (("s3", "cp", __file__, f"s3://{BUCKET}/new"), 1, b"(MethodNotAllowed)"),
        )
        with ThreadPoolExecutor() as threads:
            said = threads.map(lambda case: run(*case[0], code=case[1]), refused)
            for (args, _, expected), text in zip(refused, said, strict=True):
                same(f"{expected} in {text} of {args}", expected in text, True)


CLIENTS = (curl, boto3, s3fs, gcsfs, pyarrow, google_cloud_storage, obstore, rclone, rclone_gcs, aws)


def main(endpoint: str, folder: str, programs: str, *names: str) -> None:
    bucket = Bucket(endpoint, Path(folder), Path(programs))
    failed = []
    for client in CLIENTS:
        if names and client.__name__ not in names:
            continue
        began = time.monotonic()
        try:
            client(bucket)
        except Exception as error:
            failed.append(client.__name__)
            print(f"  {client.__name__}: {type(error).__name__}: {error}", flush=True)
        else:
            print(f"  {client.__name__}: passed in {time.monotonic() - began:.1f} s", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
