"""What people read who have no clone."""

import re
from pathlib import Path

import gptjax

PACKAGE = Path(gptjax.__file__).parent
MAKEFILE = Path(__file__).parents[2] / "Makefile"


def test_no_text_of_the_package_sends_anybody_to_what_a_wheel_lacks():
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    targets = "|".join(phony[1].split())
    elsewhere = re.compile(
        rf"\bmake ({targets})\b|Makefile|CONTRIBUTING|README\b(?!\.md)|\b(experiments|docs|tests)/"
    )
    found = []
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in (".py", ".toml", ".jinja"):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if elsewhere.search(line):
                    found.append(f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}")
    assert found == []
