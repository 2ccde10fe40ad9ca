"""Print what an environment holds, as JSON, to compare it with the one of the controller.

python -m rosenblatt.cluster.versions PACKAGE...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from importlib import metadata

from rosenblatt.cluster.wheel import sources_digest


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of packages without local labels; "" for those that are not installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name).split("+")[0]
        except metadata.PackageNotFoundError:
            versions[name] = ""
    return versions


if __name__ == "__main__":
    print(json.dumps({"sources": sources_digest(), "packages": installed_versions(sys.argv[1:])}))
