#!/usr/bin/env bash
# dicomweb-client names the host without its port.
#
# Expected: a service at http://127.0.0.1:8042 is asked with "Host: 127.0.0.1:8042", as RFC
#   9110 7.2 wants it for any port but the default one, and as requests does by itself.
# Seen: "Host: 127.0.0.1" from queries and from small stores. A store of more than one chunk
#   (here 1 KB, by default 1 MB) has the port, since there the header is left to requests.
# Versions: dicomweb-client 0.61.2, pydicom 3.0.2, requests 2.34.2, Python 3.11.
# Matters: a service that makes its retrieve URLs from that header, or a proxy that chooses
#   by it: small objects may be answered otherwise than large ones.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dicomweb-client==0.61.2 pydicom==3.0.2 requests==2.34.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 60 "$folder/venv/bin/python" - <<'PY'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

hosts = []


class Service(BaseHTTPRequestHandler):
    """Writes down the Host header, and knows nothing."""

    def do_GET(self):
        hosts.append(self.headers["Host"])
        length = self.headers["Content-Length"]
        if length is not None:
            self.rfile.read(int(length))
        elif self.command == "POST":
            while size := int(self.rfile.readline(), 16):  # chunks
                self.rfile.read(size + 2)
            self.rfile.readline()
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]" if self.command == "GET" else b"{}")

    do_POST = do_GET

    def log_message(self, *words):
        pass


image = Dataset()
image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "2.25.1"
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
image.file_meta.MediaStorageSOPClassUID = CTImageStorage
image.file_meta.MediaStorageSOPInstanceUID = "2.25.1"

server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
requests.get(f"{url}/studies", timeout=10)
client = DICOMwebClient(url, chunk_size=1024)
client.search_for_studies()
client.store_instances([image])
image.ImageComments = "x" * 4000
client.store_instances([image])
server.shutdown()
print("dicomweb-client", version("dicomweb-client"), "requests", version("requests"))
print("the service is at", url)
for words, host in zip(("requests", "query", "small store", "large store"), hosts, strict=True):
    print(f"{words}: Host: {host}")
with_port, without = url.removeprefix("http://"), "127.0.0.1"
if (hosts[0], hosts[3]) != (with_port, with_port):
    sys.exit("CHANGED: requests, or a large store, no longer names the port")
if hosts[1:3] != [without, without]:
    sys.exit("CHANGED: the port is named")
print("as stated")
PY
