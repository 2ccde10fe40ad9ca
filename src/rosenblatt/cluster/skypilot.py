"""Tasks of SkyPilot, an external program, whose machines are then used by SSH as those of a hosts file."""

from __future__ import annotations

import math
from typing import Any

from rosenblatt.cluster.cluster_file import CloudFile


def skypilot_task(file: CloudFile) -> dict[str, Any]:
    """Make the content of a file for `sky launch`: `max_machines` machines, which SkyPilot ends when they are idle."""
    place = "/".join(filter(None, (file.provider, file.region, file.zone)))
    resources: dict[str, Any] = {
        "infra": place,
        "instance_type": file.machine,
        "use_spot": file.spot,
        "disk_size": file.disk_gb,
        "autostop": {"idle_minutes": math.ceil(file.idle_minutes), "down": True},
    }
    resources |= {"image_id": file.image} if file.image else {}
    return {"name": file.name, "num_nodes": file.max_machines, "resources": resources}


def skypilot_hosts(file: CloudFile) -> list[str]:
    """The lines of a hosts file for the machines, by the names that SkyPilot adds to the configuration of SSH."""
    return [file.name, *(f"{file.name}-worker{number}" for number in range(1, file.max_machines))]
