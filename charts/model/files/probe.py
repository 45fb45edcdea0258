#!/usr/bin/env python3
"""Whether the engine answers: exit status 0 or 1. Run by the kubelet, inside the engine's pod.

A process of its own and not an HTTP probe, because an engine answers only who brings the internal token, and a
probe's headers stand in the pod's specification for everybody to read. The standard library alone: it runs every few
seconds.
"""

import http.client
import os
import sys

_TIMEOUT_SECONDS = 5


def main(port: str, path: str) -> int:
    """0 when GET `path` on this machine is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path, headers={"x-fairlead-internal-token": os.environ["FAIRLEAD_INTERNAL_TOKEN"]})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"the engine does not answer: {error}\n")
        return 1
    except (KeyError, ValueError):
        # Their words would show what is in the variable.
        sys.stderr.write("FAIRLEAD_INTERNAL_TOKEN is missing or cannot be a header; correct the Secret\n")
        return 1
    if status != http.client.OK:
        sys.stderr.write(f"the engine answers {status}\n")
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
