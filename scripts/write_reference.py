"""Write docs/hyperparameters.md, the reference of all hyperparameters; with `--check`, only compare."""

from __future__ import annotations

import sys
from pathlib import Path

from rosenblatt.spec.hyperparameters import HYPERPARAMETERS, SECTIONS, format_value

REFERENCE = Path(__file__).parents[1] / "docs" / "hyperparameters.md"
INTRODUCTION = """\
# Hyperparameters

Every hyperparameter can be set in three ways:

| where | how |
|---|---|
| command line | `rosenblatt fit people.csv --target income --hidden-sizes 64,64` |
| TOML file, in its section, given with `--config` | `hidden_sizes = [64, 64]` under `[network]` |
| estimators | `MLPClassifier(hidden_sizes=(64, 64))`; `seed` is called `random_state` there |

`auto` chooses a value by the kind of network and the size of the table; [defaults.md](defaults.md) gives
the values and how they were measured. Setting a hyperparameter that has no effect with the others is an error.

`make docs` generates this page from `src/rosenblatt/spec/`.
"""


def make_reference() -> str:
    """Return the page as Markdown."""
    lines = [INTRODUCTION.rstrip()]
    for section, values in SECTIONS.items():
        lines += ["", f"## [{section}] {str(type(values).__doc__).rstrip('.')}", ""]
        lines += ["| name | default | values | description | source |", "|---|---|---|---|---|"]
        lines += [
            f"| `{h.name}` | {format_value(h.default)} | {h.expected} | {h.help.replace('|', '&#124;')} | {h.source} |"
            for h in HYPERPARAMETERS.values()
            if h.section == section
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(
            0
            if REFERENCE.read_text() == make_reference()
            else "docs/hyperparameters.md is out of date: run `make docs`"
        )
    REFERENCE.write_text(make_reference())
