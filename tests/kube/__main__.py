"""`python -m tests.kube`: the server as a program, for anyone to point kubectl at.

What goes wrong on purpose is set over HTTP: `POST /_faults` with the fields of a Fault, `DELETE /_faults`,
`POST /_faults/watches` to cut every watch, and `POST /_faults/compaction` to forget the past.
"""

import argparse
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

from fairlead_operator.crd import custom_resource_definition
from tests.kube import foreign
from tests.kube.server import KubeServer
from tests.kube.simulation.simulation import simulated


def main() -> None:
    options = _options()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with KubeServer(port=options.port, rbac=options.rbac) as server, ExitStack() as stack:
        server.define((custom_resource_definition(), *foreign.definitions()))
        if options.simulate:
            stack.enter_context(simulated(server))
        server.kubeconfig(options.kubeconfig)
        print(f"listening at {server.url}; export KUBECONFIG={options.kubeconfig}", flush=True)
        stop.wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kube", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="the port of 127.0.0.1; any free one for 0")
    parser.add_argument("--kubeconfig", type=Path, default=Path("kubeconfig"), help="the file to write")
    parser.add_argument("--rbac", action="store_true", help="let roles decide who may do what")
    parser.add_argument("--simulate", action="store_true", help="with Nodes, and pods that become ready")
    return parser.parse_args()


if __name__ == "__main__":
    main()
