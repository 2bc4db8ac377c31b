"""MuscleMap's own program with a clock; run by a Python that has its environment, not ours.

    python musclemap_original.py SCRIPTS TIMES.json [options of mm_segment.py]

SCRIPTS is the folder `scripts` of MuscleMap 1.4. Written are core-seconds and seconds of the
part from an image's file to that of its labels, and the memory of the process before it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the program, its inference between two looks at the clock."""
    scripts, times = sys.argv[1:3]
    sys.path.insert(0, scripts)
    sys.argv[1:3] = []
    import mm_segment  # type: ignore[import-not-found]  # noqa: PLC0415 - of that environment

    run = mm_segment.run_inference

    def timed(*args: Any, **kwargs: Any) -> Any:
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start, core = time.monotonic(), time.process_time()
        found = run(*args, **kwargs)
        times_of_it = {
            "core_seconds": time.process_time() - core,
            "seconds": time.monotonic() - start,
            "before_kb": before_kb,
        }
        Path(times).write_text(json.dumps(times_of_it))
        return found

    mm_segment.run_inference = timed
    mm_segment.main()


if __name__ == "__main__":
    main()
