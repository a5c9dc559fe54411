"""The options that choose cluster and namespace, with the meaning that they have in kubectl."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

ShopArgument = Annotated[str, typer.Argument(metavar="NAME", help="The Shop's name.", show_default=False)]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NAME", help="The Shop's namespace; default: the context's.")
]
LongNamespaceOption = Annotated[
    str | None, typer.Option("--namespace", metavar="NAME", help="The Shop's namespace; default: the context's.")
]
ContextOption = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="A context of the kubeconfig; default: the current one.")
]
KubeconfigOption = Annotated[
    Path | None, typer.Option("--kubeconfig", metavar="FILE", help="Default: $KUBECONFIG, else ~/.kube/config.")
]


@dataclass(frozen=True)
class ClusterOptions:
    """The options; None stands for the kubeconfig's value."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None

    @property
    def is_given(self) -> bool:
        """Whether any of the options was used."""
        return self != ClusterOptions()
