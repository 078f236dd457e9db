"""ClickHouse's HTTP interface over chDB: as much of it as an executor meets, with real SQL behind it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from clickhouse_tables import Chdb

_SIGNATURE = " (version 26.9.2.1)"


@dataclass
class Served:
    """A running server: its address, what was asked, and what it shall answer instead of the truth."""

    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    account_is_readonly: bool = False
    answer: tuple[int, bytes] | None = None


@contextmanager
def clickhouse_server(engine: Chdb) -> Iterator[Served]:
    served = Served()
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            params = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
            sql = self.rfile.read(int(self.headers["Content-Length"])).decode()
            with lock:
                served.asked.append(params | {"sql": sql})
                served.headers.append({name.lower(): value for name, value in self.headers.items()})
                status, body = served.answer or self._truth(params, sql)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _truth(self, params: dict[str, str], sql: str) -> tuple[int, bytes]:
            if served.account_is_readonly and "max_execution_time" in params:
                said = (
                    "Code: 164. DB::Exception: Cannot modify 'max_execution_time' setting in readonly mode. (READONLY)"
                )
                return 500, (said + _SIGNATURE).encode()
            bound = {name.removeprefix("param_"): value for name, value in params.items() if name.startswith("param_")}
            try:
                engine.query(f"USE {params['database']}")
                return 200, engine.query(sql, bound)
            except Exception as failed:  # noqa: BLE001 - a server answers, whatever failed
                return 500, (str(failed).splitlines()[0] + _SIGNATURE).encode()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
