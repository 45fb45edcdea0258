"""Reads YAML files as Kubernetes would, and says where they are wrong.

Stricter than YAML: keys are text and occur once, there are no tags, and a document that unfolds to more than
`MAX_NODES` values is refused (anchors can make a small file endless). Dates stay text. Knows nothing of Models.
Messages give line and column but never quote the file, which may hold secrets.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from fairlead_serve.errors import ModelFileError, Problem

MAX_BYTES = 1_048_576
"""One mebibyte; the API server does not store an object larger than about 1.5 of them."""

MAX_NODES = 20_000
"""Keys and values of one document, anchors unfolded."""

MAX_DEPTH = 64
"""Levels of nesting; affinity, the deepest thing in a Model, has about ten."""


class _Loader(yaml.SafeLoader):
    """Safe, and without dates: Kubernetes reads `2025-01-01` as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the attribute PyYAML reads
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_documents(path: Path) -> list[Any]:
    """The non-empty documents of a YAML file, as plain Python values.

    Raises ModelFileError with everything that is wrong with the file as YAML.
    """
    return parse_documents(_read(path), source=str(path))


def parse_documents(text: str, *, source: str) -> list[Any]:
    """The same from the text of a file; `source` is what ModelFileError calls it."""
    try:
        loader = _Loader(text)
        try:
            nodes = list(_nodes(loader))
            problems = _problems(nodes)
            if problems:
                raise ModelFileError(source, problems)
            documents = [loader.construct_document(node) for node in nodes]
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ModelFileError(source, [_syntax_problem(error)]) from None
    except RecursionError:
        raise ModelFileError(source, [Problem("", "nested too deeply")]) from None
    filled = [document for document in documents if document is not None]
    if not filled:
        raise ModelFileError(source, [Problem("", "the file is empty; it should hold at least one Model")])
    return filled


def _read(path: Path) -> str:
    source = str(path)
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise ModelFileError(source, [Problem("", f"larger than {MAX_BYTES} bytes; this is no Model file")])
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ModelFileError(source, [Problem("", "no such file")]) from None
    except IsADirectoryError:
        message = "this is a directory; name the YAML files in it"
        raise ModelFileError(source, [Problem("", message)]) from None
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text (byte {error.start}); save the file as UTF-8"
        raise ModelFileError(source, [Problem("", message)]) from None
    except OSError as error:
        raise ModelFileError(source, [Problem("", f"cannot be read: {error.strerror}")]) from None


def _nodes(loader: _Loader) -> Iterator[yaml.Node]:
    while loader.check_node():
        node = loader.get_node()
        if node is not None:
            yield node


def _problems(nodes: list[yaml.Node]) -> list[Problem]:
    problems: list[Problem] = []
    for number, node in enumerate(nodes, start=1):
        prefix = f"document {number}: " if len(nodes) > 1 else ""
        for seen, (path, problem) in enumerate(_walk(node, "")):
            if seen >= MAX_NODES:
                problems.append(Problem("", f"{prefix}more than {MAX_NODES} values once anchors are unfolded"))
                break
            if problem:
                problems.append(Problem(prefix + path, problem))
    return problems


def _walk(node: yaml.Node, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every place of a document, with what is wrong there or an empty string; lazy, so that it can be cut off."""
    if depth > MAX_DEPTH:
        yield path, f"nested more than {MAX_DEPTH} levels deep"
        return
    yield path, ""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, f"{path}[{index}]", depth + 1)
    elif isinstance(node, yaml.MappingNode):
        first_lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                yield from _walk(value, path, depth + 1)
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                yield path, f"line {line}: keys must be text; put this one in quotes"
                continue
            place = f"{path}.{key.value}" if path else key.value
            if key.value in first_lines:
                yield place, f"given twice, on lines {first_lines[key.value]} and {line}; keep one"
            first_lines.setdefault(key.value, line)
            yield from _walk(value, place, depth + 1)


def _syntax_problem(error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.constructor.ConstructorError):
        return Problem("", f"{_place(error)}tags and keys of this kind are not supported; write plain YAML")
    if isinstance(error, yaml.MarkedYAMLError):
        return Problem("", f"{_place(error)}not valid YAML: {error.problem or error.context}")
    if isinstance(error, yaml.reader.ReaderError):
        return Problem("", f"not valid YAML: a control character at position {error.position}")
    return Problem("", "not valid YAML")


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
