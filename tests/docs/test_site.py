"""The pages of the docs site; `make docs` builds it from them."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
spec = importlib.util.spec_from_file_location("site_pages", DOCS / "site.py")
site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    site.main(out)
    return out


def test_the_menu_names_every_page_but_reports(built):
    config = tomllib.loads((built / "zensical.toml").read_text(encoding="utf-8"))

    def files(entry):
        if isinstance(entry, str):
            yield entry
        else:
            for part in entry.values() if isinstance(entry, dict) else entry:
                yield from files(part)

    pages = {str(file.relative_to(built / "pages")) for file in built.rglob("*.md")}
    reports = {page for page in pages if page.startswith("reports/")}
    assert len(reports) > 5
    assert sorted(files(config["project"]["nav"])) == sorted(pages - reports)


def test_links_lead_to_pages_and_files_of_the_site(built):
    count = 0
    for page in built.rglob("*.md"):
        text = site.CODE.sub("", page.read_text(encoding="utf-8"))
        for _, target in site.LINK.findall(text):
            found = (page.parent / target).resolve()
            assert found.is_relative_to(built), (page, target)
            assert found.is_file(), (page, target)
            count += 1
    assert count > 100


def test_the_first_page_is_the_readme(built):
    text = (built / "pages/index.md").read_text(encoding="utf-8")
    assert text.startswith("# gptjax")
    assert "](pretraining.md)" in text
    assert "](reports/" in text


def test_an_example_keeps_its_words_and_its_code(built):
    text = (built / "pages/examples/lora.md").read_text(encoding="utf-8")
    source = (DOCS / "examples/lora.py").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "# %%" not in text
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    wanted = [line for line in source.splitlines() if line and not line.startswith("#")]
    assert [line for line in code.splitlines() if line and not line.startswith("#")] == wanted


def test_every_package_has_its_docstrings(built):
    for package in site.PACKAGES:
        text = (built / f"pages/reference/{package}.md").read_text(encoding="utf-8")
        assert text.count("::: gptjax.") > 3
    assert "::: gptjax.models.attention\n" in (built / "pages/reference/models.md").read_text()


def test_a_link_to_nothing_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("see [this](missing.md), `[code](nowhere.md)`, [that](https://example.com)\n")
    with pytest.raises(SystemExit, match=r"missing\.md is not there"):
        site.write_page(page, {page: Path("page.md")}, tmp_path / "out")
