"""Harmless values that look like markup, code, formulas or controls, as headers may hold them.

None does anything. What each would do where it is not escaped stands beside it; every page,
report and table has to show them as text.
"""

from __future__ import annotations

from typing import Final

MARKER: Final = "msk7hostile"
"""Stands in every value: by this a value is found, whatever it went through."""

HOSTILE: Final[dict[str, str]] = {
    "script": f"<script>{MARKER}()</script>",
    "image": f"<img src=x onerror={MARKER}()>",
    "closes a script": f"</script><script>{MARKER}()</script>",
    "closes a title": f"</title><svg/onload={MARKER}()>",
    "closes a textarea": f"</textarea><b>{MARKER}",
    "leaves an attribute": f'" autofocus onfocus="{MARKER}()" x="',
    "leaves another": f"' onmouseover='{MARKER}()' x='",
    "leaves one without quotes": f"x onclick={MARKER}()",
    "a comment": f"--><b>{MARKER}</b><!--",
    "an entity": f"&lt;b&gt;{MARKER}&#60;i&#62;",
    "a template": f"{{{{ 7*7 }}}}{{% raw %}}{MARKER}${{7*7}}#{{7*7}}",
    "an address": f"javascript:{MARKER}()",
    "an address of data": f"data:text/html,<b>{MARKER}",
    "a formula": f"=HYPERLINK(1;{MARKER})",
    "another formula": f"@SUM({MARKER})",
    "plus": f"+1+{MARKER}",
    "minus": f"-1-{MARKER}",
    "a formula after a tab": f"\t={MARKER}",
    "a new line": f"{MARKER}\r\nset-cookie: a=b",
    "NUL": f"{MARKER}\x00<b>",
    "colours of a terminal": f"\x1b[31m{MARKER}\x1b]0;title\x07",
    "turned round": f"\u202e{MARKER}\u2066txt.exe",
    "nothing to see": f"{MARKER}\u200b\ufeff\u2028",
    "half a pair": f"{MARKER}\ud800"[:-1] + "\ufffd",
    "a path": f"../../{MARKER}/etc/passwd",
    "a query": f"{MARKER}'; drop table series; --",
    "rich's markup": f"[bold red]{MARKER}[/bold red][link=x]y[/link]",
    "reportlab's markup": f'<font color="red">{MARKER}</font><para>',
    "a URL to quote": f"{MARKER}?a=b&c=d#e/%2f%00",
    "very long": MARKER + "<i>" * 3000,
}

SHORT: Final = tuple(value for value in HOSTILE.values() if len(value) <= 64)
"""Those that fit into a Long String (LO)."""

AE_TITLES: Final = ("<b>x</b>", "=1+1", "\"'><svg/onload", "{{7*7}}", "javascript:x")
"""Fits into an AE title: 16 characters, which PS3.5 allows nearly all of."""

FORBIDDEN: Final = (
    f"<script>{MARKER}",
    f"onerror={MARKER}()>",
    "<svg/onload",
    f"<b>{MARKER}",
    "<i><i>",
    f'onfocus="{MARKER}',
    f"onmouseover='{MARKER}",
    "<font color=",
    "<b>x</b>",
)
"""What stands in a page only where something was not escaped."""


def unescaped(text: str) -> list[str]:
    """What a page or a report has that is markup from a value."""
    return [words for words in FORBIDDEN if words in text]


def is_defused(cell: str) -> bool:
    """True if no program for tables takes a cell for a formula."""
    return not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
