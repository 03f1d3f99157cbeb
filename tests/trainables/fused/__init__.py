"""Packs: several runs at once."""
