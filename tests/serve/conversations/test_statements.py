"""What the store says to its database: little, and nothing that goes through a whole table."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from fairlead_serve.conversations import Store
from tests.serve.conversations.world import LATER, OWNER, START, Clock, Closing, begin, body, messages, turn

# What SQLite calls it: https://www.sqlite.org/eqp.html
_THROUGH = {f"SCAN {table}" for table in ("conversations", "items", "responses", "newer")}


class Statements:
    """Notes every statement, with its parameters."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, Any]] = []

    def take(self) -> list[tuple[str, Any]]:
        """Those since the last time."""
        noted, self.noted = self.noted, []
        return [one for one in noted if not one[0].startswith(("BEGIN", "PRAGMA", "SAVEPOINT", "RELEASE"))]

    def note(self, _c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        self.noted.append((statement, parameters))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "conversations.db"


@pytest.fixture
async def store(file: Path, closing: Closing) -> Store:
    store = closing(Store(f"sqlite:///{file}", clock=Clock()))
    await store.open()
    await store.create_conversation(OWNER, "c", metadata={}, items=messages("a", "b"))
    for number in range(20):
        previous = f"r{number - 1}" if number else None
        await turn(store, f"r{number}", f"q{number}", f"a{number}", conversation="c", previous=previous)
    return store


@pytest.fixture
def statements(store: Store) -> Iterator[Statements]:
    """Those that `store` makes from now on; there is no other."""
    noting = Statements()
    event.listen(Engine, "before_cursor_execute", noting.note)
    yield noting
    event.remove(Engine, "before_cursor_execute", noting.note)


async def test_a_history_is_read_with_one_statement(store: Store, statements: Statements) -> None:
    assert len(await store.history(OWNER, "c")) == 42
    assert len(statements.take()) == 1
    assert len(await store.response_history(OWNER, "r19")) == 40
    assert len(statements.take()) == 1


async def test_a_turn_takes_six_statements_however_many_items_it_has(store: Store, statements: Statements) -> None:
    many = [f"item{number}" for number in range(100)]
    await begin(store, "r", *many, conversation="c")
    assert len(statements.take()) == 2
    await store.finish_response(OWNER, "r", body("r"), output=messages("answer"))
    assert len(statements.take()) == 4


async def test_no_statement_goes_through_a_whole_table(store: Store, statements: Statements, file: Path) -> None:
    await store.list_conversations(OWNER)
    await store.list_conversations(OWNER, after="c", order="asc")
    await store.update_conversation(OWNER, "c", metadata={})
    await store.list_items(OWNER, "c", after="b")
    await store.get_item(OWNER, "c", "b")
    await store.delete_item(OWNER, "c", "b")
    await store.history(OWNER, "c")
    await begin(store, "late", "asked", previous="r19", deadline=START)
    await store.list_input_items(OWNER, "r1")
    await store.response_history(OWNER, "r19")
    assert await store.abandon(LATER) == 1
    await store.delete_response(OWNER, "late")
    assert await store.sweep(START) == 0
    assert await store.sweep(LATER) > 0
    noted = statements.take()
    assert len(noted) > 20
    with sqlite3.connect(file) as database:
        for statement, parameters in noted:
            one = parameters[0] if isinstance(parameters, list) else parameters
            plan = [step[-1] for step in database.execute(f"EXPLAIN QUERY PLAN {statement}", one)]
            through = [step for step in plan if step in _THROUGH]
            assert not through, f"{statement}: {plan}"
    database.close()
