"""Shared parts of the benchmarks: command line, location of the data, tables, and a PyTorch network as a peer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.table import Table

SHARED = Path(__file__).parents[2] / "shared" / "data"  # public data sets, beside the repository


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser whose help is the docstring of the script, and which has the option --json."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


def require_data(folder: Path = SHARED) -> None:
    """Exit with a message if the data sets are not on this machine."""
    if not folder.is_dir():
        sys.exit(f"The folder {folder} with the data sets is missing.")


def make_table(title: str, *columns: str) -> Table:
    """Make a table for the terminal."""
    return Table(*columns, title=title)


def torch_mlp(sizes: Sequence[int]) -> Any:
    """Make a PyTorch network of linear layers with ReLU between them."""
    from torch import nn

    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
