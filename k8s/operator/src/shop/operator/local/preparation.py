"""What a shop needs before its services run: their databases, migrated, and a catalogue."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from shop.devkit.processes import log_tail
from shop.operator.errors import ShopctlError
from shop.operator.local import assembly, helper_process
from shop.operator.local.component import State, wait_exit
from shop.operator.local.data_dir import DataDir
from shop.operator.local.prefork_client import PreforkServer
from shop.operator.local.step import Step
from shop.operator.resource.spec_store import Catalog

DATABASES_TIMEOUT_S = 120.0
RESTORE_TIMEOUT_S = 3_600.0
CATALOGUE_TIMEOUT_S = 120.0
CATALOGUE = "shop.product.load_catalogue"


@contextlib.asynccontextmanager
async def databases_helper() -> AsyncIterator[asyncio.subprocess.Process]:
    """The process that makes databases: it may load its libraries while PostgreSQL starts."""
    helper = await helper_process.start("shop.operator.local.databases")
    try:
        yield helper
    finally:
        with contextlib.suppress(ProcessLookupError):
            helper.kill()
        await helper.wait()  # else its pipes outlive the event loop, which Python reports on stderr


class Preparation:
    """Done at each start and again when a running shop is changed; what is there already is left as it is."""

    def __init__(self, data: DataDir, prefork: PreforkServer | None, changed: Callable[[], None]) -> None:
        self._data = data
        self._prefork = prefork
        self._changed = changed
        self._databases, self._catalogue = Step("databases"), Step("catalogue")

    def snapshot(self) -> list[dict[str, Any]]:
        return [self._databases.snapshot(), self._catalogue.snapshot()]

    async def databases(
        self,
        helper: asyncio.subprocess.Process,
        admin_url: str,
        urls: Mapping[str, str],
        restore_from: Path | None = None,
    ) -> None:
        """Make and migrate the databases at `urls` (by noun), and fill them from a backup if one is given."""
        request: dict[str, Any] = {"admin_url": admin_url, "services": dict(urls)}
        limit_s = DATABASES_TIMEOUT_S
        if restore_from is not None:
            request, limit_s = {**request, "restore": str(restore_from)}, RESTORE_TIMEOUT_S
        with self._timed(self._databases):
            line = json.dumps(request).encode() + b"\n"
            try:
                out, err = await asyncio.wait_for(helper.communicate(line), limit_s)
            except TimeoutError as error:
                raise ShopctlError(f"databases: not migrated within {limit_s:g} s") from error
            if helper.returncode != 0:
                raise ShopctlError(f"databases: {helper_process.last_line(err)}")
            count = sum(json.loads(line)["migrations"] for line in out.splitlines())
            self._databases.detail = f"{count} migrations applied" if count else "up to date"

    async def catalogue(self, catalog: Catalog | None, env: Mapping[str, str]) -> None:
        """Load the sample catalogue, if the Shop has one that was not loaded before; `env` is the product service's."""
        sample = catalog.sample if catalog else None
        if sample is None or self._data.remembered("catalogue") == sample:
            self._catalogue.state, self._catalogue.detail = (
                State.READY,
                "loaded before" if sample else "none in the spec",
            )
            return
        with self._timed(self._catalogue):
            log = self._data.logs / "catalogue.log"
            if self._prefork is not None:
                await asyncio.to_thread(self._prefork.wait_ready)
            loading = assembly.python_program(CATALOGUE, [sample], env=env, log=log, prefork=self._prefork)
            try:
                code = await asyncio.wait_for(wait_exit(loading), CATALOGUE_TIMEOUT_S)
            except TimeoutError as error:
                raise ShopctlError(f"catalogue: not loaded within {CATALOGUE_TIMEOUT_S:g} s") from error
            finally:
                loading.kill()
            if code != 0:
                raise ShopctlError(f"catalogue {sample}: {log_tail(log, 1)}")
            self._catalogue.detail = log_tail(log, 1)
            self._data.remember("catalogue", sample)

    @contextlib.contextmanager
    def _timed(self, step: Step) -> Iterator[None]:
        began = time.monotonic()
        step.state = State.STARTING
        self._changed()
        try:
            yield
        except BaseException:
            step.state = State.FAILED
            raise
        else:
            step.state = State.READY
        finally:
            step.seconds = time.monotonic() - began
            self._changed()
