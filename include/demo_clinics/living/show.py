"""What is seen while the clinic lives, and the verdict at the end."""

from __future__ import annotations

from rich.table import Table

from demo_clinics.living.diary import Diary, Side, quantile
from demo_clinics.living.verdict import Verdict

_MOST_LINES = 20


def progress(diary: Diary, seconds: float, of: float, conflicts: int, doing: str) -> Table:
    """One line a side: what its people did, and how far that has come to the other side."""
    table = Table(title=f"{doing}: {seconds:.0f} of {of:.0f} s", title_justify="left")
    for name in ("written in", "acts", "born", "undone", "pending", "arrived", "lag p50 s", "lag p99 s", "conflicts"):
        table.add_column(name, justify="left" if name == "written in" else "right")
    for side in Side:
        lags = list(diary.lags[side])
        told = [f"{lag:.1f}" if (lag := quantile(lags, share)) is not None else "" for share in (0.5, 0.99)]
        born = len(diary.born[side]) if side is Side.LEGACY else len(diary.births)
        pending = len(diary.pending(side)) + (len(diary.unborn) if side is Side.MEDPLUM else 0)
        numbers = (diary.total(side), born, diary.done[side, "undone"], pending, len(lags))
        table.add_row(
            side, *(f"{number:,}" for number in numbers), *told, f"{conflicts:,}" if side is Side.LEGACY else ""
        )
    return table


def acts(diary: Diary) -> Table:
    """What was done, by side."""
    table = Table(title="What the clinic did", title_justify="left")
    for name in ("in", "act", "times"):
        table.add_column(name, justify="right" if name == "times" else "left")
    for (side, act), times in sorted(diary.done.items()):
        table.add_row(side, act, f"{times:,}")
    return table


def told(verdict: Verdict) -> list[str]:
    """The verdict in lines."""
    head = "[green]Nothing was lost[/]" if verdict.is_good else f"[bold red]{len(verdict.lost)} LOST[/]"
    lines = [
        f"{head}: {verdict.records:,} records and {verdict.edits:,} edits, read in both systems by plain SQL and plain "
        f"searches. Echoes: {verdict.echoes}. Conflicts that wait for a decision: {len(verdict.conflicts)}.",
    ]
    if any(verdict.births.values()):
        told = " and ".join(f"{number:,} in {side}" for side, number in verdict.births.items())
        lines.append(f"Born: {told}; each of them is to stand on the other side exactly once.")
    if verdict.waiting:
        lines.append(f"{verdict.waiting} values of Medplum's people wait there for a way back into the legacy system.")
    lines += verdict.lost[:_MOST_LINES]
    return lines + (["…"] if len(verdict.lost) > _MOST_LINES else [])
