"""Serve $SHOP_SERVICE from a copy in the volume /app/dev, which takes changed files: `skaffold dev`."""

import os
import shutil
import sys

SOURCE = "/app/service"
WRITABLE = "/app/dev/service"

service = os.environ["SHOP_SERVICE"]
# Modification times stay, so that the compiled files are still good.
shutil.copytree(SOURCE, WRITABLE, dirs_exist_ok=True)
command = [sys.executable, "-m", "uvicorn", f"shop.{service}.main:app", "--host=0.0.0.0", "--port=8000"]
os.execv(sys.executable, [*command, "--lifespan=on", "--no-access-log", "--reload", f"--reload-dir={WRITABLE}/shop"])
