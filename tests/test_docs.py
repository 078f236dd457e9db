"""The documentation says what the program does: commands, flags, plugins, schema, links."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from aetia import plugins
from aetia.cli.main import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])


def commands(parent: App, chain: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Every command with its full name, groups included."""
    for name in parent:
        if name.startswith("-"):
            continue
        child = parent[name]
        yield " ".join((*chain, name)), child
        yield from commands(child, (*chain, name))


def flags(command: App) -> set[str]:
    if command.default_command is None:
        return set()
    found = command.assemble_argument_collection()
    return {name for argument in found for name in argument.names if name.startswith("-") and argument.show}


COMMANDS = dict(commands(app))


def section(command: str) -> str:
    """The part of cli.md below the heading of a command."""
    text = (DOCS / "cli.md").read_text("utf-8")
    parts = re.split(r"^##+ `aetia ([a-z ]+[a-z])(?: [A-Z][^`]*)?`.*$", text, flags=re.M)
    held = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert command in held, f"docs/cli.md has no section for `aetia {command}`"
    return held[command]


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_and_flag_is_in_the_cli_page(command: str) -> None:
    words = section(command)
    missing = sorted(flag for flag in flags(COMMANDS[command]) if not re.search(rf"(?<![\w-]){flag}(?![\w-])", words))
    assert not missing, f"docs/cli.md does not explain {missing} of `aetia {command}`"


def test_the_guard_sees_the_commands_that_the_contract_names() -> None:
    expected = {"demo", "diagnose", "recheck", "plugins", "cases import", "cases list", "lab sim", "bench run"}
    assert expected <= set(COMMANDS)
    assert {"--baseline", "--incident", "--since", "--at", "--localizer", "--format", "-o"} <= flags(
        COMMANDS["diagnose"]
    )


def test_the_cli_page_names_no_flag_that_is_gone() -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    known = set.union(*(flags(command) for command in COMMANDS.values())) | {"--help", "-h", "--version"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= known


@pytest.mark.parametrize("name", ["plugins.md", "tools.md", "diagnosis.schema.json"])
def test_generated_pages_are_current(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == generator().FILES[name](), "run `make docs`"


def test_every_registered_plugin_is_in_the_plugins_page() -> None:
    page = (DOCS / "plugins.md").read_text("utf-8")
    names = [item.name for item in plugins.all_plugins() if item.module.startswith("aetia.")]
    assert len(names) >= 20
    assert [name for name in names if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_docs_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name} links to {target}, which does not exist"
        if anchor and place.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", place.read_text("utf-8"), flags=re.M)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {target}, which has no such heading"


def test_the_readme_begins_with_the_two_commands_that_do_everything() -> None:
    blocks = re.findall(r"```[a-z]*\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.S)
    assert [line.split("#")[0].strip() for line in blocks[0].splitlines()] == ["make demo", "make test"]


def test_the_report_in_the_readme_is_the_one_of_the_demo() -> None:
    """Lines stand in the readme as `aetia demo` prints them, in that order; a line of … stands for any number of them."""
    blocks = re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.S)
    command = [sys.executable, "-m", "aetia.cli.main", "demo", "--quiet"]
    environment = {**os.environ, "COLUMNS": "80"}
    said = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=True).stdout
    printed = iter(said.splitlines())
    gone = [line for line in blocks[0].splitlines() if line not in ("", "…") and line not in printed]
    assert gone == [], f"run `aetia demo` and put its lines into README.md; it now prints\n{said}"


def test_every_make_target_that_the_docs_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.M))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z-]+)", page.read_text("utf-8"))}
    assert named <= targets
