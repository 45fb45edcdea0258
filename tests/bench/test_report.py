import json

import pytest

from bench import report
from bench.__main__ import parse_arguments
from bench.figures import Cost, Rate
from bench.gateway import GatewayResult
from bench.gateway import Measured as GatewayMeasured
from bench.limits import LimitsResult
from bench.load import Requests, Streaming
from bench.machine import processor_name
from bench.plan import make_plan
from bench.stack import Measured, StackResult, count_tokens

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":256}}\n\ndata: [DONE]\n\n'


def measured(name: str, *, factor: float) -> GatewayMeasured:
    streaming = Streaming(Cost(0.01 * factor, 1000), reads=1000, expected=1000)
    requests = Requests(Cost(0.05 * factor, 1000), Rate(1.0, 1000))
    return GatewayMeasured(name, streaming, streaming, requests, [0.001 * factor, 0.002 * factor, 0.003 * factor])


def result() -> GatewayResult:
    factors = {"direct": 1.0, "gateway": 2.0, "aiohttp": 4.0}
    return GatewayResult({name: measured(name, factor=factor) for name, factor in factors.items()})


def stack_result() -> StackResult:
    plain = Measured("plain vLLM", Rate(1.0, 4000), 0.01, [0.006, 0.006])
    return StackResult(plain, Measured("the whole stack", Rate(1.0, 3800), 0.09, [0.0075, 0.0075]))


def test_the_last_line_is_one_object_with_every_figure_that_is_promised() -> None:
    line = report.json_line(result().figures() | stack_result().figures(), {"cores": 2})
    found = json.loads(line)
    assert "\n" not in line
    assert found["machine"] == {"cores": 2}
    assert {
        "gateway_us_per_chunk_32",
        "gateway_us_per_chunk_128",
        "gateway_added_ttft_ms_p50",
        "gateway_us_per_request",
        "stack_tokens_ratio",
        "stack_added_ttft_ms_p50",
    } <= found.keys()


def test_figures_are_in_the_unit_of_their_name() -> None:
    figures = result().figures()
    assert figures["gateway_us_per_chunk_128"] == pytest.approx(20.0)
    assert figures["gateway_us_per_request"] == pytest.approx(100.0)
    assert figures["gateway_ttft_ms_p50"] == pytest.approx(4.0)
    assert figures["gateway_added_ttft_ms_p50"] == pytest.approx(2.0)
    assert figures["gateway_to_aiohttp_us_per_chunk_32"] == pytest.approx(0.5)


def test_the_stack_is_compared_with_plain_vllm() -> None:
    figures = stack_result().figures()
    assert figures["stack_tokens_ratio"] == pytest.approx(0.95)
    assert figures["stack_added_ttft_ms_p50"] == pytest.approx(1.5)


def test_the_table_leaves_out_what_was_not_measured() -> None:
    table = report.gateway_table(result().figures())
    assert "FastAPI+aiohttp" in table
    assert "HAProxy" not in table


def test_the_columns_of_a_table_line_up() -> None:
    first, rule, second = report.align([["what", "much"], ["a longer one", "7"]]).splitlines()
    assert len(first) == len(rule) == len(second)


def test_tokens_are_counted_from_the_usage_at_the_end() -> None:
    assert count_tokens(b'data: {"choices":[{"delta":{"content":"x"}}],"usage":null}\n\n' + USAGE) == 256


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'data: {"choices":[]}\n\ndata: [DONE]\n\n', "without its usage"),
        (b'data: {"error":{"message":"gone"}}\n\ndata: [DONE]\n\n', "gone"),
        (b"", "without its usage"),
    ],
    ids=["no usage", "an error", "nothing"],
)
def test_a_stream_without_its_usage_has_no_tokens(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        count_tokens(body)


def test_a_quick_plan_is_shorter_and_given_seconds_win() -> None:
    assert make_plan(seconds=None, quick=True).seconds < make_plan(seconds=None, quick=False).seconds
    assert make_plan(seconds=9, quick=True).seconds == 9


def test_the_counters_of_limits_stand_beside_the_library_with_their_ratio() -> None:
    costs = {("own", 1): 1.0, ("library", 1): 4.0, ("own", 1000): 2.0, ("library", 1000): 20.0}
    figures = LimitsResult(costs).figures()
    assert figures["limits_own_to_library_1_keys"] == pytest.approx(0.25)
    assert figures["limits_own_to_library_1000_keys"] == pytest.approx(0.1)
    assert "1000 keys" in report.limits_table(figures)


def test_everything_is_measured_unless_one_part_is_named() -> None:
    assert parse_arguments([]).what == "all"
    assert parse_arguments(["gateway", "--quick"]).what == "gateway"


def test_no_time_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        parse_arguments(["--seconds", "0"])
    assert ending.value.code == 2
    assert "more than 0" in capsys.readouterr().err


def test_the_processor_is_named_where_linux_names_it() -> None:
    assert processor_name("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n") == "Some CPU @ 2 GHz"
    assert processor_name("Hardware: something\n") == ""
