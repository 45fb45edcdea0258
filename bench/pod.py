"""`python -m bench.pod FOLDER ARGUMENTS`: the operator's command as in a pod whose service account lies in FOLDER."""

import sys
from pathlib import Path

from fairlead_operator.__main__ import main
from fairlead_serve import api_server

api_server.SERVICE_ACCOUNT = Path(sys.argv.pop(1))
main()
