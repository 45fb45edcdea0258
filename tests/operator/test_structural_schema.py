"""Structural schemas: what becomes of pydantic's JSON schema."""

from typing import Literal

import pytest
from pydantic import Field

from fairlead_operator.cel_rules import Rule
from fairlead_operator.structural_schema import structural_schema
from fairlead_serve.model import Part, Several


class Inner(Part):
    """A part within."""

    count: int = Field(default=3, ge=0, description="How many.")
    name: str = Field(default="", description="Empty: none.")


class Needy(Part):
    """A part that wants something."""

    name: str = Field(description="Which.")


class Outer(Part):
    """A part."""

    kind: Literal["a", "b"] = Field(default="a", description="Which one.")
    number: int | None = Field(default=None, le=9, description="Absent: none.")
    inner: Inner = Field(default_factory=Inner, description="Filled in.")
    maybe: Inner | None = Field(default=None, description="Left out unless given.")
    needy: Needy | None = Field(default=None, description="Left out unless given.")
    several: Several[Inner] = Field(default=(), max_length=2, description="Many.")


SCHEMA = structural_schema(Outer, {Inner: (Rule("self.count > 0", "is 0; give more", ".count"),)})
FIELDS = SCHEMA["properties"]


def test_a_choice_becomes_an_enumeration_with_its_default() -> None:
    assert FIELDS["kind"] == {"type": "string", "description": "Which one.", "default": "a", "enum": ["a", "b"]}


def test_what_may_be_absent_has_neither_null_nor_default() -> None:
    assert FIELDS["number"] == {"type": "integer", "description": "Absent: none.", "maximum": 9}
    assert "default" not in FIELDS["maybe"]
    assert "default" not in FIELDS["needy"]


def test_a_part_that_is_always_there_has_all_its_defaults_and_no_empty_ones() -> None:
    assert FIELDS["inner"]["default"] == {"count": 3}
    assert "default" not in FIELDS["inner"]["properties"]["name"]


def test_a_field_is_described_in_its_own_words_and_an_entry_in_those_of_its_part() -> None:
    assert FIELDS["inner"]["description"] == "Filled in."
    assert FIELDS["several"]["items"]["description"] == "A part within."


def test_the_rules_of_a_part_stand_wherever_the_part_stands() -> None:
    rules = [{"rule": "self.count > 0", "message": "is 0; give more", "fieldPath": ".count"}]
    for place in (FIELDS["inner"], FIELDS["maybe"], FIELDS["several"]["items"]):
        assert place["x-kubernetes-validations"] == rules
    assert "x-kubernetes-validations" not in SCHEMA


def test_without_defaults_there_are_none() -> None:
    assert "default" not in str(structural_schema(Outer, {}, defaults=False))


def test_what_no_structural_schema_can_say_is_refused() -> None:
    class Wrong(Part):
        """A part with an open interval."""

        share: float = Field(gt=0, description="Some.")

    with pytest.raises(ValueError, match="has no exclusiveMinimum"):
        structural_schema(Wrong, {})
