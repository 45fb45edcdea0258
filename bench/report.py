"""What a run prints: a table for people and, last, one line of JSON for programs. Pure."""

import json
from collections.abc import Mapping, Sequence

from bench.figures import rounded

Figures = Mapping[str, float]
Row = Sequence[str]

_TARGETS = {
    "direct": "direct",
    "haproxy": "HAProxy",
    "gateway": "gateway",
    "gateway_keyed": "gateway, keys",
    "aiohttp": "FastAPI+aiohttp",
}
_GATEWAY_ROWS = (
    ("CPU us a chunk, 32 streams", "us_per_chunk_32", ""),
    ("CPU us a chunk, 128 streams", "us_per_chunk_128", "<= 15"),
    ("CPU us a request, not streamed", "us_per_request", "<= 60"),
    ("requests/s, 32 at once", "requests_per_second", ""),
    ("first token, ms p50", "ttft_ms_p50", ""),
    ("  added to direct, ms p50", "added_ttft_ms_p50", ""),
    ("chunks a read, 128 streams", "chunks_per_read_128", "1"),
    ("pace, share of 100 chunks/s", "pace_128", "1"),
)
_GATEWAY_RATIOS = (
    ("CPU a chunk, 32 streams", "us_per_chunk_32"),
    ("CPU a chunk, 128 streams", "us_per_chunk_128"),
    ("CPU a request", "us_per_request"),
)


def gateway_table(figures: Figures) -> str:
    """The gateway and what it is compared with, a column each, and the ratios."""
    names = [name for name in _TARGETS if any(key.startswith(f"{name}_") for key in figures)]
    rows = [["gateway", *(_TARGETS[name] for name in names), "target"]]
    for label, figure, target in _GATEWAY_ROWS:
        rows.append([label, *(_shown(figures.get(f"{name}_{figure}")) for name in names), target])
    others = [name for name in names if name not in ("direct", "gateway", "gateway_keyed")]
    ratios = [["ratios", *(f"gateway / {_TARGETS[name]}" for name in others)]]
    for label, figure in _GATEWAY_RATIOS:
        ratios.append([label, *(_shown(figures.get(f"gateway_to_{name}_{figure}")) for name in others)])
    return f"{align(rows)}\n\n{align(ratios)}"


def limits_table(figures: Figures) -> str:
    """The counters of keys' limits against the library that does the same."""
    rows = [["limits of keys, in memory", "own", "library", "own / library"]]
    for keys, label in (("1", "one key"), ("1000", "1000 keys")):
        names = (f"limits_own_us_{keys}_keys", f"limits_library_us_{keys}_keys", f"limits_own_to_library_{keys}_keys")
        rows.append([f"CPU us a request, {label}", *(_shown(figures[name]) for name in names)])
    return align(rows)


def operator_table(figures: Figures) -> str:
    """The operator with many Models applied at once."""
    rows = [
        ["operator", f"{figures['operator_models']:.0f} Models", "target"],
        ["apply to workload, s p50", _shown(figures["operator_apply_to_workload_s_p50"]), ""],
        ["apply to workload, s p99", _shown(figures["operator_apply_to_workload_s_p99"]), "< 5"],
        ["CPU ms a Model, until nothing is left to do", _shown(figures["operator_cpu_ms_per_model"]), ""],
        ["  of the API server, on the same cores", _shown(figures["operator_api_server_cpu_ms_per_model"]), ""],
        ["requests a Model", _shown(figures["operator_requests_per_model"]), ""],
        ["requests at rest, 20 s", _shown(figures["operator_rest_requests"]), "0"],
        ["memory, MB", _shown(figures["operator_memory_mb"]), "< 150"],
        ["  of it the process's own", _shown(figures["operator_own_memory_mb"]), ""],
        ["render of a Model, ms", _shown(figures["operator_render_ms"]), "< 5"],
    ]
    return align(rows)


def stack_table(figures: Figures) -> str:
    """The whole stack and plain vLLM, side by side."""

    def both(figure: str) -> list[str]:
        return [_shown(figures[f"plain_{figure}"]), _shown(figures[f"stack_{figure}"])]

    return align(
        [
            ["whole stack", "plain vLLM", "stack", "compared", "target"],
            [
                "tokens/s, 16 streams",
                *both("tokens_per_second"),
                f"x {_shown(figures['stack_tokens_ratio'])}",
                ">= 0.95 where the engine is the limit",
            ],
            ["first token, ms p50", *both("ttft_ms_p50"), f"+ {_shown(figures['stack_added_ttft_ms_p50'])}", "<= +2"],
            ["cores while idle", *both("idle_cpu"), "", ""],
        ]
    )


def json_line(figures: Figures, machine: Mapping[str, object]) -> str:
    """The last line: one object, every figure by its name, the machine under `machine`."""
    return json.dumps({**{name: rounded(value) for name, value in figures.items()}, "machine": dict(machine)})


def align(rows: Sequence[Row]) -> str:
    """Columns as wide as their widest cell; the first to the left, the others to the right, the last to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
