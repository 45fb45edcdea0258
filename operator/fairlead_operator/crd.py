"""The CustomResourceDefinition of the Model, made from the types in `fairlead_serve.model`. No I/O."""

from collections.abc import Mapping
from typing import Any

import yaml

from fairlead_operator.cel_rules import RULES
from fairlead_operator.structural_schema import Schema, structural_schema
from fairlead_serve.model import API_VERSION, KIND, Model, ModelSpec, ModelStatus

GROUP, _, VERSION = API_VERSION.partition("/")
PLURAL = "models"
NAME = f"{PLURAL}.{GROUP}"

# Kubernetes allows no longer name for any object; so long a bound keeps the cost of rules low and lets them speak.
_OBJECT_NAME = {"type": "string", "maxLength": 253}
_LONG = 80
_READY = '.status.conditions[?(@.type=="Ready")]'


def custom_resource_definition(annotations: Mapping[str, str] | None = None) -> Schema:
    """The object as `kubectl apply` takes it (apiextensions.k8s.io/v1), with `annotations` of one's own."""
    metadata: dict[str, Any] = {"name": NAME}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": "model",
                "shortNames": ["mdl"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        # Answers only for Models of a fixed size: the API server finds no number where `scaling` rules.
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": _columns(),
                    "schema": {"openAPIV3Schema": model_schema()},
                }
            ],
        },
    }


def model_schema() -> Schema:
    """The structural schema of a Model as a whole: what is wanted, and what is."""
    fields = Model.model_fields
    return {
        "type": "object",
        "description": Model.__doc__ or "",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": fields["api_version"].description},
            "kind": {"type": "string", "description": fields["kind"].description},
            # The API server knows the rest of it, and allows no description here.
            "metadata": {"type": "object", "properties": {"name": _OBJECT_NAME, "generateName": _OBJECT_NAME}},
            "spec": {**structural_schema(ModelSpec, RULES), "description": fields["spec"].description},
            # Absent is what the operator has not said yet, so nothing is filled in.
            "status": {
                **structural_schema(ModelStatus, RULES, defaults=False),
                "description": fields["status"].description,
            },
        },
        "x-kubernetes-validations": [rule.extension() for rule in RULES[Model]],
    }


def as_yaml(document: Mapping[str, Any]) -> str:
    """A document as text, in its own order of fields."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes YAML for readers: no aliases, and sentences and rules without a second layer of quotes."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - what occurs twice is written twice
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    folded = " " in text and (len(text) > _LONG or any(mark in text for mark in ("'", '"', ": ", " #")))
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=">" if folded else None)


_Dumper.add_representer(str, _text)


def _columns() -> list[Schema]:
    return [
        _column("Ready", f"{_READY}.status", "Whether the model answers."),
        _column("Reason", f"{_READY}.reason", "Why, in a word."),
        _column("Replicas", ".status.readyReplicas", "Engines that answer.", kind="integer"),
        _column("Desired", ".status.desiredReplicas", "Engines there should be now.", kind="integer"),
        _column("Phase", ".status.phase", "A summary for people."),
        _column("Model", ".spec.model.uri", "Where the weights are."),
        _column("Age", ".metadata.creationTimestamp", "Time since the Model was made.", kind="date"),
        _column("URL", ".status.url", "Where clients reach the model.", priority=1),
    ]


def _column(name: str, path: str, description: str, *, kind: str = "string", priority: int = 0) -> Schema:
    """One column of `kubectl get`; those with a priority above 0 show with `-o wide` only."""
    column: Schema = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**column, "priority": priority} if priority else column
