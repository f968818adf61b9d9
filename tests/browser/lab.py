"""JupyterLab on this machine, in a browser without a window: what the browser tests stand on."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TOKEN = "peft-teach"
# Chromium is to talk to this server alone.
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update")
STARTS, RUNS = 120_000, 240_000    # milliseconds that a page or a notebook may take, at most


@contextlib.contextmanager
def server(folder: Path) -> Iterator["Server"]:
    """Start JupyterLab over `folder/notebooks`; nothing of the user's own is read or written."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("notebooks", "config", "data", "runtime", "settings", "workspaces"):
        (folder / name).mkdir()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
               f"--ServerApp.root_dir={folder / 'notebooks'}", f"--ServerApp.port={port}",
               "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}",
               "--LabApp.expose_app_in_browser=True",
               f"--LabApp.user_settings_dir={folder / 'settings'}",
               f"--LabApp.workspaces_dir={folder / 'workspaces'}"]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    with (folder / "log").open("w") as log, subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT) as process:
        started = Server(folder, f"http://127.0.0.1:{port}")
        started.settings("@jupyterlab/apputils-extension/notification",
                         fetchNews="false", checkForUpdates=False)
        try:
            started.wait(process)
            yield started
        finally:
            process.terminate()    # it ends its kernels first


class Server:
    """A running JupyterLab."""

    def __init__(self, folder: Path, address: str):
        self.folder, self.address = folder, address

    def wait(self, process: subprocess.Popen) -> None:
        """Wait until it answers. Raises `RuntimeError` with its log if it ends before."""
        request = urllib.request.Request(f"{self.address}/api/status",
                                         headers={"Authorization": f"token {TOKEN}"})
        while process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10):
                return
            time.sleep(0.3)
        raise RuntimeError((self.folder / "log").read_text())

    def settings(self, plugin: str, **values: object) -> None:
        """Set what a user sets in the settings editor."""
        extension, name = plugin.rsplit("/", 1)
        file = self.folder / "settings" / extension / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))

    def add(self, notebook: dict, name: str) -> None:
        """Put a notebook where the server finds it."""
        (self.folder / "notebooks" / name).write_text(json.dumps(notebook))

    def read(self, name: str) -> dict:
        """Return a notebook as it was saved."""
        return json.loads((self.folder / "notebooks" / name).read_text())


class Notebook:
    """A notebook that is open in a page."""

    def __init__(self, page, server: Server, name: str):
        self.page = page
        page.set_default_timeout(STARTS)
        page.goto(f"{server.address}/doc/tree/{name}?token={TOKEN}")
        self.ready()

    def ready(self) -> None:
        """Wait until the cells stand there and the kernel has answered."""
        self.page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
        self.page.locator(".jp-KernelName", has_text="Python 3").wait_for()
        self.idle()

    def idle(self) -> None:
        """Wait until no cell runs or waits."""
        self.page.wait_for_function("""() =>
            document.querySelector('.jp-Notebook-ExecutionIndicator').dataset.status === 'idle'
            && ![...document.querySelectorAll('.jp-InputPrompt')].some(
                prompt => prompt.textContent.includes('*'))""", timeout=RUNS)

    def run_all(self, wait: bool = True) -> None:
        """Run all cells, as the menu does."""
        self.command("notebook:run-all-cells")
        self.page.wait_for_function("() => [...document.querySelectorAll('.jp-InputPrompt')].some("
                                    "prompt => /[*\\d]/.test(prompt.textContent))")
        if wait:
            self.idle()

    def save(self) -> None:
        """Save it, and wait until it is saved."""
        self.command("docmanager:save", wait=True)

    def errors(self) -> list[str]:
        """Return the text of each error and of whatever else stands in red."""
        kinds = ", ".join(f'.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.{kind}"]'
                          for kind in ("error", "stderr"))
        return self.page.locator(kinds).all_text_contents()

    def reload(self) -> None:
        """Load the page once more, as a reader does."""
        self.page.reload()
        self.ready()

    def cell(self, number: int):
        """Return the cell of that number, from 0."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def command(self, name: str, wait: bool = False) -> None:
        """Run a command of JupyterLab's by its name; wait until it has ended if `wait`."""
        done = f"window.jupyterapp.commands.execute({name!r})"
        self.page.evaluate(f"() => {done}.then(() => null)" if wait else f"() => {{ {done} }}")
