"""Texts of the built-in pages in other languages, a gettext file for each."""
