"""The process that polls: `python worker.py [--host NAME]...`. The work itself is in `starter/worker_process.py`."""

import gc
import sys


def main() -> None:
    gc.disable()  # nothing that is imported becomes garbage, and looking for it takes a tenth of the start
    from starter.process_exit import exit_at_once  # late: whoever imports this module does not pay for the SDK
    from starter.worker_process import main as run

    gc.freeze()
    gc.enable()
    exit_at_once(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
