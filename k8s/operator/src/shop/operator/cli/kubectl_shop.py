"""`kubectl shop`: the commands for Shops in a cluster. shopctl has the same, next to those for the local shop."""

import typer

from shop.operator import console
from shop.operator.cli import audit, backup, log_level, logs, plan, retry, status, suspend

app = typer.Typer(
    help="Shops in a cluster: plan, status, audit, backup, logs, log-level.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(cls=plan.PlanCommand)(plan.plan)
app.command("status")(status.status_in_cluster)
app.command("audit")(audit.audit_in_cluster)
app.command("backup")(backup.backup_in_cluster)
app.command("logs")(logs.logs_in_cluster)
app.command("log-level")(log_level.log_level_in_cluster)
app.command()(suspend.suspend)
app.command()(suspend.resume)
app.command()(retry.retry)


def main() -> None:
    """`kubectl-shop` on the PATH is what `kubectl shop` runs."""
    console.run(app, "kubectl shop")


if __name__ == "__main__":
    main()
