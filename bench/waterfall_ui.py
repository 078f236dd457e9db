"""The waterfall of a trace of 100,000 spans in Chromium: first paint, frames while scrolling and zooming, search.

    .venv/bin/python bench/waterfall_ui.py [--spans 100000] [--url http://127.0.0.1:4318] [--runs 3]

Without `--url` a server is started over a new folder. The trace is sent through OTLP, then opened as a deep link. Times
of frames are the distances of `requestAnimationFrame` calls while the page scrolls, zooms and pans through its own
keys and wheel; `long task` is what Chromium reports as such (over 50 ms of the main thread).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SERVICES, OPERATIONS = 24, 12
TRACE_ID = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")
BATCH = 5_000
ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def bodies(spans: int, seed: int = 7, trace_id: bytes = TRACE_ID) -> Iterator[bytes]:
    """Export requests of one trace: a tree in which a span has children within its own time, 1 % of them failed."""
    draw = random.Random(seed)
    total_ns = 60 * 10**9
    begin = time.time_ns() - 2 * total_ns
    rows: list[tuple[int, int, int, int, int]] = [(0, -1, begin, total_ns, 0)]
    open_rows = [0]
    while len(rows) < spans:
        above = open_rows[int(len(open_rows) * draw.random() ** 1.5)]
        _, _, start, duration, depth = rows[above]
        begun = start + int(duration * draw.random() * 0.9)
        lasts = max(1_000, int((start + duration - begun) * draw.uniform(0.02, 0.7)))
        rows.append((len(rows), above, begun, lasts, depth + 1))
        if depth < 30 and lasts > 5_000:
            open_rows.append(len(rows) - 1)
    for at in range(0, spans, BATCH):
        yield _request(rows[at : at + BATCH], draw, trace_id)


def _request(rows: list[tuple[int, int, int, int, int]], draw: random.Random, trace_id: bytes) -> bytes:
    request = ExportTraceServiceRequest()
    scopes: dict[int, Any] = {}
    for index, above, start, duration, _ in rows:
        service = (index * 2654435761 >> 7) % SERVICES
        if service not in scopes:
            resource = request.resource_spans.add()
            item = resource.resource.attributes.add()
            item.key, item.value.string_value = "service.name", f"service-{service:02d}"
            scopes[service] = resource.scope_spans.add()
        span = scopes[service].spans.add()
        span.trace_id, span.span_id = trace_id, (index + 1).to_bytes(8, "big")
        if above >= 0:
            span.parent_span_id = (above + 1).to_bytes(8, "big")
        span.name = f"operation-{draw.randrange(OPERATIONS):02d} of {service:02d}"
        span.kind = 2 if index % 3 else 3
        span.start_time_unix_nano, span.end_time_unix_nano = start, start + duration
        item = span.attributes.add()
        item.key, item.value.int_value = "row", index
        if draw.random() < 0.01:
            span.status.code, span.status.message = 2, "it failed"
    return request.SerializeToString()


def send(url: str, spans: int) -> str:
    """Store the trace; its id."""
    for body in bodies(spans):
        request = urllib.request.Request(f"{url}/v1/traces", body, {"content-type": "application/x-protobuf"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
    return TRACE_ID.hex()


FRAMES = """async ([seconds]) => {
  const stage = document.querySelector('.waterfall canvas.rows');
  const scroller = document.querySelector('.waterfall .scroller');
  const times = [];
  const longs = [];
  const watch = new PerformanceObserver((list) => { for (const one of list.getEntries()) longs.push(one.duration); });
  watch.observe({ entryTypes: ['longtask'] });
  let last = performance.now();
  const end = last + seconds * 1000;
  let step = 0;
  await new Promise((done) => {
    const frame = (now) => {
      times.push(now - last);
      last = now;
      if (now > end) return done();
      step += 1;
      const box = stage.getBoundingClientRect();
      const at = { bubbles: true, cancelable: true, clientX: box.left + box.width * 0.7, clientY: box.top + 200 };
      const zoom = step % 120 > 80;
      const by = step % 240 > 120 ? 120 : -120;
      if (zoom) stage.dispatchEvent(new WheelEvent('wheel', { ...at, deltaY: by, ctrlKey: true }));
      else scroller.scrollTop += step % 960 > 480 ? -9000 : 9000;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  watch.disconnect();
  return { times: times.slice(2), longs };
}"""
MARKS = """() => Object.fromEntries(performance.getEntriesByType('mark')
  .filter((mark) => mark.name.startsWith('aetia-waterfall'))
  .map((mark) => [mark.name.slice(16), Math.round(mark.startTime)]))"""
SEARCH = """async () => {
  const field = document.querySelector('.waterfall [data-search]');
  const took = [];
  for (const words of ['operation-07', 'service-11', 'no such thing', '0000000000018']) {
    field.value = words;
    const begun = performance.now();
    field.dispatchEvent(new Event('input', { bubbles: true }));
    took.push(performance.now() - begun);
  }
  return took;
}"""


def measure(url: str, trace_id: str, runs: int) -> dict[str, Any]:
    """First paint (ms, every run), frames and search in the browser."""
    from playwright.sync_api import sync_playwright

    paints: list[dict[str, float]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        for _ in range(runs):
            page.goto(f"{url}/explore/traces/{trace_id}")
            page.wait_for_selector(".waterfall canvas.rows", timeout=60_000)
            while not page.evaluate("performance.getEntriesByName('aetia-waterfall-whole').length"):
                page.wait_for_timeout(50)
            paints.append(page.evaluate(MARKS))
        page.wait_for_timeout(1500)
        frames = page.evaluate(FRAMES, [8])
        found = page.evaluate(SEARCH)
        browser.close()
    times = sorted(frames["times"])
    return {
        "paint": paints,
        "frames": len(times), "median_ms": round(times[len(times) // 2], 1),
        "p99_ms": round(times[int(len(times) * 0.99)], 1),
        "worst_ms": round(times[-1], 1), "over_50_ms": sum(one > 50 for one in times),
        "long_tasks_ms": [round(one) for one in frames["longs"]], "search_ms": [round(one, 1) for one in found],
    }  # fmt: skip


@contextlib.contextmanager
def somewhere(url: str | None) -> Generator[str]:
    if url is not None:
        yield url
        return
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "serve"))
    from served import served  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

    with tempfile.TemporaryDirectory() as folder, served(Path(folder) / "data") as server:
        yield server.url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--url", default=None)
    asked = parser.parse_args()
    with somewhere(asked.url) as url:
        trace_id = send(url, asked.spans)
        time.sleep(3)
        begun = time.perf_counter()
        with urllib.request.urlopen(f"{url}/api/v1/traces/{trace_id}/waterfall", timeout=60) as answer:
            size = len(answer.read())
        server_s = time.perf_counter() - begun
        result = {
            "spans": asked.spans,
            "answer_mb": size / 1e6,
            "server_s": server_s,
            **measure(url, trace_id, asked.runs),
        }
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
