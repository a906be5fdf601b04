"""`durably cost`: what an execution has cost so far on DynamoDB, beside what the same steps would cost elsewhere."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from ..history.as_json import costs_data
from ..history.costs import Costs, costs
from ..history.reading import read_journal
from ..stores.protocol import Store
from .output import clean, console, plain, print_json
from .shared import find_id, takes_json, takes_store


@click.command()
@click.argument("id")
@takes_json
@takes_store
def cost(store: Store, id: str, as_json: bool) -> None:
    """What an execution has cost so far on DynamoDB, and would elsewhere; computed from its journal, not measured."""
    head, segments = read_journal(store, find_id(store, id))
    found = costs(head, segments, store.clock.now())
    if as_json:
        print_json(costs_data(head.id, found))
    else:
        _show(head.id, found, console())


def dollars(amount: float) -> str:
    """A small amount, to a ten-millionth: what fits beside the rest into 80 columns."""
    return f"${amount:.7f}"


def _show(execution: str, found: Costs, out: Console) -> None:
    out.print(plain(execution, "bold"))
    out.print(_lines(found))
    out.print()
    out.print(_elsewhere(found))
    out.print()
    for assumed in found.assumed:
        out.print(f"· {clean(assumed)}", style="dim")


def _lines(found: Costs) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("DynamoDB", "requests", "write units", "read units", "dollars"):
        table.add_column(name, justify="left" if name == "DynamoDB" else "right", no_wrap=True)
    for line in found.lines:
        table.add_row(
            line.what, f"{line.requests:,}", f"{line.write_units:,}", f"{line.read_units:,}", dollars(line.dollars)
        )
    total = sum(line.requests for line in found.lines)
    cells = ("so far", f"{total:,}", f"{found.write_units:,}", f"{found.read_units:,}", dollars(found.dollars))
    table.add_row(*cells, style="bold")
    return table


def _elsewhere(found: Costs) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("the same steps", "counted", "dollars", "× a million", "ratio"):
        table.add_column(name, justify="left" if name in ("the same steps", "counted") else "right", no_wrap=True)
    counted = f"{found.write_units + found.read_units:,} units"
    for what, count, amount in (
        ("durably on DynamoDB", counted, found.dollars),
        ("Step Functions, standard", f"{found.transitions:,} transitions", found.step_functions_dollars),
        ("Lambda durable functions", f"{found.operations:,} operations", found.lambda_durable_dollars),
    ):
        ratio = f"{amount / found.dollars:.1f}" if found.dollars else ""
        table.add_row(what, count, dollars(amount), f"${amount * 1e6:,.2f}", ratio)
    return table
