"""The picture of all methods on one page, for the README and the site: four files, for two widths
and two themes, and the HTML with which a page takes the one that fits.

`peft-teach build` draws them anew where what is drawn has changed: each file keeps a checksum of
its lines, shapes and texts, which does not depend on what turns these into pixels.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ...folder import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path("assets/site/_static")
DRAWN = "Comment"    # under which a file keeps its checksum
THEMES = ("light", "dark")
SIDES = ("left", "top", "width", "height")


def write(root: Path) -> list[str]:
    """Draw those files that are not as they would be drawn now; returns a line for each."""
    stale = _stale(root)
    for path, figure in stale:
        write_whole({root / path: png(figure)})
    return [f"{path.as_posix()}: drawn" for path, _ in stale]


def problems(root: Path) -> list[str]:
    """Which files are not as they would be drawn now, a line each."""
    return [f"{path.as_posix()}: is not what peft_teach/drawing draws; `peft-teach build` draws "
            "it" for path, _ in _stale(root)]


def for_readme() -> str:
    """Return HTML for a page that follows the reader's system, as GitHub's does."""
    folder = FOLDER.as_posix()
    sources = [f'<source media="{media}(prefers-color-scheme: {theme})" '
               f'srcset="{folder}/{_name(phone, theme)} 2x">'
               for phone, media in ((True, "(max-width: 480px) and "), (False, ""))
               for theme in THEMES]
    return lines("<picture>", *sources, _image(f"{folder}/{_name(False, 'light')}"), "</picture>")


def for_site(root: Path) -> str:
    """Return HTML for the site, whose reader may choose a theme: `site.css` hides the other.

    Each method is a link to its lesson, laid over its drawing.
    """
    pictures = (line for theme in THEMES for line in (
        f'<picture class="in-{theme}">',
        f'<source media="(max-width: 480px)" srcset="_static/{_name(True, theme)} 2x">',
        _image(f"_static/{_name(False, theme)}"), "</picture>"))
    return lines("```{raw} html", '<div class="all-methods">', *pictures, *_links(root), "</div>",
                  "```")


def _links(root: Path) -> Iterator[str]:
    from ...ink import PAGE, PHONE
    from .methods import cards

    wide, phone = (dict(_places(_methods(pixels, THEMES[0]))) for pixels in (PAGE, PHONE))
    for method, card in cards(root).items():
        if method in wide and card.LESSON:
            style = "; ".join(f"--{side}: {share:.1%}" for side, share in (
                *zip(SIDES, wide[method]),
                *zip((f"phone-{side}" for side in SIDES), phone[method])))
            yield (f'<a href="lessons/{card.LESSON}.html" aria-label="{card.TITLE}: lesson '
                   f'{card.LESSON[:2]}" style="{style}"></a>')


def _places(figure: "Figure") -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield where each method is drawn, as shares of the figure: left, top, width, height."""
    from ...drawing import counted
    from ...methods import METHODS

    at = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    found = {method: at[counted(method)[0]] for method in METHODS}
    page = figure.get_size_inches()
    steps = [each[1] - each[0] for each in map(sorted, map(set, zip(*found.values())))]
    for method, corner in found.items():
        size = (min(step, end - start) for step, end, start in zip(steps, page, corner))
        yield method, tuple(each / side for each, side in zip((*corner, *size), (*page, *page)))


def png(figure: "Figure") -> bytes:
    """Return a figure as a file without a ground, in 64 colours, with its checksum."""
    from PIL.PngImagePlugin import PngInfo

    from ...ink import DPI
    from . import recorded_widgets

    kept = PngInfo()
    kept.add_text(DRAWN, checksum(figure))
    return recorded_widgets.png(figure, DPI, "none", "RGBA", kept)


def checksum(figure: "Figure") -> str:
    """Return a checksum of what is drawn: lines, shapes and texts with their places and colours."""
    from matplotlib.colors import to_hex

    ax, told = figure.axes[0], [*figure.get_size_inches().round(3)]
    for shape in ax.patches:
        ends = shape.get_path().get_extents(shape.get_patch_transform()).get_points()
        told += [ends.round(3).tolist(), *(to_hex(c, keep_alpha=True) for c in (
            shape.get_facecolor(), shape.get_edgecolor())), shape.get_hatch(),
            shape.get_linewidth()]
    for line in ax.lines:
        told += [line.get_xydata().round(3).tolist(), line.get_color(), line.get_linewidth()]
    for text in ax.texts:
        told += [text.get_text(), *(round(float(v), 3) for v in text.get_position()),
                 text.get_color(), text.get_fontsize(), text.get_fontweight()]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _name(phone: bool, theme: str) -> str:
    return f"methods-{'phone' if phone else 'wide'}-{theme}.png"


def _image(source: str) -> str:
    from ...drawing import counts_in_words
    from ...ink import PAGE

    return f'<img alt="{counts_in_words()}" width="{PAGE}" src="{source}">'


def _stale(root: Path) -> list[tuple[Path, "Figure"]]:
    return [(path, figure) for path, figure in _drawn(root) if _kept(root / path) != checksum(
        figure)]


def _drawn(root: Path) -> Iterator[tuple[Path, "Figure"]]:
    """The files with what is drawn in them now; none where there is no site."""
    if (root / FOLDER).is_dir():
        from ...ink import PAGE, PHONE

        for phone in (False, True):
            for theme in THEMES:
                yield FOLDER / _name(phone, theme), _methods(PHONE if phone else PAGE, theme)


@cache    # the files, the pages that lay links over them and a second build: each drawn once
def _methods(pixels: int, theme: str) -> "Figure":
    from ...drawing import methods

    return methods(pixels, theme)


def _kept(file: Path) -> str | None:
    from PIL import Image

    if not file.is_file():
        return None
    with Image.open(file) as image:
        return image.info.get(DRAWN)


def lines(*texts: str) -> str:
    """Return lines as what stands between two marks of a page."""
    return "\n" + "\n".join(texts) + "\n"
