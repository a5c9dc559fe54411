"""The data folder of a local shop: its files, its secrets and ports, and the lock of its supervisor."""

import fcntl
import json
import os
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shop.devkit.processes import free_port, kept_secret, make_folder, reuse_port, write_private
from shop.operator.errors import ShopctlError
from shop.operator.program import shell_word, shopctl
from shop.operator.services import WITH_DATABASE

FORMAT = 1
DEFAULT_DATA_DIR = Path(".shop")
ADMIN_EMAIL = "admin@shop.local"


class DataDir:
    """Paths and small files. Nothing is created before `claim()`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.targets = self.path / "targets"
        self.state_file = self.path / "state.json"
        self.shop_file = self.path / "shop.yaml"
        self.admin_password_file = self.path / "admin-password"
        self._marker = self.path / "shop.json"
        self._lock = self.path / "lock"
        self._lock_descriptor: int | None = None

    def command(self, words: str) -> str:
        """A command about this shop as a person can paste it: `./shopctl down --data-dir '/my shop'`."""
        extra = "" if self.path == DEFAULT_DATA_DIR.absolute() else f" --data-dir {shell_word(str(self.path))}"
        return f"`{shopctl()} {words}{extra}`"

    def not_running(self, up: str = "up") -> ShopctlError:
        """The error of a command that needs a running shop, which is started by `up`."""
        return ShopctlError(
            f"no shop runs in {self.path}; start it with {self.command(up)}, or name its folder: --data-dir"
        )

    @property
    def exists(self) -> bool:
        """Whether a shop was ever started here."""
        return self._marker.exists()

    def name(self) -> str:
        """The name of the shop in this folder."""
        return str(self._read("shop.json").get("name", ""))

    def store(self, name: str) -> Path:
        """The folder of postgres, nats or valkey."""
        return self.path / name

    def claim(self, name: str, currency: str) -> bool:
        """Lock the folder for the shop `name` while this process runs; True when it is new. Raises `ShopctlError`."""
        try:
            self._refuse_foreign()
            make_folder(self.logs)
            self.path.chmod(0o700)
        except OSError as error:
            raise ShopctlError(f"cannot use {self.path}: {error.strerror}; choose a folder with --data-dir") from error
        self._take_lock()
        if not self.exists:
            marker = {"format": FORMAT, "name": name, "currency": currency, "created_at": datetime.now(UTC).isoformat()}
            write_private(self._marker, json.dumps(marker))
            return True
        self.refuse_other_shop(name, currency)
        return False

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    def is_locked(self) -> bool:
        """Whether a supervisor runs in this folder."""
        if not self._lock.exists():
            return False
        descriptor = os.open(self._lock, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def delete(self) -> None:
        """Remove the folder and everything in it; refuses a folder that holds no shop."""
        if self.path.exists():
            self._refuse_foreign()
            shutil.rmtree(self.path)

    def database_password(self, role: str) -> str:
        """The password of a database role, made on first use."""
        return self._kept("passwords.json", role, lambda: secrets.token_urlsafe(24))

    def internal_token(self) -> str:
        """The token with which services authenticate to each other."""
        return self._kept("passwords.json", "internal_token", lambda: secrets.token_urlsafe(32))

    def admin_password(self) -> str:
        """The admin's password, kept in `admin-password` for a person to read."""
        return kept_secret(self.admin_password_file)

    def port(self, component: str) -> int:
        """The remembered port of `component`, or a new one when another process uses it; never another component's."""
        owner = f"{self.path}/{component}"
        kept = self._read("ports.json").get(component)
        if isinstance(kept, int) and reuse_port(kept, owner):
            return kept
        port = free_port(owner)
        self._write("ports.json", {**self._read("ports.json"), component: port})
        return port

    def read_state(self) -> dict[str, Any]:
        """The last state that a supervisor wrote, {} when there is none that can be read."""
        try:
            return self._read("state.json")
        except ShopctlError:
            return {}

    def databases(self) -> list[str]:
        """The services with a database that run, or ran last."""
        running = {one["name"].rpartition("-")[0] for one in self.read_state().get("components", [])}
        return [noun for noun in WITH_DATABASE if noun in running]

    def write_state(self, state: dict[str, Any]) -> None:
        write_private(self.state_file, json.dumps(state))

    def remembered(self, key: str) -> Any:
        """A value kept by `remember`, None when there is none."""
        return self._read("kept.json").get(key)

    def remember(self, key: str, value: Any) -> None:
        self._write("kept.json", {**self._read("kept.json"), key: value})

    def _kept(self, file: str, key: str, make: Any) -> str:
        values = self._read(file)
        if key not in values:
            values[key] = make()
            self._write(file, values)
        return str(values[key])

    def _read(self, file: str) -> dict[str, Any]:
        path = self.path / file
        try:
            value = json.loads(path.read_text()) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise self._corrupt(path, "cannot be read") from error
        if not isinstance(value, dict):
            raise self._corrupt(path, "does not hold what shopctl wrote")
        return value

    def _write(self, file: str, value: dict[str, Any]) -> None:
        write_private(self.path / file, json.dumps(value, indent=1))

    def _corrupt(self, path: Path, what: str) -> ShopctlError:
        return ShopctlError(
            f"{path} {what}: restore it from a backup, or start with an empty shop after"
            f" {self.command('down --delete-data')}"
        )

    def _refuse_foreign(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ShopctlError(f"{self.path} is not a folder; choose one with --data-dir")
        if self.path.is_dir() and not self.exists and any(self.path.iterdir()) and not self._lock.exists():
            raise ShopctlError(f"{self.path} holds other files and no shop; choose another folder with --data-dir")

    def refuse_other_shop(self, name: str, currency: str) -> None:
        """Raise `ShopctlError` where the folder holds another shop than this one."""
        marker = self._read("shop.json")
        if marker.get("format") != FORMAT:
            raise self._corrupt(self._marker, f"has format {marker.get('format')!r}, this shopctl reads {FORMAT}")
        if marker.get("name") != name:
            raise ShopctlError(
                f"{self.path} holds the shop {marker.get('name')}, not {name}; choose another folder with --data-dir"
            )
        if marker.get("currency") != currency:
            raise ShopctlError(
                f"spec.store.currency: {self.path} sells in {marker.get('currency')}, and a shop's currency cannot"
                f" change to {currency}; choose another folder with --data-dir"
            )

    def _take_lock(self) -> None:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise ShopctlError(
                f"a shop already runs in {self.path}; see {self.command('status')}, change it with"
                f" {self.command('apply SHOP.yaml')}, end it with {self.command('down')}, or choose another folder with"
                " --data-dir"
            ) from error
        self._lock_descriptor = descriptor
