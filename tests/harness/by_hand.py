"""The harness to look at by hand: Orthanc, a node and OHIF, until Ctrl-C (`make harness`)."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.namespace import make_namespace
from support.node_process import install_node, node_toml
from support.ohif import CONFIGURATION, DIST
from support.orthanc import DICOM_PORT, HTTP_PORT, PACS_AE, start_orthanc
from support.web_server import serving


def main() -> None:
    """Start them, say how to reach them, and end them."""
    if os.geteuid() != 0:
        sys.exit("root is needed: the harness runs in a network namespace of its own")
    namespace = make_namespace(f"msk-by-hand-{os.getpid()}")
    try:
        with tempfile.TemporaryDirectory(prefix="msk-harness-") as folder:
            settings = node_toml(samples=10)
            orthanc = start_orthanc(namespace, Path(folder) / "orthanc")
            node = install_node(namespace, Path(folder) / "node", settings)
            stack = ExitStack()
            try:
                node.start()
                with namespace.inside():
                    address = _viewer(stack)
                inside = f"ip netns exec {namespace.name}"
                sys.stdout.write(
                    f"send CT:  {inside} /usr/bin/dcmsend -aec {PACS_AE}"
                    f" 127.0.0.1 {DICOM_PORT} +sd FOLDER\n"
                    f"look:     {inside} curl -s http://127.0.0.1:{HTTP_PORT}/series?expand\n"
                    f"OHIF:     {inside} chromium --no-sandbox {address}\n"
                    f"node:     {node.log} and {node.settings}\n"
                    f"Orthanc:  {orthanc.folder}\n"
                    "Ctrl-C ends all and removes their files.\n"
                )
                signal.pause()
            except KeyboardInterrupt:
                sys.stdout.write("ending\n")
            finally:
                stack.close()
                node.stop()
                orthanc.stop()
    finally:
        namespace.remove()


def _viewer(stack: ExitStack) -> str:
    """Serve OHIF inside the namespace until the stack closes; how to open it, or why not."""
    if not (DIST / "index.html").is_file():
        return "not there (make harness-packages)"
    return stack.enter_context(serving(DIST, CONFIGURATION, HTTP_PORT))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
