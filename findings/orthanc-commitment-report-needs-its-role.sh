#!/usr/bin/env bash
# Orthanc's storage commitment report never comes to a listener that names its own role.
#
# Expected: a listener that takes part in Storage Commitment as its user (SCU) offers the
#   class with scu_role=True, and gets the report; Orthanc tries again where it fails.
# Seen: Orthanc opens an association for the report and asks for the role of SCP there, not
#   SCU. pynetdicom's two roles of a supported context are those of the caller. With
#   scu_role=True, scp_role=False Orthanc finds no context it can use. It had answered the
#   N-ACTION with 0000; the report is lost, and only its log says so. It did not try again
#   within 3 s here, within 12 s in another run. With scp_role=True, or with no role at all,
#   the report comes. (We had noted that both must be True: they may be, and need not.)
# Versions: orthanc 1.10.1+dfsg-2+deb12u1 (Debian 12), pynetdicom 3.0.4, pydicom 3.0.2.
# Matters: who deletes images only after an archive has committed to them.
# Date: 2026-11-29
set -euo pipefail
found=$(dpkg-query -W -f '${Version}' orthanc 2>/dev/null || true)
[[ $found == 1.10.1+* ]] ||
  { echo "skipped: package orthanc 1.10.1 is missing (found: ${found:-none})"; exit 77; }
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
cat >"$folder/orthanc.json" <<JSON
{"StorageDirectory": "$folder/store", "IndexDirectory": "$folder/store", "Plugins": [],
 "HttpServerEnabled": false, "DicomPort": 11112, "DicomAet": "ARCHIVE", "SaveJobs": false,
 "DicomModalities": {"asker": ["ASKER", "127.0.0.1", 11113]}}
JSON
ip netns add "$network"
ip netns exec "$network" ip link set lo up
timeout 120 ip netns exec "$network" Orthanc "$folder/orthanc.json" 2>"$folder/log" &
server=$!

echo "orthanc $found"
timeout 100 ip netns exec "$network" "$folder/venv/bin/python" - "$folder/log" <<'PY'
import sys
import time
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

image, item, request = Dataset(), Dataset(), Dataset()
image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "2.25.1"
image.StudyInstanceUID, image.SeriesInstanceUID, image.PatientID = "2.25.2", "2.25.3", "INVENTED"
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, "2.25.1"
request.ReferencedSOPSequence = [item]


def refusals():
    return Path(sys.argv[1]).read_text().count("No acceptable presentation context")


def ask(number, **roles):
    """Status of the request, what Orthanc asks for, types of its reports, refusals it logs."""
    reports, asked, before = [], [], refusals()

    def on_request(event):
        for one in event.assoc.requestor.role_selection.values():
            asked.append((one.scu_role, one.scp_role))

    def on_report(event):
        reports.append(event.event_type)
        return 0x0000, None

    handlers = [(evt.EVT_REQUESTED, on_request), (evt.EVT_N_EVENT_REPORT, on_report)]
    listener = AE("ASKER")
    listener.add_supported_context(StorageCommitmentPushModel, **roles)
    listening = listener.start_server(("127.0.0.1", 11113), block=False, evt_handlers=handlers)
    caller = AE("ASKER")
    caller.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    caller.add_requested_context(StorageCommitmentPushModel)
    for _ in range(100):
        association = caller.associate("127.0.0.1", 11112, ae_title="ARCHIVE")
        if association.is_established:
            break
        time.sleep(0.2)
    assert association.send_c_store(image).Status == 0x0000
    request.TransactionUID = f"2.25.{number}"
    answer, _ = association.send_n_action(
        request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    association.release()
    end = time.monotonic() + 15
    while time.monotonic() < end and not reports and refusals() == before:
        time.sleep(0.1)
    time.sleep(0 if reports else 3)  # it might try again
    listening.shutdown()
    seen = (answer.Status, asked, reports, refusals() - before)
    print(f"{roles or 'no roles'}: N-ACTION {seen[0]:04X}, Orthanc asks for (SCU, SCP) {asked},"
          f" reports {reports}, refusals in its log {seen[3]}")
    return seen


good = [ask(11), ask(12, scu_role=False, scp_role=True), ask(13, scu_role=True, scp_role=True)]
bad = ask(14, scu_role=True, scp_role=False)
if good != [(0, [(False, True)], [1], 0)] * 3:
    sys.exit("CHANGED: the cases in which the report should come are others")
if bad != (0, [(False, True)], [], 1):
    sys.exit("CHANGED: the report comes, is tried again, or N-ACTION fails")
print("as stated")
PY
