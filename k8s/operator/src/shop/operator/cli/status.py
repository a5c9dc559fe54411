"""`shopctl status` and `kubectl shop status`."""

import json
from typing import Any

import typer

from shop.operator import console
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


def status(
    name: NameArgument = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show the components: health, pids, ports, restarts and memory. Code 1 when something is not healthy.

    Of a Shop in a cluster: conditions, services, problems, events; code 1 when it is not Ready.
    """
    if name is not None:
        not_local(name, data_dir)
        status_in_cluster(name, namespace, context, kubeconfig, as_json)
        return
    only_local("status", ClusterOptions(namespace, context, kubeconfig))
    from shop.operator.local import running_shop

    found = running_shop.status(data_folder(data_dir))
    console.write(json.dumps(found, indent=1) if as_json else status_table(found))
    if not all(component["healthy"] for component in found["components"]):
        raise typer.Exit(1)


def status_in_cluster(
    name: ShopArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the status of a Shop: conditions, services, problems, events. Code 1 when it is not Ready."""
    from shop.operator.cluster import actions

    actions.status(ClusterOptions(namespace, context, kubeconfig), name, as_json)


def status_table(found: dict[str, Any]) -> str:
    """The state of the shop on this machine, for people."""
    from shop.operator.local.instances import grpc_addresses

    supervisor = found["supervisor"]
    rows = [("COMPONENT", "STATE", "PID", "PORT", "RESTARTS", "MEMORY")]
    for one in found["components"]:
        state = _state(one)
        numbers = (str(one["pid"] or "-"), str(one["port"]), str(one["restarts"]), _mebibytes(one["memory_bytes"]))
        rows.append((one["name"], state, *numbers))
    memory = _mebibytes(supervisor["memory_bytes"])
    rows.append(("supervisor", found["phase"], str(supervisor["pid"]), "-", "0", memory))
    total = supervisor["memory_bytes"] + sum(one["memory_bytes"] for one in found["components"])
    details = [f"{one['name']}: {one['detail']}" for one in found["components"] if one["detail"]]
    details += [f"gRPC of {noun}: {', '.join(ports)}" for noun, ports in grpc_addresses(found["components"]).items()]
    details += [f"{one['name']}: {one['page']}" for one in found["components"] if "page" in one]
    return "\n".join(
        [console.table(rows), *details, "", f"{found['url']}  {found['data_dir']}  {_mebibytes(total)} in total"]
    )


def _state(component: dict[str, Any]) -> str:
    """Degraded: it works in part; its detail says what does not."""
    if component["state"] != "ready":
        return str(component["state"])
    return "not ready" if not component["healthy"] else "degraded" if component["detail"] else "ready"


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
