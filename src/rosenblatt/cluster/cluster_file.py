"""Read a cluster file: the machines of a cloud, or the pods of Kubernetes, that a cluster may use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rosenblatt.errors import ClusterError, did_you_mean, join_names

Text = Annotated[str, Field(min_length=1)]


class MachinePool(BaseModel):
    """How many machines there may be, what each offers, and how long idle ones stay."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    provider: str
    name: Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,39}$")] = "rosenblatt"
    cores: Annotated[int, Field(ge=1, le=4096)]  # of each machine
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    min_machines: Annotated[int, Field(ge=0)] = 0  # that stay while the cluster is up, besides the head
    max_machines: Annotated[int, Field(ge=1, le=100_000)]
    idle_minutes: Annotated[float, Field(gt=0)] = 5.0  # after which a machine beyond min_machines is taken down
    image: Text | None = None

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if self.min_machines > self.max_machines:
            raise ValueError(f"min_machines ({self.min_machines}) is above max_machines ({self.max_machines})")
        return self


class CloudFile(MachinePool):
    """Machines of a cloud."""

    provider: Literal["aws", "gcp", "azure"]
    region: Text
    zone: Text | None = None
    project: Text | None = None  # of Google Cloud
    resource_group: Text | None = None  # of Azure
    subscription: Text | None = None  # of Azure
    machine: Text  # the provider's name of a machine type, such as c7i.2xlarge
    head_machine: Text | None = None  # machine type of the head, which trains nothing; by default `machine`
    spot: bool = False  # cheaper machines that the provider may take away; never the head
    disk_gb: Annotated[int, Field(ge=30, le=65_536)] = 100
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")] = "ubuntu"  # of the image
    price_per_hour: Annotated[float, Field(gt=0)] | None = None  # of one machine, in any currency
    head_price_per_hour: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check_provider(self) -> Self:
        required = {"gcp": ("project", "zone"), "azure": ("resource_group",), "aws": ()}[self.provider]
        missing = [name for name in required if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{self.provider} needs {join_names(missing)}")
        return self


class KubernetesFile(MachinePool):
    """Pods of Kubernetes, which KubeRay starts."""

    provider: Literal["kubernetes"]
    namespace: Text = "default"
    image: Text  # a container image with rosenblatt[cluster]
    memory_gb: Annotated[float, Field(gt=0)]  # of each pod
    head_cores: Annotated[int, Field(ge=1)] = 2
    head_memory_gb: Annotated[float, Field(gt=0)] = 8.0


ClusterFile = CloudFile | KubernetesFile
_MODELS: dict[str, type[ClusterFile]] = {
    "aws": CloudFile,
    "gcp": CloudFile,
    "azure": CloudFile,
    "kubernetes": KubernetesFile,
}


def read_cluster_file(path: Path) -> ClusterFile:
    """Read a cluster file.

        provider: aws
        region: eu-central-1
        machine: c7i.2xlarge
        cores: 8
        max_machines: 10
        spot: true

    Raises:
        ClusterError: If it cannot be read, or a setting is missing, unknown or invalid; the message names its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ClusterError(f"The cluster file {str(path)!r} cannot be read: {reason}.") from error
    settings, lines = _parse_yaml(text, path)
    provider = settings.get("provider")
    if provider not in _MODELS:
        hint = did_you_mean(str(provider), _MODELS) if provider else ""
        problem = f"provider is {provider!r}" if "provider" in settings else "there is no provider"
        place = f", line {lines['provider']}" if "provider" in lines else ""
        raise ClusterError(f"{str(path)!r}{place}: {problem}. Providers are {join_names(list(_MODELS))}.{hint}")
    model = _MODELS[provider]
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise ClusterError(_describe_error(error.errors()[0], model, lines, path)) from None


def _parse_yaml(text: str, path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Parse settings, and the line of each."""
    try:
        import yaml
    except ImportError:
        raise ClusterError("Cluster files need: pip install 'rosenblatt[cluster]'.") from None
    lines: dict[str, int] = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise ClusterError(f"{str(path)!r}{place}: this is not YAML ({getattr(error, 'problem', error)}).") from None
    if not isinstance(root, yaml.MappingNode) or not isinstance(settings, dict):
        raise ClusterError(f"{str(path)!r}: expected settings such as `provider: aws`, one per line.")
    for key, _ in root.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines:
            raise ClusterError(f"{str(path)!r}, line {line}: {name} was set in line {lines[name]}. Remove one of both.")
        lines[name] = line
    return {str(name): value for name, value in settings.items()}, lines


def _describe_error(error: Any, model: type[ClusterFile], lines: dict[str, int], path: Path) -> str:
    """Describe the first error in one sentence, with its line."""
    name = str(error["loc"][0]) if error["loc"] else ""
    place = f"{str(path)!r}, line {lines[name]}" if name in lines else repr(str(path))
    if error["type"] == "extra_forbidden":
        hint = did_you_mean(name, model.model_fields)
        return f"{place}: {name} is no setting of {_kind(model)}.{hint}"
    if error["type"] == "missing":
        return f"{place}: {name} is missing. {_kind(model).capitalize()} need it."
    if error["type"] == "value_error":
        return f"{place}: {error['ctx']['error']}."
    return f"{place}: {name} is {error['input']!r}, but {error['msg'][:1].lower()}{error['msg'][1:]}."


def _kind(model: type[ClusterFile]) -> str:
    return "pods of Kubernetes" if model is KubernetesFile else "machines of a cloud"
