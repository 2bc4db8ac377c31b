"""Hounsfield units of what the code tells apart."""

from __future__ import annotations

from typing import Final

AIR_HU: Final = -1000.0
"""What lies outside the image."""

BODY_ABOVE_HU: Final = -300.0
"""Soft tissue, fat and bone lie above; air, lung, blankets and most tables below."""
