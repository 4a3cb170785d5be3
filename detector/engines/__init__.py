"""Engines: the same network on the library that runs it fastest here."""
