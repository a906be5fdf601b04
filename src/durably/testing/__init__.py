"""The crash kit: proof that a handler survives any crash, and pytest fixtures."""
