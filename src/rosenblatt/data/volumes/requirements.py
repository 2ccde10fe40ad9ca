"""The packages that volumes need beside those that are always installed."""

from __future__ import annotations

from importlib.util import find_spec

from rosenblatt.errors import VolumeError

PACKAGES = ("blake3", "deltalake", "obstore")  # of the extra `volumes`


def require_torch() -> None:
    """Check that PyTorch is installed. Raises VolumeError."""
    if find_spec("torch") is None:
        raise VolumeError("Datasets of PyTorch need PyTorch: pip install 'rosenblatt[torch]'.")


def require_volumes() -> None:
    """Check that the packages of the extra `volumes` are installed. Raises VolumeError."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise VolumeError(f"Volumes need {', '.join(missing)}: pip install 'rosenblatt[volumes]'.")
