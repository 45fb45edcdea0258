"""Writes what is generated from the Model: its reference page, and its CRD in the chart.

    python tools/reference.py --write

Run it after every change of `fairlead_serve/model/` or `fairlead_operator/cel_rules.py` and read the difference.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fairlead_operator.crd import PLURAL, as_yaml, custom_resource_definition, model_schema
from fairlead_serve.model import API_VERSION, KIND

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/reference/model.md"
TEMPLATE = ROOT / "charts/fairlead/templates/crds.yaml"

_KEEP = {"helm.sh/resource-policy": "keep"}

Schema = Mapping[str, Any]


def template() -> str:
    """The CRD as the chart has it: installed and upgraded when wanted, and never removed, since all Models would go."""
    return f"{{{{- if .Values.crds.install }}}}\n{as_yaml(custom_resource_definition(_KEEP))}{{{{- end }}}}\n"


def page() -> str:
    """The reference page: one section an object, one row a field, and the rules between fields."""
    schema = model_schema()
    introduction = f"""# The Model resource

`{API_VERSION}`, kind `{KIND}`: one model as a user wants it served. The same file is for a cluster
(`kubectl apply -f`) and for one machine (`fairlead serve -f`). `kubectl explain {PLURAL}.spec` says the same.

A field without a default may be left out unless it is required; then it is empty, or what its description says. A type
that is a link has a section of its own.

Rules within a Model are checked before it is stored. What only the cluster can answer (does the Secret exist, is there
such a profile, does vLLM know the argument) is told in the condition `SpecValid`.

`metadata.name` also names the Service, the route and the model itself, unless `spec.model.name` says otherwise.

"""
    sections = [introduction + _rules(schema)]
    for name in ("spec", "status"):
        sections += _sections(name, schema["properties"][name])
    return "\n".join(sections)


def _sections(path: str, schema: Schema) -> Iterator[str]:
    rules = _rules(schema)
    yield "\n".join(
        [
            f"{'##' if '.' not in path else '###'} {path}",
            "",
            schema["description"],
            "",
            "| field | type | default | |",
            "|---|---|---|---|",
            *(_row(path, name, field, schema) for name, field in schema["properties"].items()),
            "",
            *([rules] if rules else []),
        ]
    )
    for name, field in schema["properties"].items():
        inner = _inner(field)
        if "properties" in inner:
            yield from _sections(f"{path}.{name}{'[]' if inner is not field else ''}", inner)


def _row(path: str, name: str, field: Schema, parent: Schema) -> str:
    inner = _inner(field)
    type_ = _type(field)
    if "properties" in inner:
        type_ = f"[{type_}](#{_anchor(f'{path}.{name}')})"
    shown = "required" if name in parent.get("required", ()) else _default(field, inner)
    description = field["description"].replace("|", "\\|")
    return f"| `{name}` | {type_}{_bounds(field)} | {shown} | {description} |"


def _inner(field: Schema) -> Schema:
    """What a list holds, or the field itself."""
    inner: Schema = field.get("items", field)
    return inner


def _anchor(path: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[.\[\]]", "", path).lower()


def _type(field: Schema) -> str:
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"map of {_type(field['additionalProperties'])}"
    return str(field.get("type", "any"))


def _default(field: Schema, inner: Schema) -> str:
    if "default" not in field or "properties" in inner:
        return ""
    value = field["default"]
    if isinstance(value, list):
        return f"`[{', '.join(value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _bounds(field: Schema) -> str:
    least, most = field.get("minimum"), field.get("maximum")
    if most is not None:
        return f", {least or 0} to {most}"
    for word, unit in (("maxLength", "characters"), ("maxItems", "entries"), ("maxProperties", "entries")):
        if word in field and not field.get("x-kubernetes-int-or-string"):
            return f", up to {field[word]} {unit}{_uniqueness(field)}"
    return ""


def _uniqueness(field: Schema) -> str:
    """What must differ in a list, which the API server checks by its type."""
    if field.get("x-kubernetes-list-type") == "map":
        (key,) = field["x-kubernetes-list-map-keys"]
        return f", no `{key}` twice"
    return ", none twice" if field.get("x-kubernetes-list-type") == "set" else ""


def _rules(schema: Schema) -> str:
    """The rules between fields, as sentences."""
    places: dict[str, list[str]] = {}
    for rule in schema.get("x-kubernetes-validations", ()):
        places.setdefault(rule["message"], []).append(rule.get("fieldPath", "").removeprefix("."))
    lines = [
        f"* {', '.join(f'`{place}`' for place in several)}: {message}" if any(several) else f"* {message}"
        for message, several in places.items()
    ]
    return "\n".join(["What is refused, and in which words:", "", *lines, ""]) if lines else ""


def main() -> None:
    """Writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", required=True, help=f"write {PAGE.name} and {TEMPLATE.name}")
    parser.parse_args()
    for path, text in ((PAGE, page()), (TEMPLATE, template())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
