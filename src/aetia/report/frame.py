"""What every HTML page has in common: one file, its own style sheet, no script and no request."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources

from aetia.report.svg import text


def frame(title: str, body: str) -> str:
    """A whole page around markup that is safe already; `title` is plain text.

    The content security policy allows the style sheet and nothing else, so that a hostile name can neither run nor
    load anything.
    """
    style = _style()
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{text(title)}</title><style>{style}</style></head><body>"
        f'<a class="skip" href="#main">Skip to the findings</a>{body}</body></html>\n'
    )


@functools.cache
def _style() -> str:
    return resources.files("aetia.report").joinpath("assets/page.css").read_text("utf-8")
