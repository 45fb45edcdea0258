"""The chat on a terminal and in a pipe, with the real gateway before an engine that speaks as vLLM does."""

import asyncio
import stat
import subprocess
import sys
from typing import Any

import pytest

from fairlead_serve.keys import KeyFile
from tests.serve.chat.terminal import CTRL_C, CTRL_D, CTRL_U, ENTER, UP, Chat
from tests.serve.gateway.upstream import Exchange, Request, Script, Upstream, vllm_error
from tests.serve.gateway.vllm_responses import Answering
from tests.serve.gateway.world import Running, World, backend, until


async def running(world: World, upstream: Upstream, **settings: Any) -> Running:
    return await world.gateway(backend(upstream.url, kind="engine"), **settings)


async def start(world: World, script: Script) -> Running:
    return await running(world, await world.upstream(script))


async def conversations(world: World, gateway: Running) -> list[Any]:
    found: list[Any] = (await world.get(gateway, "/v1/conversations")).json["data"]
    return found


async def messages(world: World, gateway: Running) -> list[tuple[str, str, str]]:
    """(role, text, status) of all that the last conversation holds."""
    last = (await conversations(world, gateway))[0]["id"]
    items = (await world.get(gateway, f"/v1/conversations/{last}/items?order=asc")).json["data"]
    return [(item["role"], item["content"][0]["text"], item["status"]) for item in items]


def asked(upstream: Upstream) -> list[str]:
    """The texts that the engine got with the last question."""
    return [item["content"][0]["text"] for item in upstream.requests[-1].json["input"]]


# --- on a terminal -------------------------------------------------------------------------------------


async def test_an_answer_is_shown_while_it_comes(world: World, chat: Chat) -> None:
    rest = asyncio.Event()
    gateway = await start(world, Answering("Hello ", "wörld", hold=rest))
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("hi")
        assert "wörld" not in await terminal.shows("Hello")
        rest.set()
        shown = await terminal.answered()
        assert "Hello wörld" in shown
        assert "first token after" in shown
        assert "2 tokens" in shown


async def test_reasoning_is_dim_and_comes_before_the_answer(world: World, chat: Chat) -> None:
    gateway = await start(world, Answering("42", reasoning=["Let me ", "think."]))
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("hi")
        shown = await terminal.answered()
        assert shown.index("Let me think.") < shown.index("42")
        assert b"\x1b[2mLet me think." in terminal.raw
        assert b"\x1b[2m42" not in terminal.raw


async def test_markdown_is_rendered_and_its_code_can_be_copied(world: World, chat: Chat) -> None:
    gateway = await start(world, Answering("- **bold", "**\n\nA <tag>.\n", "\n```\nx  =  1\n```\n"))
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("hi")
        lines = [line.rstrip() for line in (await terminal.answered()).splitlines()]
        assert " • bold" in lines
        assert "A <tag>." in lines
        assert "x  =  1" in lines


async def test_no_escape_sequence_of_an_answer_reaches_the_terminal(world: World, chat: Chat) -> None:
    hostile = "\x1b]0;owned\x07\x1b[31m\x9b5m\r\x08&#27;[2J[x](http://a/)"
    gateway = await start(world, Answering("safe ", hostile, reasoning=[hostile]))
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("ask")
        await terminal.answered()
        terminal.enter("/open " + (await conversations(world, gateway))[0]["id"])
        await terminal.shows("> ")
        for sequence in ("\x1b]0;", "\x07", "\x1b[31m", "\x9b", "\x08", "\x1b[2J", "\x1b]8;"):
            assert sequence.encode() not in terminal.raw


async def test_ctrl_c_stops_the_answer_and_the_server_keeps_it_as_far_as_it_came(world: World, chat: Chat) -> None:
    engine = Answering("half", " whole", hold=asyncio.Event())
    gateway = await start(world, engine)
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("hi")
        await terminal.shows("half")
        terminal.type(CTRL_C)
        await terminal.shows("stopped")
        await terminal.shows("> ")
        await until(lambda: engine.left == 1)
        async with asyncio.timeout(10):
            while not (kept := await messages(world, gateway)):  # noqa: ASYNC110 - the store tells nobody
                await asyncio.sleep(0.01)
        assert kept == [("user", "hi", "completed"), ("assistant", "half", "incomplete")]
        terminal.enter("/quit")
        assert await terminal.ended() == 0


