"""The dashboards' benches: all ask the same, the browser tells when all is drawn, viewers count whole pages."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import duckdb
import pytest
from bench import browser, orders, viewers
from bench.browser import Tiles, chromium, open_page, visitor
from playwright.sync_api import Browser, Error

from catchment.serve.dashboards.read import read_board
from tests.sdk.installed import browser as installed

ROWS = 2_000


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema site")
        connection.execute(
            f"create table {orders.TABLE} (_id varchar, _received_at timestamptz, _source varchar, _batch varchar, "
            "_loaded_at timestamptz, day varchar, hour bigint, weekday bigint, region varchar, channel varchar, "
            "product varchar, amount double, items bigint, seq bigint, probe boolean)"
        )
    orders.insert_standing(path, ROWS)
    return path


def test_standing_orders_are_what_live_ones_are(warehouse: Path) -> None:
    live = [orders.properties(seq, datetime.now(UTC)) for seq in range(ROWS)]
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for column in ("region", "channel", "product", "items"):
            found = connection.execute(f"select distinct {column} from {orders.TABLE}").fetchall()
            assert {value for (value,) in found} == {each[column] for each in live}
        seen = connection.execute(
            f"select count(distinct day), count(distinct hour), min(amount) >= 0, max(amount) < 100, "
            f"list(_received_at) = list_sort(list(_received_at)) from {orders.TABLE}"
        ).fetchone()
    assert seen is not None
    days, *others = seen
    assert others == [24, True, True, True]
    assert orders.DAYS <= days <= orders.DAYS + 1


def test_everybody_asks_the_same_of_the_same_rows(warehouse: Path, tmp_path: Path) -> None:
    board = read_board(f"dashboards/{orders.BOARD}.md", orders.board())
    assert not board.all_mistakes()
    assert [tile.id for tile in board.tiles] == [tile.id for tile in orders.TILES]
    assert len(board.tiles) == 9
    described, database = orders.write_for_peers(warehouse, tmp_path)
    with (
        duckdb.connect(str(database), read_only=True) as peers,
        duckdb.connect(str(warehouse), read_only=True) as ours,
    ):
        for tile, ours_tile in zip(json.loads(described.read_text()), board.tiles, strict=True):
            rows = peers.execute(tile["sql"], [50]).fetchall()
            asked = ours_tile.sql.text.replace("amount in $amount", "amount >= 50")
            assert rows
            assert rows == ours.execute(asked).fetchall()
            assert rows != peers.execute(tile["sql"], [99]).fetchall()


@pytest.fixture
def chrome() -> Iterator[Browser]:
    installed()
    with chromium() as found:
        yield found


_PAGE = """<!doctype html><section class=tile><b></b></section><section class=tile></section>
<section class=tile><table><tbody></tbody></table></section><script>
const [number, chart, table] = document.querySelectorAll(".tile");
setTimeout(() => { number.firstChild.textContent = "1,234"; }, 100);
setTimeout(() => {
  const pen = chart.appendChild(document.createElement("canvas")).getContext("2d");
  for (let at = 0; at < 9; at++) pen.fillRect(at, 0, 1, 1);
}, 200);
setTimeout(() => { table.querySelector("tbody").innerHTML = "<tr><td>1</td></tr>".repeat(ROWS); }, 300);
</script>"""
_TILES = Tiles(".tile", "b", ("number", "chart", "table"))


def test_the_browser_tells_when_the_last_tile_is_drawn(chrome: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def address(rows: int) -> str:
        return f"data:text/html,{quote(_PAGE.replace('ROWS', str(rows)))}"

    with visitor(chrome) as context:
        assert open_page(context, address(25), _TILES).ms >= 300
        monkeypatch.setattr(browser, "DRAWN_WITHIN_MS", 1_000)
        with pytest.raises(Error, match="not drawn in time: tiles 2 of 3"):
            open_page(context, address(24), _TILES)


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200

    def do_GET(self) -> None:
        assert self.headers["Cookie"] == "who=me"
        self.send_response(self.status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (b"4\r\nwhat\r\n", b"2\r\nis\r\n", b"0\r\n\r\n"):
            self.wfile.write(piece)
            self.wfile.flush()

    def log_request(self, code: object = "", size: object = "") -> None:
        del code, size


@pytest.fixture
def pieces() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_viewers_page_counts_once_it_is_whole(pieces: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [viewers.request(pieces, "/", ("who", "me"))] * 3
    taken_s, sizes, wall_s = viewers.look(pieces, asked, 0.2)
    assert len(taken_s) >= 3
    assert set(sizes) == {6}
    assert wall_s >= 0.2
    monkeypatch.setattr(_Server, "status", 503)
    with pytest.raises(RuntimeError, match="not answered 200 but 503"):
        viewers.look(pieces, asked, 0.2)
