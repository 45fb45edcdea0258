"""`python -m bench`: measure, print a table, and as the last line of standard output one JSON object.

Exit codes: 0 measured, 1 a server or an answer failed, 2 wrong arguments. Whether a number is good is not judged here.
"""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from bench import gateway, limits, machine, operator, report, stack
from bench.errors import BenchError
from bench.plan import Plan, make_plan
from bench.progress import Progress
from fairlead_serve.errors import FairleadError


def parse_arguments(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Fairlead, measured side by side.")
    parser.add_argument("what", nargs="?", choices=["gateway", "limits", "operator", "stack", "all"], default="all")
    parser.add_argument("--seconds", type=_positive, help="how long each figure of each server is measured; default 5")
    parser.add_argument("--quick", action="store_true", help="shorter and rougher: the gateway takes 40 s")
    parser.add_argument(
        "--model",
        type=Path,
        default=Path(__file__).parents[1] / "configs" / "models" / "tiny-chat.yaml",
        help="the Model file of the whole stack",
        metavar="FILE",
    )
    return parser.parse_args(words)


def _positive(word: str) -> float:
    value = float(word)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


async def _run(what: str, plan: Plan, model_file: Path) -> None:
    task = asyncio.current_task()
    assert task is not None
    # Ended from outside, the servers are still stopped.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    progress = Progress(sys.stderr)
    described = machine.describe()
    figures: dict[str, float] = {}
    tables: list[str] = []
    if what in ("gateway", "all"):
        figures |= (await gateway.measure(plan, progress)).figures()
        tables.append(report.gateway_table(figures))
    if what in ("limits", "all"):
        progress.say("limits of keys, in memory")
        figures |= (await limits.measure()).figures()
        tables.append(report.limits_table(figures))
    if what in ("operator", "all"):
        figures |= (await operator.measure(progress)).figures()
        tables.append(report.operator_table(figures))
    if what in ("stack", "all"):
        figures |= (await stack.measure(plan, progress, model_file=model_file)).figures()
        tables.append(report.stack_table(figures))
    described["loadavg_at_end"] = [round(load, 2) for load in os.getloadavg()]
    print("\n\n".join(["", *tables, report.json_line(figures, described)]), flush=True)


def main() -> int:
    arguments = parse_arguments(sys.argv[1:])
    plan = make_plan(seconds=arguments.seconds, quick=arguments.quick)
    try:
        uvloop.run(_run(arguments.what, plan, arguments.model))
    except (BenchError, FairleadError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
