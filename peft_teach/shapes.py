"""Shape assertions that name the axis: a wrong tensor says so where it enters, not ten calls later.

    expect(x, "batch seq d_model", d_model=384)   exactly three axes, the last one 384 long
    expect(x, "... n_in", n_in=384)               any axes, then one of 384
    expect(mask, "batch seq", batch=2)            named axes without a size may have any length
"""

from torch import Tensor

from .errors import ShapeError, kind_of


def expect(tensor: object, axes: str, *, called: str = "x", **sizes: int) -> Tensor:
    """Return `tensor` if its shape fits `axes`; otherwise raise `ShapeError` naming the axis.

    `axes` names one axis a word, with `...` at the front for any number of leading axes; `sizes`
    gives the lengths that are known; `called` is the tensor's name in the message.
    """
    if not isinstance(tensor, Tensor):
        raise ShapeError(f"{called} is {kind_of(tensor)}, not a tensor.",
                         expected=f"a tensor of shape ({axes})")
    names = axes.split()
    shape = tuple(tensor.shape)
    if names[0] == "...":
        names = names[1:]
        fits = len(shape) >= len(names)
    else:
        fits = len(shape) == len(names)
    if not fits:
        raise ShapeError(f"{called} has {len(shape)} axes, shape {shape}.",
                         expected=f"axes ({axes})")
    for name, length in zip(names, shape[len(shape) - len(names):]):
        if name in sizes and length != sizes[name]:
            raise ShapeError(f"{called}: {name} should be {sizes[name]}, is {length}.",
                             expected=f"shape ({axes}), found {shape}")
    return tensor
