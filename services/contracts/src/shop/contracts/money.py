"""Money and addresses as every service writes them in JSON."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_AMOUNT = 2**53 - 1
"""Minor units; every JSON reader has it exactly."""


class Money(BaseModel):
    """An amount in minor units (cents) of an ISO 4217 currency; never a float."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    amount: int
    currency: str


class Price(Money):
    """An amount that is not negative."""

    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT, strict=True)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Address(BaseModel):
    """A postal address; ``country`` is an ISO 3166-1 alpha-2 code. Fields that the country does not use are empty."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    street: str
    city: str
    postal_code: str
    country: str
    region: str = ""

    def document(self) -> dict[str, str]:
        """As the body of a request. It has a region only if there is one: the previous version has no regions."""
        return self.model_dump(exclude=set() if self.region else {"region"})
