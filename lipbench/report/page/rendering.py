"""The page as one text: template, style, scripts and data in one file.

The page must not ask any network for anything: its Content-Security-Policy allows nothing but its own script and style,
which it names by their digests, and images in data URIs. Text of files reaches the page escaped by the template, or as
JSON that no script runs, from which the scripts make text nodes only.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lipbench.report.document import PICTURES, Report
from lipbench.report.resampling import RESAMPLES
from lipbench.report.tables import Table

HERE = Path(__file__).parent
SCRIPTS = (  # in the order in which they are read: each uses those before it
    *("elements", "numbers", "data", "resampling", "analysis", "state"),
    *("charts", "strip", "table", "curves", "front", "effects", "heatmap"),
    *("calls", "setting", "model", "controls", "main"),
)


def render(report: Report, definitions: Table, data: dict[str, Any], files: Sequence[str]) -> str:
    """report.html. data: see ``payload``; files: the names of those beside it that it links to."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = "\n" + (HERE / "page.css").read_text(encoding="utf-8"), "\n" + scripts()
    return environment.get_template("page.html.j2").render(
        report=report,
        definitions=definitions,
        style=Markup(style),
        script=Markup(script),
        data=Markup(inert(data)),
        files=files,
        endings=PICTURES,
        resamples=RESAMPLES,
        style_digest=digest(style),
        script_digest=digest(script),
    )


def scripts() -> str:
    """All scripts as one, in a scope of its own."""
    parts = [(HERE / "scripts" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return "(() => {\n'use strict';\n" + "\n".join(parts) + "})();\n"


def inert(data: Any) -> str:
    """JSON that cannot end the element it stands in, whatever text it holds."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def digest(text: str) -> str:
    """How a Content-Security-Policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
