"""``python -m tests.browser DIR``: pages in a headless Chromium, with what axe-core says of them.

Each page is shown as a desktop and as a phone has it, printed, and drawn into ``DIR`` to be looked
at. It ends with 1 if axe-core finds anything, if a page is wider than its screen, if the page's
policy stops anything (its script too), or if no line leads from a queue to its CPUs.
``--picture FILE`` only draws the first screen of a page, for the README.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from html import unescape
from importlib import metadata
from pathlib import Path
from typing import Any

from netuned.report.page import html
from tests.unit import pages

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--incognito")
"""Without its sandbox, which root cannot have: the pages are ours, and load nothing."""
SCREENS = {"desktop": (1280, 1600), "phone": (390, 2400)}
PICTURE = (1280, 720)
TIMEOUT_S = 300
BUDGET_MS = 240_000
"""Of the browser's own time, which runs on while nothing is to be done."""

CHECK = """
(async () => {
const chip = document.querySelector(".chip[data-rps]");
if (chip) chip.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
const lines = document.querySelectorAll("#links line").length;
document.querySelectorAll("details").forEach((one) => { one.open = true; });
const found = await axe.run(document, {resultTypes: ["violations", "incomplete"]});
const told = (kind) => found[kind].map(
(rule) => `${rule.id}: ${rule.help}: ${rule.nodes[0].html.slice(0, 200)}`);
const said = document.createElement("pre");
said.id = "said";
said.textContent = JSON.stringify({
violations: told("violations"), incomplete: told("incomplete"), passes: found.passes.length, lines,
chips: chip ? 1 : 0, wide: document.documentElement.scrollWidth - innerWidth});
document.body.append(said);
})();
"""


def program() -> str:
    """The browser."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit(f"there is none of {', '.join(BROWSERS)}: apt install chromium-headless-shell")
    return found


def browser(*words: str, size: tuple[int, int]) -> subprocess.CompletedProcess[str]:
    """Run it on a page."""
    window = f"--window-size={size[0]},{size[1]}"
    command = [program(), *OPTIONS, window, "--enable-logging=stderr", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)


def shown() -> dict[str, Callable[[], str]]:
    """What makes the pages: of a host as it may be, of a large one, of odd names, of one without
    much; of a fleet's plan, and that of odd names.
    """
    some, (groups, unread) = pages.page(), pages.fleet()
    odd = ([*map(pages.hostile, groups)], [*map(pages.hostile, unread)])
    return {
        "some": partial(html, some),
        "large": partial(html, pages.page(pages.LARGE)),
        "hostile": partial(html, pages.hostile(some)),
        "bare": partial(html, replace(pages.page("cores: 2\n", measured=False), findings=None)),
        "fleet": partial(pages.hosts_page, groups, unread),
        "hostile-fleet": partial(pages.hosts_page, *odd),
    }


def check(file: Path, size: tuple[int, int], axe: str) -> tuple[dict[str, Any], list[str]]:
    """What axe-core says, and what is wrong. The copy that it runs in has no policy."""
    text = file.read_text("utf-8")
    open_to_all = re.sub(r"<meta http-equiv[^>]*>", "", text)
    copy = file.with_suffix(".axe.html")
    with_axe = f"<script>{axe}</script><script>{CHECK}</script></body>"
    copy.write_text(open_to_all.replace("</body>", with_axe), "utf-8")
    done = browser(f"--virtual-time-budget={BUDGET_MS}", "--dump-dom", copy.as_uri(), size=size)
    copy.unlink()
    told = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    if told is None:
        return {}, [f"axe-core did not end: {done.stderr[-400:]}"]
    found = json.loads(unescape(told[1]))
    wrong = list(found["violations"])
    wrong += [f"it is {found['wide']} pixels wider than the screen"] * (found["wide"] > 0)
    wrong += ["no line leads from a queue"] * (found["chips"] > found["lines"])
    return found, wrong


def main(directory: Path) -> int:
    axe_file = metadata.distribution("axe-playwright-python").locate_file(
        "axe_playwright_python/axe.min.js"
    )
    axe = Path(str(axe_file)).read_text("utf-8").replace("</script", "<\\/script")
    failed = False
    print("| page | KiB | made ms | screen | shown s | axe-core's rules passed | wrong |")
    print("|---|---|---|---|---|---|---|")
    for name, made in shown().items():
        before = time.process_time()
        text = made()
        made_ms = (time.process_time() - before) * 1000
        file = directory / f"{name}.html"
        file.write_text(text, "utf-8")
        for screen, size in SCREENS.items():
            picture = directory / f"{name}-{screen}.png"
            start = time.monotonic()
            done = browser(f"--screenshot={picture}", file.as_uri(), size=size)
            shown_s = time.monotonic() - start
            found, wrong = check(file, size, axe)
            wrong += [line for line in done.stderr.splitlines() if "CONSOLE" in line]
            failed |= bool(wrong)
            cells = (name, len(text) >> 10, f"{made_ms:.0f}", screen, f"{shown_s:.1f}")
            row = " | ".join(map(str, (*cells, found.get("passes"), len(wrong))))
            print(f"| {row} |", flush=True)
            unsure = (f"to be looked at: {one}" for one in found.get("incomplete", ()))
            for line in (*wrong, *unsure):
                print(f"    {line}", file=sys.stderr)
        browser(f"--print-to-pdf={directory / name}.pdf", file.as_uri(), size=(1280, 1600))
    return int(failed)


def picture(file: Path) -> int:
    """The README's: what is first seen of a page."""
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory) / "page.html"
        page.write_text(html(pages.page()), "utf-8")
        browser(f"--screenshot={file.resolve()}", page.as_uri(), size=PICTURE)
    print(f"{file}: {file.stat().st_size >> 10} KiB")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--picture"]:
        sys.exit(picture(Path(sys.argv[2])))
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    sys.exit(main(target.resolve()))
