#!/usr/bin/env bash
# DCMTK answers a refused presentation context with a transfer syntax that nobody proposed.
#
# Expected: a context that is refused comes back with the syntax that was proposed in it.
# Seen: DCMTK always puts Implicit VR Little Endian there; pynetdicom's server sends the
#   proposed one back. PS3.8 says that the field means nothing in a refusal, so both may.
#   pynetdicom shows it in Association.rejected_contexts as if it were the proposed one. Two
#   contexts of one SOP class, one for each syntax, cannot be told apart by it: only by ID.
# Versions: dcmtk 3.6.7-9~deb12u4 (Debian 12), pynetdicom 3.0.4, pydicom 3.0.2, Python 3.11.
# Matters: a sender that falls back to another syntax or object where one is refused.
# Date: 2026-11-29
set -euo pipefail
found=$(dpkg-query -W -f '${Version}' dcmtk 2>/dev/null || true)
[[ $found == 3.6.7-* ]] ||
  { echo "skipped: package dcmtk 3.6.7 is missing (found: ${found:-none})"; exit 77; }
[[ $(id -u) -eq 0 ]] && command -v ip >/dev/null ||
  { echo "skipped: needs root and the package iproute2, for a network with lo alone"; exit 77; }
folder=$(mktemp -d)
network=finding$$
server=
clean() {
  [[ -z $server ]] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
  ip netns del "$network" 2>/dev/null || true
  rm -rf "$folder"
}
trap clean EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pynetdicom==3.0.4 pydicom==3.0.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }
ip netns add "$network"
ip netns exec "$network" ip link set lo up
mkdir "$folder/store"
timeout 60 ip netns exec "$network" /usr/bin/storescp -od "$folder/store" 11112 &
server=$!

echo "dcmtk $found"
timeout 60 ip netns exec "$network" "$folder/venv/bin/python" - <<'PY'
import sys
import time

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
PROPOSED = [
    (CTImageStorage, ExplicitVRLittleEndian),
    (CTImageStorage, RLELossless),
    (LABEL_MAP, ExplicitVRLittleEndian),
    (LABEL_MAP, RLELossless),
]


def refusals(address):
    """Of each proposed context: result, syntax in the answer, syntax in rejected_contexts."""
    caller = AE()
    for proposed in PROPOSED:
        caller.add_requested_context(*proposed)
    pdus = []
    handlers = [(evt.EVT_PDU_RECV, lambda event: pdus.append(event.pdu))]
    for _ in range(50):
        association = caller.associate(*address, evt_handlers=handlers)
        if association.is_established:
            break
        time.sleep(0.2)
    else:
        sys.exit("nobody answers")
    answers = {one.context_id: one for one in pdus[0].presentation_context}
    told = {one.context_id: one.transfer_syntax[0] for one in association.rejected_contexts}
    association.release()
    rows = [
        (answers[ID].result, answers[ID].transfer_syntax, told.get(ID)) for ID in sorted(answers)
    ]
    for (_, syntax), (result, answered, shown) in zip(PROPOSED, rows, strict=True):
        print(f"  proposed {syntax.name}: result {result}, answered {answered.name}"
              + (f", shown as rejected {shown.name}" if shown else ""))
    return rows


print("DCMTK's storescp:")
dcmtk = refusals(("127.0.0.1", 11112))
server = AE()
server.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
running = server.start_server(("127.0.0.1", 0), block=False)
print("pynetdicom's server:")
other = refusals(running.server_address)
running.shutdown()
proposed = [syntax for _, syntax in PROPOSED]
if [row[0] for row in dcmtk] != [0, 4, 3, 3] or [row[0] for row in other] != [0, 4, 3, 3]:
    sys.exit("CHANGED: other contexts are refused, or for other reasons")
if [row[1] for row in other] != proposed:
    sys.exit("CHANGED: pynetdicom's server does not send the proposed syntax back")
if any(row[1:] != (ImplicitVRLittleEndian,) * 2 for row in dcmtk[1:]):
    sys.exit("CHANGED: DCMTK answers, or pynetdicom shows, another syntax")
print("as stated")
PY
