"""From the costs of one item to a thousand million of them: arithmetic only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.unit_costs import STAGES, Costs, ItemCosts
from db.session import STATEMENT_TIMEOUT_S

DAY_S = 86_400.0
#: Of processors, so that a peak finds some room.
USED = 0.7
#: Films among the items.
FILM_SHARE = 0.1
#: Items, and the days in which they are to be judged.
SCALES: Sequence[tuple[int, int]] = ((10**6, 1), (10**8, 10), (10**9, 30))
#: US dollars; what AWS asks for S3 Standard in us-east-1, to be looked up before it is believed.
GET_PRICE, LIST_PRICE = 0.0004 / 1000, 0.005 / 1000
#: Keys of one answer to a LIST request.
LIST_PAGE = 1000
#: PostgreSQL freezes old rows after so many transactions (autovacuum_freeze_max_age), and stops
#: before twice 10^9 are unfrozen.
FREEZE_EVERY, WRAP_AT = 200e6, 2.1e9
#: What one prefix of a bucket in S3 answers, GET requests a second.
PREFIX_GETS_PER_S = 5_500.0
#: A server of a size that every provider has.
SERVER_CORES, SERVER_DISK_BYTES = 16, 10e12

Row = Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Mix:
    """The mean item, of pictures and films."""

    costs: Costs
    film_share: float = FILM_SHARE

    def mean(self, picture: float, film: float) -> float:
        """Of a figure of both."""
        return (1 - self.film_share) * picture + self.film_share * film

    def of(self, name: str) -> float:
        """A figure of `ItemCosts`."""
        return self.mean(getattr(self.costs.picture, name), getattr(self.costs.film, name))

    @property
    def rows(self) -> Mapping[str, float]:
        """Rows of the mean item by table. Every face of a frame counts; one track for each person
        is taken for one for each face of the average frame."""
        frames, faces = self.of("frames"), self.of("faces")
        tracks = self.mean(_people(self.costs.picture), _people(self.costs.film))
        return {
            "item": 1.0,
            "media": 1.0,
            "verdict": 1.0,
            "frame_verdict": frames,
            "track_score": tracks,
            "face_score": faces,
        }

    @property
    def table_bytes(self) -> Mapping[str, float]:
        """Of the mean item by table, with indexes."""
        sizes = self.costs.rows.row_bytes
        return {table: number * sizes[table] for table, number in self.rows.items()}

    @property
    def log_bytes(self) -> float:
        """Write-ahead log of the mean item: on a line through what was measured."""
        (few, less), (many, more) = sorted(self.costs.rows.log_bytes.items())
        return less + (more - less) * (self.of("frames") - few) / (many - few)


def _people(costs: ItemCosts) -> float:
    return costs.faces / max(1.0, costs.frames)


# --- tables ---------------------------------------------------------------------------------------


def report(costs: Costs) -> str:
    """All tables, in Markdown."""
    mix = Mix(costs=costs)
    parts = [
        f"Measured on {costs.machine}; {costs.media}.",
        "**One item**",
        _table(("", "picture", "film"), _items(costs)),
        "**Its rows**",
        _table(("table", "rows", "bytes a row", "of it indexes", "bytes an item"), _rows(mix)),
        f"**From there on** ({1 - mix.film_share:.0%} pictures, {mix.film_share:.0%} films)",
        _table(("items", *(f"10^{len(str(items)) - 1}" for items, _ in SCALES)), _scales(mix)),
        "**Where the walls stand**",
        _table(("wall", "stands at", "what moves it"), _walls(mix), words=True),
    ]
    return "\n\n".join(parts) + "\n"


def _table(heads: Row, rows: Iterator[Row], *, words: bool = False) -> str:
    """Columns of numbers to the right, those of words to the left."""
    rest = "---" if words else "---:"
    lines = [heads, ["---", *[rest] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _items(costs: Costs) -> Iterator[Row]:
    kinds = (costs.picture, costs.film)
    yield ("measured", *(f"{each.items}" for each in kinds))
    yield ("size, KiB", *(f"{each.object_bytes / 1024:,.0f}" for each in kinds))
    yield ("fetched", *(f"{each.read_bytes / each.object_bytes:.0%}" for each in kinds))
    yield ("GET requests", *(f"{each.requests:.2f}" for each in kinds))
    yield ("frames / faces", *(f"{each.frames:.1f} / {each.faces:.1f}" for each in kinds))
    for stage in STAGES:
        yield (f"CPU ms: {stage}", *(f"{each.cpu_ms[stage]:.1f}" for each in kinds))
    yield ("**CPU ms of a worker**", *(f"**{each.worker_ms:.0f}**" for each in kinds))
    yield ("CPU ms of PostgreSQL", *(f"{each.database_ms:.1f}" for each in kinds))
    yield ("GPU ms", *(_gpu(each) for each in kinds))


def _gpu(costs: ItemCosts) -> str:
    return "not measured: no device here" if costs.gpu_ms is None else f"{costs.gpu_ms:.1f}"


def _rows(mix: Mix) -> Iterator[Row]:
    measured = mix.costs.rows
    for table, number in mix.rows.items():
        yield (
            f"`{table}`",
            f"{number:.2f}",
            f"{measured.row_bytes[table]:,.0f}",
            f"{measured.index_bytes[table]:,.0f}",
            f"{mix.table_bytes[table]:,.0f}",
        )
    yield ("**all**", "", "", "", f"**{sum(mix.table_bytes.values()):,.0f}**")
    yield ("write-ahead log", "", "", "", f"{mix.log_bytes:,.0f}")


def _scales(mix: Mix) -> Iterator[Row]:
    columns = [_scale(mix, items, days) for items, days in SCALES]
    for name in columns[0]:
        yield (name, *(column[name] for column in columns))


def _scale(mix: Mix, items: int, days: int) -> dict[str, str]:
    seconds = days * DAY_S
    core_s = items * mix.of("worker_ms") / 1e3
    gets, lists = items * mix.of("requests"), items / LIST_PAGE
    read = items * mix.of("read_bytes")
    sizes = mix.table_bytes
    database_cores = items * mix.of("database_ms") / 1e3 / seconds / USED
    transactions = items * mix.costs.rows.transactions
    queue = mix.costs.queue
    return {
        "to be done in": f"{days} {'day' if days == 1 else 'days'}",
        "items a second": f"{items / seconds:,.0f}",
        "worker core-days": f"{core_s / DAY_S:,.0f}",
        f"cores for that time, {USED:.0%} used": f"{core_s / seconds / USED:,.0f}",
        "fetched from the store": _bytes(read),
        "the same each second": f"{read * 8 / seconds / 1e9:.2f} Gbit/s",
        "GET requests": f"{gets:,.0f}",
        "LIST requests": f"{lists:,.0f}",
        "price of the requests": f"${gets * GET_PRICE + lists * LIST_PRICE:,.2f}",
        "rows": f"{items * sum(mix.rows.values()):,.0f}",
        "PostgreSQL in all": _bytes(items * sum(sizes.values())),
        "`item` with indexes": _bytes(items * sizes["item"]),
        "`verdict` with indexes": _bytes(items * sizes["verdict"]),
        "`face_score`, a month's partition": _bytes(
            items * sizes["face_score"] * min(1, 30 / days)
        ),
        "write-ahead log": _bytes(items * mix.log_bytes),
        "of log each second": f"{items * mix.log_bytes / seconds / 1e6:.2f} MB/s",
        "cores of PostgreSQL": f"{database_cores:,.2f}",
        "transactions": f"{transactions:,.0f}",
        "rounds of freezing": f"{transactions / FREEZE_EVERY:,.1f}",
        "messages through Redis": f"{items * queue.messages:,.0f}",
        "memory of Redis": _bytes(queue.empty_bytes + 1000 * queue.memory_bytes),
        "listing by one lister": _duration(items / mix.costs.rows.listed_per_s),
        "one count, were it one scan": _duration(items * mix.costs.rows.count_ms / 1e3),
    }


def limits(mix: Mix) -> Mapping[str, float]:
    """How many items there may be before a wall that is one of number, not of speed."""
    rows = mix.costs.rows
    return {
        "one scan cannot be counted": STATEMENT_TIMEOUT_S * 1e3 / rows.count_ms,
        "frozen at least once": WRAP_AT / rows.transactions,
        f"{_bytes(SERVER_DISK_BYTES)} on disk": SERVER_DISK_BYTES / sum(mix.table_bytes.values()),
    }


def _walls(mix: Mix) -> Iterator[Row]:
    """Those of number, then those of speed, as items a day."""
    rows = mix.costs.rows
    counted, unfrozen, kept = limits(mix).values()
    yield (
        "one scan is too large to be counted within the statement timeout of "
        f"{STATEMENT_TIMEOUT_S} s",
        f"{counted:.1e} items in one scan",
        "several scans, each of some prefixes; then counts kept by the writers",
    )
    yield (
        f"a disk of {_bytes(SERVER_DISK_BYTES)}",
        f"{kept:.1e} items kept",
        "dropping old partitions of `face_score`; then the other tables by month, too",
    )
    yield (
        "freezing: transactions since the last whole vacuum",
        f"{unfrozen:.1e} items without one",
        "nothing while autovacuum keeps up; results of several items in one transaction",
    )
    yield (
        "one lister on one prefix",
        f"{rows.listed_per_s * DAY_S:.1e} items a day",
        "several prefixes: each scan is listed on its own, by as many listers as there are",
    )
    per_core_s = 1e3 / mix.of("database_ms")
    yield (
        f"a PostgreSQL of {SERVER_CORES} cores",
        f"{SERVER_CORES * USED * per_core_s * DAY_S:.1e} items a day",
        "more cores; then a deployment for each group of buckets: scans share nothing",
    )
    yield (
        f"{PREFIX_GETS_PER_S:,.0f} GET requests a second of one prefix in S3",
        f"{PREFIX_GETS_PER_S / mix.of('requests') * DAY_S:.1e} items a day",
        "S3 splits busy prefixes by itself; several prefixes at a time",
    )


def _bytes(number: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:,.0f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:,.1f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:,.0f} min"
    return f"{seconds / 3600:,.0f} h"
