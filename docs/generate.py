"""Writes the generated parts of docs/: the list of plugins and the JSON Schema of a diagnosis. Run by `make docs`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aetia import plugins
from aetia.report.interchange import schema_text

HERE = Path(__file__).parent
TITLES = {
    "reader": ("Readers", "What a source may be. A folder is recognised by what is in it."),
    "detector": ("Detectors", "They open an incident when users are hurt."),
    "channel": ("Channels", "One kind of evidence each; a channel is silent where it has nothing to say."),
    "localizer": ("Localizers", "They rank root causes; choose one with `--localizer NAME`."),
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


FILES = {"plugins.md": plugins_page, "diagnosis.schema.json": schema_text}


def main() -> None:
    """Write every generated file."""
    for name, content in FILES.items():
        (HERE / name).write_text(content(), "utf-8")


if __name__ == "__main__":
    main()
