"""Which cluster and namespace a command is about."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ClusterOptions:
    """The options --namespace, --context and --kubeconfig, as in kubectl; None stands for the kubeconfig's value."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None

    @property
    def is_given(self) -> bool:
        """Whether any of the options was used."""
        return self != ClusterOptions()
