"""hf:// against a hub on loopback, through the real huggingface_hub."""

import errno
import os
import random
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest

from fairlead_serve.engine.weights import Patience, Progress, WeightsStore
from fairlead_serve.engine.weights.growing import Growing
from fairlead_serve.errors import (
    DiskFull,
    WeightsError,
    WeightsForbidden,
    WeightsNotFound,
    WeightsUnavailable,
)
from tests.serve.engine.hub_server import COMMIT, REPO, Hub, Refusal, running

URI = f"hf://{REPO}"
OTHER_COMMIT = "f" * 40
WEIGHTS = random.Random(1).randbytes(300_000)
FILES = {
    "config.json": b'{"model_type": "parrot"}',
    "tokenizer/vocab.txt": b"polly\nwants\n",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"the same again",
    "README.md": b"# Parrot",
    ".gitattributes": b"*.safetensors filter=lfs",
}
WANTED = {"config.json", "tokenizer/vocab.txt", "model.safetensors"}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running(Hub(dict(FILES))) as hub:
        yield hub
    huggingface_hub.close_session()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def store(hub: Hub, tmp_path: Path, waits: list[float]) -> WeightsStore:
    return _store(hub, tmp_path, waits)


def _store(hub: Hub, root: Path, waits: list[float], **options: object) -> WeightsStore:
    patience = Patience(attempts=4, sleep=waits.append)
    return WeightsStore(root, hub_endpoint=hub.url, patience=patience, timeout_s=5, **options)  # type: ignore[arg-type]


def _ignore(_: Progress) -> None:
    pass


def _names(directory: Path) -> set[str]:
    files = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    return files - {".fairlead.json"}


def _entry(root: Path) -> Path:
    return root / "hf" / "acme--parrot" / COMMIT


def test_a_repository_is_fetched_with_what_an_engine_needs_and_nothing_else(
    store: WeightsStore, hub: Hub, tmp_path: Path
) -> None:
    directory = store.fetch(URI, progress=_ignore)

    assert directory == _entry(tmp_path)
    assert _names(directory) == WANTED
    assert all((directory / name).read_bytes() == FILES[name] for name in WANTED)


def test_progress_counts_the_bytes_of_all_files_up_to_their_total(store: WeightsStore) -> None:
    reports: list[Progress] = []

    store.fetch(URI, progress=reports.append)

    total = sum(len(FILES[name]) for name in WANTED)
    assert {report.phase for report in reports} == {"Downloading"}
    assert reports[0] == Progress("Downloading", 0, total)
    assert reports[-1] == Progress("Downloading", total, total)
    assert [report.done for report in reports] == sorted(report.done for report in reports)


def test_nothing_is_printed(store: WeightsStore, capfd: pytest.CaptureFixture[str]) -> None:
    store.fetch(URI, progress=_ignore)

    assert capfd.readouterr() == ("", "")


def test_a_second_fetch_of_a_branch_asks_only_what_it_means_now(store: WeightsStore, hub: Hub) -> None:
    first = store.fetch(URI, progress=_ignore)
    hub.requests.clear()
    reports: list[Progress] = []

    assert store.fetch(URI, progress=reports.append) == first

    assert [request.path for request in hub.requests] == [f"/api/models/{REPO}/revision/main"]
    assert [report.phase for report in reports] == ["Cached"]


def test_a_commit_that_is_here_is_used_without_asking_the_hub(store: WeightsStore, hub: Hub) -> None:
    first = store.fetch(URI, progress=_ignore)
    hub.requests.clear()

    assert store.fetch(URI, revision=COMMIT, progress=_ignore) == first
    assert hub.requests == []


