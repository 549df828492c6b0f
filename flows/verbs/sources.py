"""Verbs that fetch studies into a folder, for `kette ingest` to take in."""

from __future__ import annotations

import typer

app = typer.Typer()
