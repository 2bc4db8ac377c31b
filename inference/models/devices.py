"""Devices to compute on: the device of a name, and the numbers that it is fast in."""

from __future__ import annotations

import torch

from inference.errors import DeviceError


def find_device(name: str) -> torch.device:
    """The device of that name, which may be `auto`."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"{name}: no such kind of device") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"{name}: only cpu and cuda are supported")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"{name}: not there; CUDA devices found: {torch.cuda.device_count()}")
    return device


def is_fast_in_bfloat16(device: torch.device) -> bool:
    """True if it has instructions for bfloat16; without them it is several times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
