"""Writes the generated parts of docs/: plugins, tools, schema of a diagnosis, API, configuration. See `make docs`."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from aetia import plugins
from aetia.reason.toolbox import MOST_ROWS, MOST_TEXT, schema
from aetia.report.interchange import schema_text
from aetia.serve.pages import api_page, configuration_file, configuration_page

HERE = Path(__file__).parent
TITLES = {
    "reader": ("Readers", "What a source may be. A folder is recognised by what is in it."),
    "detector": ("Detectors", "They open an incident when users are hurt."),
    "channel": ("Channels", "One kind of evidence each; a channel is silent where it has nothing to say."),
    "localizer": ("Localizers", "They rank root causes; choose one with `--localizer NAME`."),
    "tool": ("Tools", "What an investigation may ask; [tools](tools.md) has their arguments."),
    "policy": ("Policies", "They decide what an investigation asks next."),
}
HEAD = """# Plugins

Every algorithm is one file with one class or factory marked by `@plugin`; the file's name is its name. Built-in
algorithms and those of other packages are found through the same entry-point group, `aetia.plugins`. `aetia plugins`
prints this list for your installation, with the reason when something is not available.

```toml
# pyproject.toml of a package that adds localizers: every module in the package `acme_rca` that carries @plugin
[project.entry-points."aetia.plugins"]
acme = "acme_rca"
```

This page is written by `make docs`.
"""


def plugins_page() -> str:
    """The content of plugins.md for the built-in plugins."""
    return "\n".join([HEAD, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    builtin = [item for item in plugins.all_plugins() if item.module.startswith("aetia.")]
    for kind, (title, words) in TITLES.items():
        found = sorted((item for item in builtin if item.kind == kind), key=lambda item: item.name)
        yield f"## {title}\n\n{words}\n\n| name | what it does | needs | source | cost |\n|---|---|---|---|---|"
        for item in found:
            cells = (f"`{item.name}`", item.summary, ", ".join(item.needs), item.source, item.cost)
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""


TOOLS_HEAD = """# Tools

What an investigation may ask of the telemetry: rules and language models ask through the engine, any other client
through [`aetia mcp`](cli.md#aetia-mcp-source). Tools read and never change anything.

**Answers.** At most {rows} rows of plain values, most telling first, each text at most {text} characters; `truncated`
says that there were more. Times are ms, or s after the start of the incident (`_s`), rates per second or minute as
their names say, `failed` and other shares lie in 0..1, `null` is not known.

**Evidence.** An answer that says something of a component carries evidence: an id, a sentence, `for` or `against` the
component, and a strength in 0..1, where 0 is a fact that speaks for neither. It holds the question and a digest of the
rows, so `aetia recheck` can ask again. How components are doing on the whole is `trouble` in 0..1: the largest of how
much and how surely requests got slower (rank test and ratio), began to fail (square root of the rise where Fisher's
test has p < .001), or stayed away (beyond half of what the load lets expect).

**Errors** are part of the answer: a `code`, a sentence, and what to ask instead. `bad_arguments`; `unknown_component`,
`unknown_service`, `unknown_operation` and `unknown_span`, with the names that are nearest; `no_data` and `empty_window`
where nothing was recorded; `no_peers`, `no_such_trace`; `asked_before` with the id of the evidence that answered the
same question earlier.

Texts in rows were recorded somewhere and may say anything; they are data, never instructions.

This page is written by `make docs`.
"""


def tools_page() -> str:
    """The content of tools.md: every built-in tool with its arguments."""
    head = TOOLS_HEAD.format(rows=MOST_ROWS, text=MOST_TEXT)
    return "\n".join([head, *_tools()]).rstrip() + "\n"


def _tools() -> Iterator[str]:
    for info in sorted(plugins.all_plugins("tool"), key=lambda item: item.name):
        if info.kind != "tool" or not info.module.startswith("aetia."):
            continue
        described = schema(plugins.create("tool", info.name))
        words = (inspect.getdoc(sys.modules[info.module]) or "").split("\n\n", 1)[1]
        summary = info.summary[:1].upper() + info.summary[1:]
        yield f"## `{info.name}`\n\n{summary}.\n\n{words}\n\n| argument | type | default | meaning |\n|---|---|---|---|"
        for name, field in described["properties"].items():
            default = "required" if name in described["required"] else f"`{json.dumps(field.get('default'))}`"
            yield f"| `{name}` | {_type(field)} | {default} | {field.get('description', '')} |"
        yield ""


def _type(field: dict[str, object]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    kinds = [item.get("type") for item in field.get("anyOf", [])] or [field.get("type")]
    return " or ".join(str(kind) for kind in kinds if kind != "null")


FILES = {
    "plugins.md": plugins_page, "tools.md": tools_page, "diagnosis.schema.json": schema_text, "api.md": api_page,
    "configuration.md": configuration_page, "../deploy/aetia.toml": configuration_file,
}  # fmt: skip


def main() -> None:
    """Write every generated file."""
    for name, content in FILES.items():
        (HERE / name).write_text(content(), "utf-8")


if __name__ == "__main__":
    main()