def test_a_branch_that_moved_is_fetched_beside_the_old_commit(store: WeightsStore, hub: Hub) -> None:
    old = store.fetch(URI, progress=_ignore)
    hub.revisions["main"] = OTHER_COMMIT
    hub.files = FILES | {"model.safetensors": b"new weights"}

    new = store.fetch(URI, progress=_ignore)

    assert (new / "model.safetensors").read_bytes() == b"new weights"
    assert (old / "model.safetensors").read_bytes() == WEIGHTS
    assert store.lookup(URI) == new
    assert store.lookup(URI, COMMIT) == old


def test_revisions_with_slashes_are_fetched(store: WeightsStore, hub: Hub) -> None:
    hub.revisions["refs/pr/7"] = OTHER_COMMIT

    directory = store.fetch(URI, revision="refs/pr/7", progress=_ignore)

    assert directory.name == OTHER_COMMIT
    assert store.lookup(URI, "refs/pr/7") == directory


def test_a_start_without_the_hub_uses_what_the_branch_last_meant(
    store: WeightsStore, hub: Hub, tmp_path: Path, waits: list[float]
) -> None:
    with running(Hub(dict(FILES))) as gone:
        first = _store(gone, tmp_path, waits).fetch(URI, progress=_ignore)

    assert _store(gone, tmp_path, waits).fetch(URI, progress=_ignore) == first
    assert waits == []


def test_a_hub_with_a_bad_day_does_not_keep_a_cached_model_from_starting(
    store: WeightsStore, hub: Hub, waits: list[float]
) -> None:
    first = store.fetch(URI, progress=_ignore)
    hub.refusals = [Refusal(503)]

    assert store.fetch(URI, progress=_ignore) == first
    assert waits == []


def test_an_unreachable_hub_is_unavailable_after_bounded_tries_with_growing_waits(
    tmp_path: Path, waits: list[float]
) -> None:
    with running(Hub({})) as gone:
        pass

    with pytest.raises(WeightsUnavailable, match="4 times") as caught:
        _store(gone, tmp_path, waits).fetch(URI, progress=_ignore)

    assert gone.url in str(caught.value)
    assert waits == [1.0, 2.0, 4.0]


def test_a_hub_that_asks_to_wait_is_waited_for(store: WeightsStore, hub: Hub, waits: list[float]) -> None:
    hub.refusals = [Refusal(429, headers={"Retry-After": "17"}, times=1)]

    store.fetch(URI, progress=_ignore)

    assert waits == [17.0]


def test_a_file_that_breaks_off_is_continued_from_where_it_broke(
    store: WeightsStore, hub: Hub, waits: list[float]
) -> None:
    hub.cut_after["model.safetensors"] = [100_000, 50_000]

    directory = store.fetch(URI, progress=_ignore)

    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [request.range for request in hub.gets("model.safetensors")]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert len(waits) == 2


def test_a_file_that_always_breaks_off_is_given_up_and_leaves_no_model(
    store: WeightsStore, hub: Hub, tmp_path: Path, waits: list[float]
) -> None:
    hub.cut_after["model.safetensors"] = [1000] * 100

    with pytest.raises(WeightsUnavailable, match="4 times in a row"):
        store.fetch(URI, progress=_ignore)

    assert not _entry(tmp_path).exists()
    assert store.lookup(URI) is None


def test_a_connection_that_breaks_every_few_megabytes_still_brings_a_large_file(
    store: WeightsStore, hub: Hub, waits: list[float]
) -> None:
    large = random.Random(4).randbytes(12 << 20)
    hub.files = FILES | {"model.safetensors": large}
    hub.cut_after["model.safetensors"] = [2 << 20] * 5

    directory = store.fetch(URI, progress=_ignore)

    assert (directory / "model.safetensors").read_bytes() == large
    assert waits == [1.0] * 5


