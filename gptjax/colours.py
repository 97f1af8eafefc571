"""The colours of pages, for eyes in light and in the dark, as variables of their style sheets.

Text has a contrast of 4.5 to 1 and more to what is behind it, lines of figures 3 to 1 (WCAG 2.1).
"""

from collections.abc import Mapping

# c1 to c7 are Okabe and Ito's without yellow, in each scheme as light as its paper needs.
LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "box": "#f4f6f8",
    "ink": "#1c1c1c",
    "soft": "#595959",
    "rule": "#d9d9d9",
    "link": "#0b5394",
    "warn": "#b45f06",
    "warn-box": "#fff6ec",
    "heat": "#08529e",
    "cold": "#91351c",
    "on-pale": "#000000",
    "on-deep": "#ffffff",
    "c1": "#0072b2",
    "c2": "#d55e00",
    "c3": "#008a63",
    "c4": "#b8608f",
    "c5": "#3a8fc4",
    "c6": "#b27700",
    "c7": "#000000",
}
DARK: Mapping[str, str] = {
    "paper": "#16181c",
    "box": "#21252b",
    "ink": "#e8e8e8",
    "soft": "#a8adb5",
    "rule": "#3b4047",
    "link": "#8ab8f0",
    "warn": "#e8a04c",
    "warn-box": "#2e261a",
    "heat": "#6594c7",
    "cold": "#d67a3b",
    "on-pale": "#ffffff",
    "on-deep": "#000000",
    "c1": "#56a8e0",
    "c2": "#ff8a3d",
    "c3": "#2fc79a",
    "c4": "#e08fbf",
    "c5": "#8fd0f5",
    "c6": "#e6b24a",
    "c7": "#e8e8e8",
}


def variables(scheme: Mapping[str, str]) -> str:
    """The declarations of a scheme."""
    return " ".join(f"--{name}: {colour};" for name, colour in scheme.items())


def style() -> str:
    """Rules for both: the system decides, unless the page's switch was used."""
    light, dark = (
        f"color-scheme: light; {variables(LIGHT)}",
        f"color-scheme: dark; {variables(DARK)}",
    )
    system = f":root:not([data-theme=light]) {{ {dark} }}"
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ {system} }}\n"
        f":root[data-theme=dark] {{ {dark} }}\n"
        f"@media print {{ :root, :root:not([data-theme=light]) {{ {light} }} }}\n"
    )
