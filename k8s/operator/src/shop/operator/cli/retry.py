"""`shopctl retry` and `kubectl shop retry`."""

from shop.operator.cli.options import (
    OPERATOR_TIMEOUT_S,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    OperatorTimeoutOption,
    ShopArgument,
)
from shop.operator.cluster.cluster_options import ClusterOptions


def retry(
    name: ShopArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    timeout: OperatorTimeoutOption = OPERATOR_TIMEOUT_S,
) -> None:
    """Retry a spec that was rolled back, once the cause is fixed."""
    from shop.operator.cluster import actions

    actions.retry(ClusterOptions(namespace, context, kubeconfig), name, timeout)