async def test_what_is_typed_during_an_answer_is_the_next_line(world: World, chat: Chat) -> None:
    rest = asyncio.Event()
    upstream = await world.upstream(Answering("one ", "two", hold=rest))
    gateway = await running(world, upstream)
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("hi")
        await terminal.shows("one")
        terminal.enter("and then?")
        rest.set()
        assert "and then?" not in await terminal.shows(" tokens")
        await terminal.shows("> and then?")
        await terminal.answered()
        assert asked(upstream) == ["hi", "one two", "and then?"]


async def test_a_pasted_text_is_one_question(world: World, chat: Chat) -> None:
    upstream = await world.upstream(Answering("ok"))
    gateway = await running(world, upstream)
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("\x1b[200~first\nsecond\x1b[201~")
        await terminal.answered()
        assert asked(upstream) == ["first\nsecond"]


@pytest.mark.parametrize("leaving", [CTRL_D, "/quit" + ENTER])
async def test_a_chat_is_left(world: World, chat: Chat, leaving: str) -> None:
    gateway = await start(world, Answering("ok"))
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.type(leaving)
        assert await terminal.ended() == 0


async def test_the_next_chat_remembers_what_was_typed(world: World, chat: Chat) -> None:
    gateway = await start(world, Answering("ok"))
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("what is a mole?")
        await terminal.answered()
    assert stat.S_IMODE(chat.history.stat().st_mode) == 0o600
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.type(UP)
        await terminal.shows("what is a mole?")


async def test_a_history_that_cannot_be_kept_is_told_and_no_obstacle(world: World, chat: Chat) -> None:
    gateway = await start(world, Answering("ok"))
    chat.history.mkdir(parents=True)
    async with chat.on_terminal(gateway.url) as terminal:
        assert b"what is typed is not remembered" in terminal.raw
        terminal.enter("hi")
        await terminal.answered()


async def test_a_chat_goes_on_with_the_last_conversation(world: World, chat: Chat) -> None:
    upstream = await world.upstream(Answering("ok"))
    gateway = await running(world, upstream)
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("one")
        await terminal.answered()
    async with chat.on_terminal(gateway.url, "--continue") as terminal:
        await terminal.shows("conversation conv_")
        terminal.enter("two")
        await terminal.answered()
    assert asked(upstream) == ["one", "ok", "two"]
    assert len(await conversations(world, gateway)) == 1


async def test_a_conversation_that_is_not_there_cannot_be_gone_on_with(world: World, chat: Chat) -> None:
    gateway = await start(world, Answering("ok"))
    words = "fairlead: there is no conversation 'conv_other'"
    async with chat.on_terminal(gateway.url, "--conversation", "conv_other", until=words) as terminal:
        assert await terminal.ended() == 1


async def test_a_single_question_is_rendered_on_a_terminal_and_can_be_stopped(world: World, chat: Chat) -> None:
    gateway = await start(world, Answering("**half**", " whole", hold=asyncio.Event()))
    async with chat.on_terminal(gateway.url, "hi", until="half") as terminal:
        assert b"**" not in terminal.raw
        terminal.type(CTRL_C)
        assert await terminal.ended() == 130


async def test_conversations_are_listed_and_opened_by_their_numbers(world: World, chat: Chat) -> None:
    upstream = await world.upstream(Answering("ok"))
    gateway = await running(world, upstream)
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("one")
        await terminal.answered()
        terminal.enter("/new")
        await terminal.shows("> ")
        terminal.enter("two")
        await terminal.answered()
        assert asked(upstream) == ["two"]
        terminal.enter("/list")
        listed = await terminal.shows("  one")
        assert listed.index("  two") < listed.index("  one")
        terminal.enter("/open 2")
        await terminal.shows("> one")
        await terminal.shows("conversation conv_")
        terminal.enter("three")
        await terminal.answered()
    assert asked(upstream) == ["one", "ok", "three"]


