"""Docstrings of this project as reStructuredText: they are plain text, with blocks of code and mathematics indented."""

import re

_SECTION = re.compile(r"(Args|Returns|Yields|Raises|Attributes|Note|Notes|Example|Examples):$")
_CODE = re.compile(r"(`[^`]*`)")


def escaped(line: str) -> str:
    """A line of prose with the signs that reStructuredText would read as marks escaped; `code` stays."""
    parts = _CODE.split(line)
    parts[::2] = [re.sub(r"([*|\\])|(?<=\w)(_)(?!\w)", lambda m: f"\\{m[0]}", part) for part in parts[::2]]
    return "".join(parts)


def indent(line: str) -> int:
    """Number of spaces that a line begins with."""
    return len(line) - len(line.lstrip())


def converted(lines: list[str]) -> list[str]:
    """The lines of a docstring, without its common indentation, as reStructuredText."""
    made: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        if _SECTION.match(line):  # napoleon's, up to the next line that is not indented
            made.append(line)
            i += 1
            while i < len(lines) and (not lines[i].strip() or indent(lines[i])):
                made.append(escaped(lines[i]))
                i += 1
        elif indent(line) >= 2 and (not made or not made[-1].strip()):  # a block of code or mathematics
            made += ["::", ""]
            while i < len(lines) and (not lines[i].strip() or indent(lines[i])):
                made.append(f"    {lines[i]}" if lines[i].strip() else "")
                i += 1
            made.append("")
        else:
            made.append(escaped(line))
            i += 1
    return made


def to_rst(app, what, name, obj, options, lines: list[str]) -> None:
    """Sphinx's hook `autodoc-process-docstring`: changes the lines in place."""
    del app, name, obj, options
    # In the first line of an attribute's docstring napoleon would take what is before a colon for its type.
    lines[:] = [""] * (what in ("attribute", "data", "property")) + converted(lines)
