"""`catchment demo flights`: a year of flights from files to answers, while its warehouse process is killed twice.

Everything happens by the commands that anybody types: `catchment up` and `catchment send`, as processes of their
own, in a project that is left behind to be played with.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from catchment.config import PROJECT_FILE, Project, load_project
from catchment.demo.data import Dataset, lay_out, package_folder
from catchment.demo.processes import Up, send_arguments, sending
from catchment.demo.project import Borrowed, is_of_an_earlier_run
from catchment.demo.sabotage import Saboteur, Sight
from catchment.demo.screen import Screen
from catchment.errors import Abort, Retry
from catchment.warehouses import Warehouse
from catchment.warehouses.rows import rows_of

FOLDER = "flights-demo"
MARK = "# Made by `catchment demo flights`; running it again sends the same files again.\n"
KILLS = 2

_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_LOOK_S = 0.05
_PATIENCE_S = 120.0
"""Without any row more in the warehouse."""


def run(folder: Path, *, once: bool, borrowed: Borrowed) -> bool:
    """The whole demo; whether every count is right and everything stopped in order.

    Raises `UsageError` when the data is not installed or the folder is somebody else's, `Abort` when something
    does not work.
    """
    screen = Screen()
    package = package_folder()
    is_new = _make(folder, borrowed)
    project = load_project(folder.absolute(), None)
    datasets = lay_out(package, project.root)
    _introduce(screen, folder, datasets, is_new=is_new)
    up = Up(project.root, project.runtime)
    with closing(up):
        screen.command("catchment up")
        began_s = time.monotonic()
        process = up.wait_ready()
        screen.result(f"ready in {time.monotonic() - began_s:.1f} s; process {process.pid} has the warehouse")
        _Crossing(project, borrowed, screen, up, datasets).run()
        with borrowed.warehouse(project) as warehouse:
            is_right = _check(screen, warehouse, datasets)
            _ask(screen, warehouse, borrowed)
        if not once and is_right:
            _suggest(screen, folder)
            _wait(up)
        screen.title("Stopping in order")
        is_in_order = up.stop()
    return is_right and is_in_order


def _make(folder: Path, borrowed: Borrowed) -> bool:
    """Make the project, or take the one of an earlier run; whether it is new."""
    if is_of_an_earlier_run(folder, MARK):
        return False
    borrowed.make_project(folder)
    file = folder / PROJECT_FILE
    file.write_text(MARK + file.read_text())
    return True


def _introduce(screen: Screen, folder: Path, datasets: Sequence[Dataset], *, is_new: bool) -> None:
    flights = max(each.records for each in datasets)
    screen.title(f"{flights:,} flights, from files to answers, with {KILLS} accidents on the way")
    if is_new:
        screen.say(f"All flights that left New York in 2013. The project is in {folder}, the files in {folder}/data.")
    else:
        screen.say(f"{folder} is there from before: the same files are sent again, which must add nothing.")
    screen.lines("")


class _Crossing:
    """The data's way from the files into the warehouse, watched and disturbed."""

    def __init__(
        self, project: Project, borrowed: Borrowed, screen: Screen, up: Up, datasets: Sequence[Dataset]
    ) -> None:
        self._project = project
        self._borrowed = borrowed
        self._screen = screen
        self._up = up
        self._datasets = datasets
        self._archive = project.archive.open()
        self._killed_s: float | None = None
        self._sight = Sight(0, 0)
        self._total = sum(each.records for each in datasets)
        largest = max(range(len(datasets)), key=lambda at: datasets[at].records)
        self._saboteur = Saboteur(KILLS, after_rows=sum(each.records for each in datasets[:largest]))

    def run(self) -> None:
        """Until all of it is loaded and every accident has happened. Raises `Abort`."""
        began_s = time.monotonic()
        for dataset in self._datasets:
            self._send(dataset)
        self._await_loaded()
        took_s = time.monotonic() - began_s
        self._screen.good(
            f"{self._total:,} rows in {took_s:.1f} s, from the files to committed, accidents included: "
            f"{self._total / took_s:,.0f} rows/s"
        )

    def _send(self, dataset: Dataset) -> None:
        self._screen.command(f"catchment {' '.join(send_arguments(dataset))}")
        with sending(self._project.root, dataset) as process:
            while process.runs():
                self._look(all_sent=False)
                time.sleep(_LOOK_S)
            result = process.result()
        dead = f", {result['dead_letters']:,} dead letters" if result["dead_letters"] else ""
        self._screen.result(f"{result['rows']:,} rows queued{dead}")

    def _await_loaded(self) -> None:
        give_up_s = time.monotonic() + _PATIENCE_S
        loaded_rows = self._sight.loaded_rows
        while True:
            self._look(all_sent=True)
            if self._sight.loaded_rows != loaded_rows:
                loaded_rows = self._sight.loaded_rows
                give_up_s = time.monotonic() + _PATIENCE_S
            if self._is_loaded():
                process = self._up.warehouse_process()
                if self._saboteur.done:
                    return
                if process is not None and self._saboteur.kill(process, self._sight):
                    self._say_killed(process.pid, "with everything loaded")
            if time.monotonic() > give_up_s:
                raise Abort(f"nothing was loaded for {_PATIENCE_S:.0f} s", f"catchment status -p {self._project.root}")
            time.sleep(_LOOK_S)

    def _is_loaded(self) -> bool:
        if self._killed_s is not None:
            return False
        try:
            return self._borrowed.is_loaded(self._project)
        except Retry:
            return False  # it is coming up or going down

    def _look(self, *, all_sent: bool) -> None:
        """See how far it is, and let the accidents happen."""
        self._up.check()
        process = self._up.warehouse_process()
        if process is None or process.pid in self._saboteur.killed:
            return
        if self._killed_s is not None:
            self._screen.result(f"back after {time.monotonic() - self._killed_s:.1f} s as process {process.pid}")
            self._killed_s = None
        sight = self._glance()
        if sight is None:
            return
        self._sight = sight
        self._screen.progress(sight.loaded_rows, self._total)
        if self._saboteur.look(process, sight, all_sent=all_sent):
            far = f": {sight.loaded_rows:,} of {self._total:,} rows were in" if sight.loaded_rows < self._total else ""
            self._say_killed(process.pid, f"in the middle of loading{far}")

    def _say_killed(self, pid: int | None, when: str) -> None:
        self._killed_s = time.monotonic()
        self._screen.accident(f"killed the warehouse process (pid {pid}) {when}")

    def _glance(self) -> Sight | None:
        warehouse = self._borrowed.running_warehouse(self._project.runtime)
        if warehouse is None:
            return None
        with closing(warehouse):
            try:
                loaded = sum(warehouse.row_count(each.table, _EVER, each.records) for each in self._datasets)
                return Sight(loaded, self._borrowed.unloaded_batches(self._archive, warehouse))
            except Retry:
                return None  # it is coming up or going down


