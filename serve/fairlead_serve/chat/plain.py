"""Text of a server made safe for a terminal."""

# Escape sequences begin with one of these, or with an 8-bit form among the C1 controls (ECMA-48). A terminal takes
# them for commands, some of which write to files or to its own input. Nothing that is written needs any but two.
_CONTROLS = dict.fromkeys(code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t")


def printable(text: str) -> str:
    """`text` without control characters, but with its lines and tabs."""
    return text.translate(_CONTROLS)
