"""`shopctl plan` and `kubectl shop plan`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from shop.operator.cli.options import ContextOption, JsonOption, KubeconfigOption, NamespaceOption
from shop.operator.cluster.cluster_options import ClusterOptions

EXIT_WRONG = 1


class PlanCommand(TyperCommand):
    """Code 2 is a result here, so a wrong option must not exit with it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            error.exit_code = EXIT_WRONG
            raise


def plan(
    file: Annotated[Path, typer.Option("--file", "-f", metavar="SHOP.yaml", help="The Shop.", show_default=False)],
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what applying a Shop would create, change and delete.

    The API server itself answers, by a dry run of every object; nothing is written. Code 0: nothing would change,
    2: something would, 1: something would be refused, or is wrong with the command.
    """
    from shop.operator.cluster import actions

    actions.plan(ClusterOptions(namespace, context, kubeconfig), file, as_json)
