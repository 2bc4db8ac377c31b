"""The device of an analysis, under a name that all who could use it share."""

from __future__ import annotations

import socket

import structlog

from inference.errors import InferenceError

log = structlog.get_logger()


def device_key(name: str) -> str:
    """The name of a configured device for its lock: no two devices share it.

    A GPU has a UUID, whatever number it has in a container; the processor is the machine's.
    A device that is not there keeps its configured name: the analysis will say so.
    """
    machine = socket.gethostname()
    if name == "cpu":
        return f"cpu-{machine}"
    # Here, for a worker that is told of no GPU need not wait for torch.
    import torch  # noqa: PLC0415

    from inference.models.devices import find_device  # noqa: PLC0415

    try:
        device = find_device(name)
        if device.type == "cuda":
            return f"gpu-{torch.cuda.get_device_properties(device).uuid}"
    except (InferenceError, RuntimeError) as error:
        log.warning("device.missing", reason=type(error).__name__)
        return f"{name.replace(':', '')}-{machine}"
    return f"cpu-{machine}"
