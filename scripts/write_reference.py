"""Write docs/hyperparameters.md, the reference of all hyperparameters; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from rosenblatt.spec.hyperparameters import HYPERPARAMETERS, SECTIONS, format_value

REFERENCE = Path(__file__).parents[1] / "docs" / "hyperparameters.md"


def reference() -> str:
    """The page."""
    lines = [
        "# Hyperparameters",
        "",
        "Made from `src/rosenblatt/spec/` by `make docs`. Each is an option of `rosenblatt fit` (`--hidden-sizes",
        "64,64`), a line of a TOML file (`--config`), and an argument of the estimators (`hidden_sizes=(64, 64)`;",
        "`seed` is called `random_state` there). How the values behind `auto` were chosen is told in",
        "[defaults.md](defaults.md).",
    ]
    for section, values in SECTIONS.items():
        lines += ["", f"## [{section}] {type(values).__doc__}", ""]
        lines += ["| name | default | must be | what it is | source |", "|---|---|---|---|---|"]
        for hyperparameter in HYPERPARAMETERS.values():
            if hyperparameter.section == section:
                default = format_value(hyperparameter.default)
                lines.append(
                    f"| `{hyperparameter.name}` | {default} | {hyperparameter.expected} | {hyperparameter.help} "
                    f"| {hyperparameter.source} |"
                )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(
            0 if REFERENCE.read_text() == reference() else "docs/hyperparameters.md is out of date: run `make docs`"
        )
    REFERENCE.write_text(reference())
