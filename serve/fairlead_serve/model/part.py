"""What every piece of the resource has in common."""

from collections import Counter
from collections.abc import Iterable
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from fairlead_serve.errors import Problem


class Part(BaseModel):
    """A piece of the resource: immutable, no unknown fields, no conversions (`"8"` is not 8)."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        strict=True,
        use_attribute_docstrings=False,
    )

    def broken_rules(self) -> Iterable[Problem]:
        """What is wrong with the fields taken together; places are relative to this part."""
        return ()

    @model_validator(mode="after")
    def _refuse_broken_rules(self) -> Self:
        problems = tuple(self.broken_rules())
        if problems:
            raise PydanticCustomError(
                "broken_rules",
                "{sentences}",
                {"sentences": "; ".join(str(problem) for problem in problems), "problems": problems},
            )
        return self


def twice(names: Iterable[str]) -> list[str]:
    """Those that come more than once."""
    return [name for name, count in Counter(names).items() if count > 1]
