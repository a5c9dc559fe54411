"""The model: one replica at a time trains it, and every replica loads the newest one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from shop.kit.clock import Clock
from shop.kit.errors import Unavailable
from shop.kit.ids import new_id
from shop.kit.logging import decision
from shop.recommendation import metrics
from shop.recommendation.domain import training_is_due
from shop.recommendation.model import Model
from shop.recommendation.model_repository import ModelRepository, NewModel, State, StoredModel
from shop.recommendation.training import train, untrained

log = logging.getLogger(__name__)

LEASE_S = 30.0
RENEW_EVERY_S = 10.0


@dataclass(frozen=True)
class Loaded:
    """A model in use; ``version`` 0 is the empty one of a shop without orders."""

    version: int
    orders: int
    trained_at: float
    model: Model


def empty_model() -> Loaded:
    return Loaded(0, 0, 0.0, untrained())


class Models:
    """``current`` is the model in use; ``changed`` is called after each change of it."""

    def __init__(self, models: ModelRepository, clock: Clock, changed: Callable[[], None]) -> None:
        self._models = models
        self._clock = clock
        self._changed = changed
        self._owner = new_id()
        self._seen_version = 0
        self.current = empty_model()

    async def load_newest(self) -> None:
        """Use the newest stored model, if it is newer and of this release's format."""
        stored = await self._models.newest()
        if stored is None or stored.version <= self._seen_version:
            return
        self._seen_version = stored.version
        try:
            model = await asyncio.to_thread(Model.from_bytes, stored.content)
        except ValueError as error:
            log.warning(
                "model %d cannot be read, version %d stays: %s",
                stored.version,
                self.current.version,
                error,
                extra={"event": "model_unreadable"},
            )
            return
        self._use(stored, model)

    def _use(self, stored: StoredModel, model: Model) -> None:
        trained_at = stored.trained_at.timestamp()
        self.current = Loaded(stored.version, stored.orders, trained_at, model)
        metrics.MODEL_ORDERS.set(stored.orders)
        metrics.MODEL_AGE.set_function(lambda: max(0.0, self._clock.now().timestamp() - trained_at))
        self._changed()

    async def run(self, poll_s: float, pause_s: float) -> None:
        """Every ``poll_s`` seconds load a newer model, or train one if that is due, at most every ``pause_s``."""
        while True:
            await self.step(pause_s)
            await asyncio.sleep(poll_s)

    async def step(self, pause_s: float) -> bool:
        """Load or train, whichever is due; whether a model was trained."""
        state = await self._models.state()
        if state.version is not None and state.version > self._seen_version:
            await self.load_newest()
        if not self._is_due(state, pause_s):
            return False
        fence = await self._models.lease(self._owner, LEASE_S)
        if fence is None:
            return False
        try:
            return await self._train(fence, pause_s)
        finally:
            with contextlib.suppress(Unavailable):
                await self._models.release(fence)

    def _is_due(self, state: State, pause_s: float) -> bool:
        changed = state.revision != (state.trained_revision or 0)
        age_s = None if state.trained_at is None else (self._clock.now() - state.trained_at).total_seconds()
        return training_is_due(changed, age_s, state.training_seconds or 0.0, pause_s)

    async def _train(self, fence: int, pause_s: float) -> bool:
        """Train on the purchases of now, unless another replica did since the lease was asked for."""
        state = await self._models.state()
        if not self._is_due(state, pause_s):
            return False
        async with self._renewing(fence):
            began = asyncio.get_running_loop().time()
            trained_at = self._clock.now()
            purchases, product_ids = await self._models.purchases()
            model = await asyncio.to_thread(train, purchases, product_ids, trained_at.timestamp())
            content = await asyncio.to_thread(model.to_bytes)
            seconds = asyncio.get_running_loop().time() - began
            new = NewModel(state.revision, trained_at, seconds, model.order_count, content)
            stored = await self._models.store(fence, new)
        if not stored:
            log.warning(
                "a model is dropped: its lease ended during %.1f s of training",
                seconds,
                extra={"event": "model_dropped"},
            )
            return False
        metrics.TRAINING.observe(seconds)
        message = "trained on %d orders in %.2f s"
        decision(log, "model_trained", message, model.order_count, seconds, revision=state.revision)
        await self.load_newest()
        return True

    @contextlib.asynccontextmanager
    async def _renewing(self, fence: int) -> AsyncIterator[None]:
        """Keep the lease for as long as the block lasts."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(RENEW_EVERY_S)
                with contextlib.suppress(Unavailable):
                    await self._models.renew(fence, LEASE_S)

        renewal = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.wait([renewal])
