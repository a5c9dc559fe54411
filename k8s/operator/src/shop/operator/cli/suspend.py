"""`shopctl suspend` and `resume`, also of `kubectl shop`."""

from shop.operator.cli.options import (
    OPERATOR_TIMEOUT_S,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    OperatorTimeoutOption,
    ShopArgument,
)
from shop.operator.cluster.cluster_options import ClusterOptions


def suspend(
    name: ShopArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    timeout: OperatorTimeoutOption = OPERATOR_TIMEOUT_S,
) -> None:
    """Suspend a Shop: the operator changes nothing until it is resumed."""
    from shop.operator.cluster import actions

    actions.suspend(ClusterOptions(namespace, context, kubeconfig), name, True, timeout)


def resume(
    name: ShopArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    timeout: OperatorTimeoutOption = OPERATOR_TIMEOUT_S,
) -> None:
    """Resume a suspended Shop: the operator reconciles it again."""
    from shop.operator.cluster import actions

    actions.suspend(ClusterOptions(namespace, context, kubeconfig), name, False, timeout)
