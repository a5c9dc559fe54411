"""Drawn product pictures: book covers and placeholders, as SVG. Pure, and independent of the catalogue."""
