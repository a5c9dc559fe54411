"""`shopctl audit` and `kubectl shop audit`."""

from pathlib import Path
from typing import Annotated

import typer

from shop.operator.cli.options import (
    DEFAULT_DATA_DIR,
    ContextOption,
    DataDirOption,
    JsonOption,
    KubeconfigOption,
    NameArgument,
    NamespaceOption,
    ShopArgument,
    data_folder,
    not_local,
    only_local,
)
from shop.operator.cluster.cluster_options import ClusterOptions

SETTLE_S, ORDER_DEADLINE_S = 10.0, 960.0
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


def audit(
    name: NameArgument = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
    settle_seconds: SettleOption = SETTLE_S,
    order_deadline_seconds: DeadlineOption = ORDER_DEADLINE_S,
    wait: WaitOption = 0.0,
    acknowledged: AcknowledgedOption = None,
    database_url: Annotated[
        str,
        typer.Option(
            envvar="SHOP_AUDIT_DATABASE_URL",
            help="Audit another shop: the URL of its databases,"
            " with {noun} for the service. Better set as a variable: others see a command's arguments.",
        ),
    ] = "",
    nats_url: Annotated[
        str,
        typer.Option(envvar="SHOP_AUDIT_NATS_URL", help="The broker of that other shop; needed with --database-url."),
    ] = "",
    cache_url: Annotated[
        str,
        typer.Option(
            envvar="SHOP_AUDIT_CACHE_URL",
            help="With --database-url: the Valkey server of that other shop, to audit its leaderboards there, too.",
        ),
    ] = "",
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE",
            help="With --database-url: a service whose module is off, and whose database may still be there.",
        ),
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Check the invariants: no order lost, nothing oversold, nobody charged twice. Code 1 when one is violated."""
    from shop.operator.audit.model import Options
    from shop.operator.cluster import actions
    from shop.operator.local import audit_target

    options = Options(settle_seconds, order_deadline_seconds, audit_target.acknowledged(acknowledged))
    where = ClusterOptions(namespace, context, kubeconfig)
    elsewhere = bool(database_url or nats_url or cache_url or without)
    if name is not None:
        not_local(name, data_dir, *(["--database-url"] if elsewhere else []))
        actions.audit(where, name, options, wait, as_json)
        return
    only_local("audit", where)
    target = (
        audit_target.elsewhere(database_url, nats_url, without or (), cache_url)
        if elsewhere
        else audit_target.target(data_folder(data_dir))
    )
    if not audit_target.run(target, options, wait, as_json):
        raise typer.Exit(1)


def audit_in_cluster(
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
