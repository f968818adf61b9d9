"""Three of the lessons' pictures, alive on a page without a kernel: Vega-Lite, bundled.

Each is drawn from what the notebook's own picture computes, and is one file: `rank.html`,
`updates.html`, `ladder.html`. Beside each stands a still, `.png`, for pages without scripts.
"""

from pathlib import Path
from statistics import mean

import pandas

from ...plots import COLOURS
from .. import records
from ..lessons.ladder.picture_of_places import STYLES
from ..lessons.ladder.recorded import costs
from ..lessons.ladder.rungs import COSTS
from ..lessons.lora import picture_of_rank, picture_of_updates

HEIGHT = 340
STILL = 640                           # pixels of a still picture's width
STYLE = "<style>body { font: 14px sans-serif } .vega-embed { width: 100% }</style>"


def draw(folder: Path) -> None:
    """Write every chart into a folder."""
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    for name, chart in (("rank", rank()), ("updates", updates()), ("ladder", ladder())):
        chart = chart.configure_axis(labelFontSize=12, titleFontSize=13, titleFontWeight="normal",
                                     gridOpacity=0.4).configure_legend(labelFontSize=12)
        alive = chart.properties(width="container", usermeta={"embedOptions": {"actions": False}})
        page = vl_convert.vegalite_to_html(alive.to_json(), bundle=True)
        (folder / f"{name}.html").write_text(page.replace("</head>", f"{STYLE}</head>"),
                                             encoding="utf-8")
        still = vl_convert.vegalite_to_png(chart.properties(width=STILL).to_json(), scale=1.5)
        (folder / f"{name}.png").write_bytes(still)


def rank():
    """Draw the parameters of LoRA against accuracy; a menu chooses the matrices."""
    import altair as alt

    found = picture_of_rank.measured(records.load("lora"))
    rows = pandas.DataFrame([
        {"where": setting.where_in_words, "rank": setting.rank, "parameters": setting.parameters,
         "accuracy": mean(seeds), "low": min(seeds), "high": max(seeds)}
        for setting, seeds in found.items()])
    chosen = _menu("where", sorted({*rows["where"]}), "query, value", "Where LoRA stands ")
    base = alt.Chart(rows, height=HEIGHT).encode(
        x=alt.X("parameters", scale=alt.Scale(type="log"), title="parameters that LoRA trains",
                axis=_few()),
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.15)))
    accuracy = alt.Y("accuracy", scale=alt.Scale(zero=False), axis=alt.Axis(format=".0%"),
                     title="test accuracy")
    dots = base.mark_circle(size=110, color=COLOURS["lora"]).encode(y=accuracy, tooltip=[
        "where", "rank", alt.Tooltip("parameters", format=","), _percent("accuracy")])
    spans = base.mark_rule(color=COLOURS["lora"], strokeWidth=2).encode(
        y=alt.Y("low", title=""), y2="high")
    names = base.transform_filter(chosen).mark_text(dx=8, align="left", dy=12, fontSize=12).encode(
        y=accuracy, text=alt.Text("label:N")).transform_calculate(label="'r ' + datum.rank")
    ends = pandas.DataFrame({"accuracy": records.ends(),
                             "what": ["head alone", "full fine-tuning"]})
    levels = alt.Chart(ends).encode(y="accuracy")
    return (levels.mark_rule(strokeDash=[6, 4], color=COLOURS["full"]) + levels.mark_text(
        align="left", dx=4, dy=-8, fontSize=12).encode(text="what", x=alt.value(0))
        + spans + dots.add_params(chosen) + names)


def updates():
    """Draw the share of an update's energy in its strongest directions; choose the matrix."""
    import altair as alt

    record, rows = records.load("lora"), []
    for place in ("query", "value"):
        for block in range(picture_of_updates.DEPTH):
            found = picture_of_updates.updates(record, place, block)
            for run, sigma in {**found.updates, picture_of_updates.WEIGHT: found.weight}.items():
                name = picture_of_updates.label(run)
                rows += [(found.matrix, name, k, share) for k, share in enumerate(
                    picture_of_updates.energy(sigma), 1) if _drawn(k, len(sigma))]
    table = pandas.DataFrame(rows, columns=["matrix", "update", "k", "share"])
    chosen = _menu("matrix", [*table["matrix"].unique()], "query, block 2", "Matrix ")
    hues = [COLOURS["random"], COLOURS["lora"], COLOURS["subspace"], COLOURS["full"],
            COLOURS["ink"]]
    lines = alt.Chart(table, height=HEIGHT).mark_line(point=True).encode(
        x=alt.X("k", scale=alt.Scale(type="log", domainMax=400), title="strongest directions, k",
                axis=alt.Axis(values=[1, 4, 16, 64, 384])),
        y=alt.Y("share", axis=alt.Axis(format=".0%"), scale=alt.Scale(domainMax=1),
                title="share of the energy in them"),
        color=alt.Color("update", sort=None, title=None, scale=alt.Scale(range=hues),
                        legend=alt.Legend(orient="top")),
        tooltip=["update", "k", _percent("share")])
    level = alt.Chart(pandas.DataFrame({"share": [0.9]})).mark_rule(
        color=COLOURS["quiet"]).encode(y="share")
    return level + lines.add_params(chosen).transform_filter(chosen)


def ladder():
    """Draw R² of every method against a cost; a menu chooses the cost."""
    import altair as alt

    table = costs(records.load("ladder")).rename_axis("method").reset_index()
    kinds = [axis for axis in COSTS.values() if axis in table]
    rows = table.melt(["method", "R²", "low", "high"], kinds, "cost", "value").dropna()
    methods = [*table["method"]]
    chosen = _menu("cost", kinds, kinds[0], "Cost ")
    hue = alt.Color("method", sort=methods, title=None, scale=alt.Scale(
        domain=methods, range=[STYLES[name][0] for name in methods]),
        legend=alt.Legend(orient="bottom", columns=3))
    base = alt.Chart(rows, height=HEIGHT).transform_filter(chosen).encode(
        x=alt.X("value", scale=alt.Scale(type="log"), title="cost, as chosen below",
                axis=_few()), color=hue)
    shape = alt.Shape("method", sort=methods, scale=alt.Scale(
        domain=methods, range=[SHAPES[STYLES[name][2]] for name in methods]))
    dots = base.mark_point(size=110, filled=True, opacity=1).encode(
        y=alt.Y("R²", scale=alt.Scale(zero=False), title="R² on test sentences"), shape=shape,
        tooltip=["method", "cost", alt.Tooltip("value", format=",.4g"),
                 alt.Tooltip("R²", format=".3f")])
    spans = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low", title=""), y2="high")
    return spans + dots.add_params(chosen)


SHAPES = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "v": "triangle-down",
          "X": "cross", "P": "cross"}    # of matplotlib's markers


def _drawn(k: int, last: int) -> bool:
    """Return whether a long curve keeps this point: the first 16, then about one in k / 8."""
    return k <= 16 or k == last or k % (k // 8) == 0


def _menu(field: str, options: list[str], first: str, label: str):
    """Return a menu that chooses the rows of which a field has one value."""
    import altair as alt

    return alt.selection_point(fields=[field], value=[{field: first}], bind=alt.binding_select(
        options=options, name=label))


def _few():
    """Return a logarithmic axis with few labels: 10k, 1M."""
    import altair as alt

    return alt.Axis(format=",.3~s", tickCount=6)


def _percent(field: str):
    import altair as alt

    return alt.Tooltip(field, format=".1%")
