"""Writes what the settings of operator and gateway may be into the schema of the platform chart.

    python tools/settings_schema.py --write

Run it after every change of one of the two `settings.py` and read the difference.
"""

import argparse
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fairlead_operator.settings import OperatorSettings
from fairlead_serve.settings import GatewaySettings

ROOT = Path(__file__).parent.parent
SCHEMA = ROOT / "charts/fairlead/values.schema.json"

# What the chart says itself: under values of its own, in Secrets, or as it must be in a pod.
OF_THE_CHART = {
    "operator": frozenset({"chart", "internalToken", "namespaces", "allNamespaces", "lease", "http"}),
    "gateway": frozenset(
        {
            "host",
            "port",
            "backends",
            "cluster",
            "internalToken",
            "allowAnonymous",
            "keyFile",
            "limitsUrl",
            "databaseUrl",
        }
    ),
}
_SETTINGS: Mapping[str, type[BaseModel]] = {"operator": OperatorSettings, "gateway": GatewaySettings}
_NULL = {"type": "null"}

Schema = dict[str, Any]


def settings_schema(settings: type[BaseModel], without: Collection[str]) -> Schema:
    """The JSON schema of `settings` as files write them, with no references and not the fields `without`."""
    schema = settings.model_json_schema()
    inlined = _inlined(schema, schema.get("$defs", {}))
    properties = {name: field for name, field in inlined["properties"].items() if name not in without}
    return {**inlined, "properties": properties}


def updated(text: str) -> str:
    """The chart's schema `text` with the settings as they are now."""
    schema = json.loads(text)
    for component, settings in _SETTINGS.items():
        values = schema["properties"][component]["properties"]
        values["settings"] = settings_schema(settings, OF_THE_CHART[component])
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _inlined(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    options = [option for option in schema.get("anyOf", ()) if option != _NULL]
    if len(options) == 1:
        # Helm drops a value that is null, so that there never is one.
        schema = {**options[0], **{word: value for word, value in schema.items() if word not in ("anyOf", "default")}}
    if "$ref" in schema:
        # What a field says of itself goes before what its type says.
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    return {
        word: _value(word, value, definitions)
        for word, value in schema.items()
        if word not in ("$ref", "$defs", "title", "default")
    }


def _value(word: str, value: Any, definitions: Mapping[str, Schema]) -> Any:
    if word == "properties":
        return {name: _inlined(field, definitions) for name, field in value.items()}
    if word in ("items", "additionalProperties") and isinstance(value, dict):
        return _inlined(value, definitions)
    return value


def main() -> None:
    """Writes the schema."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", required=True, help=f"write {SCHEMA.relative_to(ROOT)}")
    parser.parse_args()
    SCHEMA.write_text(updated(SCHEMA.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
