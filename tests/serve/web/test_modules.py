"""The files of the web UI: no markup from text, no other host, no lost module, no long file, licences beside vendored code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import aetia.serve

WEB = Path(aetia.serve.__file__).parent / "web"
OWN = sorted(path for path in WEB.rglob("*") if path.suffix in (".js", ".css", ".html") and "vendor" not in path.parts)
MODULES = [path for path in OWN if path.suffix == ".js" and path.name != "boot.js"]
IMPORT = re.compile(r'(?:from|import)\s*\(?\s*"(\.[^"]+)"')


def imported(path: Path) -> set[Path]:
    return {(path.parent / name).resolve() for name in IMPORT.findall(path.read_text("utf-8"))}


@pytest.mark.parametrize("path", OWN, ids=lambda path: str(path.relative_to(WEB)))
def test_a_file_is_short_and_makes_no_markup_of_text(path: Path) -> None:
    content = path.read_text("utf-8")
    assert len(content.splitlines()) <= 600
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
    ):
        assert word not in content, word
    assert not re.search(r"""(?:src|href|url\(|from|import\()\s*=?\s*["']?https?:""", content)


def test_every_import_leads_somewhere() -> None:
    assert len(MODULES) > 30
    lost = [(path.name, str(to)) for path in MODULES for to in imported(path) if not to.is_file()]
    assert lost == []


def test_the_modules_of_the_incident_page_are_asked_for_at_once() -> None:
    boot = (WEB / "boot.js").read_text("utf-8")
    needed, todo = set[Path](), [WEB / "app.js", WEB / "incidents" / "page.js"]
    while todo:
        path = todo.pop()
        if path not in needed:
            needed.add(path)
            late = {"explore", "compare", "list.js"}
            todo += [to for to in imported(path) if not late & set(to.parts) and "vendor" not in to.parts]
    names = {path.stem for path in needed} - {"types"}
    assert {name for name in names if f'"{name}"' not in boot and f'/{name}"' not in boot} == set()


def test_vendored_code_keeps_its_licence() -> None:
    for name in ("uplot", "cytoscape"):
        text = (WEB / "vendor" / name / "LICENSE").read_text("utf-8")
        assert "MIT" in text or "Permission is hereby granted" in text


def test_the_document_has_no_inline_script_or_style() -> None:
    page = (WEB / "index.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)
    assert re.findall(r"<script(?![^>]*\ssrc=)", page) == []
