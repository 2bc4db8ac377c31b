"""A label map laid over a real CT of the same body: references for the model card."""

from typing import Final

QUALITY_FILE: Final = "registration.json"
"""In the folder of a registered case: how well its labels lie."""
