#!/usr/bin/env bash
# pynetdicom copies every supported context for each association.
#
# Expected: a server looks up the contexts that the caller proposes, so that what else it
#   supports costs nothing.
# Seen: each association begins with a deep copy of all supported contexts, 171 here, where one
#   was proposed. It takes two to three times as long to begin. What a handler of EVT_REQUESTED
#   sets takes the place of the copies: a server that is started with one context and sets
#   the proposed ones there copies one.
# Versions: pynetdicom 3.0.4, pydicom 3.0.2, Python 3.11.
# Matters: a node that takes all storage classes from many short associations.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pynetdicom==3.0.4 pydicom==3.0.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 120 "$folder/venv/bin/python" - <<'PY'
import sys
import time
from copy import deepcopy
from importlib.metadata import version
from statistics import median

from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.presentation import PresentationContext

copied = 0


def counted(context, memo):
    global copied
    copied += 1
    twin = memo[id(context)] = type(context).__new__(type(context))
    vars(twin).update(deepcopy(vars(context), memo))
    return twin


PresentationContext.__deepcopy__ = counted  # only counts
CALLS = 9
ECHO = "1.2.840.10008.1.1"
STORED = [context.abstract_syntax for context in AllStoragePresentationContexts]


def give(event):
    known = {ECHO, *STORED}
    proposed = event.assoc.requestor.primitive.presentation_context_definition_list
    event.assoc.acceptor.supported_contexts = [
        build_context(one.abstract_syntax) for one in proposed if one.abstract_syntax in known
    ]


def associations(supported, handlers=()):
    """Contexts copied for one association, and its milliseconds."""
    global copied
    server = AE()
    for uid in supported:
        server.add_supported_context(uid)
    running = server.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    caller = AE()
    caller.add_requested_context(ECHO)
    copied, spent = 0, []
    for _ in range(CALLS):
        begun = time.perf_counter()
        association = caller.associate(*running.server_address)
        spent.append(1e3 * (time.perf_counter() - begun))
        assert association.is_established and len(association.accepted_contexts) == 1
        association.release()
    running.shutdown()
    return copied / CALLS - 1, median(spent)  # the caller copies the one that it proposes


print("pynetdicom", version("pynetdicom"))
cases = {
    "one supported": associations([ECHO]),
    "all storage classes and echo": associations([ECHO, *STORED]),
    "one, and the proposed ones set in EVT_REQUESTED": associations(
        [ECHO], [(evt.EVT_REQUESTED, give)]
    ),
}
for words, (copies, spent_ms) in cases.items():
    print(f"{words}: {copies:g} copied for one proposed, {spent_ms:.0f} ms")
few, all_, given = (copies for copies, _ in cases.values())
if (few, given) != (1, 1) or all_ != 1 + len(STORED):
    sys.exit("CHANGED: the copies are no longer as many as the supported contexts")
print("as stated")
PY
