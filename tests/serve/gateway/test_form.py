"""Multipart bodies looked into as bytes."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.form import Form

KIND = b'multipart/form-data; boundary="Aa1"'


def part(name: str, value: bytes, *more: bytes) -> bytes:
    head = b'Content-Disposition: form-data; name="%s"' % name.encode()
    return b"--Aa1\r\n" + b"\r\n".join([head, *more]) + b"\r\n\r\n" + value + b"\r\n"


FILE = part("file", b'\x00\xff--Aa1x name="model"\r\n\r\nfake\r\n', b"Content-Type: audio/wav")
BODY = FILE + part("model", b"whisper") + part("prompt", "Grüße".encode()) + b"--Aa1--\r\n"


def test_a_field_is_read_past_a_file_that_looks_like_it() -> None:
    form = Form.parse(BODY, KIND)
    assert form.field("model") == b"whisper"
    assert form.field("prompt") == "Grüße".encode()
    assert form.field("language") is None


def test_a_field_is_replaced_and_nothing_else_touched() -> None:
    changed = Form.parse(BODY, KIND).with_field("model", b"other-name")
    assert changed == BODY.replace(b"\r\n\r\nwhisper\r\n", b"\r\n\r\nother-name\r\n")


def test_a_missing_field_is_added_before_the_others() -> None:
    body = b"preamble\r\n" + FILE + b"--Aa1--"
    changed = Form.parse(Form.parse(body, KIND).with_field("model", b"other"), KIND)
    assert changed.field("model") == b"other"
    assert changed.body.endswith(FILE + b"--Aa1--")
    assert changed.field("file") == Form.parse(body, KIND).field("file")


def test_an_empty_field_is_empty() -> None:
    assert Form.parse(part("model", b"") + b"--Aa1--", KIND).field("model") == b""


def test_the_boundary_may_be_bare_and_keeps_its_case() -> None:
    assert Form.parse(BODY, b"multipart/form-data; BOUNDARY=Aa1; charset=utf-8").field("model") == b"whisper"
    with pytest.raises(ApiError):
        Form.parse(BODY, b"multipart/form-data; boundary=aa1")


@pytest.mark.parametrize("body", [b"", b"--Aa1", b"--Aa1\r\n", BODY[:-6], b"nothing", b"--Aa1\r\n" * 5000 + b"--Aa1--"])
def test_a_body_that_is_no_whole_form_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as refusal:
        Form.parse(body, KIND)
    assert (refusal.value.status, refusal.value.code) == (400, "invalid_form")


def test_a_form_without_a_boundary_is_refused() -> None:
    with pytest.raises(ApiError, match="boundary"):
        Form.parse(BODY, b"multipart/form-data")


@given(st.binary(max_size=200).filter(lambda value: b"Aa1" not in value))
def test_any_value_comes_back(value: bytes) -> None:
    assert Form.parse(part("model", value) + b"--Aa1--", KIND).field("model") == value


@pytest.mark.parametrize(
    "line", [b'content-disposition: form-data; name="model"\r\n', b"content-disposition: ", b"\r\n--Aa1", b"--Aa1\r\n"]
)
def test_eight_mebibytes_of_bait_take_no_long_time(line: bytes) -> None:
    body = b"--Aa1\r\n" + line * (8 * 1024 * 1024 // len(line)) + b"\r\n--Aa1--"
    began = time.process_time()
    with contextlib.suppress(ApiError):
        Form.parse(body, KIND)
    assert time.process_time() - began < 2
