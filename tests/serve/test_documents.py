"""Reading YAML: what is wrong with a file before anyone asks what it means."""

from pathlib import Path

import pytest

from fairlead_serve.documents import MAX_BYTES, read_documents
from fairlead_serve.errors import ModelFileError


def refusals(path: Path) -> list[str]:
    with pytest.raises(ModelFileError) as refusal:
        read_documents(path)
    assert refusal.value.source == str(path)
    return [str(problem) for problem in refusal.value.problems]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "m.yaml"


def test_documents_come_in_order_and_empty_ones_are_skipped(file: Path) -> None:
    file.write_text("---\na: 1\n---\n---\n- b\n---\n", encoding="utf-8")
    assert read_documents(file) == [{"a": 1}, ["b"]]


def test_a_byte_order_mark_is_no_part_of_the_text(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfa: \xe4\xbd\xa0")
    assert read_documents(file) == [{"a": "你"}]


def test_dates_stay_text(file: Path) -> None:
    file.write_text("a: 2025-01-31\n", encoding="utf-8")
    assert read_documents(file) == [{"a": "2025-01-31"}]


def test_anchors_and_merges_work(file: Path) -> None:
    file.write_text("a: &x {b: 1, c: 2}\nd: *x\ne: {<<: *x, c: 3}\n", encoding="utf-8")
    assert read_documents(file) == [{"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 2}, "e": {"b": 1, "c": 3}}]


def test_a_syntax_error_is_told_with_line_and_column_but_without_the_text(file: Path) -> None:
    file.write_text("spec:\n  value: hunter2\n bad: [hunter2\n", encoding="utf-8")
    (found,) = refusals(file)
    assert found.startswith("line 3, column ")
    assert "hunter2" not in found


def test_every_key_given_twice_is_told_with_its_lines(file: Path) -> None:
    file.write_text("a: 1\nb:\n  - c: 1\n    c: 2\na: 3\n", encoding="utf-8")
    assert refusals(file) == [
        "b[0].c: given twice, on lines 3 and 4; keep one",
        "a: given twice, on lines 1 and 5; keep one",
    ]


def test_a_key_given_twice_in_one_of_several_documents_names_the_document(file: Path) -> None:
    file.write_text("a: 1\n---\nb: 1\nb: 2\n", encoding="utf-8")
    assert refusals(file) == ["document 2: b: given twice, on lines 3 and 4; keep one"]


def test_keys_that_yaml_does_not_read_as_text_are_refused(file: Path) -> None:
    file.write_text("a:\n  on: 1\n  8: 2\n", encoding="utf-8")
    assert refusals(file) == [
        "a: line 2: keys must be text; put this one in quotes",
        "a: line 3: keys must be text; put this one in quotes",
    ]


def test_tags_are_refused(file: Path) -> None:
    file.write_text("a: !!python/object/apply:os.system [ls]\n", encoding="utf-8")
    (found,) = refusals(file)
    assert found.startswith("line 1, column 4: tags")


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "---\n---\n"])
def test_an_empty_file_is_refused(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    assert refusals(file) == ["the file is empty; it should hold at least one Model"]


def test_a_file_that_unfolds_without_end_is_refused(file: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    file.write_text("\n".join(["a0: &a0 [x, x]", *levels]), encoding="utf-8")
    (found,) = refusals(file)
    assert found.startswith("more than ")


def test_a_value_that_holds_itself_is_refused(file: Path) -> None:
    file.write_text("a: &a\n  b: *a\n", encoding="utf-8")
    (found,) = refusals(file)
    assert "nested more than" in found


def test_a_file_nested_beyond_reason_is_refused(file: Path) -> None:
    file.write_text("[" * 5000 + "]" * 5000, encoding="utf-8")
    (found,) = refusals(file)
    assert found.endswith("nested too deeply")


def test_text_in_another_encoding_is_refused(file: Path) -> None:
    file.write_bytes("a: ä\n".encode("latin-1"))
    assert refusals(file) == ["not UTF-8 text (byte 3); save the file as UTF-8"]


def test_control_characters_are_refused(file: Path) -> None:
    file.write_bytes(b"a: \x00\n")
    assert refusals(file) == ["not valid YAML: a control character at position 3"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusals(tmp_path / "missing.yaml") == ["no such file"]
    assert refusals(tmp_path) == ["this is a directory; name the YAML files in it"]
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    assert refusals(large) == [f"larger than {MAX_BYTES} bytes; this is no Model file"]
