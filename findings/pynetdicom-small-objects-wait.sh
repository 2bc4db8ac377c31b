#!/usr/bin/env bash
# pynetdicom leaves Nagle's algorithm on: small objects wait 40 ms each.
#
# Expected: C-STORE on one machine costs a few milliseconds for an object of 2 KB.
# Seen: 50 ms each, and 8 ms with TCP_NODELAY on the sender's socket. A message goes out in
#   parts; the second waits until the first is acknowledged, which Linux puts off by 40 ms.
#   pynetdicom has no setting for it; a handler of EVT_CONN_OPEN is a place to set it.
# Versions: pynetdicom 3.0.4, pydicom 3.0.2, Python 3.11, Linux 6.18.
# Matters: a CT series of 500 slices waits 20 s for nothing; so do many small result objects.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pynetdicom==3.0.4 pydicom==3.0.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 120 "$folder/venv/bin/python" - <<'PY'
import socket
import sys
import time
from importlib.metadata import version
from statistics import median

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY)
image = Dataset()
image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "2.25.1"
image.ImageComments = "x" * 2000
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian

server = AE()
server.add_supported_context(CTImageStorage)
running = server.start_server(
    ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000)]
)


def send(at_once):
    """Milliseconds an object."""
    sender = AE()
    sender.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = sender.associate(*running.server_address)
    connection = association.dul.socket.socket
    if connection.getsockopt(*NODELAY):
        sys.exit("CHANGED: TCP_NODELAY is set")
    if at_once:
        connection.setsockopt(*NODELAY, 1)
    spent = []
    for _ in range(21):
        begun = time.perf_counter()
        assert association.send_c_store(image).Status == 0x0000
        spent.append(1e3 * (time.perf_counter() - begun))
    association.release()
    return median(spent)


print("pynetdicom", version("pynetdicom"))
as_it_is, at_once = send(at_once=False), send(at_once=True)
running.shutdown()
print(f"as it is: {as_it_is:.1f} ms an object; with TCP_NODELAY: {at_once:.1f} ms")
if as_it_is < at_once + 20:
    sys.exit("CHANGED: small objects do not wait, or TCP_NODELAY does not help")
print("as stated")
PY
