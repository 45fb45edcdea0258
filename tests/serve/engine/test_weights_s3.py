"""s3:// against moto on loopback, through the real boto3; a proxy before it cuts answers short."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from fairlead_serve.engine.weights import Patience, Progress, WeightsStore
from fairlead_serve.errors import DiskFull, WeightsError, WeightsForbidden, WeightsNotFound, WeightsUnavailable
from tests.serve.engine.cutting_proxy import CuttingProxy, cutting

WEIGHTS = random.Random(2).randbytes(400_000)
FILES = {
    "config.json": b'{"model_type": "parrot"}',
    "tokenizer/vocab.txt": b"polly\n",
    "model.safetensors": WEIGHTS,
    "README.md": b"# Parrot",
}
WANTED = {"config.json", "tokenizer/vocab.txt", "model.safetensors"}
URI = "s3://models/team/parrot"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def bucket(moto: str, credentials: None) -> Iterator[Any]:
    s3 = boto3.session.Session().resource("s3", endpoint_url=moto)
    bucket = s3.create_bucket(Bucket="models")
    for name, content in FILES.items():
        bucket.put_object(Key=f"team/parrot/{name}", Body=content)
    bucket.put_object(Key="team/parrot-large/model.safetensors", Body=b"somebody else's")
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
    s3.meta.client.close()


@pytest.fixture
def proxy(moto: str, bucket: Any) -> Iterator[CuttingProxy]:
    with cutting(moto) as proxy:
        proxy.cut_path = "model.safetensors"
        yield proxy


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def store(proxy: CuttingProxy, tmp_path: Path, waits: list[float]) -> WeightsStore:
    return _store(proxy.url, tmp_path, waits)


def _store(endpoint: str, root: Path, waits: list[float], **options: Any) -> WeightsStore:
    patience = Patience(attempts=4, sleep=waits.append)
    return WeightsStore(root, s3_endpoint=endpoint, patience=patience, timeout_s=5, **options)


def _ignore(_: Progress) -> None:
    pass


def _names(directory: Path) -> set[str]:
    files = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    return files - {".fairlead.json"}


def _refusal(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()


def test_a_prefix_is_fetched_with_what_an_engine_needs_and_not_its_namesake(
    store: WeightsStore, tmp_path: Path
) -> None:
    reports: list[Progress] = []

    directory = store.fetch(URI, progress=reports.append)

    assert directory.parent == tmp_path / "s3" / "models--team--parrot"
    assert _names(directory) == WANTED
    assert all((directory / name).read_bytes() == FILES[name] for name in WANTED)
    total = sum(len(FILES[name]) for name in WANTED)
    assert reports[0] == Progress("Downloading", 0, total)
    assert reports[-1] == Progress("Downloading", total, total)


def test_a_second_fetch_lists_and_reads_nothing(store: WeightsStore, proxy: CuttingProxy) -> None:
    first = store.fetch(f"{URI}/", progress=_ignore)
    proxy.requests.clear()
    reports: list[Progress] = []

    assert store.fetch(URI, progress=reports.append) == first

    assert len(proxy.requests) == 1
    assert [report.phase for report in reports] == ["Cached"]


def test_changed_objects_are_another_version(store: WeightsStore, bucket: Any) -> None:
    old = store.fetch(URI, progress=_ignore)
    bucket.put_object(Key="team/parrot/model.safetensors", Body=b"new weights")

    new = store.fetch(URI, progress=_ignore)

    assert (new / "model.safetensors").read_bytes() == b"new weights"
    assert (old / "model.safetensors").read_bytes() == WEIGHTS
    assert store.lookup(URI) == new


def test_an_object_that_breaks_off_is_continued_as_the_same_object(
    store: WeightsStore, proxy: CuttingProxy, bucket: Any, waits: list[float]
) -> None:
    proxy.cut_after = [150_000, 100_000]

    directory = store.fetch(URI, progress=_ignore)

    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    requests = proxy.gets("model.safetensors")
    starts = [int(request.get("range", "bytes=0-")[6:-1]) for request in requests]
    assert len(starts) == 3
    assert 0 == starts[0] < starts[1] <= 150_000 < starts[2] <= 250_000
    etag = bucket.Object("team/parrot/model.safetensors").e_tag
    assert {request["if-match"] for request in requests} == {etag}


def test_what_an_earlier_failure_left_is_not_fetched_again(store: WeightsStore, proxy: CuttingProxy) -> None:
    proxy.cut_after = [150_000, 0, 0, 0]
    with pytest.raises(WeightsUnavailable, match="4 times in a row"):
        store.fetch(URI, progress=_ignore)
    assert store.lookup(URI) is None
    proxy.requests.clear()

    directory = store.fetch(URI, progress=_ignore)

    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    (request,) = proxy.gets("model.safetensors")
    assert int(request["range"][6:-1]) > 0


def test_an_object_overwritten_meanwhile_is_not_spliced(
    store: WeightsStore, proxy: CuttingProxy, bucket: Any, tmp_path: Path
) -> None:
    reports: list[Progress] = []

    def overwrite_at_once(progress: Progress) -> None:
        if not reports:
            bucket.put_object(Key="team/parrot/model.safetensors", Body=WEIGHTS[::-1])
        reports.append(progress)

    with pytest.raises(WeightsUnavailable, match="changed while it was fetched"):
        store.fetch(URI, progress=overwrite_at_once)

    directory = store.fetch(URI, progress=_ignore)
    assert (directory / "model.safetensors").read_bytes() == WEIGHTS[::-1]


def test_a_start_without_s3_uses_what_the_prefix_last_held(
    store: WeightsStore, proxy: CuttingProxy, waits: list[float]
) -> None:
    first = store.fetch(URI, progress=_ignore)
    proxy.refusals = [(503, _refusal("SlowDown"))]

    assert store.fetch(URI, progress=_ignore) == first
    assert waits == []


def test_a_busy_s3_is_tried_again(store: WeightsStore, proxy: CuttingProxy, waits: list[float]) -> None:
    proxy.refusals = [(503, _refusal("SlowDown")), (500, _refusal("InternalError"))]

    store.fetch(URI, progress=_ignore)

    assert waits == [1.0, 2.0]


def test_a_bucket_that_is_not_there_is_named(store: WeightsStore, waits: list[float]) -> None:
    with pytest.raises(WeightsNotFound, match="no bucket 'nowhere'"):
        store.fetch("s3://nowhere/parrot", progress=_ignore)
    assert waits == []


@pytest.mark.parametrize("prefix", ["team/cuckoo", "team/parro"])
def test_a_prefix_that_holds_nothing_is_named(store: WeightsStore, prefix: str) -> None:
    with pytest.raises(WeightsNotFound, match=f"no weights below s3://models/{prefix}"):
        store.fetch(f"s3://models/{prefix}", progress=_ignore)


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_refused_credentials_are_forbidden_and_not_told(
    store: WeightsStore, proxy: CuttingProxy, waits: list[float], code: str
) -> None:
    proxy.refusals = [(403, _refusal(code))]

    with pytest.raises(WeightsForbidden, match=code) as caught:
        store.fetch(URI, progress=_ignore)

    assert "hush" not in str(caught.value)
    assert waits == []


def test_missing_credentials_are_forbidden_and_say_what_to_set(
    store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(WeightsForbidden, match="AWS_ACCESS_KEY_ID"):
        store.fetch(URI, progress=_ignore)


def test_an_s3_that_does_not_answer_is_unavailable_after_bounded_tries(
    moto: str, tmp_path: Path, waits: list[float]
) -> None:
    with cutting(moto) as gone:
        pass

    with pytest.raises(WeightsUnavailable, match="4 times in a row"):
        _store(gone.url, tmp_path, waits).fetch(URI, progress=_ignore)

    assert waits == [1.0, 2.0, 4.0]


def test_an_address_that_is_none_is_said_so(tmp_path: Path, waits: list[float]) -> None:
    with pytest.raises(WeightsUnavailable, match="not the address of an S3"):
        _store("not an address", tmp_path, waits).fetch(URI, progress=_ignore)


def test_a_key_that_climbs_is_refused(store: WeightsStore, bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="team/parrot/../../evil.safetensors", Body=b"evil")

    with pytest.raises(WeightsError, match="not a plain relative path"):
        store.fetch(URI, progress=_ignore)

    assert list(tmp_path.rglob("*evil*")) == []


def test_a_disk_too_small_is_refused_before_the_first_object(
    proxy: CuttingProxy, tmp_path: Path, waits: list[float]
) -> None:
    with pytest.raises(DiskFull, match="more"):
        _store(proxy.url, tmp_path, waits, free=lambda _: 1000).fetch(URI, progress=_ignore)

    assert proxy.gets("model.safetensors") == []
