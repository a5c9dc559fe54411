"""An order's history as administrators read it from the order service: its saga and its changes of state."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of the answer; readers ignore members that they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SagaStep(Part):
    saga: str
    step: str
    phase: str
    outcome: str
    at: datetime
    times: int = 1
    seconds: float = 0.0
    detail: str = ""


class Transition(Part):
    from_state: str
    to_state: str
    at: datetime


class History(Part):
    status: str
    attempts: int
    next_attempt_at: datetime | None = None
    deadline_at: datetime | None = None
    trace_id: str = ""
    steps: list[SagaStep] = []
    transitions: list[Transition] = []
