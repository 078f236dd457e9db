"""Installs a built wheel into an empty environment and lets it serve from an empty folder: whether all that
`aetia serve` needs is in it, as nothing of the checkout can be reached from there.

Checked are every file of the web UI, the API with its description, telemetry in, compaction by the worker process, the
lists of plugins, and the end by SIGTERM. The wheel's dependencies are those of the interpreter that runs this script;
with `--alone` they are installed anew, as deploy/Dockerfile does it.

Run: `.venv/bin/python bench/check_wheel.py` (building fetches hatchling), or with a wheel's path.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WEB = ROOT / "src" / "aetia" / "serve" / "web"
EXTRAS = "[mcp]"


def built(folder: Path) -> Path:
    """A wheel of the checkout."""
    pip(sys.executable, "wheel", "--no-deps", "--quiet", "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("*.whl"))


def pip(python: str, *words: str) -> None:
    subprocess.run([python, "-m", "pip", *words], check=True)


def installed(wheel: Path, folder: Path, *, alone: bool) -> Path:
    """The folder of commands of a new environment with the wheel."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    if alone:
        pip(
            str(python),
            "install",
            "--quiet",
            "--constraint",
            str(ROOT / "requirements" / "dev.txt"),
            f"{wheel}{EXTRAS}",
        )
    else:
        pip(str(python), "install", "--quiet", "--no-deps", str(wheel))
        found = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                               check=True, capture_output=True, text=True)  # fmt: skip
        (Path(found.stdout.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def asked(url: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
    request = urllib.request.Request(url, body, {"content-type": kind} if body is not None else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def check(url: str) -> dict[str, Any]:
    """Ask for everything that a missing file would break."""
    files = [path for path in WEB.rglob("*") if path.is_file()]
    for path in files:
        assert asked(f"{url}/ui/{path.relative_to(WEB)}") == path.read_bytes(), path
    page = asked(f"{url}/").decode()
    for link in re.findall(r'(?:src|href)="(/ui/[^"#]+)"', page):
        assert asked(url + link), link
    paths = json.loads(asked(f"{url}/api/v1/openapi.json"))["paths"]
    at = time.time_ns()
    span = {"traceId": "5b8aa5a2d2c872e8321cf37308d69df2", "spanId": "051581bf3cb55c13", "name": "GET /", "kind": 2,
            "startTimeUnixNano": str(at - 10**7), "endTimeUnixNano": str(at)}  # fmt: skip
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "wheel"}}]}
    sent = {"resourceSpans": [{"resource": service, "scopeSpans": [{"spans": [span]}]}]}
    assert asked(f"{url}/v1/traces", json.dumps(sent).encode()) == b"{}"
    asked(f"{url}/api/v1/store/compact", b"{}")
    services = json.loads(asked(f"{url}/api/v1/services"))["services"]
    assert [row["service"] for row in services if row["service"] != "aetia"] == ["wheel"], services
    return {"files of the web UI": len(files), "paths of the API": len(paths)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, nargs="?")
    parser.add_argument("--alone", action="store_true", help="install the dependencies anew")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        commands = installed(options.wheel or built(place), place / "venv", alone=options.alone)
        empty = place / "empty"
        empty.mkdir()
        environment = {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "HOME": str(empty)}
        version = subprocess.run(["aetia", "--version"], cwd=empty, env=environment, check=True, capture_output=True)
        server = subprocess.Popen(
            ["aetia", "serve", "--data", "data", "--port", "0"], cwd=empty, env=environment, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            assert server.stderr is not None
            said = server.stderr.readline()
            found = re.search(r"http://[\w.:]+", said)
            if found is None:
                raise SystemExit(said + server.stderr.read())
            numbers = check(found[0])
            server.send_signal(signal.SIGTERM)
            ended = server.wait(60)
        finally:
            server.kill()
            server.wait()
        named = ", ".join(f"{count} {what}" for what, count in numbers.items())
        print(f"aetia {version.stdout.decode().strip()} serves from its wheel alone: {named}; ended with {ended}")
    return ended


if __name__ == "__main__":
    sys.exit(main())