def test_one_file_that_cannot_be_had_stops_the_others(store: WeightsStore, hub: Hub, tmp_path: Path) -> None:
    slow = bytes(4 << 20)
    hub.files = {"model-1.safetensors": slow, "model-2.safetensors": b"gone"}
    hub.trickle_after["model-1.safetensors"] = 0
    hub.refusals = [Refusal(404, path="model-2", headers={"X-Error-Code": "EntryNotFound"})]

    with pytest.raises(WeightsNotFound, match="no longer holds"):
        store.fetch(URI, progress=_ignore)

    fetched = sum(path.stat().st_size for path in tmp_path.rglob("model-1.safetensors"))
    assert fetched < len(slow)


def test_what_a_stranger_left_in_a_partial_entry_is_not_published(
    store: WeightsStore, hub: Hub, tmp_path: Path
) -> None:
    partial = tmp_path / f"hf/acme--parrot/{COMMIT}.partial"
    (partial / "old").mkdir(parents=True)
    (partial / "old" / "pytorch_model.bin").write_bytes(b"of another selection")

    assert _names(store.fetch(URI, progress=_ignore)) == WANTED


def test_what_an_earlier_failure_left_is_not_fetched_again(hub: Hub, tmp_path: Path, waits: list[float]) -> None:
    store = _store(hub, tmp_path, waits, parallel=1)
    hub.cut_after["model.safetensors"] = [50_000] * 4
    with pytest.raises(WeightsUnavailable):
        store.fetch(URI, progress=_ignore)
    hub.requests.clear()
    reports: list[Progress] = []

    directory = store.fetch(URI, progress=reports.append)

    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    assert [request.range for request in hub.gets("model.safetensors")] == ["bytes=200000-"]
    assert hub.gets("config.json") == []
    assert reports[0].done >= 200_000


def test_a_hub_that_cannot_continue_a_file_sends_it_whole(store: WeightsStore, hub: Hub) -> None:
    hub.ranges_honoured = False
    hub.cut_after["model.safetensors"] = [100_000]
    reports: list[Progress] = []

    directory = store.fetch(URI, progress=reports.append)

    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    assert len(hub.gets("model.safetensors")) == 2
    assert reports[-1].done == reports[-1].total


def test_bytes_damaged_at_rest_are_found_by_their_digest_and_fetched_anew(
    store: WeightsStore, hub: Hub, tmp_path: Path
) -> None:
    hub.cut_after["model.safetensors"] = [100_000] + [0] * 3
    with pytest.raises(WeightsUnavailable):
        store.fetch(URI, progress=_ignore)
    rest = tmp_path / f"hf/acme--parrot/{COMMIT}.partial/.incomplete/model.safetensors"
    rest.write_bytes(b"\0" * 100_000)

    directory = store.fetch(URI, progress=_ignore)

    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.gets("model.safetensors")[-1].range is None


def test_a_hub_that_sends_other_bytes_than_it_lists_is_refused(store: WeightsStore, hub: Hub, tmp_path: Path) -> None:
    with running(Hub({"model.safetensors": WEIGHTS[::-1]})) as liar:
        hub.redirect_to = liar.url
        with pytest.raises(WeightsUnavailable, match=r"model\.safetensors arrived damaged"):
            store.fetch(URI, progress=_ignore)

    assert not _entry(tmp_path).exists()


def test_sizes_that_the_hub_does_not_list_are_asked_for(store: WeightsStore, hub: Hub) -> None:
    hub.sizes_listed = False
    reports: list[Progress] = []

    store.fetch(URI, progress=reports.append)

    assert reports[0].total == sum(len(FILES[name]) for name in WANTED)


def test_the_token_is_sent_to_the_hub_and_not_to_where_the_hub_redirects(store: WeightsStore, hub: Hub) -> None:
    hub.token = "hf_secret"
    with running(Hub(dict(FILES))) as elsewhere:
        hub.redirect_to = elsewhere.url
        store.fetch(URI, token="hf_secret", progress=_ignore)

    assert {request.authorization for request in hub.requests} == {"Bearer hf_secret"}
    assert {request.path.rpartition("/")[2] for request in elsewhere.requests} == {"model.safetensors"}
    assert {request.authorization for request in elsewhere.requests} == {None}