def _check(screen: Screen, warehouse: Warehouse, datasets: Sequence[Dataset]) -> bool:
    """Compare every table with its file; whether all are the same."""
    counts = " UNION ALL ".join(
        f"SELECT {at}, count(*), count(DISTINCT _id) FROM {each.table}" for at, each in enumerate(datasets)
    )
    found = sorted(rows_of(warehouse, counts))
    screen.title("Nothing lost, nothing doubled?")
    lost = doubled = 0
    for dataset, (_, rows, ids) in zip(datasets, found, strict=True):
        lost += dataset.records - ids
        doubled += rows - ids
        is_same = dataset.records == rows == ids
        screen.verdict(is_same, f"{dataset.table:<17}{dataset.records:>8,} in the file {rows:>8,} loaded")
    screen.verdict(not lost and not doubled, f"{lost:,} lost, {doubled:,} doubled")
    return not lost and not doubled


def _ask(screen: Screen, warehouse: Warehouse, borrowed: Borrowed) -> None:
    for question, sql in questions():
        screen.title(question)
        screen.block(sql)
        screen.lines("\n".join(borrowed.drawn(warehouse, sql, screen.width)))


def questions() -> Iterator[tuple[str, str]]:
    """Each question with its SQL, in order."""
    folder = files("catchment.demo") / "questions"
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".sql"):
            question, _, sql = file.read_text(encoding="utf-8").partition("\n")
            yield question.removeprefix("-- "), sql.strip()


def _suggest(screen: Screen, folder: Path) -> None:
    screen.title("It goes on running. In another terminal, try:")
    for command in (
        f"cd {folder}",
        "catchment query 'SELECT dest, count(*) FROM flights.flights GROUP BY 1 ORDER BY 2 DESC LIMIT 5'",
        "catchment status",
        "catchment tail flights.airlines --once | head -3",
        "catchment send flights.airlines data/airlines.csv",
    ):
        screen.command(command)
    screen.say("Ctrl-C here stops everything in order.")


def _wait(up: Up) -> None:
    try:
        up.wait()
    except KeyboardInterrupt:
        return
    up.check()
