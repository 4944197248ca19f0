"""What a person sees: explore.ipynb in JupyterLab, and a page from disk, in a real browser."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import make_picture
from test_report import our_style, results, save_page  # noqa: F401  (fixtures)

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; install it to test in a browser")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def lab(tmp_path):
    """`./run_all.sh lab` on this machine alone, and the address of explore.ipynb in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--port={port}", "--no-browser", "--allow-root", "--IdentityProvider.token=secret"]
    options += ["--LabApp.news_url=", f"--LabApp.workspaces_dir={tmp_path / 'workspaces'}"]
    environment = {
        **os.environ,
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(tmp_path),
    }
    command = [str(ROOT / "run_all.sh"), "lab", *options]
    with open(tmp_path / "lab.log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=secret")
                break
            time.sleep(0.5)
        else:
            pytest.fail((tmp_path / "lab.log").read_text())
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/explore.ipynb?token=secret&reset"
    finally:
        server.terminate()
        server.wait(30)


def verdict(page) -> str:
    return page.locator(".widget-html h3").first.inner_text()


def wait_for_another(page, before: str) -> str:
    page.wait_for_function(
        "old => document.querySelector('.widget-html h3').innerText != old", arg=before, timeout=30_000
    )
    return verdict(page)


def test_explore_judges_a_picture_and_changes_its_mind_with_it(browser, lab, tmp_path):
    page = browser.new_page(viewport={"width": 1400, "height": 1400})
    page.goto(lab)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)  # a kernel is there
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_selector(".widget-html h3", timeout=120_000)
    first = verdict(page)
    assert re.fullmatch(r"(real|generated|undecided): [01]\.\d\d", first)

    page.locator(".widget-slider .noUi-handle").first.press("Home")  # the lowest JPEG quality
    compressed = wait_for_another(page, first)

    words = page.locator(".widget-text input").first
    words.fill("a purple rocket at night")
    words.press("Enter")
    reworded = wait_for_another(page, compressed)
    assert reworded.startswith("undecided") or reworded != compressed

    make_picture(3).save(tmp_path / "mine.png")
    with page.expect_file_chooser() as chooser:
        page.locator(".jupyter-button", has_text="yours").click()
    chooser.value.set_files(tmp_path / "mine.png")
    wait_for_another(page, reworded)
    assert page.locator(".widget-dropdown select").first.evaluate("one => one.selectedOptions[0].text") == "mine.png"

    page.get_by_role("tab", name="every source").click()
    page.wait_for_function(
        "[...document.querySelectorAll('img.widget-image')].some(one => one.offsetParent && one.naturalWidth > 500)"
    )
    assert (
        page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr'] >> text=Error").count()
        == 0
    )
    page.close()


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_asks_nobody_and_fits_the_window(browser, results, width):  # noqa: F811
    page, asked = browser.new_page(viewport={"width": width, "height": 900}), []
    page.on("request", lambda request: asked.append(request.url))
    save_page(results, "A title that is long enough to be broken", "The verdict.")
    page.goto((results / "index.html").as_uri())
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    page.close()
