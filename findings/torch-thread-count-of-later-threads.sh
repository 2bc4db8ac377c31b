#!/usr/bin/env bash
# torch.set_num_threads in one thread also counts for threads that begin later, not for others.
#
# Expected: it holds for the whole process or, as we had noted, for the calling thread alone.
# Seen: it holds for the calling thread, and for every thread that begins to use torch later.
#   The main thread and threads that have used torch before keep their number. So a worker
#   that sets 1 leaves the main thread as it was, and the next worker begins with 1.
# Versions: torch 2.13.0 (CPU, OpenMP), Python 3.11.
# Matters: a service that segments slices on a thread for each core and measures elsewhere in
#   the same process: how many cores each may use depends on who came first.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# The CPU build is enough, where pip can be told to take it.
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 300 "$folder/venv/bin/python" - <<'PY'
import sys
from concurrent.futures import ThreadPoolExecutor

import torch


def worker():
    """A thread that has not used torch yet."""
    return ThreadPoolExecutor(1)


def count(thread):
    return thread.submit(torch.get_num_threads).result()


print("torch", torch.__version__)
torch.set_num_threads(3)
old, setting = worker(), worker()
begun = [torch.get_num_threads(), count(old), count(setting)]
setting.submit(torch.set_num_threads, 2).result()
after = [torch.get_num_threads(), count(old), count(setting)]
later = count(worker())
print("main thread sets 3: main, old thread, another:", begun)
print("the other thread sets 2: main, old thread, the other:", after)
print("a thread that begins now:", later)
if begun != [3, 3, 3]:
    sys.exit("CHANGED: threads do not begin with the main thread's number")
if after != [3, 3, 2] or later != 2:
    sys.exit("CHANGED: the number counts for other threads")
print("as stated")
PY
