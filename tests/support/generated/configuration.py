"""docs/configuration.md: every table and key of node.toml, from the settings' own docstrings."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.settings.reference import (
    SectionEntry,
    SettingEntry,
    sections_reference,
    settings_reference,
)
from support.generated.markdown import code, table, wrapped

HEAD = """\
# The settings, one by one

Written from the program by `make docs`; a test fails when it is not current. [node.toml](node.toml) is
the same as a file to copy from, with more words on how keys work together. `msk-node check` says what a
file means, and names every mistake in it by its key.

A table in double brackets may stand there several times. A key without a default is left out where it
does not apply; one in **bold** has to be given. Units stand at the end of a key's name.
"""


def configuration() -> str:
    """The page."""
    entries = settings_reference()
    lines = [HEAD]
    for section in sections_reference():
        own = [each for each in entries if each.section == section.key]
        lines += _section(section, own)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: SectionEntry, entries: list[SettingEntry]) -> Iterator[str]:
    yield f"## `{_heading(section)}`\n"
    optional = " Left out, it is off." if section.is_optional else ""
    yield wrapped(f"{section.meaning}{optional}")
    if entries:
        rows = [
            (_key(each), _value(each), code(each.default), _meaning(each)) for each in entries
        ]
        yield table(("key", "value", "default", "meaning"), rows)


def _heading(section: SectionEntry) -> str:
    name = section.key.replace("[]", "")
    return f"[[{name}]]" if section.is_list else f"[{name}]"


def _key(entry: SettingEntry) -> str:
    name = entry.key.rpartition(".")[2].removesuffix("[]")
    return f"**`{name}`**" if entry.is_required else f"`{name}`"


def _value(entry: SettingEntry) -> str:
    return ", ".join(filter(None, (entry.type_words, entry.limits, entry.unit)))


def _meaning(entry: SettingEntry) -> str:
    return f"{entry.meaning} (Only {entry.kind}.)" if entry.kind else entry.meaning
