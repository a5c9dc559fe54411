"""Money and addresses as every service writes them in JSON."""

from pydantic import BaseModel, ConfigDict


class Money(BaseModel):
    """An amount in minor units (cents) of an ISO 4217 currency; never a float."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    amount: int
    currency: str


class Address(BaseModel):
    """A postal address; ``country`` is an ISO 3166-1 alpha-2 code. What a country has no use for is empty."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    street: str
    city: str
    postal_code: str
    country: str
    region: str = ""

    def document(self) -> dict[str, str]:
        """As a request carries it. A region stands in it when there is one: the version before knows none."""
        return self.model_dump(exclude=set() if self.region else {"region"})
