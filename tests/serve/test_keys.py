"""The file of keys: what is in it, who may write it when, and what is said of a wrong one."""

import hashlib
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fairlead_serve import keys
from fairlead_serve.errors import ConfigurationError
from fairlead_serve.keys import KeyFile, digest_of

HASH = "sha256:" + "0" * 64
KEY = f"id: key_{'0' * 24}, name: one, prefix: flk-aaaa, hash: '{HASH}', created: '2025-01-01T00:00:00Z'"

Write = Callable[[str], Path]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def problem(file: KeyFile) -> str:
    with pytest.raises(ConfigurationError) as raised:
        file.load()
    return str(raised.value)


def test_what_was_created_is_loaded(path: Path) -> None:
    file = KeyFile(path)
    first, _ = file.create("first")
    second, _ = file.create(
        "second", models=["qwen-*", "tiny"], requests_per_minute=60, tokens_per_minute=1000, concurrent_requests=4
    )
    assert file.load() == (first, second)
    assert (first.models, first.requests_per_minute, first.concurrent_requests) == (("*",), None, None)
    assert (second.models, second.requests_per_minute, second.tokens_per_minute) == (("qwen-*", "tiny"), 60, 1000)


def test_a_secret_is_random_and_nowhere_in_the_file(path: Path) -> None:
    file = KeyFile(path)
    made = [file.create(f"key-{number}") for number in range(10)]
    assert len({secret for _, secret in made}) == 10
    for key, secret in made:
        assert re.fullmatch(r"flk-[A-Za-z0-9_-]{43}", secret)
        assert secret not in path.read_text()
        assert secret.startswith(key.prefix)
        assert len(key.prefix) == 8
        assert key.hash == "sha256:" + hashlib.sha256(secret.encode()).hexdigest()
        assert key.digest == digest_of(secret.encode())


def test_the_file_is_written_as_people_read_it(path: Path) -> None:
    KeyFile(path).create("laptop", requests_per_minute=60)
    (entry,) = yaml.safe_load(path.read_text())["keys"]
    assert list(entry) == ["id", "name", "prefix", "hash", "created", "models", "requestsPerMinute"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["created"])


def test_only_its_owner_reads_the_file(path: Path) -> None:
    path.touch(mode=0o644)
    KeyFile(path).create("one")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_name_is_given_once(path: Path) -> None:
    file = KeyFile(path)
    file.create("laptop")
    with pytest.raises(ConfigurationError, match="has a key named 'laptop' already; revoke it first"):
        file.create("laptop")
    assert len(file.load()) == 1


def test_a_revoked_key_is_gone_and_its_name_made_again_is_another_tenant(path: Path) -> None:
    file = KeyFile(path)
    first, _ = file.create("laptop")
    other, _ = file.create("other")
    assert file.revoke("laptop") == first
    assert file.load() == (other,)
    again, _ = file.create("laptop")
    assert again.id != first.id


def test_who_revokes_a_name_that_is_not_there_is_told_which_are(path: Path) -> None:
    file = KeyFile(path)
    file.create("laptop")
    with pytest.raises(ConfigurationError, match="no key named 'lapdog'; there are: laptop"):
        file.revoke("lapdog")
    file.revoke("laptop")
    with pytest.raises(ConfigurationError, match="there are none"):
        file.revoke("laptop")


