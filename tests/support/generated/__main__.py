"""Write every generated page anew: `make docs`."""

from __future__ import annotations

import sys

from support.generated.pages import PAGES

for path, page in PAGES.items():
    path.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{path}\n")