async def test_the_last_turn_is_taken_back(world: World, chat: Chat) -> None:
    gateway = await start(world, Answering("ok", reasoning=["Hm."]))
    async with chat.on_terminal(gateway.url) as terminal:
        for question in ("one", "two"):
            terminal.enter(question)
            await terminal.answered()
        terminal.enter("/undo")
        await terminal.shows("taken back: two")
        last = (await conversations(world, gateway))[0]["id"]
        items = (await world.get(gateway, f"/v1/conversations/{last}/items?order=asc")).json["data"]
        assert [item["type"] for item in items] == ["message", "reasoning", "message"]
        assert items[0]["content"][0]["text"] == "one"
        terminal.enter("/undo")
        await terminal.shows("taken back: one")
        terminal.enter("/undo")
        await terminal.shows("there is nothing to take back")


async def test_a_question_is_asked_again_in_its_place(world: World, chat: Chat) -> None:
    upstream = await world.upstream(Answering("ok"))
    gateway = await running(world, upstream)
    async with chat.on_terminal(gateway.url) as terminal:
        for line in ("one", "two", "/retry"):
            terminal.enter(line)
            await terminal.answered()
    assert asked(upstream) == ["one", "ok", "two"]
    assert [text for _, text, _ in await messages(world, gateway)] == ["one", "ok", "two", "ok"]


async def test_an_error_is_told_in_words_and_the_question_can_be_sent_again(world: World, chat: Chat) -> None:
    answers: list[Script] = [refusing, Answering("ok")]

    async def script(exchange: Exchange, request: Request) -> None:
        await answers.pop(0)(exchange, request)

    upstream = await world.upstream(script)
    gateway = await running(world, upstream)
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("a long question")
        shown = await terminal.shows("> a long question")
        assert "This model is asleep." in shown
        assert "Error code" not in shown
        assert await conversations(world, gateway) == []
        terminal.type("!" + ENTER)
        await terminal.answered()
    assert asked(upstream) == ["a long question!"]


async def refusing(exchange: Exchange, _: Request) -> None:
    await exchange.answer(vllm_error("This model is asleep.", 400), status=400)


async def test_a_question_that_failed_is_known_to_retry(world: World, chat: Chat) -> None:
    answers: list[Script] = [refusing, Answering("ok")]

    async def script(exchange: Exchange, request: Request) -> None:
        await answers.pop(0)(exchange, request)

    upstream = await world.upstream(script)
    gateway = await running(world, upstream)
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("why?")
        await terminal.shows("> why?")
        terminal.enter(CTRL_U + "/retry")
        await terminal.answered()
    assert asked(upstream) == ["why?"]


async def test_an_answer_that_breaks_off_is_told_and_its_turn_can_be_taken_back(world: World, chat: Chat) -> None:
    gateway = await start(world, Answering("half", " whole", lost=True))
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("hi")
        shown = await terminal.shows("was lost while answering")
        assert "half" in shown
        assert "hi" not in await terminal.shows("> ")
        terminal.enter("/undo")
        await terminal.shows("taken back: hi")


async def test_an_answer_that_met_its_bound_says_so(world: World, chat: Chat) -> None:
    gateway = await start(world, Answering("ok", cut=True))
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("hi")
        await terminal.shows("cut by max_output_tokens")


async def test_the_model_and_its_instructions_can_be_changed(world: World, chat: Chat) -> None:
    first, second = await world.upstream(Answering("ok")), await world.upstream(Answering("ok"))
    gateway = await world.gateway(
        backend(first.url, kind="engine", name="small"), backend(second.url, kind="engine", name="large")
    )
    async with chat.on_terminal(gateway.url, "--system", "Be brief.", "--temperature", "0.25") as terminal:
        assert b"small at http" in terminal.raw
        terminal.enter("one")
        await terminal.answered()
        terminal.enter("/model none")
        await terminal.shows("there is no model none; there are: small, large")
        terminal.enter("/model large")
        await terminal.shows("large; there are also: small")
        terminal.enter("/system Be kind.")
        await terminal.shows("> ")
        terminal.enter("two")
        await terminal.answered()
    options = [(upstream.requests[-1].json["instructions"]) for upstream in (first, second)]
    assert options == ["Be brief.", "Be kind."]
    assert first.requests[-1].json["temperature"] == 0.25


async def test_a_command_that_does_not_exist_is_put_back_and_asked_with_a_space(world: World, chat: Chat) -> None:
    upstream = await world.upstream(Answering("ok"))
    gateway = await running(world, upstream)
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("/etc/hosts?")
        await terminal.shows("> /etc/hosts?")
        assert not upstream.requests
        terminal.enter(CTRL_U + " /etc/hosts?")
        await terminal.answered()
    assert asked(upstream) == ["/etc/hosts?"]


