"""Tiles: a fence's SQL as run, and what a page is told of its result."""
