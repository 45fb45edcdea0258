"""What an API server does with a Model before it stores it, as far as a CustomResourceDefinition decides it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.kube.crds import resource_of
from tests.kube.decoding import decoded
from tests.kube.errors import Cause
from tests.kube.judge import Judge
from tests.kube.rules import Rules
from tests.kube.shapes import Schema
from tests.kube.validation import BLOCKING


@dataclass(frozen=True)
class Refusal:
    """One error of the answer 422: the place as kubectl shows it, and the sentence."""

    place: str
    message: str


class ApiServer:
    """Judges Models by a CRD."""

    def __init__(self, crd: Schema) -> None:
        self._resource = resource_of(dict(crd["spec"]))
        (version,) = crd["spec"]["versions"]
        self._judge = Judge(version["schema"]["openAPIV3Schema"])
        self._rules = Rules()

    def stored(self, document: dict[str, Any]) -> dict[str, Any]:
        """The object with its defaults, as it would be stored and as rules see it."""
        return self._stored(document, [])

    def refusals(self, document: dict[str, Any]) -> list[Refusal]:
        """Everything that would be answered; empty when the object would be stored."""
        unknown: list[str] = []
        causes = self._judge.causes(self._stored(document, unknown))
        return [Refusal(place, "unknown field") for place in unknown] + [_refusal(cause) for cause in causes]

    def asks_rules(self, document: dict[str, Any]) -> bool:
        """Whether the schema leaves the object so that rules can be asked about it."""
        return not any(cause.reason in BLOCKING for cause in self._judge.causes(self.stored(document)))

    def broken_rules(self, value: Any, schema: Schema) -> Iterator[Refusal]:
        """The rules that `value` and what is in it break; raises CELEvalError where a rule does not understand it."""
        return (_refusal(cause) for cause in self._rules.broken(value, schema))

    def _stored(self, document: dict[str, Any], unknown: list[str]) -> dict[str, Any]:
        stored = decoded(document, self._resource, unknown)
        self._judge.fill(stored)
        return stored


def _refusal(cause: Cause) -> Refusal:
    return Refusal(cause.field, cause.message)