def test_writers_at_the_same_time_lose_no_key(path: Path) -> None:
    def create(writer: int) -> None:
        for number in range(5):
            KeyFile(path).create(f"{writer}.{number}")

    threads = [threading.Thread(target=create, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(KeyFile(path).load()) == 20


def test_a_reader_never_sees_half_a_file(path: Path) -> None:
    file = KeyFile(path)
    file.create("one")
    done = threading.Event()

    def write() -> None:
        for number in range(20):
            file.create(f"more-{number}")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    sizes = []
    while not done.is_set():
        sizes.append(len(KeyFile(path).load()))
    writer.join()
    assert sizes == sorted(sizes)


def test_a_writer_that_takes_too_long_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_LOCK_SECONDS", 0)
    file = KeyFile(path)
    with file._locked(), pytest.raises(ConfigurationError, match="being written by another"):
        KeyFile(path).create("one")


def test_a_write_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = KeyFile(path)
    key, _ = file.create("one")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="cannot be written: No space left on device"):
        file.create("two")
    assert file.load() == (key,)
    assert {one.name for one in path.parent.iterdir()} <= {path.name, f"{path.name}.lock"}


def test_a_link_to_the_file_stays_a_link(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real.yaml"
    real.parent.mkdir()
    path.symlink_to(real)
    KeyFile(path).create("one")
    KeyFile(path).create("two")
    assert path.is_symlink()
    assert len(KeyFile(real).load()) == 2


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "keys: []"])
def test_a_file_may_have_no_keys(path: Path, text: str) -> None:
    path.write_text(text)
    assert KeyFile(path).load() == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    {
        "an unknown key": (f"keys: [{{{KEY}, rpm: 1}}]", "keys.0.rpm: Extra inputs are not permitted"),
        "snake case means the same": (f"keys: [{{{KEY}, requests_per_minute: 0}}]", "Input should be greater than 0"),
        "no limit": (f"keys: [{{{KEY}, tokensPerMinute: 0}}]", "keys.0.tokensPerMinute: Input should be greater"),
        "models that are one text": (f"keys: [{{{KEY}, models: '*'}}]", "keys.0.models: Input should be a valid tuple"),
        "no model": (f"keys: [{{{KEY}, models: []}}]", "keys.0.models: Tuple should have at least 1 item"),
        "something missing": ("keys: [{name: one}]", "keys.0.hash: Field required"),
        "a name with a blank": (f"keys: [{{{KEY.replace('one', 'my key')}}}]", "keys.0.name: String should match"),
        "a time of no zone": (f"keys: [{{{KEY.replace('00Z', '00')}}}]", "keys.0.created: Input should have timezone"),
        "one key twice": (f"keys: [{{{KEY}}}, {{{KEY}}}]", "keys.1.name: the same as keys.0.name; remove one"),
        "a list": ("- one", "must hold a mapping with `keys`, not a list"),
        "no YAML": ("keys: [", "is not YAML (line 1, column 8)"),
        "no date": ("keys: 2025-99-99", "is not YAML"),
        "no text": ("keys: \0", "is not YAML"),
        "too deep": ("[" * 5000, "is not YAML"),
    }.values(),
)
def test_what_is_wrong_is_said_with_its_place(path: Path, text: str, sentence: str) -> None:
    path.write_text(text)
    said = problem(KeyFile(path))
    assert sentence in said
    assert all(line.startswith(str(path)) for line in said.splitlines())


def test_a_key_that_somebody_wrote_into_the_file_is_not_quoted(path: Path) -> None:
    _, secret = KeyFile(path.with_name("other.yaml")).create("one")
    for text in (
        f"keys: [{{{KEY.replace(HASH, secret)}}}]",
        f"keys: [{secret}]",
        f"keys: {secret}",
        secret,
        f"keys: [{secret}",
        f"keys: [{{{KEY.replace('name: one', f'name: ~{secret}')}}}]",
    ):
        path.write_text(text)
        assert secret[4:] not in problem(KeyFile(path))


def test_a_file_that_is_not_there_is_said_to_be_missing(path: Path) -> None:
    assert problem(KeyFile(path)) == f"{path} cannot be read: No such file or directory"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeyFile(path).revoke("one")


def test_a_place_that_cannot_be_written_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"keys\.yaml cannot be written: "):
        KeyFile(tmp_path / "file" / "keys.yaml").create("one")


def test_a_wrong_name_is_refused_before_anything_is_written(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the new key: name: String should match pattern"):
        KeyFile(path).create("my key")
    assert not path.exists()