def test_no_token_is_sent_that_was_not_given(store: WeightsStore, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")

    store.fetch(URI, progress=_ignore)

    assert {request.authorization for request in hub.requests} == {None}


@pytest.mark.parametrize(
    ("refusal", "token", "said"),
    [
        pytest.param(Refusal(401), None, "wants a token, and none was set", id="no token"),
        pytest.param(Refusal(401), "hf_wrong", "refuses the token", id="wrong token"),
        pytest.param(Refusal(403), "hf_wrong", "refuses the token", id="token without the right"),
        pytest.param(
            Refusal(403, path="resolve", headers={"X-Error-Code": "GatedRepo"}),
            "hf_wrong",
            "gated",
            id="gated, found out at the first file",
        ),
        pytest.param(
            Refusal(401, headers={"X-Error-Message": "hf_wrong is no token"}, body=b'{"error": "hf_wrong?"}'),
            "hf_wrong",
            "refuses the token",
            id="a hub that repeats the token",
        ),
    ],
)
def test_a_refusal_names_the_field_to_set_and_never_the_token(
    store: WeightsStore, hub: Hub, waits: list[float], refusal: Refusal, token: str | None, said: str
) -> None:
    hub.refusals = [refusal]

    with pytest.raises(WeightsForbidden, match=said) as caught:
        store.fetch(URI, token=token, progress=_ignore)

    assert "spec.model.accessSecretRef" in str(caught.value)
    assert REPO in str(caught.value)
    assert "hf_wrong" not in "".join(traceback.format_exception(caught.value))
    assert waits == []


def test_a_repository_that_is_not_there_is_named(store: WeightsStore, waits: list[float]) -> None:
    with pytest.raises(WeightsNotFound, match="acme/cuckoo"):
        store.fetch("hf://acme/cuckoo", progress=_ignore)
    assert waits == []


def test_a_revision_that_is_not_there_is_named(store: WeightsStore) -> None:
    with pytest.raises(WeightsNotFound, match=r"no revision 'v9'.*spec\.model\.revision"):
        store.fetch(URI, revision="v9", progress=_ignore)


def test_a_repository_without_weights_is_refused(store: WeightsStore, hub: Hub) -> None:
    hub.files = {"config.json": b"{}", "README.md": b"coming soon"}

    with pytest.raises(WeightsNotFound, match="no weights"):
        store.fetch(URI, progress=_ignore)


def test_the_page_of_a_proxy_is_not_taken_for_a_hub(store: WeightsStore, hub: Hub) -> None:
    hub.refusals = [Refusal(200, headers={"Content-Type": "text/html"}, body=b"<h1>Please log in</h1>")]

    with pytest.raises(WeightsUnavailable, match=r"does not answer .* as a hub"):
        store.fetch(URI, progress=_ignore)


@pytest.mark.parametrize(
    "name", ["../evil.safetensors", "/evil.safetensors", "a/../../evil.safetensors", "a\\b.safetensors"]
)
def test_a_file_name_that_climbs_is_refused_and_nothing_is_written(
    store: WeightsStore, hub: Hub, tmp_path: Path, name: str
) -> None:
    hub.files = FILES | {name: b"evil"}

    with pytest.raises(WeightsError, match="not a plain relative path"):
        store.fetch(URI, progress=_ignore)

    assert list(tmp_path.rglob("*evil*")) == []
    assert not _entry(tmp_path).exists()


def test_a_commit_that_climbs_is_refused(store: WeightsStore, hub: Hub, tmp_path: Path) -> None:
    hub.revisions["main"] = "../../../elsewhere"

    with pytest.raises(WeightsUnavailable, match="not a commit"):
        store.fetch(URI, progress=_ignore)

    assert list(tmp_path.rglob("*")) == []


def test_a_disk_too_small_is_refused_before_the_first_file(hub: Hub, tmp_path: Path, waits: list[float]) -> None:
    total = sum(len(FILES[name]) for name in WANTED)
    store = _store(hub, tmp_path, waits, free=lambda _: total - 1)

    with pytest.raises(DiskFull, match=rf"{total} bytes.* more .*{total - 1} bytes.* free"):
        store.fetch(URI, progress=_ignore)

    assert not any("resolve" in request.path for request in hub.requests)


def test_a_disk_that_fills_up_is_said_so_and_the_fetch_continues_once_there_is_room(
    store: WeightsStore, hub: Hub, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Growing.append

    def append_until_full(growing: Growing, chunk: bytes) -> None:
        if growing.size > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(growing, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(Growing, "append", append_until_full)
        with pytest.raises(DiskFull, match=r"bytes.* more .* free") as caught:
            store.fetch(URI, progress=_ignore)

    assert str(tmp_path) in str(caught.value)
    assert "spec.cache.size" in str(caught.value)
    assert waits == []
    assert not _entry(tmp_path).exists()
    assert store.lookup(URI) is None

    directory = store.fetch(URI, progress=_ignore)
    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    resumed = hub.gets("model.safetensors")[-1].range or ""
    assert re.fullmatch(r"bytes=1\d{5}-", resumed)


def _truncate(entry: Path) -> None:
    (entry / "model.safetensors").write_bytes(WEIGHTS[:1000])


def _delete(entry: Path) -> None:
    (entry / "model.safetensors").unlink()


def _lose_manifest(entry: Path) -> None:
    (entry / ".fairlead.json").unlink()
    _truncate(entry)


def _spoil_manifest(entry: Path) -> None:
    (entry / ".fairlead.json").write_text("[]")


@pytest.mark.parametrize("damage", [_truncate, _delete, _lose_manifest, _spoil_manifest])
def test_a_damaged_entry_is_not_taken_for_whole_but_mended(
    store: WeightsStore, hub: Hub, damage: Callable[[Path], None]
) -> None:
    directory = store.fetch(URI, progress=_ignore)
    hub.requests.clear()
    damage(directory)
    assert store.lookup(URI) is None

    assert store.fetch(URI, progress=_ignore) == directory

    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.gets("config.json") == []
    assert store.lookup(URI) == directory


def test_a_whole_entry_is_served_from_a_cache_that_is_only_read(hub: Hub, tmp_path: Path, waits: list[float]) -> None:
    root = tmp_path / "cache"
    first = _store(hub, root, waits).fetch(URI, progress=_ignore)
    tree = [root, *root.rglob("*")]
    for path in tree:
        path.chmod(0o555 if path.is_dir() else 0o444)
    # Where the tests run as root the modes stop nobody; times of change show any attempt.
    before = {path: path.stat().st_mtime_ns for path in tree}
    try:
        assert _store(hub, root, waits).fetch(URI, progress=_ignore) == first
        assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before
    finally:
        for path in tree:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_note_that_cannot_be_written_is_no_reason_to_refuse_whole_weights(
    store: WeightsStore, tmp_path: Path
) -> None:
    _entry(tmp_path).parent.mkdir(parents=True)
    (_entry(tmp_path).parent / "refs").write_text("a file where the directory should be")

    assert store.fetch(URI, progress=_ignore) == _entry(tmp_path)


def test_a_cache_directory_that_cannot_be_made_is_said_so(hub: Hub, tmp_path: Path, waits: list[float]) -> None:
    root = tmp_path / "cache"
    root.write_text("a file")

    with pytest.raises(WeightsError, match=f"cache directory {root} cannot be used"):
        _store(hub, root, waits).fetch(URI, progress=_ignore)


def test_an_error_of_the_listener_stops_the_fetch_and_reaches_the_caller(store: WeightsStore, tmp_path: Path) -> None:
    def listener(progress: Progress) -> None:
        if progress.done:
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        store.fetch(URI, progress=listener)

    assert not _entry(tmp_path).exists()
