"""`kubectl shop`: the commands for Shops in a cluster. shopctl has the same, next to those for the local shop."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from shop.operator import console
from shop.operator.cli.cluster_options import (
    ClusterOptions,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    ShopArgument,
)

DEFAULT_LOG_LINES = 50
EXIT_WRONG = 1
BACKUP_TIMEOUT_S = 3_600.0
BackupTimeoutOption = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for its end.")]
AnswerTimeoutOption = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for the operator.")]
ANSWER_TIMEOUT_S = 30.0

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
LinesOption = Annotated[int, typer.Option("--lines", min=0, help="Lines from the end of each log.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Follow: also print new lines.")]
SettleOption = Annotated[
    float, typer.Option(min=0, help="Ignore changes of the last so many seconds: their effects may not be visible yet.")
]
DeadlineOption = Annotated[float, typer.Option(min=1, help="The age at which every order must have ended.")]
WaitOption = Annotated[
    float, typer.Option(min=0, help="First wait up to so many seconds until no order and no event is under way.")
]
AcknowledgedOption = Annotated[
    Path | None, typer.Option(help="File with the ids of acknowledged orders, one per line.")
]
SETTLE_S, ORDER_DEADLINE_S = 10.0, 960.0

app = typer.Typer(
    help="Shops in a cluster: plan, status, audit, backup, logs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class PlanCommand(TyperCommand):
    """Code 2 is a result here, so a wrong option must not exit with it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            error.exit_code = EXIT_WRONG
            raise


@app.command(cls=PlanCommand)
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


@app.command()
def status(
    name: ShopArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the status of a Shop: conditions, services, problems, events. Code 1 when it is not Ready."""
    from shop.operator.cluster import actions

    actions.status(ClusterOptions(namespace, context, kubeconfig), name, as_json)


@app.command()
def audit(
    name: ShopArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    as_json: JsonOption = False,
    settle_seconds: SettleOption = SETTLE_S,
    order_deadline_seconds: DeadlineOption = ORDER_DEADLINE_S,
    wait: WaitOption = 0.0,
    acknowledged: AcknowledgedOption = None,
) -> None:
    """Check the invariants: no order lost, nothing oversold, nobody charged twice. Code 1 when one is violated."""
    from shop.operator.audit.model import Options
    from shop.operator.cluster import actions
    from shop.operator.local import audit_target

    options = Options(settle_seconds, order_deadline_seconds, audit_target.acknowledged(acknowledged))
    actions.audit(ClusterOptions(namespace, context, kubeconfig), name, options, wait, as_json)


@app.command()
def backup(
    name: ShopArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    timeout: BackupTimeoutOption = BACKUP_TIMEOUT_S,
) -> None:
    """Back up a Shop now, to where its spec.backup says, and wait until it is done."""
    from shop.operator.cluster import actions

    actions.backup(ClusterOptions(namespace, context, kubeconfig), name, timeout)


@app.command()
def logs(
    name: ShopArgument,
    service: Annotated[
        str | None, typer.Argument(metavar="SERVICE", help="order, postgres, migrate ...; default: all")
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    follow: FollowOption = False,
    lines: LinesOption = DEFAULT_LOG_LINES,
) -> None:
    """Print the end of the logs of a Shop's pods, each line with its pod."""
    from shop.operator.cluster import actions

    actions.logs(ClusterOptions(namespace, context, kubeconfig), name, service, lines, follow)


@app.command()
def suspend(
    name: ShopArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    timeout: AnswerTimeoutOption = ANSWER_TIMEOUT_S,
) -> None:
    """Suspend a Shop: the operator changes nothing until it is resumed."""
    from shop.operator.cluster import actions

    actions.suspend(ClusterOptions(namespace, context, kubeconfig), name, True, timeout)


@app.command()
def resume(
    name: ShopArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    timeout: AnswerTimeoutOption = ANSWER_TIMEOUT_S,
) -> None:
    """Resume a suspended Shop: the operator reconciles it again."""
    from shop.operator.cluster import actions

    actions.suspend(ClusterOptions(namespace, context, kubeconfig), name, False, timeout)


@app.command()
def retry(
    name: ShopArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    timeout: AnswerTimeoutOption = ANSWER_TIMEOUT_S,
) -> None:
    """Retry a spec that was rolled back, once the cause is fixed."""
    from shop.operator.cluster import actions

    actions.retry(ClusterOptions(namespace, context, kubeconfig), name, timeout)


def main() -> None:
    """`kubectl-shop` on the PATH is what `kubectl shop` runs."""
    console.run(app, "kubectl shop")


if __name__ == "__main__":
    main()
