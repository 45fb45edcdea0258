"""What an API server thinks that the rules of a CRD may cost at most.

It estimates before it takes a CRD, and refuses one whose rules may cost too much. The method is that of cel-go
(checker/cost.go) with the sizes of Kubernetes (apiserver/pkg/cel/common/schemas.go, and childContext in
apiextensions-apiserver/pkg/apis/apiextensions/validation/cel_validation.go): reading a name or a field costs 1, and so
does any call but these: what walks through text costs a tenth of its length, a regular expression that times a quarter
of its own length, `in` the length of the list; a macro costs its body times the longest the list may be. Text counts
four bytes a character. A rule costs that much times how often its place may occur. Only what the rules here use is
known; anything else raises KeyError.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import celpy
from lark import Token, Tree

Schema = Mapping[str, Any]

PER_RULE_LIMIT = 10_000_000
"""StaticEstimatedCostLimit of apiextensions-apiserver."""
PER_CRD_LIMIT = 100_000_000
"""StaticEstimatedCRDCostLimit of the same."""
PER_CALL_LIMIT = 1_000_000
"""PerCallLimit of apiserver/pkg/apis/cel: what one run of a rule may really cost."""
PER_OBJECT_LIMIT = 10_000_000
"""RuntimeCELCostBudget of the same: what all rules may really cost for one object."""

_LONGEST_REQUEST = 3 * 1024 * 1024 - 2


@dataclass(frozen=True)
class Estimate:
    """The cost of a piece of a rule, and how long its value may be; `schema` where the value is part of the object."""

    cost: int
    size: int = 1
    schema: Schema = field(default_factory=dict)


def rule_costs(schema: Schema, occurrences: int = 1) -> Iterator[tuple[str, int, int]]:
    """Every rule of a schema with the cost of one run and of all its runs in the largest object."""
    for rule in schema.get("x-kubernetes-validations", ()):
        once = _Coster(schema).cost(rule["rule"])
        yield rule["rule"], once, once * occurrences
    for inner in schema.get("properties", {}).values():
        yield from rule_costs(inner, occurrences)
    for word, bound in (("items", "maxItems"), ("additionalProperties", "maxProperties")):
        inner = schema.get(word)
        if inner and any(True for _ in rule_costs(inner)):
            yield from rule_costs(inner, occurrences * schema[bound])


class _Coster:
    def __init__(self, schema: Schema) -> None:
        self._names: dict[str, Estimate] = {"self": Estimate(1, _size(schema), schema)}

    def cost(self, rule: str) -> int:
        return self._of(celpy.Environment().compile(rule)).cost

    def _of(self, tree: Tree[Token]) -> Estimate:
        children = tree.children
        if len(children) == 1 and tree.data not in ("literal", "ident", "list_lit"):
            return self._of(_tree(children[0]))
        return _ESTIMATES[tree.data](self, children)

    def ternary(self, children: list[Any]) -> Estimate:
        condition, left, right = (self._of(child) for child in children)
        return Estimate(condition.cost + max(left.cost, right.cost), max(left.size, right.size))

    def both(self, children: list[Any]) -> Estimate:
        return Estimate(sum(self._of(child).cost for child in children))

    def relation(self, children: list[Any]) -> Estimate:
        operator, right = children[0].data, self._of(children[1])
        left = self._of(children[0].children[0])
        walked = {
            "relation_eq": math.ceil(min(left.size, right.size) / 10),
            "relation_ne": math.ceil(min(left.size, right.size) / 10),
            "relation_in": right.size if right.schema.get("type") == "array" else 1,
        }
        return Estimate(left.cost + right.cost + walked.get(operator, 1))

    def arithmetic(self, children: list[Any]) -> Estimate:
        return Estimate(1 + self._of(children[0].children[0]).cost + self._of(children[1]).cost)

    def unary(self, children: list[Any]) -> Estimate:
        return Estimate(1 + self._of(children[1]).cost)

    def literal(self, children: list[Any]) -> Estimate:
        text = str(children[0])
        return Estimate(0, len(text.removeprefix("r").strip("'")) if text.endswith("'") else 1)

    def name(self, children: list[Any]) -> Estimate:
        # A type, such as `int`: the estimator finds no size for it.
        return self._names.get(str(children[0]), Estimate(1, 0))

    def items(self, children: list[Any]) -> Estimate:
        several = [self._of(child) for child in children[0].children]
        return Estimate(10 + sum(one.cost for one in several), len(several), {"type": "array", "items": {}})

    def field(self, children: list[Any]) -> Estimate:
        whole, inner = self._of(children[0]), str(children[1])
        schema = whole.schema["properties"][inner]
        return Estimate(whole.cost + 1, _size(schema), schema)

    def entry(self, children: list[Any]) -> Estimate:
        whole, key = self._of(children[0]), self._of(children[1])
        schema = whole.schema["additionalProperties"]
        return Estimate(whole.cost + key.cost + 1, _size(schema), schema)

    def call(self, children: list[Any]) -> Estimate:
        name, arguments = str(children[0]), children[1].children
        assert name in ("has", "int", "type"), name
        return Estimate(1 + sum(self._of(argument).cost for argument in arguments), 0 if name == "type" else 1)

    def method(self, children: list[Any]) -> Estimate:
        target, name = self._of(children[0]), str(children[1])
        if name in _STEPS:
            return self._macro(target, name, *children[2].children)
        arguments = [self._of(argument) for argument in (children[2].children if len(children) > 2 else ())]
        said = arguments[0].size if arguments else 0
        walked = {
            "size": 1,
            "startsWith": math.ceil(said / 10),
            "matches": math.ceil((target.size + 1) / 10) * math.ceil(said / 4),
        }
        return Estimate(target.cost + sum(argument.cost for argument in arguments) + walked[name])

    def _macro(self, target: Estimate, name: str, variable: Tree[Token], body: Tree[Token]) -> Estimate:
        item = target.schema.get("items", {"type": "key"})
        (token,) = variable.scan_values(lambda value: isinstance(value, Token))
        self._names[str(token)] = Estimate(1, _size(item), item)
        step = self._of(body).cost + _STEPS[name]
        del self._names[str(token)]
        return Estimate(target.cost + target.size * step + 2)


# What a macro does besides its body, each time.
_STEPS = {"all": 3, "exists": 4, "exists_one": 2}

_ESTIMATES: Mapping[str, Callable[[_Coster, list[Any]], Estimate]] = {
    "expr": _Coster.ternary,
    "conditionalor": _Coster.both,
    "conditionaland": _Coster.both,
    "relation": _Coster.relation,
    "addition": _Coster.arithmetic,
    "multiplication": _Coster.arithmetic,
    "unary": _Coster.unary,
    "literal": _Coster.literal,
    "ident": _Coster.name,
    "list_lit": _Coster.items,
    "member_dot": _Coster.field,
    "member_index": _Coster.entry,
    "ident_arg": _Coster.call,
    "member_dot_arg": _Coster.method,
}


def _tree(child: Any) -> Tree[Token]:
    assert isinstance(child, Tree), child
    return child


def _size(schema: Schema) -> int:
    # Newer servers take the bound of an int-or-string and the longest word of an enumeration; older ones do not.
    if schema.get("x-kubernetes-int-or-string"):
        return _LONGEST_REQUEST
    if schema.get("type") == "string":
        return 4 * schema["maxLength"] if "maxLength" in schema else _LONGEST_REQUEST
    if schema.get("type") == "array":
        return int(schema["maxItems"])
    if "additionalProperties" in schema:
        return int(schema["maxProperties"])
    # The estimator has no length for the key of a map, and none for an object as a whole.
    return 0 if schema.get("type") in ("object", "key") else 1