async def test_every_command_is_in_the_help(world: World, chat: Chat) -> None:
    gateway = await start(world, Answering("ok"))
    async with chat.on_terminal(gateway.url) as terminal:
        terminal.enter("/help")
        shown = await terminal.shows("Ctrl-C")
        for command in ("/new", "/list", "/open", "/undo", "/retry", "/model", "/system", "/quit"):
            assert command in shown


# --- in a pipe -----------------------------------------------------------------------------------------


async def test_a_script_gets_the_answer_alone(world: World, chat: Chat) -> None:
    gateway = await start(world, Answering("**Hel", "lo**\x1b[1m", reasoning=["Hm."]))
    printed = await chat.in_pipe(gateway.url, "hi")
    assert (printed.code, printed.out, printed.error) == (0, "**Hello**\x1b[1m\n", "")
    assert await conversations(world, gateway) == []


async def test_a_piped_text_belongs_to_the_question(world: World, chat: Chat) -> None:
    upstream = await world.upstream(Answering("ok\n"))
    gateway = await running(world, upstream)
    assert (await chat.in_pipe(gateway.url, stdin="alone\n")).out == "ok\n"
    assert asked(upstream) == ["alone"]
    await chat.in_pipe(gateway.url, "Sum up:", stdin="a text\n")
    assert asked(upstream) == ["Sum up:\n\na text"]


async def test_a_script_goes_on_with_a_conversation(world: World, chat: Chat) -> None:
    upstream = await world.upstream(Answering("ok"))
    gateway = await running(world, upstream)
    conversation = (await world.post(gateway, {}, path="/v1/conversations")).json["id"]
    assert (await chat.in_pipe(gateway.url, "one", "--conversation", conversation)).code == 0
    assert (await chat.in_pipe(gateway.url, "two", "--continue")).code == 0
    assert asked(upstream) == ["one", "ok", "two"]


async def test_a_script_learns_of_a_failure_by_the_exit_code(world: World, chat: Chat) -> None:
    gateway = await start(world, refusing)
    printed = await chat.in_pipe(gateway.url, "hi")
    assert (printed.code, printed.out) == (1, "")
    assert printed.error == "fairlead: This model is asleep.\n"
    nothing = await chat.in_pipe(gateway.url)
    assert nothing.code == 2
    assert "nothing to ask" in nothing.error
    foreign = await chat.in_pipe(gateway.url, "hi", "--conversation", "conv_other")
    assert (foreign.code, foreign.error) == (1, "fairlead: there is no conversation 'conv_other'\n")
    none = await chat.in_pipe(gateway.url, "hi", "--continue")
    assert (none.code, none.error) == (1, "fairlead: there is no conversation to continue; leave --continue out\n")


async def test_a_server_that_is_not_there_is_one_to_start(chat: Chat) -> None:
    printed = await chat.in_pipe("http://127.0.0.1:1", "hi")
    assert printed.code == 1
    assert "http://127.0.0.1:1/v1 does not answer" in printed.error
    assert "fairlead serve -f" in printed.error


async def test_the_key_comes_from_the_environment_and_is_never_shown(world: World, chat: Chat) -> None:
    file = chat.home / "keys.yaml"
    _, secret = KeyFile(file).create("laptop")
    gateway = await running(world, await world.upstream(Answering("ok")), key_file=file)
    keys = {"FAIRLEAD_API_KEY": secret, "OPENAI_API_KEY": "another"}
    assert (await chat.in_pipe(gateway.url, "hi", **keys)).out == "ok\n"
    assert (await chat.in_pipe(gateway.url, "hi", OPENAI_API_KEY=secret)).out == "ok\n"
    refused = await chat.in_pipe(gateway.url, "hi", FAIRLEAD_API_KEY=secret + "x")
    assert refused.code == 1
    assert "set FAIRLEAD_API_KEY" in refused.error
    assert secret not in refused.error


def test_other_commands_do_not_load_what_only_the_chat_needs() -> None:
    look = "import sys, fairlead_serve.cli; print({'openai', 'readline', 'markdown_it'} & set(sys.modules))"
    looked = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert looked.stdout == "set()\n"
