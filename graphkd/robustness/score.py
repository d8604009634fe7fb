"""From AP by damage to the numbers a reader compares, and their table; no pages and no detector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

CLEAN = "clean"
DASH = "–"

Cells = Mapping[str, float | None]


@dataclass(frozen=True)
class Summary:
    """One detector over all damages; None where nothing could be measured.

    Attributes:
        clean: AP on the undamaged pages, 0..100.
        mean_ap: mean AP over the damages.
        mean_loss: mean over the damages of 100 (1 - AP damaged / AP clean), in percent; below 0
            where damage helps.
    """

    clean: float | None
    mean_ap: float | None
    mean_loss: float | None


def cell_name(kind: str, strength: int) -> str:
    """The key of one damage in a record: `rotation 1`."""
    return f"{kind} {strength}"


def summarise(cells: Cells) -> Summary:
    """The summary of one detector's AP by cell.

    Args:
        cells: AP in 0..100 by `cell_name()`, and under `clean`. Cells with None are left out.
    """
    clean = cells.get(CLEAN)
    damaged = [ap for name, ap in cells.items() if name != CLEAN and ap is not None]
    if not damaged:
        return Summary(clean, None, None)
    mean_ap = sum(damaged) / len(damaged)
    # The mean of the ratios, since all have the same denominator.
    mean_loss = 100 * (1 - mean_ap / clean) if clean else None
    return Summary(clean, mean_ap, mean_loss)


def table(
    models: Mapping[str, Cells],
    *,
    kinds: Sequence[str],
    strengths: Sequence[int],
    form: str = "simple",
) -> str:
    """AP by damage as text: a row a kind, a column a detector, strengths side by side.

    Args:
        models: column name -> AP by cell.
        kinds: rows, in order.
        strengths: shown in each field, in order.
        form: "simple" for a terminal, "github" for markdown.
    """
    summaries = [summarise(cells) for cells in models.values()]
    rows = [["none (clean)", *(tenths(each.clean) for each in summaries)]]
    for kind in kinds:
        names = [cell_name(kind, strength) for strength in strengths]
        fields = (" / ".join(tenths(cells.get(n)) for n in names) for cells in models.values())
        rows.append([kind, *fields])
    rows.append(["mean AP over damages", *(tenths(each.mean_ap) for each in summaries)])
    rows.append(["mean loss (%)", *(tenths(each.mean_loss) for each in summaries)])
    heading = f"AP, damage at strength {' / '.join(map(str, strengths))}"
    return tabulate(
        rows,
        headers=[heading, *models],
        tablefmt=form,
        disable_numparse=True,
        colalign=("left", *["right"] * len(models)),
    )


def tenths(value: float | None) -> str:
    """A number with one decimal; an en dash for None."""
    return DASH if value is None else f"{value:.1f}"
