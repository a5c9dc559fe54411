from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.kit.settings import ServiceSettings


class Settings(ServiceSettings):
    service: ClassVar[str] = "user"

    admin_email: str = ""
    admin_password: str = Field(default="", repr=False)
    key_rotation_days: float = Field(default=30.0, gt=0)
    key_encryption_key: str = Field(default="", repr=False)
    """Encrypts the private signing keys in the database; without it the internal token does."""
    refresh_token_days: float = Field(default=30.0, gt=0)
    argon2_memory_kib: int = Field(default=19_456, ge=8)
    """19 MiB with two passes and one lane: the OWASP recommendation. Only tests go lower."""
    argon2_passes: int = Field(default=2, ge=1)
    argon2_lanes: int = Field(default=1, ge=1)
    password_threads: int = Field(default=2, ge=1, le=32)
    """Passwords hashed at once; each takes ``argon2_memory_kib`` of memory and one core."""
