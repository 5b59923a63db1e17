#!/usr/bin/env python3
"""Writes what one part of scripts/test came to into a table in Markdown: record_figures.py FILE PART PASSED FAILED SKIPPED SECONDS."""

import datetime
import pathlib
import subprocess
import sys

HEAD = """# Figures of the last full run

Written by `scripts/test --full --record`, a line a part: a part that was run again replaces its line, so each line has its own date and commit.
A `+` after the commit: there were changes that no commit has. `scripts/test --full --list` names all parts; one that has no line here was never run to its end.

| part | passed | failed | skipped | seconds | date | commit |
| --- | ---: | ---: | ---: | ---: | --- | --- |
"""


def commit():
    """The commit that is checked out, with a + where files that are in it were changed (but for the table itself)."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout
    changed = [line for line in git("status", "--porcelain", "--untracked-files=no").splitlines() if not line.endswith("tests/FIGURES.md")]
    return git("rev-parse", "--short", "HEAD").strip() + ("+" if changed else "")


def main():
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    file, part = pathlib.Path(sys.argv[1]), sys.argv[2]
    numbers = [int(n) for n in sys.argv[3:]]
    rows = {}
    if file.exists():
        for line in file.read_text().splitlines():
            cells = [c.strip() for c in line.strip("|").split("|")]
            if len(cells) == 7 and cells[1].isdigit():
                rows[cells[0]] = line
    rows[part] = "| " + " | ".join([part, *map(str, numbers), datetime.date.today().isoformat(), commit()]) + " |"
    new = file.with_name(file.name + ".new")
    new.write_text(HEAD + "".join(line + "\n" for line in rows.values()))
    new.replace(file)


if __name__ == "__main__":
    main()
