"""What tests compare bit for bit: tensors, and the files of a folder."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def assert_equal(found: Tensor | Mapping[str, Tensor], expected: Tensor | Mapping[str, Tensor],
                 of: object = "") -> None:
    """Assert that tensors, or dicts of them, are the same: every bit, dtype and device.

    The failure says where they differ, by how much, and, where several are compared, what they
    are: `of`.
    """
    torch.testing.assert_close(found, expected, rtol=0, atol=0,
                               msg=lambda told: f"{of}: {told}" if of else told)


def files(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder, by path, without what Python keeps of its own."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts}
