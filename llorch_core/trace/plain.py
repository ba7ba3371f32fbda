"""Text and XML that any reader accepts, whatever an engine wrote into its messages."""

from __future__ import annotations

from xml.etree import ElementTree as ET


def printable(text: str) -> str:
    """Return a text with \\xNN for each character that XML cannot hold or that moves a cursor."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def document(root: ET.Element) -> str:
    """Return a whole XML document in UTF-8, indented, with its declaration."""
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'
