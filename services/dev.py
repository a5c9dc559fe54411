"""Serve $SHOP_SERVICE from a copy in the volume /app/dev, which takes changed files: `skaffold dev`."""

import os
import shutil
import socket
import sys

SOURCE = "/app/service"
WRITABLE = "/app/dev/service"
# A reloading server binds one socket; where there is IPv6 that of `::` takes IPv4 too.
HOST = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"

service = os.environ["SHOP_SERVICE"]
# Modification times stay, so that the compiled files are still good.
shutil.copytree(SOURCE, WRITABLE, dirs_exist_ok=True)
command = [sys.executable, "-m", "uvicorn", f"shop.{service}.main:app", f"--host={HOST}", "--port=8000"]
os.execv(sys.executable, [*command, "--lifespan=on", "--no-access-log", "--reload", f"--reload-dir={WRITABLE}/shop"])
