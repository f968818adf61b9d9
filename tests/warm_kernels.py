"""Kernels of notebooks, forked from one process that has imported what is heavy.

torch and transformers take some five seconds of a processor to import, and each of the notebooks
would do it again. What is imported ahead is other people's alone: the course itself is imported in
each kernel, as a reader's is. (A build, JupyterLab in `tests/browser` and the installed package in
`tests/course/test_release.py` run lessons in kernels of their own, and `tests/test_package.py` asks
fresh processes what an import loads.)
"""

import gc
import multiprocessing
import os
import sys
import tempfile
from importlib.metadata import EntryPoint

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

IMPORTED = ["torch", "transformers.models.bert.modeling_bert", "matplotlib.pyplot", "pandas",
            "transformers.models.llama.modeling_llama", "ipywidgets", "ipykernel.kernelapp", "peft"]


def use() -> None:
    """Let jupyter_client fork each kernel that this process starts from now on."""
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["forked"] = EntryPoint(
        "forked", "warm_kernels:Forked", factory.GROUP_NAME)
    factory.default_provisioner_name = "forked"


class Forked(LocalProvisioner):
    """Starts a kernel as a child of Python's own fork server.

    It speaks over sockets that are files: a port which one test process found free, another, or any
    connection, may have taken before the kernel listens there.
    """

    async def pre_launch(self, **kwargs):
        self.parent.transport = "ipc"
        self.parent.ip = os.path.join(tempfile.gettempdir(), self.kernel_id)
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd, **kwargs):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        options = cmd[cmd.index("-f"):]    # after python -m ipykernel_launcher
        self.process = Kernel(context.Process(target=run, daemon=True, args=(
            options, kwargs.get("cwd"), kwargs["env"], os.getpid())))
        self.pid = self.process.pid
        return self.connection_info


class Kernel:
    """A kernel's process, as jupyter_client asks one of `subprocess`."""

    stdin = stdout = stderr = None

    def __init__(self, process):
        process.start()
        self.process, self.pid = process, process.pid
        self.kill, self.terminate = process.kill, process.terminate

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)


def run(options: list[str], folder: str | None, environment: dict[str, str], parent: int) -> None:
    """Be a kernel with these options, until it is told to end."""
    import pandas
    from ipykernel.kernelapp import IPKernelApp

    pandas.set_option("display.max_columns", 20)    # its default where IPython imports it
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.environ |= {**environment, "JPY_PARENT_PID": str(parent)}    # it ends with the tests
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    os.chdir(folder or ".")
    gc.freeze()    # what was imported ahead stands until the end
    IPKernelApp.launch_instance(argv=options)
