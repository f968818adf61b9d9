"""How a lesson's page shows what a cell returns: tables of words and numbers, no `repr`.

    a data frame    no numbers of rows that have no names; yes and no; 1,000; – where nothing is;
                    all names in one row, so that a screen reader says a cell's with the cell
    a series        a column of one
    a tensor        its numbers, up to two dimensions, and its shape

Only pages are concerned, and only while the course is loaded: text stays as it was.
"""

from typing import Any

from .card import shell

_LARGEST = 400    # numbers of a tensor that are shown


def install() -> None:
    """Let the running notebook show tables so; nothing elsewhere."""
    display = getattr(shell(), "display_formatter", None)
    if display is None:
        return
    html = display.formatters["text/html"]
    for module in ("pandas", "pandas.core.frame", "pandas.core.series"):
        html.for_type_by_name(module, "DataFrame", frame)
        html.for_type_by_name(module, "Series", lambda series: frame(series.to_frame()))
    html.for_type_by_name("torch", "Tensor", tensor)


def frame(table: Any) -> str | None:
    """Return a data frame as HTML; None, which leaves it to pandas, where it is longer than a page.
    """
    import pandas

    if len(table) > pandas.get_option("display.max_rows"):
        return None
    unnamed = isinstance(table.index, pandas.RangeIndex) and table.index.name is None
    shown = _headed(table)
    for at in range(shown.shape[1]):
        column = shown.iloc[:, at]
        if not pandas.api.types.is_float_dtype(column):
            shown.isetitem(at, column.astype(object).map(word))
    if all(name == 0 for name in shown.columns):    # a series without a name
        shown.columns = [""] * shown.shape[1]
    return shown.to_html(index=not unnamed, na_rep="–", notebook=True)


def _headed(table: Any) -> Any:
    """Return a copy whose columns and rows have their names in one row, where they have any."""
    first, *others = table.index.names
    if table.columns.nlevels > 1 or None in (first, *others):
        return table.copy()
    over = table.columns.name    # "seed", over 0 and 1
    named = table.set_axis([name if over is None or isinstance(name, str) else f"{over} {name}"
                            for name in table.columns], axis=1)
    if others:
        named = named.reset_index(level=others, allow_duplicates=True)
    return named.rename_axis(index=None, columns=first)


def tensor(values: Any) -> str | None:
    """Return a tensor as HTML, its shape below; None where it is too large, or has no numbers."""
    import pandas

    if values.dim() > 2 or not 0 < values.numel() <= _LARGEST:
        return None
    try:
        numbers = values.tolist()
    except RuntimeError:    # sparse, on the device "meta", …
        return None
    if values.dim() == 0:
        return f"<div>{word(numbers)}</div>"
    table = pandas.DataFrame(numbers if values.dim() == 2 else [numbers])
    shape = " × ".join(map(str, values.shape))
    return (table.map(word).to_html(index=False, header=False, notebook=True)
            + f"<div>{shape}, {str(values.dtype).removeprefix('torch.')}</div>")


def word(value: Any) -> Any:
    """Return a number, a yes or no, or nothing as it stands in a table; anything else as it is."""
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:    # numpy's
        value = value.item()
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
    return value
