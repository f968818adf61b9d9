"""What tests compare bit for bit: the failure says where two tensors differ, and by how much."""

from collections.abc import Mapping

import torch
from torch import Tensor


def assert_equal(found: Tensor | Mapping[str, Tensor], expected: Tensor | Mapping[str, Tensor],
                 of: object = "") -> None:
    """Assert that tensors, or dicts of them, are the same: every bit, dtype and device.

    `of` says in the failure what they are, where several are compared.
    """
    torch.testing.assert_close(found, expected, rtol=0, atol=0,
                               msg=lambda told: f"{of}: {told}" if of else told)
